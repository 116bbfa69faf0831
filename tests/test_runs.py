"""Run folders at a glance, and the figure of a training."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from diffprobe.cli import run as command_line
from diffprobe.report.losses import draw_losses, plot_levels, plot_losses, plot_rates
from diffprobe.report.runs import RunSummary, list_runs
from diffprobe.training import RunFolder


@pytest.fixture
def runs(tiny_run: Path, tmp_path: Path) -> Path:
    """A finished run with probes and a report, one that is not, and other folders."""
    folder = tmp_path / "runs"
    shutil.copytree(tiny_run, folder / "grid" / "done")
    for step, ldr in (("000030", 0.75), ("000005", 0.5)):
        probes = folder / "grid" / "done" / "probes" / f"step-{step}"
        probes.mkdir(parents=True)
        levels = [
            {"t": t, "ldr": {"network": {"value": ldr + t / 1e4}}, "excess_ldr": {"value": 0.25}}
            for t in (100, 489)
        ]
        content = {
            "symbols_form_at": 489,
            "probes": {
                "locality": {"levels": levels},
                "placement": {"gamma": {"value": 0.125}},
            },
        }
        (probes / "summary.json").write_text(json.dumps(content))
    report = folder / "grid" / "done" / "report" / "step-000005_ema"
    report.mkdir(parents=True)
    shares = {"legible": {"value": 0.9}, "grammatical": {"value": None}}
    (report / "report.json").write_text(json.dumps(shares))

    begun = folder / "begun"
    shutil.copytree(tiny_run, begun)
    shutil.rmtree(begun / "checkpoints" / "step-000030")
    (begun / "state.safetensors").unlink()
    (begun / "metrics.jsonl").unlink()
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    (folder / "notes").mkdir()
    return folder


def test_all_runs_are_found(runs: Path) -> None:
    begun, broken, done = list_runs(runs)
    assert [Path(r.run).name for r in (begun, broken, done)] == ["begun", "broken", "done"]
    assert (begun.steps, begun.wanted, begun.is_finished, begun.loss) == (5, 30, False, None)
    assert "config.json is damaged" in broken.problem
    last = RunFolder(Path(done.run)).metrics()[-1]
    assert done.is_finished
    assert (done.grammar, done.network, done.weights) == ("parity", "transformer", "ema")
    assert (done.loss, done.validation_loss) == (last["loss"], last["validation_loss_ema"])
    assert done.ldr == pytest.approx(0.75 + 0.0489)
    assert (done.probed_at, done.excess_ldr, done.gamma) == (30, 0.25, 0.125)
    assert (done.reported_at, done.legible, done.grammatical) == (5, 0.9, None)
    assert done.to_frame()["gamma"].tolist() == [0.125]


@pytest.mark.parametrize("text", ["", "5", "[]", "\xff", "{"])
def test_a_damaged_record_of_another_command_is_named(text: str, runs: Path) -> None:
    run = RunFolder(runs / "grid" / "done")
    (run.path / "probes" / "step-000030" / "summary.json").write_text(text)
    assert "summary.json is damaged" in RunSummary.of(run).problem


@pytest.mark.parametrize("levels", [5, [5], {}, None])
def test_a_record_of_another_shape_tells_nothing(levels: object, runs: Path) -> None:
    run = RunFolder(runs / "grid" / "done")
    content = {"probes": {"locality": {"levels": levels}, "placement": []}, "level": 3}
    (run.path / "probes" / "step-000030" / "summary.json").write_text(json.dumps(content))
    found = RunSummary.of(run)
    assert (found.problem, found.ldr, found.gamma, found.probed_at) == ("", None, None, 30)


def test_the_list_is_read_without_torch(runs: Path) -> None:
    code = (
        "import sys; from diffprobe.cli import run; code = run(sys.argv[1:]); "
        "print([m for m in ('torch', 'diffusers', 'matplotlib') if m in sys.modules]); "
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "runs", str(runs)], capture_output=True, text=True, check=True
    )
    head, begun, finished, broken, modules = done.stdout.splitlines()
    assert head.split() == [
        *("run", "when", "grammar", "network", "steps", "loss", "validation"),
        *("LDR", "excess", "gamma", "legible"),
    ]
    assert begun.endswith("parity   transformer  5 of 30")
    assert finished.split()[-5:] == ["0.799", "0.250", "0.125", "90.0%", "@5"]
    assert broken.startswith(f"{runs}/broken  ")
    assert modules == "[]"


def test_a_narrow_terminal_gets_paragraphs(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs.parent)
    monkeypatch.setenv("COLUMNS", "50")
    assert command_line(["runs"]) == 0
    assert "grammar  network" in capsys.readouterr().out  # into a file it stays a table
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert command_line(["runs"]) == 0
    *lines, broken = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 50
    assert [line for line in lines if not line.startswith(" ")] == ["runs/begun", "runs/grid/done"]
    done = " ".join(line.strip() for line in lines[lines.index("runs/grid/done") + 1 :])
    assert "LDR 0.799, excess 0.250, gamma 0.125, legible 90.0% @5" in done
    assert not any(line.endswith(("LDR", "gamma", "excess")) for line in lines)
    assert broken.startswith("runs/broken  ")


def test_as_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["runs", str(runs), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["steps"] for row in rows] == [5, 0, 30]
    assert command_line(["runs", str(runs / "grid" / "done"), "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["gamma"] == 0.125
    assert Path(one["figure"]).exists()


@pytest.mark.parametrize(
    ("folder", "code", "message"),
    [
        ("nothing", 2, "no folder at nothing: say where the runs are"),
        ("runs/broken", 1, "config.json is damaged"),
    ],
)
def test_mistakes_are_named(
    folder: str,
    code: int,
    message: str,
    runs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(runs.parent)
    assert command_line(["runs", folder]) == code
    assert message in capsys.readouterr().err
    assert command_line(["runs", "runs/notes"]) == 0
    assert "no runs in runs/notes; make one" in capsys.readouterr().out


# ---- the figure ----------------------------------------------------------------------------------


def test_the_figure_shows_what_was_stored(tiny_run: Path) -> None:
    run = RunFolder(tiny_run)
    metrics = run.metrics()
    ax = plot_losses(run, metrics, Figure().subplots())
    curves = {line.get_label(): line for line in ax.get_lines()}
    assert list(curves) == ["training", "validation, ema", "validation, raw", "checkpoint"]
    assert curves["checkpoint"].get_xdata().tolist() == [1, 5, 30]
    assert list(curves["validation, ema"].get_xdata()) == [10, 20, 30]
    assert list(curves["validation, ema"].get_ydata()) == [
        m["validation_loss_ema"] for m in metrics
    ]
    # So few steps are shown one by one.
    assert np.allclose(curves["training"].get_ydata(), run.losses())
    assert curves["training"].get_xdata().tolist() == list(range(1, 31))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")

    levels = plot_levels(metrics, "ema", Figure().subplots()).get_lines()
    assert [line.get_label() for line in levels][::7] == ["0% to 12%", "88% to 100%"]
    assert levels[0].get_ydata().tolist() == [
        m["validation_loss_by_level"]["ema"][0] for m in metrics
    ]
    (rates,) = plot_rates(metrics, Figure().subplots()).get_lines()
    assert list(rates.get_ydata()) == [m["learning_rate"] for m in metrics]


def test_many_steps_are_shown_by_their_means(tmp_path: Path, tiny_run: Path) -> None:
    run = RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))
    losses = np.arange(1, 10_001, dtype="<f4")
    run.losses_path.write_bytes(losses.tobytes())
    lines = [{**line, "losses": {}} for line in run.metrics()]  # which would not be of these
    training = plot_losses(run, lines, Figure().subplots()).get_lines()[0]
    assert len(training.get_xdata()) < 201
    # The loss was the step: so are the means.
    assert np.allclose(training.get_xdata(), training.get_ydata())
    assert training.get_xdata()[0] == 1


def test_a_run_without_metrics_has_no_figure(tmp_path: Path, tiny_run: Path) -> None:
    run = RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))
    run.metrics_path.write_text("")
    assert draw_losses(run) is None
    assert not (run.path / "loss.png").exists()


def test_somebodys_network_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "theirs" / "unet").mkdir(parents=True)
    (tmp_path / "theirs" / "unet" / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    (tmp_path / "theirs" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    assert list_runs(tmp_path) == []
