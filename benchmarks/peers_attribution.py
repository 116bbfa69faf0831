"""Scores of attribution maps by captum, Quantus and diffprobe: a part of `peers.py`."""

from functools import partial

import numpy as np
import torch
from peers_world import BAYES, LEVEL, PRODUCT, WORLD, number, table
from torch import Tensor, nn

from diffprobe.config import ProbeConfig
from diffprobe.foundations.intervals import mean
from diffprobe.probes.attribution import AttributionConfig
from diffprobe.probes.attribution.judging import judge
from diffprobe.probes.attribution.maps import measure as attribute
from diffprobe.probes.attribution.methods import TITLES
from diffprobe.probes.attribution.ranks import truthfulness

METHODS = ("saliency", "integrated-gradients-prior-mean", "occlusion", "shapley")


def attribution() -> None:
    """Scores of maps of the optimum, by three tools; the truth is known for it."""
    import captum
    import quantus

    n = 96
    settings, common = AttributionConfig(images=n, metric_images=n), ProbeConfig()
    found = attribute(BAYES, WORLD, settings, common, t=LEVEL, methods=METHODS)
    truth = judge(found, WORLD, {"bayes": BAYES, "product": PRODUCT}, settings, common)
    x, mask = found.x_t, found.mask.float()

    class Region(nn.Module):
        """F(x), the sum of the region's output: (B, 1)."""

        def forward(self, x: Tensor) -> Tensor:
            x0_hat = BAYES(x, torch.full((len(x),), LEVEL))
            return (x0_hat * mask).sum((1, 2, 3))[:, None]

    model = Region().eval()
    maps = {TITLES[name]: map_ for name, map_ in zip(METHODS, found.maps, strict=True)}
    gradient = captum.attr.Saliency(model).attribute(x.clone().requires_grad_(), abs=False).detach()
    integrated = maps[TITLES[METHODS[1]]]
    random = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    # What multiplies a step gives a change; the others multiply their own way from a baseline.
    local = {"gradient": gradient, "gradient, own cell alone": gradient * mask}
    local["random numbers"] = random
    maps |= {f"{TITLES[METHODS[1]]}, own cell alone": integrated * mask, **local}

    def shaken(x: Tensor) -> tuple[Tensor, Tensor]:
        noise = 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        return noise, x - noise

    def infidelity(map_: Tensor) -> Tensor:
        """Of each image, in units of a map of zeros; the map's own scale does not count."""
        ask = partial(captum.metrics.infidelity, model, shaken, x, n_perturb_samples=50)
        of_zeros = ask(torch.zeros_like(x))
        share = ask(map_, normalize=True) / of_zeros
        return share.where(of_zeros > 1e-8, torch.nan)  # less is rounding

    np.random.seed(0)  # noqa: NPY002 - Quantus draws from numpy's global generator
    faithful = quantus.FaithfulnessCorrelation(
        nr_runs=100,
        subset_size=64,
        perturb_baseline="mean",
        return_aggregate=False,
        disable_warnings=True,
    )
    sparse = quantus.Sparseness(return_aggregate=False, disable_warnings=True)
    labels = np.zeros(n, dtype=int)
    rows = []
    for name, map_ in maps.items():
        sums = WORLD.cells(map_.abs()).flatten(2).sum(-1)
        right = truthfulness(sums, truth.effects[0], truth.region, others=True, size=truth.size)
        told = [mean(right, resolution=0.01)]
        at = list(maps).index(name)
        told += (
            [each[at] for each in (found.infidelity, found.sensitivity)]
            if at < len(METHODS)
            else [None] * 2
        )
        told.append(mean(infidelity(map_)) if name in local else None)
        given = {"model": model, "x_batch": x.numpy(), "y_batch": labels, "a_batch": map_.numpy()}
        told += [mean(torch.tensor(metric(**given))) for metric in (faithful, sparse)]
        rows.append([name, *(number(each) for each in told)])
    log_snr = BAYES.log_snr(torch.tensor(LEVEL)).item()
    print(f"Maps of the exact optimum of parity, log-SNR {log_snr:.2f}, {n} images.\n")
    head = ["map", "rank correlation with the exact effect (ours)"]
    head += ["infidelity by cells (ours, by captum)", "sensitivity-max (ours, by captum)"]
    head += ["infidelity to noise of 0.1 (captum)", "faithfulness correlation (Quantus)"]
    table([*head, "sparseness (Quantus)"], rows)
