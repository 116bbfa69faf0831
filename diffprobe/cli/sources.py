"""What a report is on: a run's samples, or anybody's images; and what to judge them by."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffprobe.cli import options as opt
from diffprobe.config import Config
from diffprobe.foundations.errors import UsageError, offer_nearest

if TYPE_CHECKING:
    from diffprobe.training.run_folder import RunFolder


@dataclass(frozen=True)
class Source:
    """Images to judge.

    Attributes:
        path: A file, or a folder of pictures.
        run: The run they are samples of, if any.
    """

    path: Path
    run: "RunFolder | None"

    @property
    def name(self) -> str:
        """The run's, the folder's, or the file's without its ending."""
        if self.run is not None:
            return self.run.path.resolve().name
        path = self.path.resolve()
        return path.name if path.is_dir() else path.stem

    def config(self, dataset: str | None) -> Config | None:
        """Return the configuration to judge by: the one named, or the run's; None without both."""
        if dataset is not None:
            return opt.dataset_config(dataset)
        return self.run.config() if self.run is not None else None

    def world(self, dataset: str | None) -> Config:
        """Return the configuration to judge by.

        Raises:
            UsageError: If it is not known.
        """
        config = self.config(dataset)
        if config is None:
            raise UsageError(
                f"{self.path} does not lie in a run folder: say what to judge it by with "
                "--dataset PRESET_OR_FILE.toml"
            )
        return config


def find(path: Path) -> Source:
    """Return the images at a path: of a run, its newest samples.

    Raises:
        CheckpointError: If a folder is no run, and holds no pictures.
        UsageError: If nothing is there, or the run has no samples.
    """
    if not path.exists():
        raise UsageError(f"no file of samples, and no run, at {path}{offer_nearest(path)}")

    from diffprobe.training.run_folder import RunFolder, run_of_checkpoint

    # What can be told before torch is imported.
    if (path / "config.json").exists() and not any((path / "samples").glob("[!.]*.npz")):
        RunFolder(path).description()
        _offer_samples(RunFolder(path))

    opt.begin(f"reading {path}")

    from diffprobe.datasets.image_set import list_pictures
    from diffprobe.sampling import samples_of

    if not path.is_dir():
        return Source(path, run_of_checkpoint(path))
    run = RunFolder(path)
    if not (path / "config.json").exists() and list_pictures(path):
        return Source(path, None)
    run.description()
    if not samples_of(path):
        _offer_samples(run)
    return Source(samples_of(path)[-1], run)


def names_of(sources: list[Source]) -> list[str]:
    """Return names that tell sources apart."""
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        names = _apart([str(source.path.with_suffix("")) for source in sources])
    return names


def _apart(names: list[str]) -> list[str]:
    """Leave out the words that all names begin with."""
    words = [re.split("[_/]", name) for name in names]
    while len({tuple(w[:1]) for w in words}) == 1 and all(len(w) > 1 for w in words):
        words = [w[1:] for w in words]
    return ["_".join(w) for w in words]


def _offer_samples(run: "RunFolder") -> None:
    """Make samples of a run that has none, if somebody is there to say so."""
    question = f"{run.path} has no samples yet; make {run.config().sampling.n:,} now?"
    if not (sys.stdin.isatty() and click.confirm(question, default=True, err=True)):
        raise UsageError(f"{run.path} has no samples yet; make some: diffprobe sample {run.path}")
    from diffprobe.cli.sample import command as sample

    click.get_current_context().invoke(sample, checkpoint=run.path)
