"""Assemblies continued step by step, by networks and by the optimum."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.settings import check_positive
from diffprobe.studies.computations import Computation, Computed

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.config import Config
    from diffprobe.datasets import SymbolImages
    from diffprobe.datasets.grammars.assembly import AssemblyConfig
    from diffprobe.models import Denoiser
    from diffprobe.sampling.samplers import SamplerKind

COLOURS = ("red", "blue", "lime", "yellow")
SHAPES = "■◀▶"


@dataclass(frozen=True)
class AssemblyContinued(Computation):
    """How many steps of an assembly are right, however many are left to a denoiser.

    Assemblies of `pieces` steps are given but for their last k rows, which are sampled, all at once
    (`joint`) or one row after another (`rows`), in `sampler_steps` evaluations either way. Both are
    the share of assemblies that are right, and `legible_joint` and `legible_rows` the share that
    can be read; `first_joint` and `first_rows` tell how many have their first bad step at k where
    all steps are sampled: all but the two legible ones of the legible. `outlier`, told at the last
    k, is the share of assemblies with one wrong step of which the denoiser tells that step: the row
    that it changes most after noise of `log_snr`; chance is one in `pieces`.

    The `denoiser` is a network with a noise level for each cell ("network") or one for the image
    ("one-level"), for which rows are given by replacement and never sampled one after another, the
    optimum ("bayes"), or the one that knows each cell's own symbols alone ("product"). A network is
    trained `steps` steps; `n` assemblies are continued for each k, and `n` have a wrong step.
    """

    name: ClassVar[str] = "assembly"
    along: ClassVar[str] = "step of the assembly, k"
    measures: ClassVar[tuple[str, ...]] = (
        "joint",
        "rows",
        "legible_joint",
        "legible_rows",
        "first_joint",
        "first_rows",
        "outlier",
    )
    denoiser: Literal["network", "one-level", "bayes", "product"] = "network"
    pieces: int = 5
    columns: int = 6
    colours: int = 2
    cell: int = 5
    steps: int = 2000
    batch_size: int = 64
    width: int = 64
    depth: int = 3
    peak: float = 2e-3
    n: int = 200
    sampler_steps: int = 36
    log_snr: float = -2.0

    def __post_init__(self) -> None:
        names = ("steps", "batch_size", "width", "depth", "n", "sampler_steps", "cell")
        check_positive(**{name: getattr(self, name) for name in names})
        check_positive(most=len(COLOURS), colours=self.colours)
        if self.sampler_steps < self.grammar.rows:
            raise UsageError(
                f"sampler_steps must be at least {self.grammar.rows}, one for each row, not "
                f"{self.sampler_steps}"
            )

    @property
    def grammar(self) -> "AssemblyConfig":
        """What is assembled."""
        from diffprobe.datasets.grammars.assembly import AssemblyConfig

        return AssemblyConfig(self.pieces, self.columns, self.colours)

    def compute(self, seeds: Sequence[int], device: str, progress: Progress) -> list[Computed]:
        """Return the numbers of each seed; see `Computation.compute`."""
        return [self._of_seed(seed, device, progress) for seed in seeds]

    def _of_seed(self, seed: int, device: str, progress: Progress) -> Computed:
        from diffprobe.foundations.seeding import generator
        from diffprobe.sampling.samplers.ddim import DDIMConfig
        from diffprobe.sampling.samplers.sequential import SequentialConfig

        samplers = {"joint": DDIMConfig(), "rows": SequentialConfig(order="rows")}
        if self.denoiser == "one-level":
            del samplers["rows"]
        found: dict[str, dict[int, float | None]] = {name: {} for name in self.measures}
        config = self._config().with_seed(seed)
        dataset = config.dataset()
        stages = self.pieces * len(samplers) + 2
        with progress(total=stages, desc=f"seed {seed}", unit="stage") as bar:
            denoiser = self._made(config, dataset, device)
            bar.update()
            words = dataset.grammar.sample(self.n, generator(seed, "assemblies"))
            for name, sampler in samplers.items():
                for k in range(1, self.pieces + 1):
                    first = self._continued(denoiser, dataset, words, k, sampler, seed)
                    found[f"legible_{name}"][k] = len(first) / self.n
                    found[name][k] = _share(first > self.pieces)
                    bar.update()
                for step in range(1, self.pieces + 1):
                    found[f"first_{name}"][step] = _share(first == step)
            found["outlier"][self.pieces] = self._outliers(denoiser, dataset, words, seed)
            bar.update()
        return found

    def _continued(
        self,
        denoiser: "Denoiser",
        dataset: "SymbolImages",
        words: "Tensor",
        k: int,
        sampler: "SamplerKind",
        seed: int,
    ) -> "Tensor":
        """Sample the last k rows, and return the first bad step of each that can be read."""
        from diffprobe.config import SamplingConfig
        from diffprobe.datasets.symbol_images import LEGIBLE
        from diffprobe.sampling import Given, sample

        sampling = SamplingConfig(n=self.n, batch_size=self.n, steps=self.sampler_steps, seed=seed)
        given = Given.words(dataset, self.grammar.to_continue(words, k))
        made = sample(denoiser, dataset.image_shape, sampler, sampling, silent, given=given)
        read, confidence = dataset.recognise(made.images)
        return self.grammar.first_bad_step(read[(confidence >= LEGIBLE).all(1)])

    def _outliers(
        self, denoiser: "Denoiser", dataset: "SymbolImages", words: "Tensor", seed: int
    ) -> float:
        """The share of assemblies with one wrong step whose row is changed most."""
        import torch

        from diffprobe.foundations.seeding import generator

        random = generator(seed, "outliers")
        wrong, step = self.grammar.with_outliers(words, random)
        images = dataset.render(wrong)
        eps = torch.randn(images.shape, generator=random)
        every = denoiser.schedule.log_snr(torch.arange(denoiser.timesteps))
        level = (every - self.log_snr).abs().argmin().expand(self.n)
        images, eps, level = (x.to(denoiser.device) for x in (images, eps, level))
        with torch.no_grad():
            x0_hat = denoiser(denoiser.schedule.noise(images, eps, level), level)
        cells = dataset.cells(x0_hat - images).square().flatten(2).sum(-1)
        by_row = cells.unflatten(1, (self.grammar.rows, self.columns)).sum(-1)
        return float((1 + by_row[:, 1:].argmax(1).cpu() == step).double().mean())

    def _made(self, config: "Config", dataset: "SymbolImages", device: str) -> "Denoiser":
        from diffprobe.foundations.devices import resolve_device
        from diffprobe.models import BayesDenoiser, ProductDenoiser, load_denoiser, noise_scheduler
        from diffprobe.training import train

        place = resolve_device(device)
        if self.denoiser in ("bayes", "product"):
            oracle = BayesDenoiser if self.denoiser == "bayes" else ProductDenoiser
            return oracle(dataset, noise_scheduler(config.noise)).to(place)
        with tempfile.TemporaryDirectory() as folder:
            train(config, Path(folder) / "run", device, silent)
            return load_denoiser(Path(folder) / "run", config.weights, place)

    def _config(self) -> "Config":
        from diffprobe.config import from_settings

        by_cell = self.denoiser != "one-level"
        settings: dict[str, Any] = {
            "grammar": {
                "name": "assembly",
                "steps": self.pieces,
                "columns": self.columns,
                "colours": self.colours,
            },
            "images": {
                "name": "coloured",
                "shapes": SHAPES,
                "colours": list(COLOURS[: self.colours]),
                "blank": True,
                "grid": [self.grammar.rows, self.columns],
                "cell": [self.cell, self.cell],
            },
            "noise": {"prediction_type": "sample"},
            "network": {
                "name": "transformer",
                "patch": [self.cell, self.cell],
                "width": self.width,
                "depth": self.depth,
                "levels_by_cell": by_cell,
            },
            "objective": {"by_cell": by_cell},
            "learning_rate": {"peak": self.peak},
            "training": {
                "steps": self.steps,
                "batch_size": self.batch_size,
                "checkpoints": 1,
                "log_every": self.steps,
            },
        }
        return from_settings(settings)


def _share(found: "Tensor") -> float | None:
    """The share that is true; None of nothing."""
    return float(found.double().mean()) if len(found) else None
