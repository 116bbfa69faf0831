"""A run's checkpoint, fine-tuned by reward into a run folder of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from diffprobe.config import Config, SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.evaluation.verdicts import judge
from diffprobe.evaluation.words.estimators import WordStatistic, effective_words
from diffprobe.foundations.errors import CheckpointError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import write_record
from diffprobe.foundations.statistics import Difference, Rate, paired_difference
from diffprobe.frontier.resuming import Unfinished
from diffprobe.frontier.reward import Reward, reward_tune
from diffprobe.models.checkpoint import load_denoiser, save_checkpoint
from diffprobe.models.checkpoint_folder import find_checkpoint
from diffprobe.models.denoiser import Denoiser, noise_scheduler
from diffprobe.sampling import sample
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.training.run_folder import RunFolder


@dataclass(frozen=True)
class Judged:
    """Samples of a denoiser at one budget.

    Attributes:
        valid: Share of legible and grammatical ones.
        effective_words: Equally likely words that would repeat as often as the valid ones do.
        samples: (n,) bool, which are valid.
    """

    valid: Rate
    effective_words: WordStatistic
    samples: torch.Tensor


@dataclass(frozen=True)
class Change:
    """What fine-tuning did at one budget, on noise that it was not trained on."""

    steps: int
    before: Judged
    after: Judged
    gain: Difference

    def __str__(self) -> str:
        return (
            f"{self.steps} evaluations: valid {self.after.valid}, before "
            f"{self.before.valid.value or 0:.1%}; {self.gain}; effective words "
            f"{self.after.effective_words}, before {self.before.effective_words}"
        )


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuning.

    Attributes:
        rewards: Share of valid samples by budget in each round, on the noise of training.
        changes: On held-out noise, by budget.
        seed: Of the held-out noise.
        eta: Of DDIM, in all of it.
    """

    rewards: tuple[dict[int, float], ...]
    changes: tuple[Change, ...]
    seed: int
    eta: float

    def lines(self) -> list[str]:
        """Return a line for each budget, and what they were sampled with."""
        return [
            *map(str, self.changes),
            f"held-out noise, seed {self.seed}; ddim, eta {self.eta:g}",
        ]

    def summary(self) -> dict[str, Any]:
        """Return all of it, as JSON can hold it."""
        return {
            "seed": self.seed,
            "eta": self.eta,
            "rewards": [{str(k): v for k, v in each.items()} for each in self.rewards],
            "held_out": [
                {
                    "steps": each.steps,
                    "gain": each.gain,
                    **{
                        name: {"valid": found.valid, "effective_words": found.effective_words}
                        for name, found in (("before", each.before), ("after", each.after))
                    },
                }
                for each in self.changes
            ],
        }


def fine_tune(
    checkpoint: Path,
    out: Path,
    config: Config,
    budgets: Sequence[int],
    reward: Reward,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> FineTuned:
    """Fine-tune a checkpoint's denoiser, and store it as a run of one checkpoint.

    What is done is kept in `out`.unfinished.npz beside it, and the same call goes on from there.

    Args:
        checkpoint: Its folder.
        out: A new run folder.
        config: Of its run; `sampling` says how before and after are judged.
        budgets: Numbers of steps.
        reward: How long, and on what.
        device: Where to work.
        progress: Called as tqdm is.

    Raises:
        CheckpointError: If the checkpoint is of no training step.
    """
    step = find_checkpoint(checkpoint).step
    if step is None:
        raise CheckpointError(f"{checkpoint} is of no step of a training")
    denoiser = load_denoiser(checkpoint, config.weights, device)
    dataset = config.dataset()
    before = judged_at(denoiser, dataset, budgets, config.sampling, reward.eta)
    source = {"checkpoint": str(checkpoint), "weights": config.weights, "reward": vars(reward)}
    unfinished = Unfinished(
        out.with_name(f"{out.name}.unfinished.npz"), {**source, "budgets": sorted(set(budgets))}
    )
    rewards = reward_tune(denoiser, dataset, budgets, reward, progress, unfinished)
    after = judged_at(denoiser, dataset, budgets, config.sampling, reward.eta)
    changes = tuple(
        Change(n, before[n], after[n], paired_difference(after[n].samples, before[n].samples))
        for n in before
    )
    told = FineTuned(tuple(rewards), changes, config.sampling.seed, reward.eta)
    # One set of weights is left, and it is no average.
    own = replace(config, averages={}, sampling=replace(config.sampling, weights=""))
    run = RunFolder(out)
    with run.written():
        RunFolder.open(out, own, denoiser.device)
        save_checkpoint(
            run.checkpoint_path(step), {"raw": denoiser.network}, noise_scheduler(config.noise)
        )
        write_record(out / "reward.json", {**source, **told.summary()})
    unfinished.done()
    return told


def judged_at(
    denoiser: Denoiser,
    dataset: SymbolImages,
    budgets: Sequence[int],
    config: SamplingConfig,
    eta: float,
) -> dict[int, Judged]:
    """Return verdict and variety of a denoiser's samples by DDIM at each number of steps."""
    found = {}
    for steps in sorted(set(budgets)):
        settings = replace(config.plain, steps=steps)
        drawn = sample(denoiser, dataset.image_shape, DDIMConfig(eta), settings, silent)
        verdicts = judge(dataset, drawn)
        words = _variety(dataset, verdicts.words[verdicts.grammatical])
        found[steps] = Judged(verdicts.valid_rate, words, verdicts.grammatical)
    return found


def _variety(dataset: SymbolImages, words: torch.Tensor) -> WordStatistic:
    """The effective number of valid words (n, L)."""
    grammar = dataset.plain.grammar
    _, counts = words.unique(dim=0, return_counts=True)
    collision, third = grammar.collision_probability(2), grammar.collision_probability(3)
    return effective_words(counts, grammar.count(), collision, third)
