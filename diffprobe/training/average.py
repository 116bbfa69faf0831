"""Averages: second sets of weights beside the raw ones, each with a state of its own."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn


class Average(ABC):
    """A second set of weights, built from the raw ones along training."""

    @abstractmethod
    def update(self, step: int, weights: Iterable[nn.Parameter]) -> None:
        """Take the raw weights after `step` steps into account."""

    @abstractmethod
    def weights(self) -> Sequence[Tensor]:
        """Return the averaged weights, in the order of the raw ones."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return what must be stored to go on, by name."""

    @abstractmethod
    def restore(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned after `step` steps.

        Raises:
            KeyError: If something is missing.
        """

    @abstractmethod
    def restart(self, weights: Iterable[nn.Parameter]) -> None:
        """Begin again with the raw weights as they are."""

    @torch.no_grad()
    def copy_to(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the averaged weights in the place of `parameters`."""
        for parameter, weight in zip(parameters, self.weights(), strict=True):
            parameter.copy_(weight)


class ExponentialAverage(Average):
    """diffusers' EMAModel: a moving average whose memory grows up to `decay`."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float, power: float) -> None:
        # Without growth EMAModel has a memory of (1 + s) / (10 + s), which min_decay overrules.
        growth = {"use_ema_warmup": True, "power": power} if power else {"min_decay": decay}
        self.model = EMAModel(parameters, decay, foreach=True, **growth)

    @torch.no_grad()
    def update(self, step: int, weights: Iterable[nn.Parameter]) -> None:
        """Move towards the raw weights; see `Average.update`.

        As `EMAModel.step`, which asks at every step whether transformers and DeepSpeed are there,
        and goes over the weights three times.
        """
        self.model.optimization_step += 1
        decay = self.model.get_decay(self.model.optimization_step)
        torch._foreach_lerp_(self.model.shadow_params, [*weights], 1 - decay)

    def restart(self, weights: Iterable[nn.Parameter]) -> None:
        """Begin again; see `Average.restart`."""
        for shadow, weight in zip(self.weights(), weights, strict=True):
            shadow.copy_(weight.detach())
        self.model.optimization_step = 0

    def weights(self) -> Sequence[Tensor]:
        """Return the moving average."""
        shadow: Sequence[Tensor] = self.model.shadow_params
        return shadow

    def state(self) -> dict[str, Tensor]:
        """Return the moving average."""
        return {str(i): weight for i, weight in enumerate(self.weights())}

    def restore(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Take up the moving average; see `Average.restore`."""
        for i, weight in enumerate(self.weights()):
            weight.copy_(state[str(i)])
        self.model.optimization_step = step


class SnapshotAverage(Average):
    """A weighted mean of the raw weights at some steps, and the raw weights before the first.

    Args:
        parameters: The raw weights.
        keep: How many of the latest snapshots count.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], keep: int) -> None:
        self.keep = keep
        self.latest = [p.detach().clone() for p in parameters]
        self.snapshots: list[tuple[float, list[Tensor]]] = []

    @abstractmethod
    def weight_at(self, step: int) -> float:
        """Return how much the weights after `step` steps count; 0 for none."""

    def update(self, step: int, weights: Iterable[nn.Parameter]) -> None:
        """Remember the raw weights if they count; see `Average.update`."""
        share = self.weight_at(step)
        if share == 0 and self.snapshots:
            return
        now = [p.detach().clone() for p in weights]
        if share:
            self.snapshots = [*self.snapshots, (share, now)][-self.keep :]
        else:
            self.latest = now

    def restart(self, weights: Iterable[nn.Parameter]) -> None:
        """Begin again; see `Average.restart`."""
        self.latest = [p.detach().clone() for p in weights]
        self.snapshots = []

    def weights(self) -> Sequence[Tensor]:
        """Return the mean, or the raw weights where nothing has counted yet."""
        if not self.snapshots:
            return self.latest
        total = sum(share for share, _ in self.snapshots)
        columns = zip(*(weights for _, weights in self.snapshots), strict=True)
        return [
            sum(
                (share / total * w for (share, _), w in zip(self.snapshots, column, strict=True)),
                start=torch.zeros_like(column[0]),
            )
            for column in columns
        ]

    def state(self) -> dict[str, Tensor]:
        """Return the snapshots and their shares."""
        stored = {f"latest.{i}": weight for i, weight in enumerate(self.latest)}
        for k, (share, weights) in enumerate(self.snapshots):
            stored[f"share.{k}"] = torch.tensor(share, dtype=torch.float64)
            stored |= {f"snapshot.{k}.{i}": weight for i, weight in enumerate(weights)}
        return stored

    def restore(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Take up the snapshots; see `Average.restore`."""
        n = len(self.latest)
        for i, weight in enumerate(self.latest):
            weight.copy_(state[f"latest.{i}"])
        stored = sum(key.startswith("share.") for key in state)
        self.snapshots = [
            (
                float(state[f"share.{k}"]),
                [state[f"snapshot.{k}.{i}"].to(self.latest[i]).clone() for i in range(n)],
            )
            for k in range(stored)
        ]


class LastAverage(SnapshotAverage):
    """The plain mean of the weights at the last `keep` multiples of `every` steps."""

    def __init__(self, parameters: Iterable[nn.Parameter], keep: int, every: int) -> None:
        super().__init__(parameters, keep)
        self.every = every

    def weight_at(self, step: int) -> float:
        """Return 1 at each multiple of `every`."""
        return float(step % self.every == 0)


class WeightedAverage(SnapshotAverage):
    """A mean of the weights at given steps by given weights."""

    def __init__(self, parameters: Iterable[nn.Parameter], shares: Mapping[int, float]) -> None:
        super().__init__(parameters, len(shares))
        self.shares = shares

    def weight_at(self, step: int) -> float:
        """Return the weight that was given for a step."""
        return self.shares.get(step, 0.0)
