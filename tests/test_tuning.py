import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diffprobe.cli import run
from diffprobe.config import SamplingConfig
from diffprobe.datasets import SymbolImages, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.frontier import Search, budgets, held_out, tune_sampler, tuning
from diffprobe.models import BayesDenoiser, Denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.sampling.samplers import SamplerKind
from diffprobe.sampling.samplers.tuned import TunedConfig

USAGE = 2
CUBE = hypercube(ParityConfig(4).build())
OPTIMUM = BayesDenoiser(CUBE, noise_scheduler(NoiseConfig(timesteps=100)))
FLAT = ["--generations", "1", "--candidates", "4", "--samples", "8"]


def test_the_search_finds_what_is_rewarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that is known: the nearer to given numbers, the more samples are valid."""
    best = {2: np.array([1.0, -0.5, 0.8, 0.2]), 4: np.array([-1.0, 0.5, 0.2, 0.9])}
    seeds = []

    def rewarded(
        _: Denoiser, sampler: SamplerKind, config: SamplingConfig, __: SymbolImages
    ) -> tuple[float, Tensor]:
        assert isinstance(sampler, TunedConfig)
        clean, noisy, first, last = sampler.at(config.steps)
        x = np.array([np.log2(clean), np.log2(noisy), first, last])
        chance = np.exp(-((x - best[config.steps]) ** 2).sum())
        seeds.append(config.seed)
        return config.steps, torch.arange(config.n) < chance * config.n

    monkeypatch.setattr(tuning, "valid_samples", rewarded)
    search = Search(generations=25, candidates=8, samples=1000)
    found = tune_sampler(OPTIMUM, CUBE, [4, 2], search, SamplingConfig(seed=5))
    assert found.budgets == (2, 4)
    for steps, (clean, noisy, first, last) in best.items():
        wanted = (2.0**clean, 2.0**noisy, first, last)
        assert found.at(steps) == pytest.approx(wanted, abs=0.15)
    # Noise of its own in each generation and budget, the same for all candidates of one.
    assert len(seeds) == 2 * 25 * 8
    assert len(set(seeds)) == 2 * 25
    assert 5 not in seeds


def test_the_same_seed_tunes_the_same_and_is_judged_on_other_noise() -> None:
    search = Search(generations=2, candidates=4, samples=16)
    config = SamplingConfig(n=40, seed=3)
    found = [tune_sampler(OPTIMUM, CUBE, [3], search, config) for _ in range(2)]
    assert found[0] == found[1]
    judged = held_out(OPTIMUM, CUBE, found[0], config)
    assert [each.steps for each in judged.at] == [3]
    assert judged.at[0].tuned.n == judged.at[0].plain.n == 40
    assert judged.rows()[0]["steps"] == 3
    # The plain sampler gains nothing over itself.
    nothing = held_out(OPTIMUM, CUBE, TunedConfig(), config, [3, 5])
    assert [each.gain.value for each in nothing.at] == [0.0, 0.0]


def test_sets_of_budgets() -> None:
    assert budgets("exponential", 32) == [2, 4, 8, 16, 32]
    assert budgets("exponential", 2) == budgets("uniform", 2) == budgets("dense", 2) == [2]
    assert len(budgets("uniform", 32)) == len(budgets("exponential", 32))
    assert budgets("dense", 5) == [2, 3, 4, 5]
    with pytest.raises(UsageError, match="did you mean 'dense'"):
        budgets("dens", 8)
    with pytest.raises(UsageError, match="from 2 steps up, and 1 are the most"):
        budgets("dense", 1)


def test_without_the_optimiser_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(UsageError, match=r"pip install 'diffprobe\[tune\]'"):
        tune_sampler(OPTIMUM, CUBE, [2])


def test_from_the_command_line(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tuned.toml"
    common = ["tune", "sampler", str(tiny_run), "--out", str(file), *FLAT]
    assert run([*common, "--most", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sampler"]["budgets"] == [2, 4]
    assert told["evaluations"] == 4 * 8 * 6
    assert [each["steps"] for each in told["held_out"]] == [2, 4]
    out = tmp_path / "samples.npz"
    sampled = ["sample", str(tiny_run), "--sampler", str(file), "--out", str(out)]
    assert run([*sampled, "--sampler-steps", "3"]) == 0
    assert "24 images by tuned, 3 steps" in capsys.readouterr().out
    assert run([*sampled, "--dry-run", "--set", "sampler.clean=[2.0,2.0]"]) == 0
    assert json.loads(capsys.readouterr().out)["sampler"]["clean"] == [2.0, 2.0]
    assert run([*common, "--budgets", "dense", "--most", "4", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["budgets"] == [2, 3, 4]
    for wrong, message in [
        (["--budgets", "1,2"], "a budget of 1 has nothing to tune"),
        (["--budgets", "2,2000"], "2000 steps exceeds the 1000 noise levels"),
        (["--budgets", "exponentail"], "did you mean 'exponential'?"),
        (["--candidates", "2"], "4 candidates at least, not 2"),
        (["--weights", "emo"], "did you mean 'ema'?"),
        (["--out", "x.txt"], "ends in .toml"),
    ]:
        assert run([*common, *wrong]) == USAGE
        assert message in capsys.readouterr().err
    assert run(["tune", "samplr", str(tiny_run)]) == USAGE
    assert "did you mean 'tune sampler'?" in capsys.readouterr().err
