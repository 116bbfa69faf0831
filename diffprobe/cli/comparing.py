"""Several sources of `diffprobe report` beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffprobe.cli.sources import Source, find, names_of
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import differences, to_settings

if TYPE_CHECKING:
    from diffprobe.datasets import SymbolImages
    from diffprobe.evaluation.comparison import Comparison
    from diffprobe.sampling import Samples

# What noise depends on, beside the size of the images.
NOISE = ("seed", "n", "batch_size")


def compare_sources(paths: Sequence[Path], dataset: str | None, paired: bool) -> "Comparison":
    """Compare samples of runs, or anybody's, each with each.

    Args:
        paths: Of runs, files or folders of pictures.
        dataset: What to judge all of them by, instead of the runs' own.
        paired: Whether sample i of each came from the same noise.

    Raises:
        UsageError: If they cannot be judged, or are no pairs.
    """
    sources = [find(path) for path in paths]
    named = dict(zip(names_of(sources), sources, strict=True))
    configs = {name: source.world(dataset) for name, source in named.items()}

    from diffprobe.evaluation.comparison import compare
    from diffprobe.evaluation.verdicts import judge
    from diffprobe.sampling import as_pictures

    worlds = {name: config.dataset() for name, config in configs.items()}
    samples = {name: as_pictures(source.path, worlds[name]) for name, source in named.items()}
    same = _same_noise(samples, worlds, paired)
    sets = {name: judge(worlds[name], each) for name, each in samples.items()}
    read = [
        f"{name}: {note}"
        for name, each in samples.items()
        for note in (*each.notes, *sets[name].broken.lines())
    ]
    notes = [*read, *_drawn_differently(named, samples)]
    found = compare(sets, paired=paired, datasets=worlds, notes=notes)
    if same and not paired and any(found.differences.values()):
        click.echo(
            "diffprobe: these samples came from the same noise; --paired tells smaller "
            "differences apart",
            err=True,
        )
    return found


def compare_by_validator(
    paths: Sequence[Path], validator: str, dataset: str | None, paired: bool
) -> "Comparison":
    """Compare what a validator finds in samples of runs, or anybody's images, each with each.

    Args:
        paths, dataset, paired: As `compare_sources` takes them; without a dataset, images that are
            of no run are shown as they are.
        validator: Its name, `module:function`.
    """
    sources = [find(path) for path in paths]
    named = dict(zip(names_of(sources), sources, strict=True))
    configs = {name: source.config(dataset) for name, source in named.items()}

    from diffprobe.evaluation import Validator, check, compare_checked
    from diffprobe.evaluation.broken import Broken
    from diffprobe.sampling import as_pictures, load_samples

    asked = Validator.of(validator)
    worlds = {name: config.dataset() if config else None for name, config in configs.items()}
    samples = {
        name: as_pictures(source.path, world) if world else load_samples(source.path)
        for (name, source), world in zip(named.items(), worlds.values(), strict=True)
    }
    _same_noise(samples, worlds, paired)
    found = {name: check(each, asked, worlds[name]) for name, each in samples.items()}
    notes = [
        f"{name}: {note}"
        for name, each in samples.items()
        for note in (*each.notes, *Broken.of(each.images).lines("are left out"))
    ]
    return compare_checked(found, paired=paired, notes=notes)


def _drawn_differently(
    sources: Mapping[str, Source], samples: Mapping[str, "Samples"]
) -> list[str]:
    """Say where more than the network differs between runs."""
    runs = {name: source.run for name, source in sources.items() if source.run is not None}
    if len({run.path.resolve() for run in runs.values()}) < 2:
        return []
    notes = []
    ways = {
        name: f"{each.sampler['class']}, {each.sampler['steps']} steps, "
        f"weights {each.sampler['weights']}{_mended(each.sampler)}"
        for name, each in samples.items()
        if {"class", "steps", "weights"} <= {*each.sampler}
    }
    if len(set(ways.values())) > 1:
        listed = "; ".join(f"{name}: {way}" for name, way in ways.items())
        notes.append(
            f"The samples were drawn in different ways, which tells in all rates: {listed}."
        )
    (first, run), *others = runs.items()
    for name, other in others:
        ours, theirs = (to_settings(each.config())["noise"] for each in (run, other))
        if changed := differences({"noise": ours}, {"noise": theirs}):
            notes.append(f"{first} and {name} differ in settings of noise: {'; '.join(changed)}.")
    return notes


def _mended(sampler: Mapping[str, Any]) -> str:
    told = {key: sampler.get(key) for key in ("guidance", "rejection")}
    given = f", given {sampler['given']}" if sampler.get("given") else ""
    return given + "".join(f", {key} {value:g}" for key, value in told.items() if value)


def _same_noise(
    samples: Mapping[str, "Samples"], worlds: Mapping[str, "SymbolImages | None"], paired: bool
) -> bool:
    """Whether all came from the same noise; refuse pairs that are none."""
    # There was noise in a symbol channel, too.
    shapes = {
        name: world.image_shape if world else tuple(samples[name].images.shape[1:])
        for name, world in worlds.items()
    }
    made = {
        name: (*(each.sampler.get(key) for key in NOISE), shapes[name])
        for name, each in samples.items()
    }
    redrawn = [name for name, each in samples.items() if each.sampler.get("rejection")]
    if paired and redrawn:
        raise UsageError(
            f"--paired is for samples of the same noise, but of {', '.join(redrawn)} some were "
            "drawn again (sampling.rejection)"
        )
    known = {name: each for name, each in made.items() if None not in each}
    if paired and len(set(known.values())) > 1:
        listed = "; ".join(
            f"{name} has "
            + ", ".join(f"{k} {v}" for k, v in zip((*NOISE, "shape"), each, strict=True))
            for name, each in known.items()
        )
        raise UsageError(f"--paired is for samples of the same noise, but {listed}")
    return not redrawn and len(known) == len(made) and len(set(known.values())) == 1
