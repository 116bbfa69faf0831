import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from diffprobe.config import Config
from diffprobe.datasets import build_dataset
from diffprobe.errors import CheckpointError
from diffprobe.models import list_checkpoints
from diffprobe.probes import ProbeResults, dynamics, probe_checkpoint
from diffprobe.training import train


@pytest.fixture(scope="module")
def results(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> ProbeResults:
    return probe_checkpoint(tiny_run, steps="all", out=tmp_path_factory.mktemp("probes"))


def test_every_number_and_figure_is_written(results: ProbeResults) -> None:
    names = {p.name for p in results.folder.iterdir()}
    figures = {"ldr", "dependence", "placement", "attribution", "dynamics"}
    assert {f"{f}.{e}" for f in figures for e in ("png", "svg")} <= names
    records = {"locality", "placement", "attribution-network", "attribution-bayes", "dynamics"}
    assert {f"{r}.json" for r in (*records, "summary")} <= names
    for figure in figures:
        image = Image.open(results.folder / f"{figure}.png")
        assert len(image.convert("L").getcolors() or []) > 10  # not an empty page


def test_numbers_on_disk_are_the_results(results: ProbeResults) -> None:
    content = json.loads((results.folder / "locality.json").read_text())
    assert set(content) == {"network", "bayes", "product", "excess_ldr"}
    for name, result in results.locality.items():
        assert content[name]["t"] == result.t.tolist()
        stored = [float("nan") if v is None else v for v in content[name]["ldr"]]
        assert stored == pytest.approx(result.ldr.tolist(), nan_ok=True)
        assert content[name]["settings"]["images"] == 8
    summary = json.loads((results.folder / "summary.json").read_text())
    assert summary["step"] == 30
    assert summary["levels"]["symbols_form"]["ldr"]["network"]["value"] == pytest.approx(
        results.ldr[0]
    )
    assert set(summary["gamma"]) == {"value", "standard_error"}


def test_dynamics_go_along_all_checkpoints(results: ProbeResults, tiny_run: Path) -> None:
    found = results.dynamics
    assert found is not None
    assert found.steps == [c.step for c in list_checkpoints(tiny_run)]
    assert found.t == results.grammar_at
    assert len(found.ldr) == len(found.gamma) == len(found.legible) == 3
    assert all(rate.n == 16 for rate in found.legible)
    assert found.mu is None
    # The last checkpoint was measured twice, on the same inputs.
    network = results.locality["network"]
    assert found.ldr[-1] == pytest.approx(network.ldr[network.at(found.t)].item())


def test_a_finite_training_set_brings_the_empirical_oracle(
    tiny_config: Config, tmp_path: Path
) -> None:
    config = replace(tiny_config, data=replace(tiny_config.data, training_words=3))
    run = train(config, tmp_path / "run", "cpu")
    shown = replace(config, probe=replace(config.probe, baseline_images=16))
    results = probe_checkpoint(run.path, shown)
    oracles = {"bayes", "product", "empirical", "wiener", "local-patch"}
    assert set(results.locality) == {"network", *oracles}
    assert results.placement.mean_mu is not None
    assert results.folder == run.path / "probes" / "step-000030"
    along = dynamics.measure(run.path, build_dataset(config), config, t=results.grammar_at)
    assert along.mu is not None
    assert len(along.mu) == 3


def test_a_checkpoint_without_a_run_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run / "checkpoints" / "step-000030", tmp_path / "deep" / "er" / "foreign")
    with pytest.raises(CheckpointError, match="its dataset is unknown"):
        probe_checkpoint(tmp_path / "deep" / "er" / "foreign")
