"""The same work done by other tools and by diffprobe, side by side: Markdown tables.

    make peers          installs Quantus and torch-fidelity beside diffprobe, and runs this

captum's and Quantus' scores of our attribution maps, of the exact optimum; torch-fidelity's KID
beside our verdicts; local score machines and trajectory variance, each computed here a second time
from the formula of its paper. Names behind the command choose some of the tables.
"""

import math
import sys
import types
import warnings
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from peers_attribution import attribution
from peers_world import BAYES, LEVEL, PRODUCT, SCHEDULER, WORLD, number, table
from torch import Tensor, nn

from diffprobe.config import SamplingConfig
from diffprobe.evaluation.verdicts import judge as verdicts_of
from diffprobe.foundations.intervals import mean
from diffprobe.foundations.ranks import auroc
from diffprobe.foundations.statistics import wilson
from diffprobe.models import LocalDenoiser
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import (
    LocalPatchDenoiser,
    WienerDenoiser,
)
from diffprobe.probes.detectors import DetectorsConfig
from diffprobe.probes.detectors.scores import measure as detect
from diffprobe.sampling import sample
from diffprobe.sampling.samplers.ddim import DDIMConfig


class RandomFeatures(nn.Module):
    """A convolutional network of random weights: (N, 64), what is near by, or the whole picture."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        near = [
            nn.Conv2d(1, 32, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 5, stride=2, padding=2),
            nn.ReLU(),
        ]
        size = 64 * math.prod(WORLD.image_shape) // 4
        seen = [nn.Flatten(), nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, 64)]
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.layers = nn.Sequential(*near, *(seen if whole else pooled))

    @torch.no_grad()
    def forward(self, *images: Tensor) -> list[Tensor]:
        """Return the features of sets of images, of unit variance over the last set."""
        found = [self.layers(each) for each in images]
        spread = found[-1].std(0).clamp_min(1e-6)
        return [(each - found[-1].mean(0)) / spread for each in found]


def kid() -> None:
    """What KID sees, and what verdicts see, of the same pictures."""
    kid_features_to_metric = _torch_fidelitys_kid()
    n = 2000
    random = torch.Generator().manual_seed(0)
    words = WORLD.grammar.sample(2 * n, random)
    reference, valid = WORLD.draw(words, random).chunk(2)
    odd = words[n:].clone()
    place = torch.randint(6, (n,), generator=random)
    odd[torch.arange(n), place] = 1 - odd[torch.arange(n), place]
    alike = words[n:].clone()
    alike[:, 1] = alike[:, 0]
    cells = WORLD.cells(valid).clone()
    cells[torch.arange(n), place] = WORLD.glyphs.images[:, 0].mean(0)
    pictures = {
        "other valid words": valid,
        "one symbol exchanged: perfect, and against the grammar": WORLD.draw(odd, random),
        "the second symbol that of the first: perfect, half against it": WORLD.draw(alike, random),
        "one symbol blurred with the other: no symbol": WORLD.image(cells),
    }
    networks = [RandomFeatures(whole) for whole in (False, True)]
    rows = []
    for name, images in pictures.items():
        seen = []
        for network in networks:
            found = kid_features_to_metric(
                *network(images, reference),
                kid_subsets=100,
                kid_subset_size=500,
                rng_seed=0,
                verbose=False,
            )
            at, spread = (found[f"kernel_inception_distance_{part}"] for part in ("mean", "std"))
            seen.append(f"{at:.4f} ± {spread:.4f}")
        told = verdicts_of(WORLD, images)
        legible, right = int(told.legible.sum()), int(told.grammatical.sum())
        rate = str(wilson(right, legible)) if legible else "–"
        rows.append([name, *seen, str(wilson(legible, n)), rate])
    print(f"{n:,} pictures each, against {n:,} of valid words.\n")
    head = ["pictures", "KID of what is near by (torch-fidelity)", "KID of whole pictures"]
    table([*head, "legible (ours)", "valid, of the legible"], rows)


def _torch_fidelitys_kid() -> Callable[..., dict[str, float]]:
    """Import torch-fidelity's KID of features, which needs nothing of torchvision.

    Its package imports torchvision all the same, which must be of torch's own build: empty modules
    stand in for it.
    """
    for name in ("", ".datasets", ".transforms", ".transforms.functional"):
        sys.modules[f"torchvision{name}"] = types.ModuleType(f"torchvision{name}")
    sets = sys.modules["torchvision.datasets"]
    sets.CIFAR10 = sets.CIFAR100 = sets.STL10 = object
    try:
        from torch_fidelity.metric_kid import kid_features_to_metric
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    return kid_features_to_metric


def machines() -> None:
    """Local score machines a second time, from the formula, and how far they are from the optimum.

    x0_hat[p] = sum w y,  w ∝ exp(-‖x_t[patch(p)] - alpha y[patch]‖² / (2 sigma²)): over all
    training patches at the place p (local), or at every place of the image (equivariant).
    """
    words = torch.tensor([w for w in np.ndindex(*[2] * 6) if sum(w) % 2 == 0])
    images = WORLD.render(words)
    random = torch.Generator().manual_seed(0)
    x_0 = WORLD.draw_images(32, random)
    t = torch.full((32,), LEVEL)
    alpha, sigma = BAYES.alpha_sigma(t[:1])
    x_t = alpha * x_0 + sigma * torch.randn(x_0.shape, generator=random)

    def patches(x: Tensor, side: int) -> Tensor:
        return nn.functional.unfold(x, side, padding=side // 2).transpose(1, 2)  # (B, H W, side²)

    def local(side: int) -> Tensor:
        seen, known = patches(x_t, side), patches(alpha * images, side)
        far = (seen[:, None] - known[None]).square().sum(-1)  # (B, M, H W)
        weights = (-far / (2 * sigma.flatten() ** 2)).softmax(1)
        return torch.einsum("bmp,mp->bp", weights, images.flatten(1)).reshape(x_t.shape)

    def equivariant(side: int) -> Tensor:
        seen, known = patches(x_t, side), patches(alpha * images, side).flatten(0, 1)
        far = torch.stack([torch.cdist(each, known).square() for each in seen])
        weights = (-far / (2 * sigma.flatten() ** 2)).softmax(-1)
        return (weights @ images.flatten()).reshape(x_t.shape)

    def cells(radius: int) -> Tensor:
        found = []
        seen, known = WORLD.cells(x_t), WORLD.cells(images)
        for place in range(6):
            near = slice(max(0, place - radius), place + radius + 1)
            apart = (seen[:, None, near] - alpha * known[None, :, near]).square().flatten(2).sum(-1)
            weights = (-apart / (2 * sigma.flatten() ** 2)).softmax(1)
            found.append(torch.einsum("bm,mchw->bchw", weights, known[:, place]))
        return WORLD.image(torch.stack(found, 1))

    optimum = BAYES(x_t, t)
    ours = {side: LocalPatchDenoiser(images, SCHEDULER, side)(x_t, t) for side in (9, 17)}
    near = {r: LocalDenoiser(WORLD, SCHEDULER, r)(x_t, t) for r in (0, 2, 5)}
    rows: list[tuple[str, Tensor, Tensor | None]] = [
        *((f"local, patches of {side}×{side} pixels", local(side), ours[side]) for side in ours),
        ("equivariant, patches of 9×9 pixels", equivariant(9), None),
        *((f"local, cells within {r}", cells(r), near[r]) for r in near),
    ]
    shown = []
    for name, formula, other in rows:
        same = "–" if other is None else f"{(formula - other).abs().max():.1e}"
        far = mean((formula - optimum).square().flatten(1).mean(1))
        shown.append([name, same, number(far)])
    log_snr = BAYES.log_snr(t[:1]).item()
    print(
        f"All {len(images)} images of parity as the training set, 32 noisy images, log-SNR "
        f"{log_snr:.2f}.\n"
    )
    head = ["machine (from its formula)", "largest difference to ours"]
    table([*head, "mean square distance to the optimum"], shown)


def trajectories() -> None:
    """Trajectory variance a second time, and how well it finds what the grammar calls broken.

    Hal(x) = mean over the steps of the window of (x0_hat_t - its mean over them)².
    """
    settings = DetectorsConfig(samples=400)
    sampling = SamplingConfig(n=400, steps=50, batch_size=400)

    def variance(denoiser: Denoiser) -> tuple[Tensor, Tensor]:
        path: list[tuple[int, Tensor]] = []

        def watch(batch: int, level: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
            path.append((int(level), x0_hat))

        made = sample(denoiser, WORLD.image_shape, DDIMConfig(), sampling, False, watch)
        low, high = settings.window
        inside = [x for t, x in path if low <= 1 - t / (denoiser.timesteps - 1) <= high]
        stack = torch.stack(inside).double()
        return made.images, (stack - stack.mean(0)).square().mean(0).flatten(1).mean(1)

    found = detect(PRODUCT, WORLD, settings, t=LEVEL, sampler=DDIMConfig(), sampling=sampling)
    ours = found.scores["trajectory_variance"]
    made, formula = variance(PRODUCT)
    told = verdicts_of(WORLD, made)
    # Symbols that are mixed are what the paper calls a hallucination: a control that is found.
    linear = WienerDenoiser(WORLD.draw_images(2000, torch.Generator().manual_seed(0)), SCHEDULER)
    mixed, of_mixed = variance(linear)
    rows = []
    for name, score in (("from the formula", formula), ("ours", ours)):
        area = auroc(score[told.legible], ~told.grammatical[told.legible])
        rows.append(["against the grammar, of valid", name, f"{score.mean():.2e}", str(area)])
    both = torch.cat([of_mixed, formula[told.grammatical]])
    area = auroc(both, torch.arange(len(both)) < len(mixed))
    read = int(verdicts_of(WORLD, mixed).legible.sum())
    rows.append(
        ["mixed symbols, of valid", "from the formula", f"{of_mixed.mean():.2e}", str(area)]
    )
    print(
        f"{len(made)} samples of the product oracle, {int(told.legible.sum())} legible; "
        f"{len(mixed)} of the best linear denoiser, {read} legible; largest difference to ours "
        f"{(formula - ours).abs().max():.1e}.\n"
    )
    table(["told apart", "trajectory variance", "mean", "area under the ROC curve"], rows)


TABLES: dict[str, Callable[[], None]] = {
    "attribution": attribution,
    "kid": kid,
    "machines": machines,
    "trajectories": trajectories,
}


def main() -> None:
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or TABLES:
        print(f"## {name}\n")
        TABLES[name]()
    used = ("captum", "quantus", "torch-fidelity", "torch")
    print(", ".join(f"{name} {version(name)}" for name in used))


if __name__ == "__main__":
    main()
