"""Laws of loss curves on a denoiser: fitted to three trainings, asked for others, trained by."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.settings import check_positive
from diffprobe.studies.computations import Computation, Computed
from diffprobe.training.learning_rates import check_rate

if TYPE_CHECKING:
    from diffprobe.laws import Curve

READINGS = 100  # of the validation loss of each training
WARM_UP = 20  # a training's steps over those of its warm-up
FITTED = ("constant", "cosine", "two-stage")


@dataclass(frozen=True)
class LossLaw(Computation):
    """What laws fitted to three trainings tell of five others, and of the schedule that is best.

    A residual MLP of `width` learns handwritten digits of digit sums in `steps`, with one seed and
    eight learning-rate schedules, and with the one whose final loss the multi-power law of the
    first three foretells to be least. `r2` and `error` are means over the other five, error over
    the loss; the same of the simpler laws are `r2_momentum`, `error_momentum`, `r2_no_drop` and
    `error_no_drop`. `optimised`, `cosine` and `wsd` are final validation losses of the raw weights,
    `over_wsd` how much of the loss the first is above the last, and `promised` how much of the loss
    the first is above what was foretold.
    """

    name: ClassVar[str] = "loss-law"
    measures: ClassVar[tuple[str, ...]] = (
        "r2",
        "error",
        "r2_momentum",
        "error_momentum",
        "r2_no_drop",
        "error_no_drop",
        "optimised",
        "cosine",
        "wsd",
        "over_wsd",
        "promised",
    )
    steps: int = 4000
    peak: float = 3e-3
    batch_size: int = 64
    width: int = 62
    validation_size: int = 512

    def __post_init__(self) -> None:
        check_rate(peak=self.peak)
        check_positive(
            steps=self.steps,
            batch_size=self.batch_size,
            width=self.width,
            validation_size=self.validation_size,
        )
        if self.steps < WARM_UP:
            raise UsageError(f"steps must be at least {WARM_UP}, not {self.steps}")

    def schedules(self) -> dict[str, dict[str, Any]]:
        """Return the settings of the learning rate of each schedule, those fitted first."""
        half, late = self.steps // 2, 3 * self.steps // 4
        named: dict[str, dict[str, Any]] = {
            "constant": {"name": "constant_with_warmup"},
            "cosine": {"name": "cosine"},
            "two-stage": {"name": "two-stage", "second": 0.3 * self.peak, "at": half},
            "wsd": {"name": "wsd"},
            "linear": {"name": "linear"},
            "lower": {"name": "two-stage", "second": 0.1 * self.peak, "at": half},
            "later": {"name": "two-stage", "second": 0.3 * self.peak, "at": late},
            "long": {"name": "wsd", "shape": "linear", "decay": 0.4},
        }
        ours = {"peak": self.peak, "warmup_steps": self.steps // WARM_UP}
        return {name: {**ours, **settings} for name, settings in named.items()}

    def compute(self, seeds: Sequence[int], device: str, progress: Progress) -> list[Computed]:
        """Return the numbers of each seed; see `Computation.compute`."""
        return [self._of_seed(seed, device, progress) for seed in seeds]

    def _of_seed(self, seed: int, device: str, progress: Progress) -> Computed:
        from diffprobe.laws import judge, optimise

        schedules = self.schedules()
        with (
            tempfile.TemporaryDirectory() as folder,
            progress(total=len(schedules) + 1, desc=f"seed {seed}", unit="training") as bar,
        ):
            curves: dict[str, Curve] = {}
            for name, settings in schedules.items():
                curves[name] = self._trained(Path(folder) / name, seed, settings, device)
                bar.update()
            record = judge(
                [curves[name] for name in FITTED],
                [curve for name, curve in curves.items() if name not in FITTED],
            )
            best = optimise(record.law().fit, self.steps, self.steps // WARM_UP)
            rates = "".join(f"{rate:.17g}\n" for rate in best.rates)
            settings = {"name": "csv", "rates": f"lr\n{rates}"}
            curves["optimised"] = self._trained(Path(folder) / "optimised", seed, settings, device)
            bar.update()
        last = {name: float(curve.losses[-1]) for name, curve in curves.items()}
        told = {law: judged.mean for law, judged in record.laws.items()}
        return {
            "r2": told["multi-power"].r2,
            "error": told["multi-power"].relative,
            "r2_momentum": told["momentum"].r2,
            "error_momentum": told["momentum"].relative,
            "r2_no_drop": told["no-drop"].r2,
            "error_no_drop": told["no-drop"].relative,
            "optimised": last["optimised"],
            "cosine": last["cosine"],
            "wsd": last["wsd"],
            "over_wsd": last["optimised"] / last["wsd"] - 1,
            "promised": last["optimised"] / best.loss - 1,
        }

    def _trained(
        self, folder: Path, seed: int, learning_rate: Mapping[str, Any], device: str
    ) -> "Curve":
        from diffprobe.config import from_settings
        from diffprobe.laws import read_curve
        from diffprobe.training import train

        config = from_settings(
            {
                "grammar": {"name": "digit-sum"},
                "images": {"name": "digits", "grid": [2, 2]},
                "noise": {"prediction_type": "v_prediction"},
                "network": {"name": "residual-mlp", "width": self.width, "depth": 2},
                "averages": {},
                "learning_rate": dict(learning_rate),
                "training": {
                    "steps": self.steps,
                    "batch_size": self.batch_size,
                    "checkpoints": 2,
                    "log_every": max(1, self.steps // READINGS),
                    "validation_size": self.validation_size,
                },
            }
        ).with_seed(seed)
        train(config, folder, device, silent)
        return read_curve(folder)
