"""The probes of one denoiser, beside the oracles: numbers as JSON, figures, and what is kept.

    FOLDER/summary.json         the headline numbers of every probe
    FOLDER/NAME.json            the numbers of the probe NAME
    FOLDER/*.png, *.svg         figures
    FOLDER/cache/               everything measured, so that it need not be measured again

A probe is a module with `SETTINGS`, `probe`, `draw`, `summary` and `lines`; see `ProbeModule`.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.records import write_record
from diffprobe.foundations.settings import to_settings
from diffprobe.models.checkpoint import list_checkpoints, load_denoiser
from diffprobe.probes import dynamics
from diffprobe.probes.cache import Keep
from diffprobe.probes.dynamics import Dynamics
from diffprobe.probes.subject import Subject
from diffprobe.probes.trends import draw_trends
from diffprobe.training.run_folder import RunFolder

# What each probe looks at, and what it needs: a grammar, or a run of a certain kind.
PROBES = {
    "locality": "LDR and excess LDR over noise levels, dependence matrix, decay with distance",
    "placement": "gamma, scale, mu above placebo sets, and the nats that are missed",
    "attribution": "attribution methods for one region's output, their agreement and their truth",
    "sensitivity": "how strongly one region's output depends on every input pixel",
    "spectrum": "singular values and vectors of the Jacobian, asymmetry, effective rank",
    "intervention": "redraw the noise or the symbol in one cell, see what changes where",
    "detectors": "can hallucinated samples be told from valid ones along the sampling path",
    "hidden-states": "do the layers know what the output ignores, beside untrained ones",
    "two-layer": "the neurons of a two-layer network on the hypercube, along training",
}
USUAL = ("locality", "placement", "attribution")
NEED_A_GRAMMAR = ("placement", "detectors", "hidden-states", "two-layer")


class ProbeModule(Protocol):
    """What the suite asks of a probe's module."""

    SETTINGS: tuple[str, ...]

    def probe(self, subject: Subject, keep: Keep) -> dict[str, Any]:
        """Measure the network and what it stands beside, each part through `keep`."""

    def draw(self, results: dict[str, Any], subject: Subject, folder: Path) -> None:
        """Store the figures in `folder`."""

    def summary(self, results: dict[str, Any]) -> dict[str, Any]:
        """Return the headline numbers, estimates with their errors."""

    def lines(self, content: dict[str, Any], subject: Subject) -> list[str]:
        """Return a summary in words."""


@dataclass(frozen=True)
class ProbeResults:
    """What the probes found, and where it is written.

    Attributes:
        folder: Holds the records and figures.
        subject: What was probed.
        results: Probe -> part ("network", "bayes", …) -> result.
        skipped: Probe -> why it does not apply.
        along: Probe -> its summaries at each checkpoint, where asked for.
        dynamics: The usual measurements along training, where asked for.
    """

    folder: Path
    subject: Subject
    results: dict[str, dict[str, Any]]
    skipped: dict[str, str] = field(default_factory=dict)
    along: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    dynamics: Dynamics | None = None

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers of every probe, and the figures."""
        subject = self.subject
        log_snr = subject.denoiser.log_snr(torch.tensor([subject.level]))
        return {
            "folder": str(self.folder),
            "denoiser": subject.name,
            "architecture": subject.architecture,
            "step": subject.step,
            "level": {"t": subject.level, "log_snr": log_snr.item()},
            "symbols_form_at": subject.forms_at,
            "oracles": list(subject.oracles),
            "grammar_known": subject.dataset is not None,
            "inputs": subject.source,
            "regions": {
                "names": subject.regions.names,
                "parts": subject.regions.part_names,
                "boxes": subject.regions.boxes,
                "image": subject.images.image_shape[1:],
                "no_locality": subject.regions.no_locality,
            },
            "probes": {name: module(name).summary(result) for name, result in self.results.items()},
            "skipped": self.skipped,
            "along": self.along,
            "dynamics": self.dynamics.rows() if self.dynamics is not None else None,
            "figures": [str(p) for p in sorted(self.folder.glob("*.png"))],
        }

    def lines(self, *only: str) -> list[str]:
        """Return what was found in words, by all probes or `only` some; ± is a 95 % interval."""
        found = []
        if self.subject.dataset is None:
            found.append(f"no grammar is known: no oracle curves; inputs: {self.subject.source}")
        for name, result in self.results.items():
            if not only or name in only:
                found += module(name).lines(module(name).summary(result), self.subject)
        found += [f"{name} does not apply: {why}" for name, why in self.skipped.items()]
        return found


def module(name: str) -> ProbeModule:
    """Return the module of the probe called `name`, importing it when first asked for."""
    found = importlib.import_module(f"diffprobe.probes.{name.replace('-', '_')}")
    return cast(ProbeModule, found)


def run_probes(
    subject: Subject,
    names: Sequence[str] | None = None,
    *,
    steps: Literal["last", "all"] = "last",
    out: Path | None = None,
) -> ProbeResults:
    """Measure a subject with the named probes, write the numbers and draw the figures.

    Args:
        subject: The denoiser and what it stands beside.
        names: Keys of `PROBES`, or "all" for those that apply; by default the usual ones.
        steps: "all" goes along the checkpoints of the subject's run too: with the probes that are
            named, or with the usual measurements if none is.
        out: Where to write; `probes/step-…/` in the run folder by default, or `probes/NAME/` here.

    Raises:
        UsageError: If there is no such probe, or one that is named does not apply.
    """
    chosen, skipped = _choose(subject, names)
    folder = out or _default_folder(subject)
    results = {name: _probe(name, subject, folder) for name in chosen}
    along: dict[str, list[dict[str, Any]]] = {}
    usual = None
    if steps == "all":
        if subject.run is None:
            raise UsageError(f"{subject.name} is not part of a run: it has no other checkpoints")
        if names is None and subject.dataset is not None:
            usual = _dynamics(subject, subject.run, subject.dataset, folder)
        elif names is not None:
            along = _along(subject, subject.run, [n for n in chosen if n != "two-layer"], folder)
    found = ProbeResults(folder, subject, results, skipped, along, usual)
    for name, result in results.items():
        write_record(folder / f"{name}.json", _numbers(result))
        module(name).draw(result, subject, folder)
    for name, moments in along.items():
        draw_trends(moments, folder / f"along-{name}", name)
    if usual is not None:
        write_record(folder / "dynamics.json", usual)
        dynamics.draw(usual, folder, subject.architecture)
    write_record(folder / "summary.json", found.summary())
    return found


def _choose(subject: Subject, names: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    wanted = list(USUAL) if names is None else list(dict.fromkeys(names))
    everything = "all" in wanted
    if everything:
        wanted = list(PROBES)
    for name in wanted:
        if name not in PROBES:
            raise unknown_name("probe", name, [*PROBES, "all"])
    unfit = {name: why for name in wanted if (why := _unfit(name, subject))}
    if unfit and not everything and names is not None:
        name, why = next(iter(unfit.items()))
        raise UsageError(f"the probe {name} does not apply: {why}")
    return [name for name in wanted if name not in unfit], unfit


def _unfit(name: str, subject: Subject) -> str | None:
    """Return why a probe does not apply to a subject."""
    if name in NEED_A_GRAMMAR and subject.dataset is None:
        return "no grammar is known (give --dataset)"
    if name == "two-layer":
        if subject.architecture != "mlp" or subject.run is None:
            return "it is for a run of the two-layer network (model.name = 'mlp')"
        if subject.config.images.name != "pixels":
            return "it is for the hypercube (images.name = 'pixels')"
    return None


def _default_folder(subject: Subject) -> Path:
    if subject.run is None:
        return Path("probes") / subject.name
    return subject.run.path / "probes" / (f"step-{subject.step:06d}" if subject.step else "last")


def _probe(name: str, subject: Subject, folder: Path) -> dict[str, Any]:
    return module(name).probe(subject, _keep(name, module(name).SETTINGS, subject, folder))


def _keep(name: str, fields: Sequence[str], subject: Subject, folder: Path) -> Keep:
    settings = to_settings(subject.config)
    key: dict[str, Any] = {
        "probe": {k: settings["probe"][k] for k in fields if k in settings["probe"]},
        "sampling": [settings["sampler"], settings["sampling"]] if "sampling" in fields else None,
        "stream": settings["stream"],
        "oracles": [settings["probe"]["baseline_images"], *subject.oracles],
        "level": [subject.level, subject.forms_at],
        **subject.identity,
    }
    known = subject.identity["denoiser"] is not None
    return Keep(folder / "cache" if known else None, name, key)


def _dynamics(subject: Subject, run: RunFolder, dataset: SymbolImages, folder: Path) -> Dynamics:
    return dynamics.measure(
        run.path,
        dataset,
        subject.config,
        t=subject.level,
        device=subject.denoiser.device,
        keep=_keep("dynamics", dynamics.SETTINGS, subject, folder),
        progress=subject.progress,
    )


def _along(
    subject: Subject, run: RunFolder, names: Sequence[str], folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """Return each probe's summaries at every checkpoint of the run, at the same noise level."""
    along: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    checkpoints = list_checkpoints(run.path)
    for checkpoint in subject.progress(checkpoints, desc="along training", unit="checkpoint"):
        weights, device = subject.config.weights, subject.denoiser.device
        network = load_denoiser(checkpoint.path, weights, device)
        then = replace(subject, denoiser=network, step=checkpoint.step)
        place = folder.parent / checkpoint.path.name
        for name in names:
            results = _probe(name, then, place)
            write_record(place / f"{name}.json", _numbers(results))
            along[name].append({"step": checkpoint.step, **module(name).summary(results)})
    return along


def _numbers(results: dict[str, Any]) -> dict[str, Any]:
    """Leave out pictures, and what errors are made of, one number an input and level."""
    return {
        part: {
            key: value
            for key, value in result.__dict__.items()
            if key not in ("ratios", "sources")
            and not (isinstance(value, Tensor) and value.ndim > 3)
        }
        for part, result in results.items()
    }
