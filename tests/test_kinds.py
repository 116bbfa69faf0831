"""The registry: what our rooms announce, and what a package outside does."""

import ast
import dataclasses
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffprobe.config import Config, from_settings
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.kinds import Kind
from diffprobe.foundations.settings import build_kind, to_settings

ROOT = Path(__file__).parent.parent
EVERY = [(role, name) for role in kinds.ROOMS for name in kinds.announced(role)]


@pytest.mark.parametrize(("role", "name"), EVERY, ids=lambda v: v)
def test_every_kind_is_a_frozen_dataclass_that_says_what_it_is(role: str, name: str) -> None:
    kind = kinds.find(role, name)
    assert issubclass(kind, Kind)
    assert (kind.role, kind.name) == (role, name)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    announced = kinds.announced(role)[name]
    assert kind.__doc__ is not None
    assert announced.summary == kind.__doc__.strip().partition("\n")[0]
    assert announced.summary.endswith((".", ":"))


def test_no_role_is_empty() -> None:
    assert {role for role, _ in EVERY} == set(kinds.ROOMS)


@pytest.mark.parametrize(
    "name", [n for n in kinds.names("optimizer") if n not in kinds.announced("optimizer")]
)
def test_what_a_library_lends_is_a_kind_too(name: str) -> None:
    kind = build_kind("optimizer", {"name": name}, "optimizer")
    assert to_settings(kind)["name"] == kind.name == name
    assert from_settings({"optimizer": to_settings(kind)}).optimizer == kind


def test_the_kinds_are_read_without_torch() -> None:
    """A configuration is checked before the seconds that torch takes."""
    code = (
        "import sys\n"
        "from diffprobe.foundations import kinds\n"
        "from diffprobe.foundations.settings import to_settings\n"
        "for role in kinds.ROOMS:\n"
        "    for name in kinds.announced(role): kinds.find(role, name)\n"
        "from diffprobe.resolution import preset_names, resolve\n"
        "for name in preset_names(): to_settings(resolve(preset=name))\n"
        "print(sorted({'torch', 'diffusers', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_no_other_list_names_the_kinds() -> None:
    """Code that decides by the class of a kind would be a second list."""
    classes = {kinds.announced(r)[n].where.partition(":")[2] for r, n in EVERY}
    for path in (ROOT / "diffprobe").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name):
                assert node.cls.id not in classes, path
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "isinstance"
            ):
                named = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
                assert not named & classes, path


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown network\.name 'unett': did you mean 'unet'"):
        kinds.find("network", "unett")
    with pytest.raises(UsageError, match=r"unknown optimizer\.name 'adamm': did you mean 'adam"):
        kinds.find("optimizer", "adamm")
    with pytest.raises(UsageError, match="unknown role 'grammer': did you mean 'grammar'"):
        kinds.announced("grammer")


def point(name: str, value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name, value, kinds.GROUP)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (point("grammar.gone", "no_such_package:Gone"), "cannot be imported: No module named"),
        (
            point("grammar.odd", "json:JSONDecoder"),
            "json:JSONDecoder is announced as 'grammar.odd'",
        ),
        (
            point("grammar.renamed", "diffprobe.datasets.grammars.parity:ParityConfig"),
            "must be a subclass of the grammar's kind with name = 'renamed'",
        ),
        (
            point("grammar.parity", "somewhere:Parity"),
            "two kinds of grammar are called 'parity'",
        ),
        (point("grammer.x", "somewhere:X"), "unknown role 'grammer'"),
    ],
    ids=lambda v: v.name if isinstance(v, importlib.metadata.EntryPoint) else "",
)
def test_a_broken_package_outside_is_named(
    entry: importlib.metadata.EntryPoint, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "entry_points", lambda group: [entry])
    kinds.announced.cache_clear()
    try:
        with pytest.raises(UsageError) as error:
            kinds.find("grammar", entry.name.partition(".")[2])
        assert message in str(error.value)
    finally:
        kinds.announced.cache_clear()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of examples/outside, installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("outside")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    # Built beside a copy: the build leaves folders where it works.
    source = folder / "source"
    for path in (ROOT / "examples" / "outside").rglob("*"):
        if path.is_file() and "build" not in path.parts and path.suffix in (".py", ".toml"):
            target = source / path.relative_to(ROOT / "examples" / "outside")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    installed = folder / "site"
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", installed, source], check=True
    )
    return installed


# Commands one after another in one process, and what each prints.
COMMANDS = """
import contextlib, io, json, sys
from diffprobe.cli import run

for arguments in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = run(arguments)
    if code:
        sys.exit(code)
    print(json.dumps(out.getvalue()))
"""


def diffprobe(site: Path, cwd: Path, *commands: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        input=json.dumps([command.split() for command in commands]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


PRESET = """
[grammar]
name = "no-double-one"
length = 4

[images]
grid = [1, 4]

[network]
name = "local-conv"
width = 8
radius = 1

[averages.ema]

[averages.tail]
first = 4

[training]
steps = 12
batch_size = 8
checkpoints = 2
validation_size = 8
log_every = 4

[sampling]
n = 40
steps = 4
"""


def test_a_package_outside_brings_its_own(site: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(PRESET)
    listed, shown, helped, trained, _, _, report, probed, drawn = diffprobe(
        site,
        tmp_path,
        "kinds --json",
        "kinds network local-conv",
        "probe --help",
        "train --config mine.toml --out run --json",
        "sample --checkpoint run --weights tail",
        "sample --checkpoint run --weights raw",
        "report run --json",
        "probe gain --checkpoint run --n 16 --json",
        "probe locality --checkpoint run --n 8 --levels 3 --json",
    )
    assert json.loads(listed)["grammar"]["no-double-one"] == "from diffprobe-outside"
    assert "radius = 2" in shown
    assert "gain from diffprobe-outside" in " ".join(helped.split())
    last = json.loads(trained)
    assert last["step"] == 12
    assert "8 valid words" in last["summary"]["world"]
    assert {"validation_loss", "validation_loss_ema", "validation_loss_tail"} <= set(last)
    violations = json.loads(report)["violations"]
    assert list(violations) == [f"ones at {i} and {i + 1}" for i in range(3)]
    assert json.loads(probed)["probes"]["gain"]["network"]["gain"]["n"] == 16
    assert [*(tmp_path / "run" / "probes" / "step-000012").glob("gain_*16.json")]
    figures = json.loads(drawn)["figures"]
    assert any("/ldr_" in figure for figure in figures)  # of 8 images, not its own


@pytest.mark.parametrize("name", ["grammar", "network", "average", "probe"])
def test_the_documentation_shows_the_package_as_it_is(name: str) -> None:
    source = (ROOT / "examples" / "outside" / "outside" / f"{name}.py").read_text("utf-8")
    shown = source[source.index("\nfrom ") + 1 :]
    assert f"```python\n{shown}```" in (ROOT / "docs" / "extending.md").read_text("utf-8")
    assert len([line for line in source.splitlines() if line.strip()]) < 45


def test_defaults_are_kinds_by_name() -> None:
    config = Config()
    assert to_settings(config)["network"]["name"] == "transformer"
    assert to_settings(config)["averages"] == {
        "ema": {"name": "ema", "decay": 0.999, "power": 0.75}
    }


def test_the_reference_table_is_what_the_command_prints() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "diffprobe", "kinds", "--markdown"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ROOT / "docs" / "kinds.md").read_text("utf-8").endswith(done.stdout)
