"""Fine-tuning a denoiser by the grammar's verdict on what it samples, at a few budgets.

A path of DDIM with noise is a chain of normal steps, x' ~ N(mean(x_t, x0_hat), s² I), so that the
expected reward of S steps has the policy gradient

    E[A sum over steps of grad log p(x' | x_t)],   A = (r - mean r) / std r over the samples drawn,

r = 1 where a sample is legible and obeys the grammar. Gradients of the budgets are added with the
trapezoid rule's weights over log2 of the steps: together they are that of the area under the curve
by budget. log p is taken by pixel, and the step to the image, which has no noise, is left out.

Reference:
    Black et al., "Training diffusion models with reinforcement learning", arXiv:2305.13301 (the
    score-function estimator, DDPO-SF); budgets after arXiv:2506.07104.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import NonFiniteLossError, UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.settings import check_positive
from diffprobe.frontier.envelope import octaves
from diffprobe.frontier.resuming import Unfinished
from diffprobe.frontier.tuning import check_steps
from diffprobe.models.denoiser import Denoiser
from diffprobe.sampling.bent_path import BentPath
from diffprobe.sampling.paths import ddim_mean, ddim_noise


@dataclass(frozen=True)
class Reward:
    """How long is trained, and on what.

    Attributes:
        rounds: Steps of the optimizer, AdamW without decay.
        samples: Drawn at each budget in a round.
        rate: Learning rate.
        eta: Of DDIM, whose noise is what is explored with, in (0, 1].
        clip: Norm of the gradient at most.
        seed: Of the noise.
    """

    rounds: int = 100
    samples: int = 256
    rate: float = 3e-5
    eta: float = 1.0
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(rounds=self.rounds, samples=self.samples)
        if not 0 < self.eta <= 1:
            raise UsageError(
                f"eta must lie in (0, 1], not {self.eta}: without noise no path has one"
            )
        for name in ("rate", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")

    def evaluations(self, budgets: Sequence[int]) -> int:
        """Return how often the denoiser is asked for an image; gradients are as many again."""
        return self.rounds * self.samples * sum(budgets)


def reward_tune(
    denoiser: Denoiser,
    dataset: SymbolImages,
    budgets: Sequence[int],
    reward: Reward | None = None,
    progress: Progress = silent,
    unfinished: Unfinished | None = None,
) -> list[dict[int, float]]:
    """Train a denoiser in place, and return the share of valid samples by budget in each round.

    Args:
        denoiser: A network; its weights change.
        dataset: Whose grammar judges.
        budgets: Numbers of steps, two at least each.
        reward: How long, and on what.
        progress: Called as tqdm is.
        unfinished: Where to keep weights and moments, and to go on from.

    Raises:
        UsageError: If a budget is out of range, or the denoiser has no weights.
        NonFiniteLossError: If the weights become so.
    """
    reward = reward or Reward()
    asked = check_steps(budgets, denoiser.timesteps)
    weights = [weight.requires_grad_(True) for weight in denoiser.parameters()]
    if not weights:
        raise UsageError("this denoiser has no weights to train")
    optimizer = torch.optim.AdamW(weights, lr=reward.rate, weight_decay=0.0)
    whole = octaves(asked) if len(asked) > 1 else torch.ones(1)
    shares = (whole / whole.sum()).tolist()
    told: list[dict[int, float]] = []
    if unfinished and (state := unfinished.read()):
        told = [{int(steps): valid for steps, valid in each.items()} for each in state["told"]]
        _restore(weights, optimizer, state)
    left = range(len(told), reward.rounds)
    for index in progress(left, desc="tune", unit="round"):
        found = {}
        for steps, share in zip(asked, shares, strict=True):
            seed = generator(reward.seed, f"reward, {steps} steps", index).initial_seed()
            found[steps] = _add_gradient(denoiser, dataset, steps, reward, seed, share)
        if any(weight.grad is not None for weight in weights):
            torch.nn.utils.clip_grad_norm_(weights, reward.clip)
            optimizer.step()
            optimizer.zero_grad()
        if not all(bool(weight.isfinite().all()) for weight in weights):
            raise NonFiniteLossError(
                f"the weights are not finite after round {index + 1:,}; lower the learning rate, "
                f"{reward.rate:g}",
                index + 1,
            )
        told.append(found)
        if unfinished:
            moments = [optimizer.state[weight] for weight in weights]
            unfinished.keep({"told": told, "weights": weights, "moments": moments})
    denoiser.requires_grad_(False)
    return told


@torch.no_grad()
def _restore(weights: list[Tensor], optimizer: torch.optim.Optimizer, state: Any) -> None:
    for weight, stored, moments in zip(weights, state["weights"], state["moments"], strict=True):
        weight.copy_(stored)
        if moments:
            optimizer.state[weight] = {
                name: value if name == "step" else value.to(weight)
                for name, value in moments.items()
            }


def _add_gradient(
    denoiser: Denoiser, dataset: SymbolImages, steps: int, reward: Reward, seed: int, share: float
) -> float:
    """Add the gradient of a budget to the weights', and return the share of valid samples."""
    schedule = denoiser.schedule
    path = BentPath(schedule, steps, 1.0, 1.0, reward.eta, reward.eta)
    random = torch.Generator(denoiser.device).manual_seed(seed)
    shape = (reward.samples, *dataset.image_shape)
    x = torch.randn(shape, generator=random, device=denoiser.device)
    walked = [x]
    with torch.no_grad(), denoiser.checked_together():
        for step, level in enumerate(path.levels):
            x0_hat = denoiser(x, level.expand(len(x)))
            x = path.advance(x, x, x0_hat, step, random)
            walked.append(x)
    valid = judge(dataset, x.cpu()).grammatical.to(x)
    spread = valid.std()
    # Where all samples are alike they tell of no direction.
    if bool(spread > 0):
        advantage = (valid - valid.mean()) / spread
        # The last step is certain.
        for step, (before, after) in enumerate(pairwise(walked[:-1])):
            log_p = _log_p(denoiser, path, step, before, after, reward.eta)
            (-share * (advantage * log_p).mean()).backward()
    return float(valid.mean())


def _log_p(
    denoiser: Denoiser, path: BentPath, step: int, x_t: Tensor, after: Tensor, eta: float
) -> Tensor:
    """log p(x' | x_t) by pixel, (B,), but for what does not depend on the weights."""
    here, there = path.levels[step : step + 1], path.levels[step + 1 : step + 2]
    x0_hat = denoiser(x_t, path.levels[step].expand(len(x_t)))
    mean = ddim_mean(denoiser.schedule, x_t, x0_hat, here, there, eta)
    noise = ddim_noise(denoiser.schedule, here, there, eta, x_t.dtype)
    return -((after - mean) / noise).square().flatten(1).mean(1) / 2
