import math

import pytest
import torch
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.datasets import (
    Automaton,
    ContextFree,
    Glyphs,
    Grammar,
    SymbolImages,
    WordList,
    hypercube,
)
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.palindrome import PalindromeConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import FiniteWords, FreshWords
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError
from diffprobe.models import noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import (
    BayesDenoiser,
    EmpiricalDenoiser,
    LocalPatchDenoiser,
    ProductDenoiser,
    WienerDenoiser,
    training_oracle,
)
from diffprobe.sampling import sample
from diffprobe.sampling.samplers.ddim import DDIMConfig

SCHEDULER = noise_scheduler(NoiseConfig())
LEVELS = torch.tensor([5, 100, 300, 500, 800, 999])


def drawn(grammar: Grammar, symbols: str, variants: int, grid: tuple[int, int]) -> SymbolImages:
    return SymbolImages(grammar, Glyphs.font(symbols, (5, 4), variants), grid)


MORE_A_THAN_B = ContextFree.parse('S -> "a" S | T\nT -> "a" T "b" | ""', 5)
WORLDS = {
    "parity": drawn(ParityConfig(4).build(), "01", 1, (1, 4)),
    "modular-sum with variants": drawn(ModularSumConfig(3, 3, 3).build(), "abc", 2, (1, 3)),
    "hypercube": hypercube(ParityConfig(5).build()),
    "digit-sum": drawn(DigitSumConfig().build(), "0123456789", 1, (2, 2)),
    "copy": drawn(CopyConfig(4, 3).build(), "abc", 1, (2, 2)),
    "palindrome": drawn(PalindromeConfig(4, 2).build(), "ab", 2, (1, 4)),
    "dyck": drawn(DyckConfig(6, 2).build(), "()[]", 1, (2, 3)),
    "word list": drawn(WordList(torch.tensor([[0, 1, 2], [2, 2, 1]])), "xyz", 2, (3, 1)),
    "context-free": drawn(
        ContextFree.parse('S -> "a" S | T\nT -> "a" T "b" | ""', 5), "ab", 1, (1, 5)
    ),
    "symbol channel": SymbolImages(
        ModularSumConfig(2, 3, 3).build(),
        Glyphs.font("abc", cell=(5, 4), variants=2).with_symbol_channel(),
        (1, 2),
    ),
    "automaton": drawn(Automaton([[0, 1], [0, -1]], accept=[0, 1], length=5), "ab", 1, (1, 5)),
}


@pytest.fixture(params=WORLDS, ids=str)
def world(request: pytest.FixtureRequest) -> SymbolImages:
    return WORLDS[request.param]


def noisy(world: SymbolImages, n: int = 1) -> tuple[Tensor, Tensor]:
    """Return x_t of n images at each of LEVELS, in float64, and t."""
    random = torch.Generator().manual_seed(0)
    t = LEVELS.repeat_interleave(n)
    x_0 = world.draw(world.grammar.sample(len(t), random), random).double()
    bayes = BayesDenoiser(world, SCHEDULER)
    return bayes.noise(x_0, t, random), t


def every_image(world: SymbolImages) -> Tensor:
    """Return all equally likely images: every word in every combination of variants."""
    words = world.grammar.words()
    choices = torch.cartesian_prod(
        *[torch.arange(world.glyphs.images.shape[1])] * world.grammar.length
    ).reshape(-1, world.grammar.length)
    return torch.cat([world.render(words, v.expand(len(words), -1)) for v in choices]).double()


def brute_force(
    images: Tensor, x_t: Tensor, t: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return posterior mean (B, D) and covariance (B, D, D) over a list of images."""
    product = SCHEDULER.alphas_cumprod.double()[t]
    flat = images.flatten(1)
    square = (x_t.flatten(1)[:, None] - product.sqrt()[:, None, None] * flat).square().sum(-1)
    prior = 0.0 if weights is None else weights.log()
    posterior = (prior - square / (2 * (1 - product[:, None]))).softmax(1)
    mean = posterior @ flat
    offset = flat - mean[:, None]
    return mean, torch.einsum("bm,bmi,bmj->bij", posterior, offset, offset)


def jacobian(denoiser: BayesDenoiser, x_t: Tensor, t: Tensor) -> Tensor:
    """Return (B, D, D); images of a batch do not depend on each other."""
    total = torch.autograd.functional.jacobian(lambda x: denoiser(x, t).sum(0), x_t)
    size = x_t[0].numel()
    return total.reshape(size, len(t), size).transpose(0, 1)


def test_bayes_and_empirical_agree_with_brute_force(world: SymbolImages) -> None:
    x_t, t = noisy(world)
    images = every_image(world)
    mean, covariance = brute_force(images, x_t, t)
    bayes = BayesDenoiser(world, SCHEDULER)
    assert (bayes(x_t, t).flatten(1) - mean).abs().max() < 1e-9
    assert (EmpiricalDenoiser(images, SCHEDULER)(x_t, t).flatten(1) - mean).abs().max() < 1e-9

    # Second-order Tweedie: J = alpha / sigma² Cov[x_0 | x_t].
    product = SCHEDULER.alphas_cumprod.double()[t]
    scale = (product.sqrt() / (1 - product))[:, None, None]
    found = jacobian(bayes, x_t, t)
    assert (found - scale * covariance).abs().max() < 1e-9 * scale.max()
    assert (found - found.mT).abs().max() < 1e-9 * scale.max()


def test_product_agrees_with_brute_force(world: SymbolImages) -> None:
    x_t, t = noisy(world)
    glyphs = world.glyphs.images.double()
    prior = world.grammar.symbol_marginals()
    product = SCHEDULER.alphas_cumprod.double()[t]
    alpha, sigma2 = product.sqrt()[:, None, None, None], (1 - product)[:, None, None, None]
    cells = world.cells(x_t)
    difference = cells[:, :, None, None] - alpha[..., None, None, None] * glyphs
    likelihood = -difference.square().sum((-1, -2, -3)) / (2 * sigma2)
    counts = world.glyphs.counts.double()[:, None]
    weights = (likelihood + (prior[:, :, None] / counts).log()).flatten(2).softmax(-1)
    expected = torch.einsum("blk,kchw->blchw", weights, glyphs.flatten(0, 1))
    assert torch.allclose(ProductDenoiser(world, SCHEDULER)(x_t, t), world.image(expected))


def test_the_closed_form_of_parity() -> None:
    world = hypercube(ParityConfig(4).build())
    x_t, t = noisy(world, n=5)
    alpha, sigma = BayesDenoiser(world, SCHEDULER).alpha_sigma(t, torch.float64)
    u = torch.tanh(alpha * x_t / sigma.square()).flatten(1)
    others = torch.stack([u[:, [j for j in range(4) if j != i]].prod(1) for i in range(4)], 1)
    expected = (u + others) / (1 + u.prod(1, keepdim=True))
    found = BayesDenoiser(world, SCHEDULER)(x_t, t).flatten(1)
    assert (found - expected).abs().max() < 1e-9


def test_handwriting_of_unequal_counts() -> None:
    """Padded variants must carry no weight."""
    world = SymbolImages(DigitSumConfig().build(), Glyphs.digits("held-out"), (2, 2))
    random = torch.Generator().manual_seed(3)
    x_0 = world.draw(world.grammar.sample(4, random), random).double()
    t = torch.tensor([200, 400, 600, 800])
    bayes = BayesDenoiser(world, SCHEDULER)
    x_t = bayes.noise(x_0, t, random)
    product = SCHEDULER.alphas_cumprod.double()[t]
    posterior = torch.zeros(4, 4, 10, dtype=torch.float64)
    for v in range(10):
        pictures = world.glyphs.images[v, : world.glyphs.counts[v]].double()
        scaled = product.sqrt()[:, None, None, None, None, None] * pictures
        square = (world.cells(x_t)[:, :, None] - scaled).square().sum((-1, -2, -3))
        score = (-square / (2 * (1 - product[:, None, None]))).logsumexp(-1)
        posterior[:, :, v] = score - math.log(len(pictures))
    assert torch.allclose(bayes.posterior(x_t, t), world.grammar.marginals(posterior), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sound_over_thirty_nats_of_log_snr(dtype: torch.dtype) -> None:
    world = drawn(ModularSumConfig(4, 10, 10).build(), "0123456789", 3, (1, 4))
    scheduler = noise_scheduler(NoiseConfig())
    log_snr = torch.linspace(-15, 15, 31, dtype=torch.float64)
    scheduler.alphas_cumprod = torch.sigmoid(log_snr)
    random = torch.Generator().manual_seed(4)
    words = world.grammar.sample(31, random)
    x_0 = world.draw(words, random).double()
    eps = torch.randn(x_0.shape, generator=random, dtype=torch.float64)
    alpha = log_snr.sigmoid().sqrt().reshape(-1, 1, 1, 1)
    x_t = (alpha * x_0 + (1 - alpha.square()).sqrt() * eps).to(dtype)
    t = torch.arange(31)
    for oracle in (
        BayesDenoiser(world, scheduler),
        ProductDenoiser(world, scheduler),
        EmpiricalDenoiser(x_0.to(dtype), scheduler),
        WienerDenoiser(x_0.to(dtype), scheduler),
        LocalPatchDenoiser(x_0.to(dtype), scheduler, 3),
    ):
        x = x_t.clone().requires_grad_()
        out = oracle(x, t)
        assert out.isfinite().all()
        assert out.dtype == dtype
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        assert gradient.isfinite().all()
        exact = oracle(x_t.double(), t)
        assert (out.double() - exact).abs().max() < (1e-9 if dtype == torch.float64 else 5e-3)
    # With hardly any noise the answer is the image, with hardly any signal the mean.
    bayes = BayesDenoiser(world, scheduler)(x_t, t)
    assert torch.allclose(bayes[-1].double(), x_0[-1], atol=1e-6)
    mean = torch.einsum(
        "lv,vchw->lchw", world.grammar.symbol_marginals(), world.glyphs.images.double().mean(1)
    )
    assert (bayes[0].double() - world.image(mean[None])[0]).abs().max() < 0.05


@pytest.mark.parametrize("name", ["hypercube", "digit-sum", "dyck", "palindrome"])
def test_samples_of_bayes_are_grammatical_and_those_of_product_are_not(name: str) -> None:
    world = WORLDS[name]
    config = SamplingConfig(n=400, steps=200, batch_size=400)
    bayes, local = (
        judge(world, sample(kind(world, SCHEDULER), world.image_shape, DDIMConfig(), config).images)
        for kind in (BayesDenoiser, ProductDenoiser)
    )
    assert bayes.legible_rate.count >= 398
    assert bayes.grammatical_rate.count >= 0.995 * bayes.grammatical_rate.n
    assert local.legible_rate.count >= 398
    assert local.grammatical_rate.contains(world.grammar.product_rate())


def test_wiener_is_the_best_linear_denoiser() -> None:
    random = torch.Generator().manual_seed(5)
    mixing = torch.randn(6, 6, generator=random, dtype=torch.float64)
    images = (torch.randn(200, 6, generator=random, dtype=torch.float64) @ mixing).reshape(
        200, 1, 2, 3
    )
    wiener = WienerDenoiser(images, SCHEDULER)
    t = torch.tensor([100, 400, 900])
    x_t = torch.randn(3, 1, 2, 3, generator=random, dtype=torch.float64)
    mean, covariance = images.flatten(1).mean(0), images.flatten(1).T.cov()
    for i, level in enumerate(t):
        product = SCHEDULER.alphas_cumprod.double()[level]
        alpha, noise = product.sqrt(), (1 - product) * torch.eye(6, dtype=torch.float64)
        gain = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + noise)
        expected = mean + gain @ (x_t[i].flatten() - alpha * mean)
        assert torch.allclose(wiener(x_t, t)[i].flatten(), expected)


def test_local_patches_of_any_size() -> None:
    random = torch.Generator().manual_seed(6)
    images = torch.randn(7, 1, 5, 6, generator=random, dtype=torch.float64)
    x_t = torch.randn(2, 1, 5, 6, generator=random, dtype=torch.float64)
    t = torch.tensor([300, 700])
    # A patch that covers the image sees all of it: the empirical optimum.
    whole = LocalPatchDenoiser(images, SCHEDULER, 13)(x_t, t)
    assert torch.allclose(whole, EmpiricalDenoiser(images, SCHEDULER)(x_t, t))
    # By hand, at a corner and in the middle.
    local = LocalPatchDenoiser(images, SCHEDULER, 3)(x_t, t)
    for i in range(2):
        product = SCHEDULER.alphas_cumprod.double()[t[i]]
        for row, column in ((0, 0), (2, 3), (4, 5)):
            window = (
                slice(max(0, row - 1), row + 2),
                slice(max(0, column - 1), column + 2),
            )
            difference = x_t[i, 0][window] - product.sqrt() * images[:, 0][:, *window]
            weights = (-difference.square().sum((1, 2)) / (2 * (1 - product))).softmax(0)
            expected = weights @ images[:, 0, row, column]
            assert local[i, 0, row, column].item() == pytest.approx(expected.item())


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = WORLDS["modular-sum with variants"]
    x_t, t = noisy(world)
    oracles = [
        BayesDenoiser(world, SCHEDULER),
        EmpiricalDenoiser(every_image(world), SCHEDULER),
        LocalPatchDenoiser(every_image(world), SCHEDULER, 3),
    ]
    whole = [oracle(x_t, t) for oracle in oracles]
    monkeypatch.setattr("diffprobe.foundations.memory.USUAL", 1)
    for oracle, expected in zip(oracles, whole, strict=True):
        assert torch.allclose(oracle(x_t, t), expected)


def test_the_training_oracle_is_the_empirical_optimum_of_all_it_can_draw() -> None:
    world = WORLDS["modular-sum with variants"]
    assert training_oracle(world, SCHEDULER, FreshWords(world.grammar)) is None
    oracle = training_oracle(world, SCHEDULER, FiniteWords(world.grammar, 3, 1))
    assert oracle is not None
    x_t, t = noisy(world)
    mean, _ = brute_force(every_image(oracle.dataset), x_t, t)
    assert (oracle(x_t, t).flatten(1) - mean).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("grammar", "symbols", "grid"),
    [
        (WordList(torch.tensor([[0, 1, 2], [2, 2, 1], [0, 0, 1]]), 3, [1, 20, 3]), "xyz", (3, 1)),
        (Automaton([[0, 1], [0, 1]], [0, 1], length=4, weights=[[1, 2], [1, 9]]), "ab", (2, 2)),
        (ContextFree.parse('S -> 0.1 P S | ""\nP -> "(" S ")" | 3 "[" S "]"', 6), "()[]", (1, 6)),
    ],
    ids=["word list", "automaton", "context-free"],
)
def test_oracles_of_weighted_grammars(
    grammar: Grammar, symbols: str, grid: tuple[int, int]
) -> None:
    world = drawn(grammar, symbols, 1, grid)
    x_t, t = noisy(world)
    words = grammar.words()
    # Words as often as their weights have it.
    mean, covariance = brute_force(
        world.render(words, torch.zeros_like(words)).double(), x_t, t, grammar.probability(words)
    )
    bayes = BayesDenoiser(world, SCHEDULER)
    assert (bayes(x_t, t).flatten(1) - mean).abs().max() < 1e-9
    product = SCHEDULER.alphas_cumprod.double()[t]
    scale = (product.sqrt() / (1 - product))[:, None, None]
    assert (jacobian(bayes, x_t, t) - scale * covariance).abs().max() < 1e-9 * scale.max()

    split = FiniteWords(grammar, 2, seed=1)
    oracle = training_oracle(world, SCHEDULER, FiniteWords(world.grammar, 2, 1))
    assert oracle is not None
    assert split.training is not None
    mean, _ = brute_force(
        world.render(split.training, torch.zeros_like(split.training)).double(),
        x_t,
        t,
        grammar.probability(split.training),
    )
    assert (oracle(x_t, t).flatten(1) - mean).abs().max() < 1e-9


def test_bad_input_is_refused() -> None:
    world = WORLDS["hypercube"]
    bayes = BayesDenoiser(world, SCHEDULER)
    with pytest.raises(UsageError, match="this dataset's are"):
        bayes(torch.zeros(1, 1, 2, 2), torch.tensor([0]))
    for images in (torch.zeros(0, 1, 2, 2), torch.zeros(3, 2), torch.zeros(1, 1, 2, 2).int()):
        with pytest.raises(UsageError, match="training images must be"):
            EmpiricalDenoiser(images, SCHEDULER)
    with pytest.raises(UsageError, match="not finite"):
        EmpiricalDenoiser(torch.full((1, 1, 2, 2), math.nan), SCHEDULER)
    with pytest.raises(UsageError, match="at least two images"):
        WienerDenoiser(torch.zeros(1, 1, 2, 2), SCHEDULER)
    with pytest.raises(UsageError, match="odd number"):
        LocalPatchDenoiser(torch.zeros(2, 1, 2, 2), SCHEDULER, 2)
    with pytest.raises(UsageError, match="x_t has shape"):
        EmpiricalDenoiser(torch.zeros(2, 1, 2, 2), SCHEDULER)(
            torch.zeros(1, 1, 3, 3), torch.tensor([0])
        )
