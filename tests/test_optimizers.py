from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError
from diffprobe.models import MLP
from diffprobe.resolution import resolve
from diffprobe.training.optimizers import OptimizerKind
from diffprobe.training.state import TrainingState

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
    "rmsprop": [{}, {"centered": True, "momentum": 0.5}],
    "adamw": [{}, {"weight_decay": 0.1}],
    "adam": [{}, {"amsgrad": True}],
}
CASES = [
    (name, settings) for name in kinds.names("optimizer") for settings in SETTINGS.get(name, [{}])
]


def made(name: str, settings: dict[str, Any]) -> TrainingState:
    torch.manual_seed(0)
    network = MLP((1, 2, 4), width=8)
    kind: Any = kinds.find("optimizer", name)
    assert issubclass(kind, OptimizerKind)
    return TrainingState(network, {}, kind(**settings).build(network.parameters()))


def step(state: TrainingState, rate: float) -> None:
    x = torch.randn(4, 1, 2, 4, generator=torch.Generator().manual_seed(state.step))
    state.optimizer.param_groups[0]["lr"] = rate
    loss = (state.network(x, torch.arange(4)).sample - 1).square().mean()
    loss.backward()
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1


def weights(state: TrainingState) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in state.network.state_dict().items()}


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_every_optimizer_goes_on_bit_for_bit(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    whole = made(name, settings)
    start = weights(whole)
    for rate in (1e-2, 2e-2):
        step(whole, rate)
    whole.save(tmp_path / "state")
    half = weights(whole)
    assert any(not torch.equal(start[k], half[k]) for k in start)
    for rate in (3e-2, 1e-2):
        step(whole, rate)

    resumed = made(name, settings)
    resumed.load(tmp_path / "state")
    assert resumed.step == 2
    assert all(torch.equal(v, half[k]) for k, v in weights(resumed).items())
    for rate in (3e-2, 1e-2):
        step(resumed, rate)
    after = weights(whole)
    assert all(torch.equal(v, after[k]) for k, v in weights(resumed).items())


def test_what_does_not_fit_is_not_lent() -> None:
    names = kinds.names("optimizer")
    assert {"sgd", "adam", "nadam", "radam", "rmsprop", "adagrad", "adamw"} <= set(names)
    assert names.count("adamw") == 1
    assert not {"lbfgs", "sparseadam", "muon", "optimizer"} & set(names)
    with pytest.raises(UsageError, match=r"unknown optimizer.name 'adamm': did you mean"):
        resolve(assignments=["optimizer.name=adamm"])


def test_settings_are_the_arguments_of_the_class() -> None:
    config = resolve(
        assignments=["optimizer.name=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true"]
    )
    optimizer = config.optimizer.build(MLP((1, 2, 4), width=8).parameters())
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0.9
    assert optimizer.defaults["nesterov"] is True
    betas = resolve(assignments=["optimizer.name=nadam", "optimizer.betas=[0.5, 0.6]"])
    assert betas.optimizer.build(MLP((1, 2, 4), width=8).parameters()).defaults["betas"] == (
        0.5,
        0.6,
    )


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["optimizer.momentun=0.9"], "unknown key 'optimizer.momentun': .*'optimizer.momentum'"),
        (["optimizer.lr=0.1"], "unknown key 'optimizer.lr'"),
        (["optimizer.momentum=fast"], "optimizer.momentum must be of type float, not 'fast'"),
    ],
)
def test_unknown_and_wrong_settings(assignments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(assignments=["optimizer.name=sgd", *assignments])


def test_settings_that_pytorch_refuses() -> None:
    with pytest.raises(UsageError, match="the optimizer sgd refuses its settings: Invalid"):
        resolve(assignments=["optimizer.name=sgd", "optimizer.momentum=-1.0"])
