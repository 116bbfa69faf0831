"""What a study computes instead of training it: one kind a file, with the numbers that it gives.

A question of a study that names a `computation` is a grid of its settings. Its measures are
`NAME.NUMBER`, such as `linear-regression.reuse`; seeds, claims and figures are those of any grid.
"""

import dataclasses
import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.kinds import Kind
from diffprobe.foundations.progress import Progress
from diffprobe.foundations.settings import build_kind
from diffprobe.studies.places import is_label

# Of one seed: measure -> its number, or step -> number; None where it is not defined.
Computed = Mapping[str, float | Mapping[int, float | None] | None]


class Computation(Kind, ABC):
    """Settings of something that is computed, and the function that computes it.

    Attributes:
        measures: The names of its numbers.
        along: What the steps are, where it tells numbers by step.
    """

    role: ClassVar[str] = "computation"
    along: ClassVar[str] = "training step"
    measures: ClassVar[tuple[str, ...]]

    @abstractmethod
    def compute(self, seeds: Sequence[int], device: str, progress: Progress) -> list[Computed]:
        """Return the numbers of each seed, all of `measures`.

        A seed's numbers do not depend on which others it is computed with.

        Args:
            seeds: Of everything random.
            device: "auto", "cpu", "cuda", …
            progress: Called as tqdm is.
        """


def computation(name: str, settings: Mapping[str, Any]) -> Computation:
    """Return the computation of that name.

    Raises:
        UsageError: If there is none, or a setting does not fit.
    """
    return cast(Computation, build_kind("computation", {"name": name, **settings}, "computation"))


def steps_of(measure: str) -> str:
    """Return what the steps of a measure are, in words: those of a training, or of a computation.

    >>> steps_of("gamma"), steps_of("assembly.joint")
    ('training step', 'step of the assembly, k')
    """
    name = measure.partition(".")[0]
    if name not in kinds.announced("computation"):
        return Computation.along
    return cast(type[Computation], kinds.find("computation", name)).along


def check_computed(name: str, settings: Sequence[str], measures: Sequence[str]) -> None:
    """Check that a grid asks for what a computation has.

    Args:
        name: Of the computation; empty for a grid of trainings.
        settings: Fixed or varied.
        measures: As a grid has them.

    Raises:
        UsageError: If it does not, naming the nearest.
    """
    if not name:
        for measure in measures:
            if (by := measure.partition(".")[0]) in kinds.announced("computation"):
                raise UsageError(f"{measure} is computed, not trained: set computation = {by!r}")
        return
    kind = cast(type[Computation], kinds.find("computation", name))
    valid = [f"{name}.{number}" for number in kind.measures]
    for measure in measures:
        if measure not in valid:
            raise unknown_name("measure", measure, valid)
    known = [each.name for each in dataclasses.fields(cast(Any, kind))]
    for setting in settings:
        if setting not in known and not is_label(setting):
            raise unknown_name(f"setting of {name}", setting, known)


def code_of(computed: Computation) -> str:
    """Return a hash of the files, or packages, of a computation and of what it inherits from."""
    files: list[Path] = []
    for kind in type(computed).__mro__:
        if issubclass(kind, Computation) and kind is not Computation:
            file = Path(inspect.getfile(kind))
            files += sorted(file.parent.rglob("*.py")) if file.stem == "__init__" else [file]
    return hashlib.sha256(b"\n".join(each.read_bytes() for each in files)).hexdigest()[:16]
