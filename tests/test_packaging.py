"""What a user gets: the built wheel, the example, the licence and the version."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

import diffprobe
from diffprobe.resolution import preset_names

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the source distribution of a copy, unpacked outside the checkout."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    source.mkdir()
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, source)
    for name in ("diffprobe", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    sdist = f"from setuptools.build_meta import build_sdist as build; build({str(base)!r})"
    subprocess.run([sys.executable, "-c", sdist], cwd=source, check=True, capture_output=True)
    (packed,) = base.glob("diffprobe-*.tar.gz")
    with tarfile.open(packed) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "constraints.txt"}
    assert not [name for name in names if name.startswith("tests")]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", base, packed]
    subprocess.run(wheel, check=True)
    (file,) = base.glob("diffprobe-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", base / "site", file], check=True)
    return base / "site"


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_everything(installed: Path) -> None:
    files = {str(p.relative_to(installed / "diffprobe")) for p in installed.rglob("diffprobe/**/*")}
    assert "py.typed" in files
    names = ("template.html", "style.css", "page.js", "gallery.js", "explorer.js", "explorer.html")
    assert {f"report/page/{name}" for name in names} <= files
    assert {f"presets/{name}.toml" for name in preset_names()} <= files
    shipped = [
        p for p in (ROOT / "diffprobe" / "zoo").rglob("*") if p.suffix not in (".py", ".pyc")
    ]
    zoo = {str(p.relative_to(ROOT / "diffprobe")) for p in shipped if p.is_file()}
    assert {"sharing/card.md", *zoo} <= files
    sources = {str(p.relative_to(ROOT / "diffprobe")) for p in (ROOT / "diffprobe").rglob("*.py")}
    assert sources <= files
    (metadata,) = installed.glob("diffprobe-*.dist-info/METADATA")
    text = metadata.read_text()
    assert "License-Expression: MIT" in text
    assert "Requires-Dist: torch>=2.6" in text
    assert not list(installed.glob("tests"))


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import diffprobe; print(diffprobe.__file__)")
    assert Path(where.strip()).is_relative_to(installed)
    small = ["training.steps=5", "training.checkpoints=1", "sampling.n=8", "sampling.steps=2"]
    settings = [part for s in small for part in ("--set", s)]
    train = ["-m", "diffprobe", "train", "--preset", "demo", "--out", "run", *settings]
    run(installed, tmp_path, *train)
    run(installed, tmp_path, "-m", "diffprobe", "sample", "--checkpoint", "run")
    assert "page: run/report" in run(installed, tmp_path, "-m", "diffprobe", "report", "run")


@pytest.mark.slow
def test_the_example_runs_and_is_short(installed: Path, tmp_path: Path) -> None:
    text = (ROOT / "examples" / "train_probe_report.py").read_text()
    assert len(text.splitlines()) < 30
    small = text.replace("training.steps=600", "training.steps=20").replace(
        '"sampling.n=500"',
        '"sampling.n=20", "sampling.steps=5", "probe.images=4", "probe.levels=3", '
        '"probe.grammar_images=4", "probes.placement.images=4"',
    )
    assert small.count("training.steps=20") == 1
    (tmp_path / "example.py").write_text(small)
    output = run(installed, tmp_path, "example.py")
    for line in ("legible:", "grammatical:", "where symbols form", "gamma ", "figures:"):
        assert line in output


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == diffprobe.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^version: .?{re.escape(diffprobe.__version__)}", citation, re.MULTILINE)
    assert f"## {diffprobe.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def pinned(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    versions = dict(line.split("==") for line in lines if "==" in line and line[0] != "#")
    return {k.lower().replace("_", "-"): v for k, v in versions.items()}


def test_tested_versions_meet_the_lower_bounds_and_the_oldest_are_these() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tested, oldest = pinned("constraints.txt"), pinned("constraints-oldest.txt")
    extras = [r for rs in project["optional-dependencies"].values() for r in rs]
    found = {}
    for text in [*project["dependencies"], *extras]:
        requirement = Requirement(text)
        if requirement.name != "diffprobe":
            assert requirement.specifier.contains(tested[requirement.name]), text
            (bound,) = requirement.specifier
            assert bound.operator == ">="
            found[requirement.name] = bound.version
    assert oldest == found


def test_the_page_tells_of_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "installing.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.M) == list(project["optional-dependencies"])


def test_the_citation_is_one() -> None:
    """What the Citation File Format 1.2.0 asks for."""
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert content["cff-version"] == "1.2.0"
    assert content.keys() >= {"authors", "message", "title"}
    assert content["type"] in ("software", "dataset")
    assert all(author.keys() & {"name", "family-names"} for author in content["authors"])
    for reference in content["references"]:
        assert reference.keys() >= {"authors", "title", "type"}


def test_the_conda_recipe_is_that_of_the_project() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    recipe = yaml.safe_load((ROOT / "packaging" / "conda" / "recipe.yaml").read_text())
    assert recipe["schema_version"] == 1
    assert recipe["context"]["version"] == project["version"]
    (script,) = project["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [" = ".join(script)]
    called = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
    wanted = [f"python {project['requires-python']}"]
    for text in project["dependencies"]:
        needed = Requirement(text)
        wanted.append(f"{called.get(needed.name, needed.name)} {needed.specifier}")
    assert sorted(recipe["requirements"]["run"]) == sorted(wanted)
    assert (ROOT / "packaging" / "conda" / recipe["source"]["path"]).resolve() == ROOT
    assert (ROOT / recipe["about"]["license_file"]).exists()


def test_the_image_is_of_files_that_are_there_and_its_user_is_not_root() -> None:
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    lines = [line.partition(" ") for line in text.splitlines() if line and line[0] != "#"]
    kinds = ["ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"]
    assert sorted({kind for kind, _, _ in lines}) == sorted(kinds)
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    for kind, _, rest in lines:
        for source in rest.split()[:-1] if kind == "COPY" else []:
            assert (ROOT / source).exists()
            assert f"!{source}" in sent
    last = {kind: rest for kind, _, rest in lines}
    assert last["USER"] == "1000"
    assert last["ENTRYPOINT"] == '["diffprobe"]'
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    arguments = dict(rest.split("=", 1) for kind, _, rest in lines if kind == "ARG" and "=" in rest)
    assert set(arguments["EXTRAS"].split(",")) <= project["optional-dependencies"].keys()
    # Where it is built says where packages come from.
    assert "://" not in text


def test_forms_ask_for_what_a_report_needs() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [form.stem for form in forms] == ["bug", "number"]
    for form in forms:
        content = yaml.safe_load(form.read_text())
        assert content.keys() >= {"name", "description", "body"}
        assert len({part["id"] for part in content["body"]}) == len(content["body"])
        asked = " ".join(part["attributes"]["label"] for part in content["body"])
        assert "diffprobe --version --json" in asked
