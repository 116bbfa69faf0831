"""Oracles where each cell has a noise level of its own, against the posterior over all images."""

from functools import partial

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from diffprobe.datasets import Glyphs, SymbolImages, WordList, hypercube
from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import Denoiser, FunctionDenoiser, noise_scheduler
from diffprobe.models.noise_schedule import GIVEN, NoiseSchedule
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import (
    BayesDenoiser,
    EmpiricalDenoiser,
    ProductDenoiser,
    WienerDenoiser,
)

SCHEDULER = noise_scheduler(NoiseConfig())
SCHEDULERS = [SCHEDULER, FlowMatchEulerDiscreteScheduler(shift=2.0)]
WORLDS = {
    "parity": SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (5, 4)), (2, 2)),
    "hypercube": hypercube(ParityConfig(5).build()),
    "variants": SymbolImages(
        ModularSumConfig(3, 3, 3).build(), Glyphs.font("abc", (5, 4), 2), (1, 3)
    ),
    "dyck": SymbolImages(DyckConfig(6, 2).build(), Glyphs.font("()[]", (5, 4)), (2, 3)),
    "weighted": SymbolImages(
        WordList(torch.tensor([[0, 1, 2], [2, 2, 1], [0, 0, 1]]), 3, [1, 20, 3]),
        Glyphs.font("xyz", (5, 4)),
        (3, 1),
    ),
    "coloured": SymbolImages(
        ModularSumConfig(3, 4, 4).build(), Glyphs.coloured("+o", ("red", "blue"), (5, 4)), (1, 3)
    ),
}


@pytest.fixture(params=WORLDS, ids=str)
def world(request: pytest.FixtureRequest) -> SymbolImages:
    return WORLDS[request.param]


def levels(world: SymbolImages, n: int, *, given: bool) -> Tensor:
    """Different levels in every cell; with `given`, some cells of every image are."""
    random = torch.Generator().manual_seed(1)
    t = torch.randint(50, 950, (n, world.grammar.length), generator=random)
    if given:
        t[torch.arange(n), torch.arange(n) % world.grammar.length] = GIVEN
        t[0, :2] = GIVEN
    return t


def images_and_weights(world: SymbolImages) -> tuple[Tensor, Tensor, Tensor]:
    """Every word in every combination of variants, (M, C, H, W), how likely it is, and the word."""
    words = world.grammar.words()
    of_cell = [torch.arange(world.glyphs.images.shape[1])] * world.grammar.length
    choices = torch.cartesian_prod(*of_cell).reshape(-1, world.grammar.length)
    images = torch.cat([world.render(words, v.expand(len(words), -1)) for v in choices])
    repeated = words.repeat(len(choices), 1)
    return images.double(), world.grammar.probability(repeated).double(), repeated


def alpha_sigma(schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """By hand: (B, L) each."""
    alphas, sigmas = (x.tolist() for x in (schedule.alphas, schedule.sigmas))
    alpha = [[1.0 if k == GIVEN else alphas[k] for k in row] for row in t.tolist()]
    sigma = [[0.0 if k == GIVEN else sigmas[k] for k in row] for row in t.tolist()]
    return torch.tensor(alpha, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64)


def posterior(
    world: SymbolImages,
    schedule: NoiseSchedule,
    images: Tensor,
    prior: Tensor,
    x: Tensor,
    t: Tensor,
) -> Tensor:
    """Probability of each image (B, M): those that differ in a given cell have none."""
    alpha, sigma = alpha_sigma(schedule, t)
    clean, noisy = world.cells(images).flatten(2), world.cells(x).flatten(2)
    square = (noisy[:, None] - alpha[:, None, :, None] * clean).square().sum(-1)
    known = (t == GIVEN)[:, None]
    energy = torch.where(known, torch.where(square > 1e-6, -torch.inf, 0.0), 0.0)
    energy = energy - torch.where(known, 0.0, square / (2 * sigma.clamp(min=1e-9)[:, None] ** 2))
    return (energy.sum(-1) + prior.log()).softmax(1)


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=["diffusion", "flow"])
@pytest.mark.parametrize("given", [False, True], ids=["noisy", "given"])
def test_bayes_and_empirical_agree_with_brute_force(
    world: SymbolImages, given: bool, scheduler: object
) -> None:
    random = torch.Generator().manual_seed(0)
    bayes = BayesDenoiser(world, scheduler)
    t = levels(world, 6, given=given)
    x_0 = world.draw_images(6, random).double()
    x_t = bayes.noise(x_0, t, random)
    images, prior, words = images_and_weights(world)
    shares = posterior(world, bayes.schedule, images, prior, x_t, t)
    mean = (shares @ images.flatten(1)).reshape(x_t.shape)
    assert (bayes(x_t, t) - mean).abs().max() < 1e-9
    symbols = torch.einsum(
        "bm,mlv->blv", shares, torch.nn.functional.one_hot(words, world.grammar.symbols).double()
    )
    assert (bayes.posterior(x_t, t) - symbols).abs().max() < 1e-9
    if given:
        mask = CellGrid.of(world.image_shape, world.grid).spread(t == GIVEN)
        assert torch.allclose(bayes(x_t, t).where(mask, 0), x_0.where(mask, 0), atol=1e-7)

    # Training images alike: an image as often as it is likely, by its weight.
    empirical = EmpiricalDenoiser(images, scheduler, world.cell_grid)
    even = torch.ones_like(prior)
    shares = posterior(world, bayes.schedule, images, even, x_t, t)
    mean = (shares @ images.flatten(1)).reshape(x_t.shape)
    assert (empirical(x_t, t) - mean).abs().max() < 1e-9


@pytest.mark.parametrize("given", [False, True], ids=["noisy", "given"])
def test_product_agrees_with_brute_force(world: SymbolImages, given: bool) -> None:
    random = torch.Generator().manual_seed(0)
    product = ProductDenoiser(world, SCHEDULER)
    t = levels(world, 6, given=given)
    x_t = product.noise(world.draw_images(6, random).double(), t, random)
    alpha, sigma = alpha_sigma(product.schedule, t)
    glyphs = world.glyphs.images.double()
    marginals = world.grammar.symbol_marginals().double()
    cells, expected = world.cells(x_t), torch.zeros_like(world.cells(x_t))
    for b in range(len(t)):
        for i in range(world.grammar.length):
            square = (cells[b, i] - alpha[b, i] * glyphs).square().sum((-1, -2, -3))
            if t[b, i] == GIVEN:
                energy = torch.where(square > 1e-6, -torch.inf, 0.0)
            else:
                energy = -square / (2 * sigma[b, i] ** 2)
            energy = energy + (marginals[i] / world.glyphs.counts).log()[:, None]
            weights = energy.flatten().softmax(0).reshape(energy.shape)
            expected[b, i] = torch.einsum("vk,vkchw->chw", weights, glyphs)
    assert (product(x_t, t) - world.image(expected)).abs().max() < 1e-9


def test_jacobians_are_covariances_over_the_noise_of_each_cell(world: SymbolImages) -> None:
    """J[p, q] = Cov[x_0[p], x_0[q] | x_t] alpha_q / sigma_q²; a given pixel moves nothing."""
    random = torch.Generator().manual_seed(2)
    bayes = BayesDenoiser(world, SCHEDULER)
    t = levels(world, 2, given=True)
    x_t = bayes.noise(world.draw_images(2, random).double(), t, random)
    images, prior, _ = images_and_weights(world)
    shares = posterior(world, bayes.schedule, images, prior, x_t, t)
    flat = images.flatten(1)
    alpha, sigma = bayes.alpha_sigma(t, torch.float64)
    gain = torch.where(sigma > 0, alpha / sigma.square(), 0.0).expand_as(x_t).flatten(1)
    for b in range(2):
        found = torch.autograd.functional.jacobian(partial(bayes, t=t[b : b + 1]), x_t[b][None])
        mean = shares[b] @ flat
        covariance = (shares[b, :, None] * (flat - mean)).T @ (flat - mean)
        wanted = covariance * gain[b]
        size = flat.shape[1]
        assert (found.reshape(size, size) - wanted).abs().max() < 1e-9 * max(1.0, gain.max())


def test_equal_levels_are_one_level(world: SymbolImages) -> None:
    random = torch.Generator().manual_seed(3)
    x_0 = world.draw_images(3, random)
    t = torch.tensor([100, 500, 900])
    by_cell = t[:, None].expand(-1, world.grammar.length)
    for oracle in (
        BayesDenoiser(world, SCHEDULER),
        ProductDenoiser(world, SCHEDULER),
        EmpiricalDenoiser(x_0, SCHEDULER, world.cell_grid),
    ):
        x_t = oracle.noise(x_0, t, torch.Generator().manual_seed(4))
        assert torch.equal(oracle.noise(x_0, by_cell, torch.Generator().manual_seed(4)), x_t)
        assert torch.allclose(oracle(x_t, t), oracle(x_t, by_cell), atol=1e-5)
        assert torch.equal(oracle.log_snr(by_cell), oracle.log_snr(t)[:, None].expand_as(by_cell))
        alpha, _ = oracle.alpha_sigma(by_cell)
        assert alpha.shape == (3, 1, *world.image_shape[1:])


def test_given_cells_that_no_word_has_give_in_to_as_few_as_can_be() -> None:
    """All four cells are given and of odd parity: no word is left, and nothing is NaN."""
    world = WORLDS["parity"]
    bayes = BayesDenoiser(world, SCHEDULER)
    x = world.render(torch.tensor([[1, 0, 0, 0]]))
    found = bayes.posterior(x.double(), torch.full((1, 4), GIVEN))
    assert found.isfinite().all()
    # The words at distance one, alike: each cell is as read in three of four.
    assert found[0].amax(-1).tolist() == pytest.approx([0.75] * 4, abs=1e-3)


def test_gradients_stay_finite_beside_given_cells() -> None:
    world = WORLDS["variants"]
    t = torch.tensor([[GIVEN, 0, 999]])
    for dtype in (torch.float32, torch.float64):
        bayes = BayesDenoiser(world, SCHEDULER)
        x = bayes.noise(
            world.draw_images(1, torch.Generator().manual_seed(5)).to(dtype),
            t,
            torch.Generator().manual_seed(6),
        ).requires_grad_()
        (gradient,) = torch.autograd.grad(bayes(x, t).square().sum(), x)
        assert gradient.isfinite().all()
        assert (world.cells(gradient)[:, 0] == 0).all()


def test_a_given_cell_is_its_own_clean_image_whatever_is_predicted() -> None:
    world = WORLDS["dyck"]
    t = levels(world, 3, given=True)
    x_t = torch.randn(3, *world.image_shape, generator=torch.Generator().manual_seed(7))
    mask = world.cell_grid.spread(t == GIVEN).expand_as(x_t)
    asked: list[Tensor] = []

    def nonsense(x: Tensor, time: Tensor) -> Tensor:
        asked.append(time)
        return 7 * torch.ones_like(x)

    for scheduler, kinds in zip(
        SCHEDULERS,
        (["epsilon", "sample", "v_prediction"], ["epsilon", "sample", "flow"]),
        strict=True,
    ):
        for kind in kinds:
            denoiser = FunctionDenoiser(nonsense, scheduler, kind, cells=world.cell_grid)
            x0_hat = denoiser(x_t, t)
            assert torch.equal(x0_hat[mask], x_t[mask])
            assert not (x0_hat[~mask] == x_t[~mask]).any()
    # A network is told the cleanest level there is.
    assert torch.equal(asked[0], t.clamp(min=0))
    assert asked[-1][t == GIVEN].unique().tolist() == pytest.approx([1000 * 2 / 1001])


@pytest.mark.parametrize(
    ("make", "t", "message"),
    [
        (lambda w, x: WienerDenoiser(x, SCHEDULER), (2, 6), "takes one noise level an image"),
        (lambda w, x: EmpiricalDenoiser(x, SCHEDULER), (2, 6), "network.levels_by_cell = true"),
        (lambda w, x: BayesDenoiser(w, SCHEDULER), (2, 5), r"\(B, 6\) for the 2×3 cells"),
        (lambda w, x: BayesDenoiser(w, SCHEDULER), (2, 6, 1), r"noise levels are \(B,\), or"),
    ],
)
def test_levels_that_do_not_fit_are_refused(make, t: tuple[int, ...], message: str) -> None:  # type: ignore[no-untyped-def]
    world = WORLDS["dyck"]
    images = world.draw_images(2, torch.Generator())
    denoiser: Denoiser = make(world, images)
    with pytest.raises(UsageError, match=message):
        denoiser(images, torch.full(t, 500))


def test_cells_are_cut_joined_and_spread_row_by_row() -> None:
    grid = CellGrid.of((2, 4, 9), (2, 3))
    assert (grid.cells, grid.height, grid.width) == (6, 2, 3)
    images = torch.arange(2 * 2 * 4 * 9).reshape(2, 2, 4, 9)
    cells = grid.cut(images)
    assert torch.equal(cells[:, 4], images[:, :, 2:4, 3:6])
    assert torch.equal(grid.join(cells), images)
    spread = grid.spread(torch.arange(6)[None])
    assert torch.equal(
        spread, grid.join(torch.arange(6).reshape(1, 6, 1, 1, 1).expand(1, 6, 1, 2, 3))
    )
    with pytest.raises(UsageError, match="2×3 cells does not divide an image of 5×9"):
        CellGrid.of((1, 5, 9), (2, 3))
