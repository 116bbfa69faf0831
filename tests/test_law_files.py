"""`diffprobe law` on CSV files and run folders: what is read, written and refused."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from coverage_parts.law_curves import PEAK, curve, rates

from diffprobe.cli import run
from diffprobe.config import Config, to_toml
from diffprobe.laws.curves import read_curve, read_schedule, run_rates
from diffprobe.training.run_folder import RunFolder

FITTED, HELD = ("constant", "cosine", "two-stage"), ("wsd", "lower")


def write(path: Path, name: str, seed: int = 0) -> Path:
    """A curve as a CSV file, from the end of its warm-up on."""
    found = curve(name, 5e-4, seed=seed)
    with path.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["step", "lr", "loss"])
        writer.writerows(
            zip(found.steps, rates(name)[found.steps], found.losses.tolist(), strict=True)
        )
    return path


def column(path: Path, name: str) -> list[float]:
    with path.open() as opened:
        return [float(row[name]) for row in csv.DictReader(opened)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Curves as files, and a law that was fitted to them."""
    folder = tmp_path_factory.mktemp("laws")
    for seed, name in enumerate((*FITTED, *HELD)):
        write(folder / f"{name}.csv", name, seed)
    files = [str(folder / f"{name}.csv") for name in FITTED]
    held = [word for name in HELD for word in ("--held-out", str(folder / f"{name}.csv"))]
    assert run(["law", "fit", *files, *held, "--out", str(folder / "law")]) == 0
    return folder


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:  # type: ignore[type-arg]
    assert run(["law", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_fit_says_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"{name}.csv" for name in FITTED]
    assert run(["law", "fit", *files, "--held-out", "wsd.csv", "--out", "again"]) == 0
    captured = capsys.readouterr()
    assert "291 rows of 3 curves, peak learning rate 0.002" in captured.out
    assert "means over 1 held out curve:" in captured.out
    assert "no-drop" in captured.out
    assert "curves fit as well (95 %) with beta" in captured.out
    assert run(["law", "fit", *files, "--from", "200", "--out", "later"]) == 0
    assert "fitted to 201 rows of 3 curves" in capsys.readouterr().out
    assert captured.err.count("taken to have warmed up until the first row") == 1
    assert {path.name for path in Path("again").iterdir()} == {
        "law.json", "fit.png", "fit.svg", "profile.png", "profile.svg",
    }  # fmt: skip


def test_fit_says_why_only_one_law_is_fitted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["law", "fit", "constant.csv", "--out", "constant"]) == 0
    told = capsys.readouterr().out
    assert "rows of 1 curve, peak" in told
    assert "no rate falls in these curves" in told


def test_predict_a_file_with_losses(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "predict", "law", "wsd.csv")
    assert found["errors"]["r2"] > 0.999
    measured = curve("wsd", 5e-4, seed=3)
    assert found["final"]["step"] == measured.steps[-1]
    assert found["final"]["low"] < measured.losses[-1] < found["final"]["high"]
    assert column(Path("law/predictions/wsd.csv"), "loss")[-1] == found["final"]["loss"]
    assert Path("law/predictions/wsd.png").exists()


def test_predict_a_schedule_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    """It has the peak and the warm-up of the curves where nothing else is asked for."""
    asked = ("predict", "law", "constant_with_warmup", "--steps", "595", "--out", "c.csv")
    found = told(capsys, *asked)
    assert found["final"]["lr"] == PEAK
    same = told(capsys, "predict", "law", "constant.csv")
    assert found["final"]["loss"] == pytest.approx(same["final"]["loss"], rel=1e-3)
    lower = told(capsys, *asked, "--set", "learning_rate.peak=1e-3")
    assert lower["final"]["lr"] == 1e-3


def test_predict_says_where_it_goes_beyond(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["law", "predict", "law", "cosine", "--steps", "6000"]
    assert run([*asked, "--set", "learning_rate.peak=4e-3", "--out", "c.csv"]) == 0
    error = capsys.readouterr().err
    assert "its peak is 0.004, and that of the law's curves 0.002" in error
    assert "sum to 10.2 times those of the longest curve" in error


def test_schedule_is_what_train_takes(
    capsys: pytest.CaptureFixture[str], tiny_config: Config, tmp_path: Path
) -> None:
    found = told(capsys, "schedule", "law", "--steps", "200", "--warm-up", "10", "--out", "s.csv")
    losses = found["final_loss"]
    assert min(losses, key=losses.get) == "optimised"
    _, last, measured = read_schedule(Path("s.csv"))
    assert (last, measured) == (199, None)
    config = tmp_path / "tiny.toml"
    config.write_text(to_toml(tiny_config))
    learning = ("--set", "learning_rate.name=csv", "--set", "learning_rate.file=s.csv")
    short = ("--set", "training.log_every=1", "--device", "cpu", "--out", str(tmp_path / "run"))
    assert run(["train", "--config", str(config), *learning, *short]) == 0
    trained = read_curve(tmp_path / "run")
    expected = np.array(column(Path("s.csv"), "lr"))
    assert run_rates(RunFolder(tmp_path / "run"), 30) == pytest.approx(expected[:30])
    lines = RunFolder(tmp_path / "run").metrics()
    assert trained.warm_up == 10
    assert trained.losses.tolist() == [m["validation_loss"] for m in lines if m["step"] > 10]
    sums = trained.schedule.sums(trained.steps)
    assert sums == pytest.approx(np.cumsum(expected)[trained.steps], rel=2e-3)


def test_rows_of_a_log_are_a_schedule(tmp_path: Path) -> None:
    """A rate holds until the next row; before the first row there was a warm-up."""
    path = tmp_path / "log.csv"
    rows = [(10, 2.0), (14, 2.0), (20, 1.0)] + [(20 + i, 1.0) for i in range(1, 12)]
    path.write_text("step,lr,loss\n" + "".join(f"{s},{lr},1.0\n" for s, lr in rows))
    steps = np.arange(32)
    for warm_up, risen in ((None, 10), (4, 4), (0, 0)):
        found = read_curve(path, warm_up)
        rise = 2.0 * (np.arange(risen) + 0.5) / max(1, risen)
        whole = np.r_[rise, np.full(20 - risen, 2.0), np.full(12, 1.0)]
        assert found.schedule.sums(steps) == pytest.approx(np.cumsum(whole))
        assert found.warm_up == risen
        assert found.is_late == (warm_up is None)


USAGE = 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fti", "unknown command 'law fti': did you mean 'law fit'?"),
        ("fit", "Missing argument 'CURVE...'"),
        ("fit wds.csv", "no file and no run folder at wds.csv: did you mean 'wsd.csv'?"),
        ("fit bad/columns.csv", "needs a column 'loss'; its first line has step, lr, losses: "),
        ("fit bad/nan.csv", "bad/nan.csv, line 3: loss is 'nan', which is no number"),
        ("fit bad/missing.csv", "bad/missing.csv, line 3: loss is None, which is no number"),
        ("fit bad/negative.csv", "-1.0 is no learning rate (row 2)"),
        ("fit bad/zero.csv", "all learning rates are zero"),
        ("fit bad/back.csv", "step 3 follows step 5 (row 2): sort the rows by step"),
        ("fit bad/half.csv", "1.5 is no step (row 1)"),
        ("fit bad/below.csv", "the loss at step 5 is -1, not positive"),
        ("fit bad/short.csv", "short has 2 rows after its warm-up, and a law needs 10"),
        ("fit bad/empty.csv", "needs a column 'step'; its first line has nothing"),
        ("fit bad/binary.csv", "bad/binary.csv is no CSV file of text"),
        ("fit wsd.csv --held-out wsd.csv", "is fitted and held out: give it once"),
        ("fit wsd.csv --warm-up 30", "begins at step 20: a warm-up of 30 does not fit"),
        ("fit wsd.csv --from 590", "wsd has 2 rows from step 590 on, and a law needs 10"),
        ("predict lwa cosine --steps 9", "no law at lwa: did you mean 'law'?; fit one"),
        ("predict law cosin --steps 9", "unknown learning_rate.name 'cosin': did you mean"),
        ("predict law cosine", "say how long cosine goes on: --steps N"),
        ("predict law wsd.csv --steps 999", "wsd.csv has 597 steps: --steps 999 does not fit"),
        ("predict law wsd.csv --set learning_rate.peak=1", "--set is for a schedule by name"),
        ("predict law wsd.csv --law mometum", "unknown law 'mometum': did you mean 'momentum'?"),
        ("predict law bad/columns2.csv", "needs a column 'lr'"),
        ("predict law cosine --steps 99 --set grammar.length=4", "no setting of learning_rate"),
        ("schedule law --steps 10", "a warm-up of 20 steps does not fit a training of 10"),
        ("schedule law --steps 99 --least 0", "the least rate must lie in (0, 1], a share"),
        ("schedule law --steps 99 --peak -1", "the peak must be a positive learning rate"),
        ("schedule law --steps 99 --law no-drop", "has no term of the decay"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: str, message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = place / "bad"
    bad.mkdir(exist_ok=True)
    texts = {
        "columns": "step,lr,losses\n1,1,1\n",
        "columns2": "step,rate\n1,1\n",
        "nan": "step,lr,loss\n1,1,1\n2,1,nan\n",
        "missing": "step,lr,loss\n1,1,1\n2,1\n",
        "negative": "step,lr,loss\n1,1,1\n2,-1,1\n",
        "zero": "step,lr,loss\n1,0,1\n2,0,1\n",
        "back": "step,lr,loss\n5,1,1\n3,1,1\n",
        "half": "step,lr,loss\n1.5,1,1\n",
        "below": "step,lr,loss\n5,1,-1\n6,1,1\n",
        "short": "step,lr,loss\n5,1,1\n6,1,1\n",
        "empty": "",
    }
    for name, text in texts.items():
        (bad / f"{name}.csv").write_text(text)
    (bad / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    assert run(["law", *arguments.split()]) == USAGE
    captured = capsys.readouterr()
    assert captured.err.strip().splitlines()[-1].startswith("diffprobe: error: ")
    assert message in captured.err
    assert captured.out == ""


def test_curves_that_no_law_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("diffprobe.laws.fitting.MOST", 2)
    monkeypatch.setattr("diffprobe.laws.fitting.ROUGH", 1)
    monkeypatch.setattr("diffprobe.laws.fitting.STILL", 0.0)
    assert run(["law", "fit", "cosine.csv", "two-stage.csv", "--out", "none"]) == 1
    assert "law did not converge in 4 evaluations: give curves of more" in capsys.readouterr().err
    assert not Path("none").exists()
