"""Imports run one way: what a package stands on is below it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import diffprobe

ROOT = Path(diffprobe.__file__).parent
# From the top down; each may import those after it.
ORDER = (
    "cli",
    "studies",
    "sharing",
    "experiment",
    "tracking",
    "report",
    "laws",
    "probes",
    "probing",
    "frontier",
    "evaluation",
    "sampling",
    "training",
    "models",
    "datasets",
    "zoo",
    "foundations",
)


def imported(file: Path) -> Iterator[str]:
    """Names of the sub-packages of diffprobe that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "diffprobe":
            names = [f"diffprobe.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        for name in names:
            if name.startswith("diffprobe."):
                yield name.split(".")[1]


def files(package: str) -> list[Path]:
    return [*ROOT.glob(f"{package}.py"), *ROOT.glob(f"{package}/**/*.py")]


@pytest.mark.parametrize("package", ORDER)
def test_nothing_imports_what_is_above_it(package: str) -> None:
    assert files(package)
    above = ORDER[: ORDER.index(package)]
    against = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files(package)
        for name in imported(file)
        if name in above
    }
    assert not against


def test_no_name_of_a_package_is_a_module_in_it() -> None:
    """Once imported, the module would be found by that name."""
    for stub in ROOT.rglob("__init__.pyi"):
        names = set(re.findall(r" as (\w+)$", stub.read_text("utf-8"), re.M))
        assert len(names) > 0
        assert not names & {path.stem for path in stub.parent.iterdir()}, stub


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "import diffprobe.cli\nfrom diffprobe import report\n"
        "def f():\n    from diffprobe.probes.cache import Keep\n"
    )
    assert list(imported(file)) == ["cli", "report", "probes"]
