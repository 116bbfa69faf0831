"""Trains the checkpoints of the zoo again, each as its `config.toml` says: `make zoo`.

What is trained and measured lies in the folder that is named, and is not done again by the next
call; the zoo gets the weights that are probed, in a run folder of their own, and the card.
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

from diffprobe import zoo
from diffprobe.config import from_settings
from diffprobe.experiment import run_experiment
from diffprobe.foundations.atomic import remove, scratch_folder
from diffprobe.foundations.checksums import MANIFEST, write_checksums
from diffprobe.foundations.errors import unknown_name
from diffprobe.foundations.progress import Progress
from diffprobe.models.checkpoint import WEIGHTS
from diffprobe.models.checkpoint_folder import Checkpoint
from diffprobe.resolution import read_toml
from diffprobe.sharing.card import Card
from diffprobe.sharing.folder import CARD, DESCRIBING

MEASURES = ("samples", "locality", "placement")
LICENCE = "mit"  # as the code's, and nothing else went into them


def make(recipe: Path, work: Path, target: Path, progress: Progress | bool = True) -> None:
    """Train, sample and probe a checkpoint, and write what the zoo holds of it.

    Args:
        recipe: Its config.toml, whose first line says what it is.
        work: The run folder to train in.
        target: The folder of the zoo, called as the checkpoint is.
        progress: Whether to show it, or what is called as tqdm is.
    """
    text, config = recipe.read_text("utf-8"), from_settings(read_toml(recipe))
    # The card tells of one level of locality; the others would not change what is found there.
    probing = replace(config, probe=replace(config.probe, levels=min(3, config.probe.levels)))
    done = run_experiment(
        config,
        MEASURES,
        out=work,
        probing=probing,
        device="cpu",
        progress=progress,
        figures=False,
    )
    run, samples = done.run, done.samples
    step = config.training.steps
    checkpoint = Checkpoint(run.checkpoint_path(step), step)
    about = text.splitlines()[0].removeprefix("#").strip()
    card = Card.of(run, checkpoint, target.name, LICENCE, f"{about}.")
    how = dict(samples.sampler) if samples is not None else {}
    judged = {**done.records["samples"], "details": {"sampler": how}}
    with scratch_folder(target.parent) as scratch:
        made = scratch / target.name
        place = made / "checkpoints" / checkpoint.path.name
        shutil.copytree(checkpoint.path, place)
        _keep_main(place)
        for name in DESCRIBING:
            shutil.copy(run.path / name, made)
        (made / zoo.RECIPE).write_text(text, "utf-8")
        rendered = replace(card, report=judged).render(f"{zoo.PREFIX}{target.name}")
        (made / CARD).write_text(rendered, "utf-8")
        if target.exists():
            remove(target)
        made.rename(target)


def _keep_main(checkpoint: Path) -> None:
    """Leave the weights that are sampled and probed: each other set is as large again."""
    places = json.loads((checkpoint / WEIGHTS).read_text("utf-8"))
    (main, folder), *others = places.items()
    for _, other in others:
        remove(checkpoint / other)
    (checkpoint / WEIGHTS).write_text(json.dumps({main: folder}) + "\n", "utf-8")
    (checkpoint / MANIFEST).unlink()
    write_checksums(checkpoint)


def main() -> None:
    """Make those that are named, or all."""
    parser = argparse.ArgumentParser(prog="make zoo", description=__doc__)
    parser.add_argument("names", nargs="*", help="of checkpoints; all by default")
    parser.add_argument("--work", type=Path, default=Path("runs/zoo-making"))
    given = parser.parse_args()
    recipes = {path.parent.name: path for path in sorted(zoo.FOLDER.glob(f"*/{zoo.RECIPE}"))}
    for name in given.names or recipes:
        if name not in recipes:
            parser.error(str(unknown_name("recipe", name, recipes)))
        make(recipes[name], given.work / name, recipes[name].parent)


if __name__ == "__main__":
    main()
