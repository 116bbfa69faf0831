"""How well a map predicts what changes of the image do, and how steady it is, by captum.

    infidelity       E (I·map - (F(x) - F(x with the baseline where I = 1)))²,   I a random set of
                     cells, each in it with probability ½, and the baseline the method's own
    sensitivity-max  max over e of ‖map(x + e) - map(x)‖ / ‖map(x)‖,   e uniform in ±`RADIUS`

Infidelity is told in units of E (F(x) - F(x with the baseline where I = 1))²: a map of zeros has 1.
Saliency is a magnitude, compares the image with nothing, and predicts no change. Unlike the true
effects of `truth`, neither knows what F depends on: infidelity asks what F does at
images that need not occur, and a constant map is as steady as can be.

Reference:
    Yeh et al., "On the (in)fidelity and sensitivity of explanations", arXiv:1901.09392, eqs. 1, 8.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from diffprobe.foundations.seeding import generator
from diffprobe.probes.attribution.methods import METHODS, Question, baseline_of, captum

IMAGES = 12  # if no number is given and a grammar is known
SETS = 16  # of cells, for each image
STEPS = 2  # away from each image: one costs as much as the map
RADIUS = 0.02


def measure(q: Question, method: str, maps: Tensor, first: int = 0) -> Tensor:
    """Return for each image the maps' infidelity, that of a map of zeros, and sensitivity-max.

    Args:
        q: What was asked, of N images.
        method: Whose maps they are.
        maps: (N, C, H, W), the answer.
        first: Index of the first image among all: what is drawn depends on it, not on batches.

    Returns:
        (N, 3); both infidelities are NaN for a method that predicts no change.
    """
    maps = maps.to(q.x)
    parts = []
    for of, repeats in ((_infidelities, SETS), (_sensitivity, STEPS)):
        size = max(1, q.common.batch_size // repeats)
        chunks = [slice(at, at + size) for at in range(0, len(q.x), size)]
        found = [of(q[rows], method, maps[rows], first + rows.start) for rows in chunks]
        parts.append(torch.cat(found))
    return torch.cat(parts, 1).cpu()


def _infidelities(q: Question, method: str, maps: Tensor, first: int) -> Tensor:
    baseline = baseline_of(method, q.settings.baseline)
    if baseline is None:
        return torch.full((len(q.x), 2), math.nan).to(q.x)
    cells = int(q.owner.max()) + 1
    sets = [_uniform(q, "sets of cells", first + i, SETS, cells) < 0.5 for i in range(len(q.x))]
    chosen = torch.cat(sets)[:, q.owner[0]]

    def replaced(x: Tensor) -> tuple[Tensor, Tensor]:
        absent = q.baselines[baseline].repeat_interleave(SETS, 0)
        return chosen.to(x), torch.where(chosen, absent, x)

    with torch.no_grad():
        found = [
            captum.metrics.infidelity(
                q.output,
                replaced,
                q.x,
                map_,
                additional_forward_args=q.weights,
                n_perturb_samples=SETS,
            )
            for map_ in (maps, torch.zeros_like(maps))
        ]
    return torch.stack(found, 1)


def _sensitivity(q: Question, method: str, maps: Tensor, first: int) -> Tensor:
    steps = [_uniform(q, "steps", first + i, STEPS, *q.x.shape[1:]) for i in range(len(q.x))]
    away = RADIUS * (2 * torch.cat(steps) - 1)

    repeated = q[torch.arange(len(q.x)).repeat_interleave(STEPS)]

    def explain(inputs: tuple[Tensor] | Tensor) -> tuple[Tensor]:
        if isinstance(inputs, tuple):  # captum asks for the maps at x, which are there
            return (maps,)
        with torch.enable_grad():
            return (METHODS[method](replace(repeated, x=inputs))[0].to(inputs),)

    found: Tensor = captum.metrics.sensitivity_max(
        explain,
        q.x,
        perturb_func=lambda x: x + away,
        n_perturb_samples=STEPS,
        norm_ord=2,
    )
    return found[:, None]


def _uniform(q: Question, purpose: str, image: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator(q.common.seed, purpose, image)).to(q.x)
