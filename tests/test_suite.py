import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DDPMPipeline, DDPMScheduler
from PIL import Image
from pipelines import unet

from diffprobe.config import Config
from diffprobe.datasets import SymbolImages
from diffprobe.datasets.streams.finite import FiniteConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.records import read_record
from diffprobe.models import FunctionDenoiser, list_checkpoints
from diffprobe.probes.locality import beside, ldr
from diffprobe.probes.locality.beside import beside_the_optimum
from diffprobe.probing import ProbeResults, open_subject, run_probes, subject_of
from diffprobe.training import train


@pytest.fixture(scope="module")
def results(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> ProbeResults:
    subject = open_subject(tiny_run)
    return run_probes(subject, steps="all", out=tmp_path_factory.mktemp("probes"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's pipeline folder: a U-Net for images of the tiny run's shape."""
    network = unet(sample_size=(8, 32), in_channels=1, out_channels=1)
    folder = tmp_path_factory.mktemp("foreign") / "somebodys"
    DDPMPipeline(unet=network, scheduler=DDPMScheduler()).save_pretrained(folder)
    return folder


def test_every_number_and_figure_is_written(results: ProbeResults) -> None:
    names = {p.name for p in results.folder.iterdir()}
    figures = {"ldr", "dependence", "decay", "placement", "attribution", "dynamics"}
    assert {f"{f}.{e}" for f in figures for e in ("png", "svg")} <= names
    records = {"locality", "placement", "attribution", "dynamics", "summary"}
    assert {f"{r}.json" for r in records} <= names


def test_numbers_on_disk_are_the_results(results: ProbeResults) -> None:
    content = read_record(results.folder / "locality.json")
    assert set(content) == {"network", "bayes", "product", "empirical"}
    # Training draws fresh words for ever: the optimum of the training set is the optimum.
    assert content["empirical"] == content["bayes"]
    for name, result in results.results["locality"].items():
        assert content[name]["t"] == result.t.tolist()
        stored = [float("nan") if v is None else v for v in content[name]["ldr"]["value"]]
        assert stored == pytest.approx(result.ldr.value.tolist(), nan_ok=True)
        assert content[name]["settings"]["images"] == 8
    summary = read_record(results.folder / "summary.json")
    assert summary["step"] == 30
    assert summary["grammar_known"] is True
    levels = summary["probes"]["locality"]["levels"]
    network = beside_the_optimum(results.results["locality"])["network"]
    at = {row["t"]: row for row in levels}
    assert at[summary["symbols_form_at"]]["ldr"]["network"]["value"] == pytest.approx(
        network.ldr.value[network.at(summary["symbols_form_at"])].item()
    )
    assert set(summary["probes"]["placement"]["gamma"]) == {
        "value",
        "standard_error",
        "low",
        "high",
        "n",
    }


def test_the_headline_is_told_in_words(results: ProbeResults) -> None:
    text = "\n".join(results.lines())
    assert "where symbols form" in text
    assert "excess LDR" in text
    assert "gamma" in text
    assert "no grammar is known" not in text


def test_dynamics_go_along_all_checkpoints(results: ProbeResults, tiny_run: Path) -> None:
    found = results.along
    assert found is not None
    rows = results.summary()["dynamics"]
    assert [row["step"] for row in rows] == [c.step for c in list_checkpoints(tiny_run)]
    assert found.t == results.subject.level
    assert all(row["legible"].n == 16 for row in rows)
    assert all(row["mu"] is None for row in rows)
    assert results.summary()["along"] == {}  # nobody asked for a probe by name
    # The last checkpoint was measured twice, on the same inputs.
    network = beside_the_optimum(results.results["locality"])["network"]
    assert rows[-1]["ldr"]["value"] == pytest.approx(
        network.ldr.value[network.at(found.t)].item(), nan_ok=True
    )
    assert {"gamma", "scale", "unexplained", "missed_along_nats", "to_product_nats"} <= set(rows[0])


def test_a_finite_training_set_brings_the_empirical_oracle(
    tiny_config: Config, tmp_path: Path
) -> None:
    config = replace(tiny_config, stream=FiniteConfig(words=3))
    run = train(config, tmp_path / "run", "cpu")
    shown = replace(config, probe=replace(config.probe, baseline_images=16))
    subject = open_subject(run.path, shown, own=shown)
    results = run_probes(subject, ["locality", "placement"], steps="all")
    oracles = {"bayes", "product", "empirical", "wiener", "local-patch"}
    assert set(results.results["locality"]) == {"network", *oracles}
    assert results.results["placement"]["network"].mean_mu is not None
    assert results.folder == run.path / "probes" / "step-000030"
    assert results.along is not None
    along = results.along.summaries()
    assert set(along) == {"locality", "placement"}
    # Probes that are named go along training themselves, the last time from what was kept.
    assert [m["step"] for m in along["placement"]] == [c.step for c in list_checkpoints(run.path)]
    # Of so few inputs no interval is told.
    last = along["placement"][-1]["gamma"]
    assert last == pytest.approx(results.summary()["probes"]["placement"]["gamma"], nan_ok=True)
    assert (results.folder / "along-placement.png").exists()
    assert (run.path / "probes" / "step-000005" / "locality.json").exists()
    # What is followed is the same, and samples are judged as they are where nobody names a probe.
    rows = results.along.rows()
    assert rows[-1]["gamma"] == pytest.approx(last, nan_ok=True)
    assert all(row["legible"].n == 16 for row in rows)


def test_probes_are_measured_again_only_when_a_setting_changes(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    measure = ldr.measure

    def counted(*arguments: Any, **options: Any) -> ldr.Locality:
        calls.append(1)
        return measure(*arguments, **options)

    monkeypatch.setattr(beside, "measure", counted)
    subject = open_subject(tiny_run)
    run_probes(subject, ["locality"], out=tmp_path)
    assert len(calls) == 3  # network, Bayes, product
    run_probes(subject, ["locality"], out=tmp_path)
    assert len(calls) == 3
    config = subject.config
    unrelated = config.with_probe("spectrum", images=5)
    unrelated = replace(unrelated, probe=replace(unrelated.probe, region=1))
    run_probes(open_subject(tiny_run, unrelated), ["locality"], out=tmp_path)
    assert len(calls) == 3
    more = replace(config, probe=replace(config.probe, images=9))
    run_probes(open_subject(tiny_run, more), ["locality"], out=tmp_path)
    assert len(calls) == 6
    other = more.with_probe("locality", variant="l1")
    run_probes(
        open_subject(tiny_run, other),
        ["locality"],
        out=tmp_path,
    )
    assert len(calls) == 9
    grid = open_subject(tiny_run, regions="2x2")
    run_probes(grid, ["locality"], out=tmp_path)
    assert len(calls) == 12


def test_an_interrupted_probe_goes_on_with_the_next_part(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def interrupting(iterable: Any, desc: str = "", **options: Any) -> Iterator[Any]:
        measured.append(desc)
        if desc == "locality, bayes" and measured.count(desc) == 1:
            raise KeyboardInterrupt
        return iter(iterable)

    subject = replace(open_subject(tiny_run), progress=interrupting)
    with pytest.raises(KeyboardInterrupt):
        run_probes(subject, ["locality"], out=tmp_path)
    run_probes(subject, ["locality"], out=tmp_path)
    assert measured.count("locality, network") == 1
    assert measured.count("locality, bayes") == 2


def quick(config: Config) -> Config:
    """The same with little to measure by the probes that are not usual."""
    config = config.with_probe("spectrum", images=2, values=2, iterations=2, projections=2)
    config = config.with_probe("sharpness", images=2, levels=2, values=1, iterations=2)
    config = config.with_probe("intervention", images=4).with_probe("detectors", samples=24)
    config = config.with_probe("hidden-states", images=64, samples=24, features=16, levels=3)
    return replace(
        config,
        probe=replace(config.probe, grammar_levels=21),
        sampling=replace(config.sampling, steps=40),
    )


def test_all_probes_that_apply(tiny_run: Path, tmp_path: Path) -> None:
    config = quick(open_subject(tiny_run).config)
    subject = open_subject(tiny_run, config, own=config)
    results = run_probes(subject, ["all"], out=tmp_path)
    assert set(results.skipped) == {"conditioner", "recall", "two-layer"}
    assert "two-layer network" in results.skipped["two-layer"]
    for name in results.results:
        assert (tmp_path / f"{name}.json").exists()
        assert name in results.summary()["probes"]
    assert len(results.lines()) > 12
    with pytest.raises(UsageError, match="the probe two-layer does not apply"):
        run_probes(subject, ["two-layer"])
    with pytest.raises(UsageError, match="did you mean 'spectrum'"):
        run_probes(subject, ["spectrm"])


def test_somebodys_pipeline_has_no_oracles_and_says_so(
    foreign: Path, tiny_config: Config, tmp_path: Path
) -> None:
    subject = open_subject(foreign, tiny_config)
    assert subject.dataset is None
    assert subject.source == "its own samples (ddim, 4 steps)"
    assert len(subject.regions) == 16
    results = run_probes(subject, ["locality", "sensitivity"], out=tmp_path)
    assert set(results.results["locality"]) == {"network", "wiener", "local-patch"}
    text = "\n".join(results.lines())
    assert "no grammar is known" in text
    assert "excess LDR  unknown" in text
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["grammar_known"] is False
    assert summary["architecture"] == "unet"
    with pytest.raises(UsageError, match="placement does not apply: no grammar is known"):
        run_probes(subject, ["placement"], out=tmp_path)
    with pytest.raises(UsageError, match="not part of a run"):
        run_probes(subject, ["locality"], steps="all", out=tmp_path)


def test_somebodys_pipeline_on_pictures_and_on_a_known_grammar(
    foreign: Path, tiny_config: Config, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(random.integers(0, 255, (8, 32), np.uint8)).save(pictures / f"{i}.png")
    subject = open_subject(foreign, tiny_config, images=pictures, regions="0,0,8,8;0,8,8,24")
    assert subject.source == "pictures of pictures"
    assert len(subject.regions) == 2
    assert set(subject.oracles) == {"wiener", "local-patch"}
    dataset = tiny_config.dataset()
    known = open_subject(foreign, tiny_config, dataset=dataset)
    assert {"bayes", "product"} <= set(known.oracles)
    results = run_probes(known, ["placement"], out=tmp_path / "out")
    assert results.results["placement"]["network"].settings["images"] == 8
    wide = SymbolImages(dataset.grammar, dataset.glyphs, (2, 2))
    with pytest.raises(UsageError, match=r"\(1, 16, 16\) \(C, H, W\); the denoiser takes"):
        open_subject(foreign, tiny_config, dataset=wide)


def test_a_function_is_probed_and_nothing_is_kept_of_it(
    tiny_config: Config, tmp_path: Path
) -> None:
    dataset = tiny_config.dataset()
    half = FunctionDenoiser(lambda x_t, t: x_t / 2, DDPMScheduler())
    results = run_probes(subject_of(half, dataset, tiny_config), ["locality"], out=tmp_path)
    assert results.results["locality"]["network"].ldr.value.tolist() == pytest.approx(
        [1.0] * 6, nan_ok=True
    )
    assert not (tmp_path / "cache").exists()


def test_a_level_outside_the_schedule_is_refused(tiny_run: Path, tiny_config: Config) -> None:
    high = replace(tiny_config, probe=replace(tiny_config.probe, level=1000))
    with pytest.raises(UsageError, match="t=1000 is outside 0 … 999"):
        open_subject(tiny_run, high)
    with pytest.raises(UsageError, match=r"probe.level must be at least -1"):
        replace(tiny_config.probe, level=-5)
    low = replace(tiny_config, probe=replace(tiny_config.probe, level=12))
    assert open_subject(tiny_run, low).level == 12


def test_a_checkpoint_outside_its_run_has_no_known_dataset(
    tiny_run: Path, tiny_config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "er" / "foreign"
    shutil.copytree(tiny_run / "checkpoints" / "step-000030", folder)
    assert open_subject(folder, tiny_config, dataset=tiny_config.dataset()).run is None


def test_along_training_the_optimum_is_measured_once(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a glance; every checkpoint still gets a number of its own."""
    measured: list[str] = []
    original = beside.measure

    def counting(denoiser: Any, *arguments: Any, **options: Any) -> Any:
        if "levels" in options:  # what `measure_level` asks for
            measured.append(type(denoiser).__name__)
        return original(denoiser, *arguments, **options)

    monkeypatch.setattr(beside, "measure", counting)
    results = run_probes(open_subject(tiny_run), ["locality"], out=tmp_path / "one")
    assert measured == []
    results = run_probes(open_subject(tiny_run), steps="all", out=tmp_path / "all")
    assert sorted(measured) == ["BayesDenoiser", *["NetworkDenoiser"] * 3]
    assert results.along is not None
    ldr = [row["ldr"]["value"] for row in results.along.rows()]
    assert len(set(ldr)) == 3


def test_results_are_a_table(tiny_run: Path, tmp_path: Path) -> None:
    results = run_probes(open_subject(tiny_run), ["locality"], out=tmp_path)
    frame = results.to_frame().set_index("number")
    levels = results.summary()["probes"]["locality"]["levels"]
    told = [level["ldr"]["network"]["value"] for level in levels]
    shown = [frame.loc[f"levels {i} ldr network"] for i in range(len(levels))]
    assert [row.value for row in shown] == pytest.approx(told, nan_ok=True)
    assert np.isfinite(told).any()
    assert [row.n for row in shown] == [level["ldr"]["network"]["n"] for level in levels]
    assert all(row.probe == "locality" for row in shown)
    assert "levels 0 ldr network" in results._repr_html_()
    assert repr(results) == f"<ProbeResults of tiny: locality, in {tmp_path}>"
