"""Every command of the README and of docs/ runs: as it stands there, but for shorter work."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import SHORT_PROBES
from hub import in_place_of_the_hub
from PIL import Image
from pipelines import KINDS
from test_law_files import write

from diffprobe.cli import run
from diffprobe.foundations.kinds import names

# huggingface_hub says so to its own HTTP library.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"
)

ROOT = Path(__file__).parent.parent
DOCS_REPORT = ROOT / "docs" / "report.md"
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DRAWN = "probes.md"  # whose commands make the figures of every probe

# Of the settings laid over a command's own: what makes minutes and hours seconds.
SHORT = {
    "train": ["training.steps=4", "training.checkpoints=2", "training.validation_size=8"],
    "sample": ["sampling.n=8", "sampling.steps=2"],
    "probe": [
        "sampling.steps=16",  # two of them at least in the detectors' window
        "probe.images=4",
        "probe.levels=3",
        "probe.along_samples=8",
        "probe.batch_size=4",
        "probes.conditional-information.images=4",
        "probes.attribution.integration_steps=4",
        "probes.attribution.redraws=2",
        *SHORT_PROBES,
        "probes.detectors.samples=24",
        "probes.hidden-states.images=64",
        "probes.hidden-states.samples=24",
        "probes.hidden-states.features=16",
        "probes.intervention.images=4",
        "probes.patching.samples=0",
        "probes.spectrum.images=2",
        "probes.spectrum.iterations=2",
    ],
    "report": ["sampling.n=8", "sampling.steps=2"],
    "tune": ["sampling.n=8"],
}
# The same of options.
SHORT_OPTIONS = {
    "--frontier": ["--nfe", "2,4", "--set", "sampling.n=20"],
    "sampler": ["--most", "4", "--generations", "1", "--candidates", "4", "--samples", "8"],
    "network": ["--budgets", "2", "--rounds", "1", "--samples", "8"],
}
# Loss curves that a page names -> the schedule of the synthetic one in its place.
CURVES = {
    "cosine_24000": "cosine",
    "constant_24000": "constant",
    "wsdcon_9": "two-stage",
    "constant_72000": "constant",
    "cosine_72000": "cosine",
    "wsd_20000_24000": "wsd",
    "wsdld_20000_24000": "wsd",
    "wsdcon_3": "lower",
    "wsdcon_18": "two-stage",
}
# Tables of reuse that a page names -> their columns.
REUSED = {
    "losses.csv": "seen,unique,loss,seed",
    "models.csv": "tokens_1e9,unique_tokens_1e9,loss,parameters_1e9",
}
EXAMPLE = ROOT / "examples" / "grid.toml"

# Run elsewhere: whole, by `make demo` in a fresh clone, and at a small size by test_experiment.py.
ELSEWHERE = ("demo",)


def commands(path: Path) -> list[list[str]]:
    """The command lines of diffprobe in a page's blocks of code."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)
    blocks = [text for language, text in fenced if language in ("", "sh", "bash")]
    lines = re.sub(r"\\\n\s*", " ", "\n".join(blocks)).splitlines()
    words = [
        # What a command is for stands behind it, after blanks.
        shlex.split(re.split(r"\s{3,}", line)[0], comments=True)
        for line in lines
        if line.startswith("diffprobe ")
    ]
    return [w for w in words if w[1] not in ELSEWHERE]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the pages' commands name: pipeline, pictures, samples, a checker."""
    folder = tmp_path_factory.mktemp("place")
    images = np.random.default_rng(0).uniform(-1, 1, (8, 1, 8, 48)).astype(np.float32)
    for name in ("theirs", "a", "b"):
        np.savez(folder / f"{name}.npz", images=images)
    KINDS["pixels"].build(folder / "theirs")
    checks = re.search(r"```python\n(# checks\.py\n.*?)```", DOCS_REPORT.read_text("utf-8"), re.S)
    assert checks is not None
    (folder / "checks.py").write_text(checks[1])
    grid = EXAMPLE.read_text("utf-8")
    for whole, less in {"[1000, 2000, 4000]": "[1, 2, 4]", "seeds = 3": "seeds = 1"}.items():
        assert whole in grid
        grid = grid.replace(whole, less)
    (folder / "examples").mkdir()
    (folder / "examples" / "grid.toml").write_text(grid)
    for name, schedule in CURVES.items():
        write(folder / f"{name}.csv", schedule)
    passes = [(100, 100, 2.0), (400, 400, 1.5), (200, 100, 1.9), (400, 100, 1.8), (800, 100, 1.7)]
    rows = [f"{seen},{unique},{loss},1" for seen, unique, loss in passes]
    for name, columns in REUSED.items():
        (folder / name).write_text("\n".join([columns, *rows]))
    sizes = (50, 100, 200, 400)
    errors = [f"{name},{n},{0.1 + 5 / n}" for name in ("text", "facts") for n in sizes]
    (folder / "errors.csv").write_text("\n".join(["component,samples,error", *errors]))
    (folder / "pictures").mkdir()
    for index, picture in enumerate(np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3))):
        Image.fromarray(picture.astype(np.uint8)).save(folder / "pictures" / f"{index}.png")
    return folder


def name_of(page: Path) -> str:
    """Return where a page lies in the project."""
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(place)
    with in_place_of_the_hub(monkeypatch, place):
        yield


def _train(name: str, *options: str) -> None:
    if not Path(name).exists():
        short = [part for setting in SHORT["train"] for part in ("--set", setting)]
        assert run(["train", *options, *short, "--out", name, "--device", "cpu"]) == 0
        assert run(["sample", "--checkpoint", name, "--set", "sampling.n=8"]) == 0


PRESET_OF = {"digit-sum-unet": "digit-sum-unet", "dyck-112": "dyck-transformer"}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(path, id=name_of(path), marks=[pytest.mark.drawn] * (path.name == DRAWN))
        for path in DOCS
    ],
)
def test_commands_of_a_page(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(page):
        name, *arguments = ["runs/demo" if word == "RUN" else word for word in words[1:]]
        for word in arguments if name not in ("train", "law") else ():
            if word.startswith("runs/"):
                _train(word, "--preset", PRESET_OF.get(Path(word).name, "demo"))
        short = [part for setting in SHORT.get(name, []) for part in ("--set", setting)]
        short += [
            option
            for word, options in SHORT_OPTIONS.items()
            if word in arguments
            for option in options
        ]
        if name == "study" and set(names("study")) & set(arguments):
            # Run by test_studies.py, at its smallest.
            if arguments[0] == "report":
                continue
            short = ["--dry-run"] if arguments[0] == "run" else []
        code = run([name, *arguments, *short])
        told = capsys.readouterr()
        allowed = (0, 3) if "--fail-above" in arguments else (0,)
        assert code in allowed, f"{' '.join(words)}\n{told.err}"


def test_pages_name_commands() -> None:
    """Reading the pages finds what stands in them."""
    found = {name_of(path): [" ".join(words) for words in commands(path)] for path in DOCS}
    assert "diffprobe train --preset digit-sum-unet" in found["README.md"]
    assert "diffprobe report RUN --fail-above 0.05" in found["docs/report.md"]
    probes = found["docs/probes.md"]
    assert any("constant_with_warmup --out runs/hypercube-6" in line for line in probes)
    assert sum(map(len, found.values())) > 25


SHORTER = [setting for command in ("train", "sample", "probe") for setting in SHORT[command]]


@pytest.mark.parametrize(
    ("page", "about"), [("README.md", "run_experiment"), ("docs/probes.md", "attribution.measure")]
)
def test_python_of_a_page(page: str, about: str, capsys: pytest.CaptureFixture[str]) -> None:
    _train("runs/demo", "--preset", "demo")
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)
    (code,) = (block for block in blocks if about in block)
    shorter = f'preset="demo", assignments={SHORTER!r}'
    assert 'preset="demo"' in code
    exec(code.replace('preset="demo"', shorter), {})


# Example -> what is made less in it.
EXAMPLES = {
    "train_probe_report": {
        "training.steps=600": "training.steps=4",
        "sampling.n=500": "sampling.n=8",
        "assignments=[": 'assignments=["sampling.steps=2", "probe.images=4", "probe.levels=3", '
        '"probes.placement.images=8", "probes.placement.levels=5", ',
    },
    "oracle_figure": {
        "images=64, levels=21": "images=4, levels=3",
        "images=2000": "images=8",
        "docs/figures": "figures",
    },
    "guidance_figure": {
        "parser.parse_args()": 'parser.parse_args(["runs/classes"])',
        "default=512": "default=4",
        "default=50": "default=2",
        "[0, 0.5, 1, 2, 3, 4]": "[0, 2]",
        "docs/figures": "figures",
    },
    "foreign_pipeline": {"range(600)": "range(2)"},
}


def test_every_example_is_tried() -> None:
    tried = {*EXAMPLES, "text_rendering"}  # tests/test_text_rendering.py
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == tried


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "guidance_figure":
        _train("runs/classes", "--preset", "conditional-transformer")
    code = (ROOT / "examples" / f"{name}.py").read_text("utf-8")
    for whole, less in EXAMPLES[name].items():
        assert whole in code
        code = code.replace(whole, less)
    exec(compile(code, name, "exec"), {"__name__": "__main__"})
    told = capsys.readouterr().out
    made = {
        "train_probe_report": told.rpartition("page: ")[2].strip(),
        "oracle_figure": "figures/oracles.png",
        "guidance_figure": "figures/conditions-guidance.png",
        "foreign_pipeline": "theirs/model_index.json",
    }
    assert Path(made[name]).is_file()
