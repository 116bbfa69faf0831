"""The one pipeline: train, sample, judge, probe."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import diffprobe
from diffprobe.config import Config
from diffprobe.evaluation.assessment import assess
from diffprobe.evaluation.verdicts import judge
from diffprobe.experiment import run_experiment
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.records import plain
from diffprobe.sampling import load_samples
from diffprobe.studies.measures import find


@pytest.fixture(scope="module")
def done(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> diffprobe.Experiment:
    out = tmp_path_factory.mktemp("experiment") / "run"
    return run_experiment(tiny_config, ["samples", "locality"], out=out, device="cpu")


def test_its_records_are_those_of_the_single_steps(
    done: diffprobe.Experiment, tiny_config: Config
) -> None:
    assert done.records["training"] == done.run.metrics()[-1]
    assert done.samples_path is not None
    images, dataset = load_samples(done.samples_path).images, tiny_config.dataset()
    stream = tiny_config.stream.build(dataset.grammar)
    summary = assess(images, dataset, stream).summary(dataset.glyphs.names)
    price = {"evaluations": 4.0, "oracle_evaluations": 0.0}
    assert done.records["samples"] == {**plain(summary), **price}
    assert summary["verdicts"] == judge(dataset, images).shares()
    assert done.probes is not None
    stored = json.loads((done.probes.folder / "summary.json").read_text())
    told = stored["probes"]["locality"]["levels"][0]["ldr"]["network"]["value"]
    assert done.records["locality"]["levels"][0]["ldr"]["network"]["value"] == told
    assert list(done.records) == ["training", "samples", "locality"]


def test_what_is_there_is_not_done_again(
    done: diffprobe.Experiment, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr("diffprobe.training.loop.Trainer._step", refuse)
    monkeypatch.setattr("diffprobe.experiment.sample_checkpoint", refuse)
    again = run_experiment(tiny_config, ["samples", "locality"], out=done.run.path, device="cpu")
    assert again.records == done.records


def test_samples_drawn_otherwise_are_drawn_again(
    done: diffprobe.Experiment, tiny_config: Config
) -> None:
    """In other batches the noise is another, and the file's name the same."""
    sampling = replace(tiny_config.sampling, batch_size=5)
    other = run_experiment(
        replace(tiny_config, sampling=sampling), ["samples"], out=done.run.path, device="cpu"
    )
    assert other.samples_path == done.samples_path
    assert other.samples is not None
    assert done.samples is not None
    assert other.samples.sampler["batch_size"] == 5
    assert not torch.equal(other.samples.images, done.samples.images)
    again = run_experiment(tiny_config, ["samples"], out=done.run.path, device="cpu")
    assert again.samples is not None
    assert torch.equal(again.samples.images, done.samples.images)


def test_mended_samples_are_files_of_their_own_and_tell_their_price(
    done: diffprobe.Experiment, tiny_config: Config
) -> None:
    sampling = replace(tiny_config.sampling, guidance=1.0, rejection=2)
    mended = replace(tiny_config, sampling=sampling)
    other = run_experiment(mended, ["samples"], out=done.run.path, device="cpu")
    assert other.samples_path != done.samples_path
    price, before = other.records["samples"], done.records["samples"]
    assert find(before, "evaluations", "samples")["value"] == tiny_config.sampling.steps
    assert find(before, "oracle_evaluations", "samples")["value"] == 0
    assert price["evaluations"] > tiny_config.sampling.steps
    assert price["oracle_evaluations"] == 2 * price["evaluations"]
    again = run_experiment(mended, ["samples"], out=done.run.path, device="cpu")
    assert again.records["samples"] == price


def test_it_writes_its_page(done: diffprobe.Experiment) -> None:
    report = done.report("an experiment")
    assert "an experiment" in Path(report.page).read_text()
    assert plain(report.verdicts.shares()) == done.records["samples"]["verdicts"]


def test_without_samples_there_is_no_page(tiny_config: Config, tiny_run: Path) -> None:
    bare = run_experiment(tiny_config, [], out=tiny_run, device="cpu")
    assert list(bare.records) == ["training"]
    with pytest.raises(UsageError, match="a report needs samples"):
        bare.report("nothing")


def test_an_unknown_measure_is_refused_before_training(tiny_config: Config, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown measure 'localty': did you mean 'locality'"):
        run_experiment(tiny_config, ["localty"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_public_face_is_what_it_says() -> None:
    for name in diffprobe.__all__:
        assert getattr(diffprobe, name) is not None
    assert {"train", "sample", "run_experiment", "load_denoiser"} <= set(dir(diffprobe))
