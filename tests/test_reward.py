import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from diffprobe.cli import run
from diffprobe.datasets import SymbolImages, hypercube
from diffprobe.datasets.grammars.word_list import WordListConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.frontier import Reward, reward_tune
from diffprobe.models import BayesDenoiser, FunctionDenoiser, load_denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig

USAGE = 2
SCHEDULER = noise_scheduler(NoiseConfig(timesteps=100))


class Leaning(nn.Module):
    """The exact denoiser of independent signs that are + with log odds 2 b."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(()))
        alphas = SCHEDULER.alphas_cumprod
        self.register_buffer("slope", alphas.sqrt() / (1 - alphas))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(self.slope[t].view(-1, 1, 1, 1) * x_t + self.b)


def world(words: str) -> SymbolImages:
    return hypercube(WordListConfig(words=words, symbols="-+").build())


def trained(dataset: SymbolImages, reward: Reward) -> tuple[float, list[dict[int, float]]]:
    network = Leaning()
    denoiser = FunctionDenoiser(network, SCHEDULER)
    denoiser.network = network  # so that its weight is among the denoiser's
    told = reward_tune(denoiser, dataset, [2, 4], reward)
    assert not network.b.requires_grad
    return float(network.b), told


@pytest.mark.parametrize(("words", "sign"), [("+++", 1), ("---", -1)])
def test_what_is_rewarded_becomes_more_frequent(words: str, sign: int) -> None:
    b, told = trained(world(words), Reward(rounds=12, samples=128, rate=0.1))
    assert sign * b > 0.5
    assert sum(told[-1].values()) > sum(told[0].values()) + 0.5


def test_where_leaning_brings_nothing_little_changes() -> None:
    b, told = trained(world("+-+\n-+-"), Reward(rounds=12, samples=128, rate=0.02))
    assert abs(b) < 0.15
    assert len(told) == 12
    assert set(told[0]) == {2, 4}


def test_the_same_seed_trains_the_same() -> None:
    reward = Reward(rounds=2, samples=32, rate=0.05, seed=4)
    assert trained(world("+++"), reward) == trained(world("+++"), reward)


def test_what_cannot_be_trained_is_refused() -> None:
    dataset = world("+++")
    with pytest.raises(UsageError, match="no weights to train"):
        reward_tune(BayesDenoiser(dataset, SCHEDULER), dataset, [2])
    with pytest.raises(UsageError, match="without noise"):
        Reward(eta=0.0)
    with pytest.raises(UsageError, match="rate must be positive, not -1"):
        Reward(rate=-1.0)


def test_from_the_command_line(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rewarded"
    common = ["tune", "network", str(tiny_run), "--out", str(out)]
    short = ["--budgets", "2,3", "--rounds", "2", "--samples", "64", "--rate", "0.01"]
    assert run([*common, *short, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["steps"] for each in told["held_out"]] == [2, 3]
    assert told["evaluations"] == 2 * 64 * 5
    assert told["seed"] == 0
    assert (out / "reward.json").exists()
    # A run like any other, of other weights.
    assert run(["sample", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sampler"]["weights"] == "raw"
    ours, theirs = (load_denoiser(path, "raw") for path in (out, tiny_run))
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    for wrong, message in [
        ([], "is there already: choose another --out"),
        (["--out", str(tmp_path / "b"), "--budgets", "1,2"], "a budget of 1 has nothing"),
        (["--out", str(tmp_path / "b"), "--eta", "0"], "eta must lie in (0, 1], not 0.0"),
        (["--out", str(tmp_path / "b"), "--rounds", "0"], "rounds"),
    ]:
        assert run([*common, *wrong]) == USAGE
        assert message in capsys.readouterr().err
