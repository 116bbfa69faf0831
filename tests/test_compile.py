"""Trainings whose network is compiled: the same numbers, sooner."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch._dynamo import OptimizedModule

from diffprobe.config import Config
from diffprobe.foundations.errors import UsageError
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.training import loop, train, train_replicas

# PyTorch's own: of what it imports to compile, and of Python 3.13.0.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Guards may run slower:RuntimeWarning"),
]


@pytest.fixture
def compiled(tiny_config: Config) -> Config:
    training = replace(tiny_config.training, compile=True, steps=6, checkpoints=2)
    return replace(tiny_config, training=training, network=TransformerConfig(width=16, depth=1))


def test_it_trains_as_without_and_goes_on(compiled: Config, tmp_path: Path) -> None:
    plain = replace(compiled, training=replace(compiled.training, compile=False))
    eager = train(plain, tmp_path / "eager", "cpu")
    whole = train(compiled, tmp_path / "whole", "cpu")
    assert whole.losses() == pytest.approx(eager.losses(), rel=1e-5)
    assert isinstance(loop.prepare(compiled, "cpu").model, OptimizedModule)
    short = replace(compiled, training=replace(compiled.training, steps=3, checkpoints=1))
    train(short, tmp_path / "halves", "cpu")
    assert (train(compiled, tmp_path / "halves", "cpu").losses() == whole.losses()).all()


def test_without_a_compiler_it_says_so(
    compiled: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match="needs a C\\+\\+ compiler, and there is no no-such"):
        train(compiled, tmp_path / "run", "cpu")
    assert not (tmp_path / "run").exists()


def test_replicas_are_not_compiled(compiled: Config, tmp_path: Path) -> None:
    second = replace(compiled, training=replace(compiled.training, seed=1))
    with pytest.raises(UsageError, match="not compiled"):
        train_replicas([compiled, second], [tmp_path / "0", tmp_path / "1"], "cpu")
