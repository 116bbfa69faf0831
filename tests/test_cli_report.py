"""`diffprobe report` of anybody's images, and of several runs, as a user would call it."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffprobe.cli import run
from diffprobe.models import list_checkpoints
from diffprobe.resolution import resolve


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def own_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_a_folder_of_pictures_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = resolve(preset="demo").dataset()
    (tmp_path / "pictures").mkdir()
    for i, image in enumerate(world.draw_images(5, torch.Generator().manual_seed(0))):
        values = ((image[0] + 1) * 127.5).round().numpy().astype(np.uint8)
        Image.fromarray(values).convert("RGB").save(tmp_path / "pictures" / f"{i}.png")
    assert run(["report", "pictures", "--dataset", "demo"]) == 0
    captured = capsys.readouterr().out
    assert "Grammatical, of the legible: 100.0%" in captured
    assert "The images were read as integers from 0 to 255." in captured
    content = json.loads((tmp_path / "pictures-report" / "report.json").read_text())
    assert content["details"]["files"] == [f"{i}.png" for i in range(5)]


def test_parquet_has_the_rows_of_the_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas

    world = resolve(preset="demo").dataset()
    images = world.draw_images(6, torch.Generator().manual_seed(0))
    images[1, :, :, :8] = world.draw_images(1, torch.Generator().manual_seed(1))[0, :, :, :8]
    images[2] = -images[2]
    np.save("images.npy", images.numpy())
    judge = ["report", "images.npy", "--dataset", "demo", "--parquet"]
    assert run(judge) == 0
    found = pandas.read_parquet("images-report/samples.parquet")
    told = pandas.read_csv("images-report/samples.csv", dtype={"word": str, "nearest": str})
    assert found["verdict"].tolist() == told["verdict"].tolist()
    assert "illegible" in set(found["verdict"])
    assert found["word"].str.replace(" ", "").tolist() == told["word"].tolist()
    # What an illegible sample has not is missing in both.
    pandas.testing.assert_series_equal(found["distance"], told["distance"], check_dtype=False)
    assert found["nearest"].isna().tolist() == told["nearest"].isna().tolist()
    assert found["odd parity"].tolist() == (told["kinds"] == "odd parity").tolist()

    assert run([*judge, "images.npy"]) == 2
    assert "--parquet is for the samples of one source" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run([*judge, "--out", "other"]) == 2
    assert "pip install 'diffprobe[parquet]'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_comparison_says_how_images_were_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = resolve(preset="demo").dataset().draw_images(6, torch.Generator().manual_seed(0))
    np.save("unit.npy", ((images + 1) / 2).numpy())
    images[4, 0, 0, 0] = torch.nan
    np.save("broken.npy", images.numpy())
    assert run(["report", "unit.npy", "broken.npy", "--dataset", "demo"]) == 0
    text = capsys.readouterr().out
    assert "unit: The images were read as floats in [0, 1]" in text
    assert "broken: 1 of 6 samples hold values that are not finite" in text
    assert "cannot be compared" not in text


def test_a_report_says_where_samples_and_figures_differ(
    own_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_, last = (c.path for c in list_checkpoints(own_run))
    assert run(["sample", "--checkpoint", str(last), "--n", "4"]) == 0
    assert run(["sample", "--checkpoint", str(first), "--n", "4"]) == 0
    assert run(["probe", "--checkpoint", str(last), "--probe", "placement"]) == 0
    capsys.readouterr()
    assert run(["report", str(own_run), "--json"]) == 0  # not the first step's, though newer
    content = json.loads(capsys.readouterr().out)
    assert content["details"]["training_step"] == 30
    assert content["details"]["probes"] == {"training_step": 30, "weights": "ema"}
    assert not any("figures" in line for line in content["findings"])
    (older,) = (own_run / "samples").glob(f"{first.name}*")
    assert run(["report", str(older)]) == 0
    step = int(first.name.removeprefix("step-"))
    said = f"The samples are of step {step} and the figures of step 30"
    assert said in capsys.readouterr().out
    page = own_run / "report" / older.stem / "report.html"
    assert said in page.read_text()
    # Other weights of the same step.
    assert run(["sample", "--checkpoint", str(last), "--n", "4", "--weights", "raw"]) == 0
    capsys.readouterr()
    assert run(["report", str(own_run)]) == 0
    assert "of the weights raw and the figures of ema." in capsys.readouterr().out


def test_runs_of_other_grammars_are_not_compared_by_it(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(own_run, tmp_path / "other")
    content = json.loads((other / "config.json").read_text())
    content["config"]["grammar"] = {"name": "palindrome", "length": 4, "symbols": 2}
    (other / "config.json").write_text(json.dumps(content))
    for folder, steps in ((own_run, "4"), (other, "5")):
        assert run(["sample", "--checkpoint", str(folder), "--sampler-steps", steps]) == 0
    capsys.readouterr()
    assert run(["report", str(own_run), str(other), "--out", "side"]) == 0
    text = capsys.readouterr().out
    assert f"Grammatical and chance cannot be compared across {own_run.name} | other" in text
    assert "The samples were drawn in different ways" in text
    assert "grammatical, " not in text
    assert "Grammatical and chance cannot" in (tmp_path / "side" / "comparison.md").read_text()
    assert len(json.loads((tmp_path / "side" / "comparison.json").read_text())["notes"]) == 2
