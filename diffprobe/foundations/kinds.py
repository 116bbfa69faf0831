"""Kinds: what a configuration chooses by `name`, found by reading one folder for each role.

A kind is one class in one file of its role's room: a frozen dataclass of settings, checked when it
is made, with the method that builds what they describe. The class says its own name:

    @dataclass(frozen=True)
    class ParityConfig(GrammarKind):
        \"\"\"Words of two symbols with an even number of the second.\"\"\"

        name: ClassVar[str] = "parity"
        length: int = 6

Nothing else lists it. Names and summaries are read from the source text; a module is imported when
its kind is asked for. A package outside announces its kinds as entry points of the group
`diffprobe.kinds`, called `role.name`:

    [project.entry-points."diffprobe.kinds"]
    "grammar.no-double-one" = "my_package:NoDoubleOne"
"""

import ast
import functools
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Self

from diffprobe.foundations.errors import UsageError, unknown_name

GROUP = "diffprobe.kinds"
ROOT = Path(__file__).parents[1]

# Role -> the room whose files hold its kinds, and what a message calls one.
ROOMS = {
    "grammar": "diffprobe.datasets.grammars",
    "images": "diffprobe.datasets.images",
    "stream": "diffprobe.datasets.streams",
    "condition": "diffprobe.datasets.conditions",
    "network": "diffprobe.models.networks",
    "objective": "diffprobe.training.objectives",
    "optimizer": "diffprobe.training.optimizers",
    "learning_rate": "diffprobe.training.learning_rates",
    "average": "diffprobe.training.averages",
    "sampler": "diffprobe.sampling.samplers",
    "probe": "diffprobe.probes",
    "study": "diffprobe.studies.catalogue",
    "computation": "diffprobe.studies.computations",
}


class Kind:
    """The base of all kinds; a subclass is a frozen dataclass of settings.

    Attributes:
        role: What it is a kind of, a key of `ROOMS`.
        name: What a configuration calls it.
    """

    role: ClassVar[str]
    name: ClassVar[str]

    def resolved(self) -> Self:
        """Return the same settings with the files they name read in; most name none."""
        return self


@dataclass(frozen=True)
class Announcement:
    """A kind that can be had, before its module is imported.

    Attributes:
        role, name: Of the kind.
        summary: The first line of its docstring; of a package outside, which package it is from.
        where: Module and class, `module:Class`.
        point: The entry point of a kind from outside.
    """

    role: str
    name: str
    summary: str
    where: str
    point: EntryPoint | None = None

    def load(self) -> type[Kind]:
        """Import the class.

        Raises:
            UsageError: If a package outside cannot be imported, or holds no such kind.
        """
        if self.point is None:
            module, _, name = self.where.partition(":")
            found: type[Kind] = getattr(importlib.import_module(module), name)
            return found
        try:
            outside = self.point.load()
        # Whatever the code of somebody else raises when it is imported.
        except Exception as error:
            raise UsageError(
                f"the {self.role} {self.name!r} ({self.where}) cannot be imported: {error}"
            ) from error
        if (
            not (inspect.isclass(outside) and issubclass(outside, Kind))
            or getattr(outside, "role", None) != self.role
            or getattr(outside, "name", None) != self.name
        ):
            raise UsageError(
                f"{self.where} is announced as {self.point.name!r} and is no such kind: it must be "
                f"a subclass of the {self.role}'s kind with name = {self.name!r}"
            )
        return outside


@functools.cache
def announced(role: str) -> Mapping[str, Announcement]:
    """Return all kinds of a role by name, ours first, each in order of name.

    Raises:
        UsageError: If there is no such role, or two kinds have one name.
    """
    if role not in ROOMS:
        raise unknown_name("role", role, ROOMS)
    found = {each.name: each for each in _ours(role, ROOMS[role])}
    for point in entry_points(group=GROUP):
        its_role, _, name = point.name.partition(".")
        if its_role not in ROOMS:
            raise unknown_name("role", its_role, ROOMS)
        if its_role != role:
            continue
        package = point.dist.name if point.dist else "an unknown package"
        if name in found:
            raise UsageError(
                f"two kinds of {role} are called {name!r}: {found[name].where} and {point.value}"
            )
        found[name] = Announcement(role, name, f"from {package}", point.value, point)
    return found


def names(role: str) -> list[str]:
    """Return the names of a role's kinds, those that a library lends included."""
    return [*announced(role), *(n for n in _lent_names(role) if n not in announced(role))]


def find(role: str, name: str) -> type[Kind]:
    """Return the kind of that role and name.

    Raises:
        UsageError: If there is none, naming the nearest.
    """
    if name in announced(role):
        return announced(role)[name].load()
    if (lent := _lent(role, name)) is not None:
        return lent
    raise unknown_name(f"{role}.name", name, names(role))


def _ours(role: str, room: str) -> list[Announcement]:
    # By its place, not by importing it: a package on the way may need torch.
    folder = ROOT.joinpath(*room.split(".")[1:])
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        source = path / "__init__.py" if path.is_dir() else path
        if path.name[0] not in "._" and source.suffix == ".py" and source.exists():
            found += _in_file(role, f"{room}.{path.stem}", source)
    return sorted(found, key=lambda each: each.name)


def _in_file(role: str, module: str, path: Path) -> list[Announcement]:
    found = []
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and (name := _own_name(node)) is not None:
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            found.append(Announcement(role, name, summary, f"{module}:{node.name}"))
    return found


def _own_name(node: ast.ClassDef) -> str | None:
    for line in node.body:
        if (
            isinstance(line, ast.AnnAssign)
            and isinstance(line.target, ast.Name)
            and line.target.id == "name"
            and isinstance(line.value, ast.Constant)
        ):
            return str(line.value.value)
    return None


# A room may lend the classes of a library, such as the optimizers of PyTorch: with `lent_names()`
# and `lent(name)`.


def _lent_names(role: str) -> list[str]:
    room: Any = importlib.import_module(ROOMS[role])
    return list(room.lent_names()) if hasattr(room, "lent_names") else []


def _lent(role: str, name: str) -> type[Kind] | None:
    room: Any = importlib.import_module(ROOMS[role])
    found: type[Kind] | None = room.lent(name) if hasattr(room, "lent") else None
    return found
