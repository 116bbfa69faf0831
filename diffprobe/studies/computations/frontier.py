"""How much of the gap by budget a tuned sampler closes, and a denoiser that is tuned by reward."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.settings import check_positive
from diffprobe.studies.computations import Computation, Computed

if TYPE_CHECKING:
    from diffprobe.config import SamplingConfig
    from diffprobe.datasets import SymbolImages
    from diffprobe.frontier import Curve
    from diffprobe.models.denoiser import Denoiser
    from diffprobe.sampling.samplers import SamplerKind

SETS = ("exponential", "uniform", "dense")


@dataclass(frozen=True)
class FrontierStudy(Computation):
    """The area between a denoiser's rate of valid samples by budget and the optimum's envelope.

    A residual MLP of `width` learns parity of `length` signs in `steps`. The gap is over log2 of
    the evaluations from 2 to `most`, at half octaves, to the envelope of the Bayes optimum's DDIM
    (eta 0, 1) and DPM-Solver++. `gap_plain` is DDIM's, `gap_best` that of the envelope of the same
    three samplers, `gap_exponential`, `gap_uniform` and `gap_dense` those of the sampler tuned at
    such budgets, `closed_…` the share of `gap_plain` that a tuned sampler closes, and `over_dense`
    the gap of the exponential budgets less that of the dense ones. `gap_noisy` is that of DDIM with
    eta 1 and `gap_reward` the same of the denoiser after `rounds` of reward at the budgets 4, 8, …,
    `words_before` and `words_after` the effective numbers of words of their samples at the last
    budget. All of it is judged on noise that nothing was tuned on.
    """

    name: ClassVar[str] = "frontier"
    measures: ClassVar[tuple[str, ...]] = (
        "gap_plain",
        "gap_best",
        "gap_exponential",
        "gap_uniform",
        "gap_dense",
        "closed_exponential",
        "closed_uniform",
        "closed_dense",
        "over_dense",
        "gap_noisy",
        "gap_reward",
        "words_before",
        "words_after",
    )
    steps: int = 4000
    width: int = 128
    length: int = 6
    most: int = 16
    generations: int = 12
    samples: int = 128
    rounds: int = 100
    judged: int = 1000

    def __post_init__(self) -> None:
        check_positive(
            steps=self.steps,
            width=self.width,
            generations=self.generations,
            samples=self.samples,
            rounds=self.rounds,
        )
        for name, least in (("judged", 20), ("most", 4), ("length", 2)):
            if (value := getattr(self, name)) < least:
                raise UsageError(f"{name} must be at least {least}, not {value}")

    def compute(self, seeds: Sequence[int], device: str, progress: Progress) -> list[Computed]:
        """Return the numbers of each seed; see `Computation.compute`."""
        return [self._of_seed(seed, device, progress) for seed in seeds]

    def _of_seed(self, seed: int, device: str, progress: Progress) -> Computed:
        from diffprobe.config import SamplingConfig
        from diffprobe.frontier import Reward, Search, budgets, frontier, reward_tune, tune_sampler
        from diffprobe.frontier.envelope import area_between
        from diffprobe.frontier.fine_tuning import judged_at
        from diffprobe.models import BayesDenoiser
        from diffprobe.sampling.samplers.ddim import DDIMConfig
        from diffprobe.sampling.samplers.dpm_solver import DPMSolverConfig

        config = SamplingConfig(n=self.judged, batch_size=self.judged, seed=seed)
        with progress(total=3 + len(SETS), desc=f"seed {seed}", unit="part") as bar:
            denoiser, dataset = self._trained(seed, device)
            bar.update()
            plain = [DDIMConfig(), DDIMConfig(eta=1.0), DPMSolverConfig()]
            optimum = BayesDenoiser(dataset, denoiser.scheduler).to(denoiser.device)
            judge = _Judge(dataset, half_octaves(self.most), config)
            best = [judge(optimum, each) for each in plain]
            curves = [judge(denoiser, each) for each in plain]
            bar.update()
            search = Search(self.generations, samples=self.samples)
            for name in SETS:
                at = budgets(name, self.most)
                tuned = tune_sampler(denoiser, dataset, at, search, config)
                curves.append(judge(denoiser, tuned))
                bar.update()
            hand_set = frontier(curves[: len(plain)], judge.steps, best, seed)
            sparse = [n for n in budgets("exponential", self.most) if n >= 4]
            before = judged_at(denoiser, dataset, sparse[-1:], config, 1.0)
            reward_tune(
                denoiser, dataset, sparse, Reward(self.rounds, self.samples, 1e-4, seed=seed)
            )
            after = judged_at(denoiser, dataset, sparse[-1:], config, 1.0)
            curves.append(judge(denoiser, DDIMConfig(eta=1.0)))
            bar.update()
        gaps = [area_between(best, curve, judge.steps) for curve in curves]
        gap_plain, gap_noisy, _, *tuned_gaps, gap_reward = gaps
        best_gap = hand_set.to_optimum
        of_set = dict(zip(SETS, tuned_gaps, strict=True))
        return {
            "gap_plain": gap_plain,
            "gap_best": None if best_gap is None else best_gap.reg.value,
            **{f"gap_{name}": gap for name, gap in of_set.items()},
            **{f"closed_{name}": _closed(gap, gap_plain) for name, gap in of_set.items()},
            "over_dense": of_set["exponential"] - of_set["dense"],
            "gap_noisy": gap_noisy,
            "gap_reward": gap_reward,
            "words_before": before[sparse[-1]].effective_words.value,
            "words_after": after[sparse[-1]].effective_words.value,
        }

    def _trained(self, seed: int, device: str) -> "tuple[Denoiser, SymbolImages]":
        from diffprobe.config import from_settings
        from diffprobe.foundations.devices import resolve_device
        from diffprobe.models import load_denoiser
        from diffprobe.training import train

        settings: dict[str, Any] = {
            "grammar": {"name": "parity", "length": self.length},
            "images": {"name": "pixels", "grid": [1, self.length]},
            "noise": {"prediction_type": "sample"},
            "network": {"name": "residual-mlp", "width": self.width, "depth": 2},
            "averages": {},
            "training": {
                "steps": self.steps,
                "batch_size": 256,
                "checkpoints": 1,
                "log_every": self.steps,
                "save_every": self.steps,
                "validation_size": 32,
            },
        }
        config = from_settings(settings).with_seed(seed)
        with tempfile.TemporaryDirectory() as folder:
            run = train(config, Path(folder) / "run", device, silent)
            return load_denoiser(run.path, "raw", resolve_device(device)), config.dataset()


class _Judge:
    """Curves of ways to sample, all from one noise."""

    def __init__(
        self, dataset: "SymbolImages", steps: Sequence[int], config: "SamplingConfig"
    ) -> None:
        self.dataset, self.steps, self.config = dataset, steps, config

    def __call__(self, denoiser: "Denoiser", sampler: "SamplerKind") -> "Curve":
        from diffprobe.frontier.pool import curve_of

        return curve_of(sampler.title, denoiser, sampler, self.steps, self.dataset, self.config)


def half_octaves(most: int) -> list[int]:
    """Return numbers of steps from 2 to `most`, half an octave apart.

    >>> half_octaves(16)
    [2, 3, 4, 6, 8, 12, 16]
    """
    found = [n for power in range(1, most.bit_length()) for n in (2**power, 3 * 2 ** (power - 1))]
    return sorted({n for n in found if n < most} | {most})


def _closed(gap: float, before: float) -> float | None:
    return 1 - gap / before if before > 0 else None
