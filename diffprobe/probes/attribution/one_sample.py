"""Why a sample broke: one cell of it, as the network and the optimum see it at a noise level.

What is attributed is the contrast of the cell's two likeliest symbols, given its own pixels: why
one of them and not the other. What a denoiser believes a cell to be is read from its output: the
shares p of symbols, p >= 0 and adding up to one, whose blend of glyphs is nearest to it,

    x0_hat[cell] ≈ sum over v of p_v m_v,   m_v the mean of v's glyphs given the cell's own pixels.

Of the Bayes denoiser these are the posterior itself. The pixels of a cell alone have a posterior
too, the product denoiser's, which knows how frequent each symbol is and no grammar.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.tables import Table
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.attribution import AttributionConfig
from diffprobe.probes.attribution.maps import Attribution, measure
from diffprobe.probes.attribution.outputs import are_cells
from diffprobe.sampling.stored import StoredSample

if TYPE_CHECKING:
    from diffprobe.probes.attribution.judging import Measured
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

ADD_UP = 1e3  # how much more it counts that shares add up to one than that a pixel fits


@dataclass(frozen=True, repr=False)
class Account(Table):
    """What is read in a sample of L cells, and what is believed of it at a noise level.

    Attributes:
        file: Its file's name.
        index: Its place there.
        on_path: Whether it is looked at on its own sampling path, or under fresh noise.
        seed: Of the fresh noise.
        symbols: V names.
        verdict: As the report has it.
        violations: Kinds of what is wrong.
        word: (L,) long, as read.
        legible: (L,) bool.
        nearest: (L,) long, a nearest valid word.
        suspects: (L,) bool, the cells that any of the nearest valid words would change.
        beliefs: "network", "bayes" and "product" (the cell's own pixels) -> (L, V) shares.
        misfit: (L,) how far the network's output is from any blend of glyphs, root mean square.
        radius: How far a picture may be from a glyph and is legible.
        parting: (S, L) how far what the network takes a cell for is from what the optimum does, in
            total variation, at each step of the path; 0 where both name the same symbol.
        log_snr: (S,) of these steps; none where the path is not known.
        by_cell: Whether the regions are the cells.
        x_0: (C, H, W), the sample.
    """

    file: str
    index: int
    on_path: bool
    seed: int
    symbols: tuple[str, ...]
    verdict: str
    violations: tuple[str, ...]
    word: Tensor
    legible: Tensor
    nearest: Tensor
    suspects: Tensor
    beliefs: dict[str, Tensor]
    misfit: Tensor
    radius: float
    parting: Tensor
    log_snr: Tensor
    by_cell: bool
    x_0: Tensor

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each cell: what is read, and what each takes it for."""
        return [
            {
                "cell": i,
                "read": self.symbols[self.word[i]],
                "legible": bool(self.legible[i]),
                "nearest": self.symbols[self.nearest[i]],
                **{
                    key: value
                    for who, shares in self.beliefs.items()
                    for key, value in (
                        (who, self.symbols[int(shares[i].argmax())]),
                        (f"{who}_share", shares[i].max().item()),
                    )
                },
            }
            for i in range(len(self.word))
        ]

    def __repr__(self) -> str:
        return f"<Account of sample {self.index} of {self.file}: {self.verdict}>"


def measure_sample(
    settings: AttributionConfig, subject: "Subject", keep: "Keep"
) -> "dict[str, Measured]":
    """Attribute one region's output for the subject's sample, and tell what is believed of it.

    Raises:
        UsageError: If no grammar is known, or the sample is of another world.
    """
    sample, dataset = subject.sample, subject.dataset
    if sample is None or dataset is None:
        raise UsageError("a sample is looked into where its grammar is known (give --dataset)")
    by_cell = are_cells(subject.regions, dataset) and dataset.grammar.symbols > 1
    alone = replace(settings, metric_images=0, output="contrast" if by_cell else settings.output)
    found: dict[str, Measured] = dict(
        subject.measure_each(
            keep,
            Attribution,
            measure,
            alone,
            "bayes",
            regions=subject.regions,
            x_t=sample.x_t,
        )
    )
    found["sample"] = keep("sample", Account, lambda: _account(subject, dataset, sample))
    return found


def beliefs(
    dataset: SymbolImages, denoiser: Denoiser, x_t: Tensor, level: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what a denoiser takes each cell for.

    Args:
        dataset: The world.
        denoiser: Of this world's images.
        x_t: (N, C, H, W) noisy images.
        level: (N,) long, their noise levels.

    Returns:
        (N, L, V) shares of symbols, float64, and (N, L) how far the output is from the blend.
    """
    with torch.no_grad():
        outputs = dataset.cells(denoiser(x_t, level)).flatten(2).cpu().double()
        evidence = dataset.glyph_evidence(x_t, *denoiser.schedule.values(level, x_t.dtype))
        glyphs = dataset.glyphs.images.to(x_t)
        means = torch.einsum("nlvk,vkchw->nlvchw", evidence.softmax(-1), glyphs)
    blends = means.flatten(3).cpu().double()
    shares = torch.empty(blends.shape[:3], dtype=torch.float64)
    misfit = torch.empty(blends.shape[:2], dtype=torch.float64)
    for n, row in enumerate(blends.numpy()):
        for i, symbols in enumerate(row):
            output = outputs[n, i].numpy()
            rows = np.vstack([symbols.T, np.full((1, len(symbols)), ADD_UP)])
            found, _ = nnls(rows, np.append(output, ADD_UP))
            shares[n, i] = torch.from_numpy(found / found.sum())
            misfit[n, i] = float(np.sqrt(np.mean((found @ symbols - output) ** 2)))
    return shares, misfit


def apart(network: Tensor, bayes: Tensor) -> Tensor:
    """Return how far two beliefs `(…, V)` contradict each other: (…).

    It is their total variation where they name different symbols, and 0 where they do not.
    """
    differ = network.argmax(-1) != bayes.argmax(-1)
    return (network - bayes).abs().sum(-1) / 2 * differ


def _account(subject: "Subject", dataset: SymbolImages, sample: StoredSample) -> Account:
    verdicts = judge(dataset, sample.x_0)
    x_t = torch.cat([sample.x_t, sample.path])
    level = torch.cat([torch.tensor([sample.t], device=x_t.device), sample.levels.to(x_t.device)])
    found, misfit = beliefs(dataset, subject.denoiser, x_t, level)
    believed = {"network": found}
    for who, oracle in subject.oracles.items():
        if who in ("bayes", "product") and isinstance(oracle, BayesDenoiser | ProductDenoiser):
            believed[who] = oracle.posterior(x_t, level).detach().cpu().double()
    return Account(
        file=sample.file.name,
        index=sample.index,
        on_path=sample.on_path,
        seed=subject.config.probe.seed,
        symbols=tuple(dataset.glyphs.names),
        verdict=verdicts.verdict[0].partition("-")[0],
        violations=tuple(kind for kind, broken in verdicts.violations.items() if broken[0]),
        word=verdicts.words[0],
        legible=verdicts.legible_cells[0],
        nearest=verdicts.nearest[0],
        suspects=dataset.grammar.suspects(verdicts.words)[0] & verdicts.legible[0],
        beliefs={who: shares[0] for who, shares in believed.items()},
        misfit=misfit[0],
        radius=dataset.glyphs.radius,
        parting=apart(believed["network"][1:], believed["bayes"][1:]),
        log_snr=subject.denoiser.log_snr(sample.levels).cpu(),
        by_cell=are_cells(subject.regions, dataset),
        x_0=sample.x_0[0],
    )
