"""The same work done by other tools and by diffprobe, side by side: Markdown tables.

    make peers          installs Quantus and torch-fidelity beside diffprobe, and runs this

captum's and Quantus' scores of our attribution maps, of the exact optimum; torch-fidelity's KID
beside our verdicts; local score machines and trajectory variance, each computed here a second time
from the formula of its paper. Names behind the command choose some of the tables.
"""

import sys
import types
import warnings
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor, nn

from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation.verdicts import judge as verdicts_of
from diffprobe.foundations.records import estimate, interval
from diffprobe.foundations.statistics import wilson
from diffprobe.models import LocalDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, LocalPatchDenoiser, ProductDenoiser
from diffprobe.probes.attribution import AttributionConfig
from diffprobe.probes.attribution.judging import judge
from diffprobe.probes.attribution.maps import measure as attribute
from diffprobe.probes.attribution.methods import TITLES
from diffprobe.probes.detectors import DetectorsConfig
from diffprobe.probes.detectors.scores import measure as detect
from diffprobe.probing.grammar_weight import GrammarWeight
from diffprobe.sampling import sample
from diffprobe.sampling.samplers.ddim import DDIMConfig

WORLD = SymbolImages(ParityConfig(6).build(), Glyphs.font("01", (8, 8)), (1, 6))
SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))
BAYES, PRODUCT = BayesDenoiser(WORLD, SCHEDULER), ProductDenoiser(WORLD, SCHEDULER)
LEVEL = GrammarWeight.of(BAYES, WORLD).most
METHODS = ("saliency", "integrated-gradients-prior-mean", "occlusion", "shapley")


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    for cells in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(cells) + " |")
    print()


def attribution() -> None:
    """Scores of maps of the optimum, by three tools; the truth is known for it."""
    import captum
    import quantus

    n = 32
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
    random = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    saliency = found.maps[METHODS.index("saliency")]
    maps = dict(zip(METHODS, found.maps, strict=True))
    maps |= {"saliency of the own cell alone": saliency * mask, "random numbers": random}

    def shaken(x: Tensor) -> tuple[Tensor, Tensor]:
        noise = 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        return noise, x - noise

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
    exact = truth.score()
    for name, map_ in maps.items():
        by_captum = captum.metrics.infidelity(model, shaken, x, map_, n_perturb_samples=50)
        given = {"model": model, "x_batch": x.numpy(), "y_batch": labels, "a_batch": map_.numpy()}
        scores = [np.mean(metric(**given)) for metric in (faithful, sparse)]
        ours = ["–"] * 3
        if name in METHODS:
            i = found.methods.index(name)
            chosen = f"{name}-{found.settings['baseline']}" if name == "shapley" else name
            at = truth.methods.index(chosen)
            ours = [interval(estimate(exact, at))]
            for each in (found.infidelity, found.sensitivity):
                known = bool(each.value[i].isfinite())
                ours.append(interval(estimate(each, i)) if known else "–")
        rows.append(
            [TITLES.get(name, name), *ours, f"{by_captum.mean():.3f}"]
            + [f"{score:.3f}" for score in scores]
        )
    log_snr = BAYES.log_snr(torch.tensor(LEVEL)).item()
    print(f"Maps of the exact optimum of parity, log-SNR {log_snr:.2f}, {n} images.\n")
    head = ["map", "rank correlation with the exact effect (ours)"]
    head += ["infidelity by cells (ours, by captum)", "sensitivity-max (ours, by captum)"]
    head += ["infidelity to noise of 0.1 (captum)", "faithfulness correlation (Quantus)"]
    table([*head, "sparseness (Quantus)"], rows)


class RandomFeatures(nn.Module):
    """A convolutional network with random weights, mean-pooled: (N, 64)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the features, of about unit scale."""
        return self.layers(images) * 10


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
    cells = WORLD.cells(valid).clone()
    cells[torch.arange(n), place] = WORLD.glyphs.images[:, 0].mean(0)
    pictures = {
        "other valid words": valid,
        "one symbol exchanged: perfect, and against the grammar": WORLD.draw(odd, random),
        "one symbol blurred with the other: no symbol": WORLD.image(cells),
    }
    network = RandomFeatures()
    rows = []
    for name, images in pictures.items():
        found = kid_features_to_metric(
            network(images),
            network(reference),
            kid_subsets=100,
            kid_subset_size=500,
            rng_seed=0,
            verbose=False,
        )
        mean, spread = (found[f"kernel_inception_distance_{part}"] for part in ("mean", "std"))
        told = verdicts_of(WORLD, images)
        legible, right = int(told.legible.sum()), int(told.grammatical.sum())
        rate = str(wilson(right, legible)) if legible else "–"
        rows.append([name, f"{mean:.5f} ± {spread:.5f}", str(wilson(legible, n)), rate])
    print(f"{n:,} pictures each, against {n:,} of valid words.\n")
    table(["pictures", "KID (torch-fidelity)", "legible (ours)", "valid, of the legible"], rows)


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
        shown.append([name, same, f"{(formula - optimum).square().mean():.4f}"])
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
    settings = DetectorsConfig(samples=200)
    sampling = SamplingConfig(n=200, steps=50, batch_size=200)
    found = detect(
        PRODUCT, WORLD, settings, t=LEVEL, sampler=DDIMConfig(), sampling=sampling
    ).scores["trajectory_variance"]
    path: list[tuple[int, Tensor]] = []

    def watch(batch: int, level: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
        path.append((int(level), x0_hat))

    made = sample(PRODUCT, WORLD.image_shape, DDIMConfig(), sampling, False, watch)
    low, high = settings.window
    inside = [x for t, x in path if low <= 1 - t / (PRODUCT.timesteps - 1) <= high]
    stack = torch.stack(inside).double()
    formula = (stack - stack.mean(0)).square().mean(0).flatten(1).mean(1)
    told = verdicts_of(WORLD, made)
    wrong, right = told.legible & ~told.grammatical, told.grammatical
    rows = []
    for name, score in (("from the formula", formula), ("ours", found)):
        a, b = score[wrong][:, None], score[right][None]
        area = ((a > b).double() + (a == b).double() / 2).mean()
        rows.append([name, f"{score.mean():.6f}", f"{area:.3f}"])
    off = f"{(formula - found).abs().max():.1e}"
    print(
        f"{len(found)} samples of the product oracle, {int(wrong.sum())} against the grammar and "
        f"{int(right.sum())} valid; largest difference {off}.\n"
    )
    table(["trajectory variance", "mean", "area under the ROC curve"], rows)


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
