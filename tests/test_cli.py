import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffprobe
from diffprobe.cli import COMMANDS, run
from diffprobe.config import Config, to_toml
from diffprobe.models import list_checkpoints
from diffprobe.resolution import preset_names, resolve

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("DIFFPROBE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config_file(tiny_config: Config, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(to_toml(tiny_config))
    return path


@pytest.fixture
def own_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


# ---- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_as_it_was(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """After a wanted change: `python tests/test_cli.py` writes the texts anew."""
    assert run([*command.split(), "--help"]) == 0
    assert capsys.readouterr().out == (GOLDEN / f"{command or 'diffprobe'}.txt").read_text()


def test_the_version_with_all_that_a_bug_report_should_tell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["--version", "--json"], ["--json", "--version"]):
        assert run(arguments) == 0
        told = json.loads(capsys.readouterr().out)
    assert told["diffprobe"] == diffprobe.__version__
    # A wheel's version may lack what PyTorch adds of its build; CUDA's is told apart.
    assert torch.__version__.startswith(told["libraries"]["torch"])
    assert told["libraries"].keys() >= {"diffusers", "accelerate", "captum", "numpy"}
    assert told["devices"][0] == "cpu"
    assert told["threads"] == torch.get_num_threads()
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"diffprobe, version {diffprobe.__version__}\n"
    assert run(["--json", "runs"]) == 2
    assert "--json before a command goes with --version" in capsys.readouterr().err


def test_the_version_tells_plugins_and_a_broken_torch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = EntryPoints(
        [EntryPoint(f"grammar.{name}", "outside:Any", "diffprobe.kinds") for name in "ba"]
    )
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points.select(group=group))
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(["--version", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["plugins"] == {"unknown": ["grammar.a", "grammar.b"]}
    assert "torch" in told["torch_error"]
    assert told["devices"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["--version"],
        ["probe", "--help"],
        ["probe", "--list"],
        ["probe", "hidden-states", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from diffprobe.cli import run; code = run(sys.argv[1:]); "
        "print([m for m in ('torch', 'diffusers', 'matplotlib', 'numpy') if m in sys.modules]); "
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


# ---- the whole way -------------------------------------------------------------------------------


@pytest.mark.drawn
def test_train_sample_probe_report(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(["train", "--config", str(config_file), "--out", str(out), "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert "finished, step 30 of 30, validation loss" in captured.out
    assert "model: transformer, " in captured.err
    assert "8 valid words" in captured.err

    assert run(["sample", "--checkpoint", str(out), "--sampler", "dpm-solver++", "--json"]) == 0
    sampled = json.loads(capsys.readouterr().out)
    assert sampled["sampler"]["class"] == "DPMSolverMultistepScheduler"
    assert Path(sampled["file"]).parent == out / "samples"

    assert run(["probe", "--checkpoint", str(out), "--steps", "all", "--json"]) == 0
    probed = json.loads(capsys.readouterr().out)
    assert len(probed["figures"]) == 8
    for picture in map(Image.open, probed["figures"]):
        assert len(picture.convert("L").getcolors() or []) > 10  # not an empty page

    assert run(["report", str(out), "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert reported["legible"]["n"] == 24
    page = Path(reported["page"]).read_text()
    assert page.count("data:image/svg+xml;base64,") == 7
    assert "DPMSolverMultistepScheduler" in page


def test_words_on_stdout(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sample", str(own_run), "--n", "20"]) == 0
    assert "20 images by DDIMScheduler, 4 steps" in capsys.readouterr().out
    assert run(["probe", str(own_run), "--steps", "all"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^    step  LDR +gamma +mu above placebos", text, re.M)
    assert sum(line.startswith("      ") and "(" in line for line in text.splitlines()) == 3
    for part in ("where symbols form", "LDR", "excess LDR", "over Bayes", "gamma", "missed"):
        assert part in text
    assert text.splitlines()[-1] == f"next          diffprobe report {own_run}"
    assert run(["report", str(own_run)]) == 0
    text = capsys.readouterr().out
    assert "Legible: " in text
    assert "95 % interval" in text
    assert "chance 50.0%" in text


def test_several_sources_are_compared(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in ("0", "1"):
        assert run(["sample", "--checkpoint", str(own_run), "--seed", seed]) == 0
    files = sorted(str(p) for p in (own_run / "samples").glob("*.npz"))
    assert len(files) == 2
    capsys.readouterr()
    assert run(["report", *files, "--out", "side"]) == 0
    captured = capsys.readouterr()
    assert "corrected p" in captured.out
    assert "--paired" not in captured.err
    assert {p.name for p in Path("side").iterdir()} >= {"comparison.json", "comparison.md"}
    # Other noise makes no pairs.
    assert run(["report", *files, "--paired", "--out", "side"]) == USAGE
    error = capsys.readouterr().err
    assert "seed-0 has seed 0, n 24, batch_size" in error
    assert "seed-1 has seed 1" in error
    same = [files[0], str(shutil.copy(files[0], Path(files[0]).with_stem("again_seed-1")))]
    assert run(["report", *same, "--out", "side"]) == 0
    assert "came from the same noise; --paired" in capsys.readouterr().err
    assert run(["report", *same, "--paired", "--out", "side", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [s["legible"]["n"] for s in content["sets"]] == [24, 24]
    assert all(d["value"] in (0, None) for d in content["differences"])
    assert all(d["paired"] for d in content["differences"])
    assert run(["report", *files, "--fail-above", "0.1"]) == USAGE
    assert "--fail-above is for one source" in capsys.readouterr().err


def test_a_sweep_over_samplers(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["report", str(own_run), "--device", "cpu", "--set", "sampling.n=8"]
    ways = ["--samplers", "ddim,ddpm", "--nfe", "2,3", "--eta", "0,1"]
    assert run([*sweep, *ways, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(r["sampler"], r["eta"], r["nfe"]) for r in rows] == [
        ("ddim", 0.0, 2),
        ("ddim", 0.0, 3),
        ("ddim", 1.0, 2),
        ("ddim", 1.0, 3),
        ("ddpm", None, 2),
        ("ddpm", None, 3),
    ]
    assert (own_run / "report" / "sweep" / "sweep.png").exists()
    for wrong, message in (
        (["--nfe", "2,x"], "--nfe takes numbers separated by commas, not '2,x'"),
        (["--samplers", "ddin"], "did you mean 'ddim'"),
    ):
        assert run([*sweep, *wrong]) == USAGE
        assert message in capsys.readouterr().err


def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command with everything made small; its real size is timed by `make demo`."""
    small = {
        "training.steps": 20,
        "training.checkpoints": 2,
        "training.batch_size": 16,
        "sampling.n": 30,
        "sampling.steps": 5,
        "probe.images": 4,
        "probe.levels": 3,
        "probe.grammar_images": 4,
        "probe.grammar_levels": 4,
        "probe.along_samples": 4,
        "probes.placement.images": 4,
        "probes.placement.levels": 4,
        "probes.attribution.integration_steps": 4,
        "probes.attribution.images": 4,
        "probes.attribution.shapley_samples": 4,
    }
    settings = [part for k, v in small.items() for part in ("--set", f"{k}={v}")]
    arguments = ["demo", "--out", "demo", "--device", "cpu", *settings]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    for part in ("legible ", "grammatical ", "chance 50.0%", "LDR ", "excess LDR", "gamma", "page"):
        assert part in text
    assert (tmp_path / "demo" / "probes" / "step-000020" / "dynamics.png").exists()
    assert run([*arguments, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert Path(content["page"]).exists()
    assert content["legible"]["n"] == 30


def test_anybodys_images_are_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "theirs.npz", images=np.zeros((5, 1, 8, 48), dtype=np.float32))
    assert run(["report", "theirs.npz", "--dataset", "demo", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["legible"] == {
        "count": 0,
        "n": 5,
        "value": 0.0,
        "low": 0.0,
        "high": pytest.approx(0.4345, abs=1e-3),
    }
    assert content["grammatical"]["value"] is None
    assert (tmp_path / "theirs-report" / "report.html").exists()


@pytest.mark.parametrize(
    ("grammar", "cells"),
    [
        ({"name": "modular-sum", "length": 3, "base": 2, "modulus": 1}, 3),
        ({"name": "palindrome", "length": 1, "symbols": 2}, 1),
    ],
    ids=["modulo 1", "one cell"],
)
def test_languages_in_which_every_word_is_valid_are_reported(
    grammar: dict[str, object],
    cells: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = "".join(f"{key} = {json.dumps(value)}\n" for key, value in grammar.items())
    file = tmp_path / "every-word.toml"
    file.write_text(f"[grammar]\n{settings}[images]\nsymbols = '01'\ngrid = [1, {cells}]\n")
    world = resolve(file=file).dataset()
    random = torch.Generator().manual_seed(0)
    images = world.draw(torch.randint(2, (60, cells), generator=random), random)
    images[:7, :, :, :8] = 0.0
    np.savez(tmp_path / "theirs.npz", images=images.numpy())
    asked = ["report", str(tmp_path / "theirs.npz"), "--dataset", str(file)]
    assert run([*asked, "--fail-above", "0"]) == 0
    assert "Every word is valid: there is no rule to learn." in capsys.readouterr().out
    assert run([*asked, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["violations"] == {}
    assert content["verdicts"]["invalid"]["count"] == 0
    assert (content["legible"]["count"], content["legible"]["n"]) == (53, 60)
    assert content["grammatical"]["value"] == content["grammatical"]["corrected"]["value"] == 1
    assert content["chance"] == {"uniform": 1, "product": pytest.approx(1), "ideal": 1}
    with (tmp_path / "theirs-report" / "samples.csv").open() as table:
        assert {row["kinds"] for row in csv.DictReader(table)} == {""}
    assert "none found" in (tmp_path / "theirs-report" / "report.html").read_text()


def test_too_many_violations_exit_with_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = resolve(preset="demo").dataset()
    odd = torch.zeros(200, 6, dtype=torch.long)
    odd[:30, 2] = 1  # 15 % of them wrong, 10.7 % at least
    np.savez(tmp_path / "theirs.npz", images=dataset.render(odd).numpy())
    arguments = ["report", "theirs.npz", "--dataset", "demo"]
    assert run([*arguments, "--fail-above", "0.11"]) == 0
    assert "violation is “odd parity”: 15.0%" in capsys.readouterr().out
    assert run([*arguments, "--fail-above", "0.1", "--json"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["invalid"]["low"] == pytest.approx(0.107, abs=1e-3)
    assert "at least 10.7% of the legible samples break the grammar; 10.0% are" in captured.err
    assert run([*arguments, "--markdown"]) == 0
    summary = capsys.readouterr().out
    assert summary == (tmp_path / "theirs-report" / "summary.md").read_text()
    assert "| grammatical, of the legible | 85.0% |" in summary
    with (tmp_path / "theirs-report" / "samples.csv").open() as file:
        assert sum(",invalid,001000," in line for line in file) == 30


def test_samples_are_made_for_a_run_without(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert run(["report", str(own_run)]) == 0
    captured = capsys.readouterr()
    assert "has no samples yet; make 24 now?" in captured.err
    assert "of 24)" in captured.out


def test_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == preset_names()
    assert run(["presets", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == preset_names()
    assert run(["presets", "demo"]) == 0
    assert 'name = "parity"' in capsys.readouterr().out


def test_dry_runs_do_nothing(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--preset", "digit-sum-unet", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "670 valid words" in text
    assert "947,777 parameters" in text
    assert run(["train", "--preset", "demo", "--dry-run", "--json", "--seed", "7"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["training"]["seed"] == 7
    before = sorted(own_run.rglob("*"))
    assert run(["sample", "--checkpoint", str(own_run), "--eta", "1", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["sampler"]["eta"] == 1.0
    l1 = ["locality", "--variant", "l1"]
    assert run(["probe", *l1, "--checkpoint", str(own_run), "--dry-run"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["probes"] == ["locality"]
    assert planned["settings"]["locality"]["variant"] == "l1"
    assert sorted(own_run.rglob("*")) == before
    assert not Path("runs").exists()


def test_typed_options_go_over_set_and_set_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIFFPROBE_TRAINING_STEPS", "11")
    monkeypatch.setenv("DIFFPROBE_SEED", "5")

    def steps(*arguments: str) -> tuple[int, int]:
        assert run(["train", "--preset", "demo", "--dry-run", "--json", *arguments]) == 0
        training = json.loads(capsys.readouterr().out)["config"]["training"]
        return training["steps"], training["seed"]

    assert steps() == (11, 5)
    assert steps("--set", "training.steps=12", "--seed", "6") == (12, 6)
    assert steps("--set", "training.steps=12", "--steps", "13") == (13, 5)


@pytest.mark.parametrize(
    ("arguments", "probes"),
    [
        ("{run}", []),
        ("--checkpoint {run}", []),
        ("{run} --probe spectrum --n 5", ["spectrum"]),
        ("--probe spectrum {run} --n 5", ["spectrum"]),
        ("--n 5 --probe spectrum --checkpoint {run}", ["spectrum"]),
        ("spectrum {run} --n 5", ["spectrum"]),
        ("spectrum --n 5 {run}", ["spectrum"]),
        ("spectrum --n 5 --checkpoint {run}", ["spectrum"]),
        ("{run} spectrum --n 5", ["spectrum"]),
        ("--checkpoint {run} spectrum --n 5", ["spectrum"]),
    ],
)
def test_the_run_is_an_argument_beside_a_probes_name(
    arguments: str, probes: list[str], own_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [part.format(run=own_run) for part in arguments.split()]
    assert run(["probe", *filled, "--dry-run"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["checkpoint"], planned["probes"]) == (str(own_run), probes)
    if probes:
        # The probe's own --n, or that of all.
        assert planned["settings"].get("spectrum", planned["probe"])["images"] == 5


def test_a_folder_with_the_name_of_a_probe(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_run, tmp_path / "locality")
    assert run(["probe", "locality"]) == USAGE
    assert "locality is the probe, the folder ./locality" in capsys.readouterr().err
    assert run(["probe", "./locality", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["probes"] == []
    assert run(["probe", "locality", "locality", "--dry-run"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["checkpoint"], planned["probes"]) == ("locality", ["locality"])


# ---- bad input -----------------------------------------------------------------------------------

USAGE, FAILED = 2, 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("trian", USAGE, "unknown command 'trian': did you mean 'train'"),
        ("train --config absent.toml", USAGE, "no configuration file at absent.toml"),
        ("train", USAGE, "say what to train: --preset NAME"),
        ("train --preset partiy-unet", USAGE, "did you mean 'parity-unet'"),
        ("train --preset demo --set training.stpes=3", USAGE, "did you mean 'training.steps'"),
        ("train --preset demo --set grammar.length=5", USAGE, "grid of 1×6 has 6 cells"),
        ("train --preset parity-unet --set images.cell=[7,8]", USAGE, "divisible by 4"),
        ("train --preset demo --set images.symbols=字0", USAGE, "no glyph for '字' (U+5B57)"),
        ("train --preset demo --set images.font=none.ttf", USAGE, "no font file at none.ttf"),
        (
            "train --preset demo --set stream.name=finite --set stream.words=99",
            USAGE,
            "the language has 32",
        ),
        ("train --preset demo --device warp", USAGE, "device 'warp' cannot be used"),
        ("train --preset demo --steps many", USAGE, "'many' is not a valid integer"),
        ("train --preset demo --steps 0", USAGE, "training.steps must be a positive integer"),
        ("train --nonsense", USAGE, "No such option"),
        ("presets dem", USAGE, "did you mean 'demo'"),
        ("sample --checkpoint absent", USAGE, "no checkpoint or run folder at absent"),
        ("sample {run}s", USAGE, "s: did you mean '"),
        ("report {run}s", USAGE, "s: did you mean '"),
        ("sample --checkpoint owner/name", USAGE, "no checkpoint or run folder"),
        ("sample --checkpoint .", USAGE, "neither a run folder"),
        ("sample", USAGE, "say what to sample: diffprobe sample RUN"),
        ("sample {run} --checkpoint other", USAGE, "say which run once: there are "),
        ("sample --checkpoint {run} --sampler dimm", USAGE, "did you mean 'ddim'"),
        ("sample --checkpoint {run} --sampler-steps 5000", USAGE, "exceeds the 1000 noise"),
        ("sample --checkpoint {run}/checkpoints", USAGE, "neither a run folder"),
        ("probe --checkpoint {run} --cell 9", USAGE, "probe.region=9 is outside 0 … 3"),
        ("probe --checkpoint {run} --baseline-images -1", USAGE, "must be at least 2 (0 for no"),
        ("probe --checkpoint {run} --n 1", USAGE, "probe.images must be at least 2, not 1"),
        ("probe", USAGE, "say what to probe: diffprobe probe RUN"),
        ("probe {run} --checkpoint other", USAGE, "say which run once: there are "),
        ("probe --checkpoint other {run}", USAGE, "and --checkpoint other"),
        ("probe locality {run} --checkpoint other", USAGE, "say which run once: there are "),
        ("probe {run} locality {run}", USAGE, "say which run once: there are "),
        ("probe {run} {run}", USAGE, "unexpected extra argument"),
        ("probe --probe placement {run} locality", USAGE, "not both"),
        ("probe nowhere", USAGE, "no checkpoint or run folder at nowhere, and no probe: attr"),
        ("probe absent/run", USAGE, "no checkpoint or run folder at absent/run"),
        ("probe --checkpoint {run} --probe spectrm", USAGE, "did you mean 'spectrum'?"),
        ("probe --checkpoint {run} --probe two-layer", USAGE, "does not apply: it is for a run of"),
        ("probe --checkpoint {run} --regions 9x9", USAGE, "does not fit an image of 8×32"),
        ("probe --checkpoint {run} --regions 0,0,9,9", USAGE, "leaves the image of 8×32"),
        ("probe --checkpoint {run} --regions absent.png", USAGE, "no mask image at absent.png"),
        ("probe --checkpoint {run} --level 1000", USAGE, "t=1000 is outside 0 … 999"),
        ("probe --checkpoint {run} --images absent", USAGE, "no folder of images at absent"),
        ("probe locality --checkpoint {run} --precision -1", USAGE, "precision must be at least 0"),
        ("probe locality --checkpoint {run} --variant l2", USAGE, "'l2' is not one of"),
        ("probe locality", USAGE, "say what to probe: diffprobe probe RUN"),
        ("probe localty", USAGE, "unknown probe 'localty': did you mean 'locality'?"),
        ("probe --probe placement locality --checkpoint {run}", USAGE, "not both"),
        (
            "probe detectors --window 0.5,x --checkpoint {run}",
            USAGE,
            "window must be of type float",
        ),
        ("probe --checkpoint {run} --set probes.locality.projection=3", USAGE, "did you mean"),
        ("probe --checkpoint absent", USAGE, "no checkpoint or run folder at absent"),
        ("report absent.npz", USAGE, "no file of samples, and no run, at absent.npz"),
        ("report {run}", USAGE, "has no samples yet; make some: diffprobe sample"),
        ("report {npz}", USAGE, "say what to judge it by with --dataset"),
        ("report {npz} --dataset demmo", USAGE, "did you mean 'demo'"),
        ("report {npz} --dataset digit-sum-unet", USAGE, "this dataset's are (N, 1, 16, 16)"),
        ("report .", USAGE, "is not a run folder"),
        ("report", USAGE, "Missing argument"),
        ("report {npz} --dataset demo --fail-above 2", USAGE, "2.0 is not in the range 0<=x<=1"),
        ("report {bad}/pickled.npz --dataset demo", USAGE, "it holds pickled objects"),
        (
            "report {bad}/text.npz --dataset demo",
            USAGE,
            "cannot be read as an .npz or .npy of images",
        ),
        (
            "report {bad}/broken/text.png --dataset demo",
            USAGE,
            "text.png cannot be read as an image",
        ),
        ("report {bad}/pictures --dataset demo", USAGE, "a.png is 9 × 9 (H × W), grey; this"),
        (
            "report {npz} --validator no_checks:x",
            USAGE,
            "no module 'no_checks' is installed or lies in",
        ),
        ("report {npz} {npz} --validator checks", USAGE, "named MODULE:FUNCTION"),
        ("report {bad}/empty.npz --dataset demo", USAGE, "there are no samples to judge"),
        ("report {bad}/flat.npz --dataset demo", USAGE, "images have shape (8, 48)"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: str,
    code: int,
    message: str,
    own_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    npz = tmp_path / "theirs.npz"
    np.savez(npz, images=np.zeros((2, 1, 8, 48), dtype=np.float32))
    strip = np.zeros((2, 1, 8, 48), dtype=np.float32)
    np.savez(tmp_path / "pickled.npz", images=np.array([{}, {}], dtype=object))
    (tmp_path / "text.npz").write_text("no archive")
    for folder in ("broken", "pictures"):
        (tmp_path / folder).mkdir()
    (tmp_path / "broken" / "text.png").write_text("no picture")
    Image.new("L", (9, 9)).save(tmp_path / "pictures" / "a.png")
    np.savez(tmp_path / "empty.npz", images=strip[:0])
    np.savez(tmp_path / "flat.npz", images=strip[0, 0])
    filled = [a.format(run=own_run, npz=npz, bad=tmp_path) for a in arguments.split()]
    assert run(filled) == code
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert lines[-1].startswith("diffprobe: error: ")
    assert message in lines[-1]
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_another_configuration_in_the_same_folder(
    config_file: Path, own_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--config", str(config_file), "--out", str(own_run)]
    assert run([*arguments, "--set", "network.width=64"]) == USAGE
    error = capsys.readouterr().err
    assert "holds a run of another configuration (network.width: 64, not 32)" in error


def test_a_foreign_checkpoint(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = list_checkpoints(own_run)[-1].path / "unet"
    (folder.parent / "SHA256SUMS").unlink()
    (folder / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    assert run(["sample", "--checkpoint", str(own_run)]) == FAILED
    assert "holds a AutoencoderKL; diffprobe loads" in capsys.readouterr().err


def test_a_full_disk(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        Path("/dev/full").write_text("x")

    monkeypatch.setattr("numpy.lib.format.write_array_header_1_0", full)
    assert run(["sample", "--checkpoint", str(own_run)]) == FAILED
    assert "the disk is full" in capsys.readouterr().err
    assert not list((own_run / "samples").iterdir())


def test_no_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    code = run(["train", "--preset", "demo", "--out", "file/run", "--device", "cpu"])
    assert code == FAILED
    assert "diffprobe: error: Not a directory" in capsys.readouterr().err


def test_ctrl_c_anywhere(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffprobe.sampling.of_checkpoint.sample", interrupt)
    assert run(["sample", "--checkpoint", str(own_run)]) == 130
    assert "interrupted; nothing already written was lost" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    ],
)
def test_out_of_memory_says_what_to_make_smaller(
    own_run: Path,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def exhaust(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("diffprobe.sampling.of_checkpoint.sample", exhaust)
    assert run(["sample", "--checkpoint", str(own_run)]) == FAILED
    assert "out of memory: say how much there is with --memory SIZE" in capsys.readouterr().err


def _write_golden() -> None:
    os.environ["COLUMNS"] = "80"
    for command in ("", *COMMANDS):
        done = subprocess.run(
            [sys.executable, "-m", "diffprobe", *command.split(), "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        (GOLDEN / f"{command or 'diffprobe'}.txt").write_text(done.stdout)


if __name__ == "__main__":
    _write_golden()
