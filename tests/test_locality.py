import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.config import Config, ProbeConfig
from diffprobe.datasets import Glyphs, ImageSet, SymbolImages, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import Interval, stacked
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.locality import LocalityConfig, beside, figures, ldr
from diffprobe.probing.cache import Keep
from diffprobe.probing.jacobian import exact_jacobian
from diffprobe.probing.noise_levels import noisy_inputs
from diffprobe.probing.opening import subject_of
from diffprobe.probing.precision import FIRST, PRECISION, inputs_needed, stated
from diffprobe.probing.ratio import jackknife, local_dependency_ratios
from diffprobe.probing.regions import Regions

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = hypercube(ParityConfig(4).build())
SETTINGS = LocalityConfig(projections=0)
COMMON = ProbeConfig(images=40, levels=5, batch_size=16)


class Linear(Denoiser):
    """x0_hat = A x_t: its Jacobian is A."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(SCHEDULER)
        self.matrix = matrix

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (x_t.flatten(1) @ self.matrix.T).reshape(x_t.shape)


MATRIX = torch.tensor(
    [[2.0, 1.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, -1.0, 2.0], [1.0, 1.0, 1.0, 1.0]]
)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("squared", 15 / (5 + 9 + 5 + 4)),
        ("l1", (2 + 3 + 1 + 1) / (3 + 3 + 3 + 4)),
        ("frobenius", (2 + 3 + 1 + 1) / (5**0.5 + 3 + 5**0.5 + 2)),
    ],
)
def test_a_linear_map_has_the_ratio_of_its_matrix(variant: str, expected: float) -> None:
    result = ldr.measure(Linear(MATRIX), WORLD, replace(SETTINGS, variant=variant), COMMON)
    assert result.settings["variant"] == variant
    assert result.ldr.value.tolist() == pytest.approx([expected] * 5)
    assert result.pooled.value.tolist() == pytest.approx([expected] * 5)
    assert result.ldr.standard_error.tolist() == pytest.approx([0] * 5, abs=1e-6)
    assert result.effective.tolist() == pytest.approx([40] * 5)
    if variant == "squared":
        squares = MATRIX.double().square()
        assert torch.allclose(result.dependence, squares.expand(5, 4, 4))
        assert torch.allclose(result.shares.value, (squares / 23).expand(5, 4, 4))


def test_projections_agree_with_the_exact_ratio_within_their_error() -> None:
    bayes = BayesDenoiser(
        SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (1, 4)), SCHEDULER
    )
    levels = torch.tensor([700, 500, 300])
    for seed in range(3):
        exact = ldr.measure(
            bayes, bayes.dataset, SETTINGS, replace(COMMON, seed=seed), levels=levels
        )
        settings = replace(SETTINGS, projections=4)
        common = replace(COMMON, seed=seed)
        random = ldr.measure(bayes, bayes.dataset, settings, common, levels=levels)
        off = (random.ldr.value - exact.ldr.value).abs()
        assert (off < 5 * random.ldr.standard_error + 1e-3).all(), seed


def test_the_jackknife_takes_the_bias_of_projections_away() -> None:
    """From two projections a ratio of sums is off; from all but one of them, twice as much."""
    random = torch.Generator().manual_seed(0)
    # Local and other energies of two regions, chi-squared as those of random projections are.
    draws = torch.randn(100_000, 2, 2, 2, generator=random, dtype=torch.float64).square()
    draws = draws * torch.tensor([[3.0, 1.0], [0.5, 2.0]])
    exact = 5 / 6.5

    def of(energies: Tensor) -> Tensor:
        return energies.diagonal(dim1=1, dim2=2).sum(1) / energies.sum((1, 2))

    plain, corrected = of(draws.mean(1)), jackknife(of, draws)
    assert (plain.mean() - exact).abs() > 0.03
    assert (corrected.mean() - exact).abs() < 0.016
    assert torch.allclose(corrected, local_dependency_ratios(draws))


def test_projections_tell_the_same_ratio_as_the_exact_jacobian_on_average() -> None:
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (1, 4))
    bayes = BayesDenoiser(world, SCHEDULER)
    common = replace(COMMON, images=4000, batch_size=4000)
    levels = torch.tensor([480])
    for variant in ("squared", "frobenius"):
        exact = ldr.measure(bayes, world, replace(SETTINGS, variant=variant), common, levels=levels)
        random = ldr.measure(
            bayes, world, replace(SETTINGS, variant=variant, projections=2), common, levels=levels
        )
        difference = random.ratios[0] - exact.ratios[0]
        error = (difference.std() / len(difference) ** 0.5).item()
        assert abs(difference.mean().item()) < 4 * error + 5e-4, variant
        assert error < 0.003


def test_reference_values_of_the_optimum_for_four_signs() -> None:
    """The design's values, pooled: a raw LDR near 1 is no sign of a local network."""
    scheduler = noise_scheduler(NoiseConfig())
    scheduler.alphas_cumprod = torch.tensor([0.05, 0.4, 0.6, 0.8, 0.9])
    settings = LocalityConfig(projections=0)
    common = ProbeConfig(images=2000, batch_size=2000)
    bayes = BayesDenoiser(WORLD, scheduler)
    result = ldr.measure(bayes, WORLD, settings, common, levels=torch.arange(5))
    reference = torch.tensor([0.993, 0.769, 0.645, 0.522, 0.500], dtype=torch.float64)
    assert ((result.pooled.value - reference).abs() < 0.02).all(), result.pooled.value


@pytest.mark.parametrize("t", [500, 400, 300])
def test_intervals_cover_the_ratio_of_the_optimum(t: int) -> None:
    """A sample of the coverage benchmark: the truth from 20,000 inputs, 200 measurements of 40."""
    bayes, levels = BayesDenoiser(WORLD, SCHEDULER), torch.tensor([t])
    many_common = replace(COMMON, images=20_000, batch_size=20_000, seed=999)
    truth = ldr.measure(bayes, WORLD, SETTINGS, many_common, levels=levels).ldr.value
    hits = [
        ldr.measure(bayes, WORLD, SETTINGS, replace(COMMON, seed=s), levels=levels).ldr.contains(
            truth
        )
        for s in range(200)
    ]
    assert torch.cat(hits).double().mean() > 0.91


def test_a_pooled_ratio_ruled_by_few_inputs_has_no_interval() -> None:
    """At low noise nearly all words are certain, and the others carry all the energy."""
    bayes = BayesDenoiser(WORLD, SCHEDULER)
    common = replace(COMMON, images=128, batch_size=128)
    result = ldr.measure(bayes, WORLD, SETTINGS, common, levels=torch.tensor([500, 180]))
    assert result.effective[0] > 100
    assert result.pooled.low[0].isfinite()
    assert result.effective[1] < 40
    assert result.pooled.value[1].isfinite()
    assert result.pooled.low[1].isnan()
    assert result.ldr.low.isfinite().all()


def test_the_product_oracle_is_perfectly_local() -> None:
    result = ldr.measure(ProductDenoiser(WORLD, SCHEDULER), WORLD, SETTINGS, COMMON)
    ratio = result.ldr.value
    known = ratio.isfinite()
    assert known.any()
    assert torch.allclose(ratio[known], torch.ones_like(ratio[known]))


def test_the_excess_is_paired() -> None:
    bayes = ldr.measure(BayesDenoiser(WORLD, SCHEDULER), WORLD, SETTINGS, COMMON)
    product = ldr.measure(ProductDenoiser(WORLD, SCHEDULER), WORLD, SETTINGS, COMMON)
    gap = ldr.excess(product, bayes)
    known = gap.value.isfinite()
    assert known.any()
    assert (gap.value[known] > -1e-9).all()
    nothing = ldr.excess(bayes, bayes)
    assert (nothing.value[known] == 0).all()
    assert (nothing.standard_error[gap.low.isfinite()] == 0).all()
    # The product oracle's own ratio does not vary, so all error is the Bayes oracle's.
    alike = known & (gap.n == bayes.ldr.n)
    assert alike.any()
    torch.testing.assert_close(
        gap.standard_error[alike], bayes.ldr.standard_error[alike], equal_nan=True
    )
    other = ldr.measure(Linear(MATRIX), WORLD, SETTINGS, replace(COMMON, seed=1))
    with pytest.raises(UsageError, match="same levels and settings"):
        ldr.excess(other, bayes)


def test_what_depends_on_nothing_has_no_ratio() -> None:
    result = ldr.measure(Linear(torch.zeros(4, 4)), WORLD, SETTINGS, COMMON)
    assert result.ldr.value.isnan().all()
    assert result.ldr.n.eq(0).all()
    assert result.pooled.value.isnan().all()
    assert local_dependency_ratios(torch.zeros(3, 1, 4, 4)).isnan().all()


def test_inputs_on_which_the_optimum_depends_on_nothing_are_left_out_for_all() -> None:
    bayes = BayesDenoiser(WORLD, SCHEDULER)
    common = replace(COMMON, images=200, batch_size=200)
    levels = torch.tensor([150])
    results = {
        name: ldr.measure(denoiser, WORLD, SETTINGS, common, levels=levels)
        for name, denoiser in (("network", Linear(MATRIX)), ("bayes", bayes))
    }
    told = int(results["bayes"].ldr.n)
    assert 10 < told < 200
    assert results["network"].ldr.n == 200
    compared = beside.beside_the_optimum(results)
    assert compared["network"].ldr.n == told
    gap = ldr.excess(compared["network"], compared["bayes"])
    difference = compared["network"].ldr.value - compared["bayes"].ldr.value
    assert torch.allclose(gap.value, difference)


@pytest.mark.parametrize("space", ["epsilon", "score"])
def test_the_jacobian_of_noise_and_score(space: str) -> None:
    """eps_hat = (x - alpha A x) / sigma, the score -eps_hat / sigma: two linear maps again."""
    levels = torch.tensor([800, 300])
    linear = Linear(MATRIX)
    result = ldr.measure(linear, WORLD, SETTINGS, replace(COMMON, output=space), levels=levels)
    assert result.settings["output"] == space
    for i, t in enumerate(levels):
        alpha, sigma = (a.item() for a in linear.alpha_sigma(t[None], torch.float64))
        matrix = (torch.eye(4) - alpha * MATRIX.double()) / sigma
        if space == "score":
            matrix /= -sigma
        assert torch.allclose(result.dependence[i], matrix.square(), rtol=1e-4, atol=1e-9)


def test_dependence_decays_with_the_distance_of_regions() -> None:
    result = ldr.measure(Linear(MATRIX), WORLD, SETTINGS, COMMON)
    squares = MATRIX.square()
    own = squares.diagonal().mean()
    expected = [
        torch.cat([squares.diagonal(d), squares.diagonal(-d)]).mean() / own for d in range(4)
    ]
    assert result.distances.tolist() == [0, 1, 2, 3]
    decay = result.decay.value[2].tolist()
    assert decay == pytest.approx([1.0, *map(float, expected[1:])], rel=1e-5)
    assert result.decay.standard_error.abs().max() < 1e-5
    nothing = ldr.measure(Linear(torch.zeros(4, 4)), WORLD, SETTINGS, COMMON)
    assert nothing.decay.value.isnan().all()


def test_regions_of_ones_own() -> None:
    pair = Regions.of_boxes((1, 1, 4), [(0, 0, 1, 2), (0, 2, 1, 2)])
    result = ldr.measure(Linear(MATRIX), WORLD, SETTINGS, COMMON, regions=pair)
    blocks = MATRIX.square().reshape(2, 2, 2, 2).sum((1, 3))
    assert torch.allclose(result.dependence, blocks.double().expand(5, 2, 2))
    assert result.ldr.value[0].item() == pytest.approx((blocks.trace() / blocks.sum()).item())


@pytest.mark.parametrize("projections", [0, 2])
def test_what_regions_leave_out_counts(projections: int) -> None:
    """One box of a strip: its share of the whole row of the explicit Jacobian."""
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (1, 4))
    bayes = BayesDenoiser(world, SCHEDULER)
    box = Regions.of_boxes(world.image_shape, [(0, 0, 4, 4)])
    settings = replace(SETTINGS, projections=projections)
    common = replace(COMMON, images=400, batch_size=400)
    result = ldr.measure(bayes, world, settings, common, regions=box, levels=torch.tensor([380]))
    assert result.parts == ("box 0", "rest")
    assert result.shares.value.shape == (1, 1, 2)
    x_t = noisy_inputs(bayes, world, 400, 380, 0)
    pixels = box.masks[0].flatten().nonzero()[:, 0]
    squares = exact_jacobian(bayes, x_t, 380, pixels).double().square()
    share = squares[:, :, pixels].sum((1, 2)) / squares.sum((1, 2))
    assert 0.5 < share.mean() < 0.95
    tolerance = 1e-6 if projections == 0 else 4 * result.ldr.standard_error.item()
    assert result.ldr.value.item() == pytest.approx(share.mean().item(), abs=tolerance)
    assert result.shares.value.sum().item() == pytest.approx(1)


def test_regions_that_overlap_are_refused() -> None:
    with pytest.raises(UsageError, match=r"box 0 \(0, 0, 1, 3\) and box 1 .* overlap"):
        Regions.of_boxes((1, 1, 4), [(0, 0, 1, 3), (0, 2, 1, 2)])


def test_a_precision_adds_inputs_where_they_are_needed() -> None:
    bayes = BayesDenoiser(WORLD, SCHEDULER)
    common = replace(COMMON, precision=0.005, precision_images=1000)
    levels = torch.tensor([900, 400])
    result = ldr.measure(bayes, WORLD, SETTINGS, common, levels=levels)
    assert result.inputs[0] == 40  # nearly constant there: the first block is enough
    assert 40 < result.inputs[1] < 1000
    assert (result.ldr.standard_error < 1.3 * 0.005).all()
    # A smaller error is not reached: everything allowed is spent, and the error says so.
    spent = ldr.measure(bayes, WORLD, SETTINGS, replace(common, precision=1e-4), levels=levels[1:])
    assert spent.inputs.item() == 1000
    assert spent.ldr.standard_error.item() > 1e-4
    # The optimum of another denoiser's inputs, for the excess.
    product = ldr.measure(
        ProductDenoiser(WORLD, SCHEDULER),
        WORLD,
        SETTINGS,
        common,
        levels=levels,
        inputs=result.inputs,
    )
    gap = ldr.excess(product, result)
    assert torch.equal(product.inputs, result.inputs)
    assert torch.allclose(gap.value, 1 - result.ldr.value)
    assert torch.allclose(gap.standard_error, result.ldr.standard_error, atol=1e-9)


def test_a_precision_is_that_of_the_difference_too(tmp_path: Path) -> None:
    """A local network's ratio does not vary; the optimum's, and so the excess, does."""
    config = Config(probe=replace(COMMON, level=400, precision=0.005, precision_images=2000))
    subject = subject_of(ProductDenoiser(WORLD, SCHEDULER), WORLD, config)
    results = SETTINGS.measure(subject, Keep(tmp_path, "locality", {}))
    network = results["network"]
    level = network.at(400)
    assert network.inputs[level] > 40
    assert torch.equal(network.inputs, results["bayes"].inputs)
    gap = ldr.excess(network, results["bayes"])
    assert gap.standard_error[level] < 1.3 * 0.005


def test_images_without_a_grammar_will_do() -> None:
    random = torch.Generator().manual_seed(0)
    images = ImageSet(torch.randn(8, 1, 1, 4, generator=random), "noise")
    result = ldr.measure(Linear(MATRIX), images, SETTINGS, COMMON)
    assert result.ldr.value.tolist() == pytest.approx([15 / 23] * 5)
    assert result.ldr.n.tolist() == [8] * 5  # eight pictures make no interval
    assert result.ldr.low.isnan().all()


def test_pictures_used_more_than_once_count_once() -> None:
    """Each picture has a ratio of its own: twenty are twenty, however often they are noised."""

    class ByPicture(Denoiser):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            # The first pixel is so large that noise does not change what it says.
            mix = x_t[:, :, :, :1] / 1e4
            return x_t + mix * x_t.roll(1, -1)

    random = torch.Generator().manual_seed(0)
    pictures = torch.randn(20, 1, 1, 4, generator=random)
    pictures[..., 0] = 1e4 * torch.rand(20, 1, 1, generator=random)
    common = replace(COMMON, images=128, batch_size=128)
    result = ldr.measure(
        ByPicture(SCHEDULER),
        ImageSet(pictures, "pictures"),
        SETTINGS,
        common,
        levels=torch.tensor([100]),
    )
    assert result.ldr.n.item() == 20
    by_picture = torch.stack([result.ratios[0][result.sources == i].mean() for i in range(20)])
    spread = (by_picture.std() / 20**0.5).item()
    assert result.ldr.standard_error.item() == pytest.approx(spread, rel=0.2)
    naive = (result.ratios[0].std() / 128**0.5).item()
    assert naive < 0.5 * spread


def test_levels_are_spread_in_log_snr_and_others_included() -> None:
    result = ldr.measure(Linear(MATRIX), WORLD, SETTINGS, COMMON, include=(123,))
    assert len(result.t) == 6
    assert 123 in result.t.tolist()
    assert (result.t.diff() < 0).all()
    assert (result.log_snr.diff() > 0).all()
    assert result.t[result.at(120)] == 123
    spread = result.log_snr[result.t != 123].diff()
    assert spread.max() < 1.3 * spread.min()


def test_figures_show_the_numbers() -> None:
    bayes = ldr.measure(BayesDenoiser(WORLD, SCHEDULER), WORLD, SETTINGS, COMMON)
    figure = Figure()
    above, below, right = figure.subplots(3)
    (line,) = figures.plot(bayes, above).lines
    assert line.get_xdata().tolist() == bayes.log_snr.tolist()
    told = bayes.ldr.value.where(bayes.ldr.low.isfinite(), torch.nan)
    assert told.isfinite().any()
    assert line.get_ydata().tolist() == pytest.approx(told.tolist(), nan_ok=True)
    assert above.get_ylabel() == "LDR (squared)"
    figures.plot_excess(bayes.log_snr, ldr.excess(bayes, bayes), below)
    image = figures.plot_dependence(bayes, right, 1).images[0]
    figures.plot_decay(bayes, Figure().subplots(), 1)
    share = bayes.shares.value[1] / bayes.shares.value[1].sum(1, keepdim=True)
    assert torch.allclose(torch.as_tensor(image.get_array()), share)


def test_the_decay_reaches_down_to_what_can_be_told_from_nothing() -> None:
    result = ldr.measure(Linear(MATRIX), WORLD, SETTINGS, COMMON)

    def decaying(values: list[float], half: float) -> ldr.Locality:
        value = torch.tensor([values], dtype=torch.float64)
        ends = half * torch.ones_like(value)
        decay = Interval(value, ends, value - ends, value + ends, torch.full((1, 4), 40))
        return replace(result, decay=decay, distances=torch.tensor([0.0, 1, 2, 3]))

    ax = Figure().subplots()
    figures.plot_decay(decaying([1, 0.02, 0.004, 1e-5], 0.002), ax, 0)
    line, _, (bars,) = ax.containers[0]
    assert line.get_ydata().tolist() == pytest.approx([1, 0.02, 0.004, math.nan], nan_ok=True)
    ends = [segment[:, 1].tolist() for segment in bars.get_segments() if len(segment)]
    assert ends[2] == pytest.approx([0.002, 0.006])
    assert ax.get_ylim() == (1e-3, 2)  # not the floor of 1e-6
    # What is not told from nothing stands at the edge.
    assert ax.lines[-1].get_xydata().tolist() == [[3, 1e-3]]
    # The next curve may reach further down, and never lifts the axis.
    for smallest, bottom in ((1e-4, 1e-5), (0.5, 1e-5)):
        figures.plot_decay(decaying([1, 0.5, 0.5, smallest], 1e-6), ax, 0, aside=0.1)
        assert ax.get_ylim() == (pytest.approx(bottom), 2)
    assert ax.containers[-1].lines[0].get_xdata().tolist() == pytest.approx([0.1, 1.1, 2.1, 3.1])


def test_a_curve_that_others_outlast_is_marked_and_the_legend_says_why() -> None:
    def until(*levels: float) -> Any:
        ldr = stacked([intervals.mean(torch.full((12,), value)) for value in levels])
        return SimpleNamespace(ldr=ldr, log_snr=torch.arange(3.0))

    def drawn(*levels: float) -> Axes:
        results, ax = (
            {"network": until(0.9, 0.8, 0.7), "bayes": until(*levels)},
            Figure().subplots(),
        )
        for result in results.values():
            ax.plot(range(3), result.ldr.value.numpy(), label="a curve")
        figures._mark_ends(ax, results, torch.ones(3, dtype=torch.bool))
        return ax

    ax = drawn(0.9, 0.5, math.nan)
    assert ax.lines[2].get_xydata().tolist() == [[1, 0.5]]
    assert "ends where it depends" in ax.get_legend_handles_labels()[1][-1]
    assert len(drawn(0.9, math.nan, 0.5).lines) == 2  # a gap is no end
    assert len(drawn(math.nan, math.nan, math.nan).lines) == 2


def test_figures_of_locality_say_why_curves_stop_and_draw_no_empty_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (1, 4))
    subject = subject_of(ProductDenoiser(world, SCHEDULER), world, Config(probe=COMMON))
    results = LocalityConfig().measure(subject, Keep(None, "locality", {}))
    canvases = {}

    @contextmanager
    def kept(path: Path, width: float = 6.0, height: float = 3.5) -> Iterator[Figure]:
        canvases[path.name] = Figure(figsize=(width, height))
        yield canvases[path.name]

    monkeypatch.setattr(figures, "figure", kept)
    LocalityConfig().draw(results, subject, tmp_path)
    told = beside.beside_the_optimum(results)["network"].ldr.low.isfinite()
    above, _ = canvases["ldr"].axes
    assert not told[-1]  # at low noise the optimum depends on nothing
    (text,) = above.texts
    assert "the optimum depends on" in text.get_text()
    assert above.get_xlim()[1] > results["network"].log_snr[-1]
    labels = above.get_legend_handles_labels()[1]
    assert "product (local) optimum (= network)" in labels
    shown = [ax for ax in canvases["dependence"].axes if ax.images]
    assert shown
    assert all(ax.images[0].get_visible() or not ax.get_title() for ax in shown[: len(shown) // 2])

    # Where nothing at all is told there is no matrix and no decay to draw.
    nothing = {
        name: replace(r, ratios=torch.full_like(r.ratios, math.nan)).among(r.ratios < -1)
        for name, r in results.items()
    }
    for r in nothing.values():
        r.decay.value.fill_(math.nan)
    canvases.clear()
    LocalityConfig().draw(nothing, subject, tmp_path)
    assert set(canvases) == {"ldr"}
    assert len(canvases["ldr"].axes) == 1  # no excess either


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 1}, "probe.images must be at least 2"),
        ({"levels": 0}, "probe.levels must be a positive integer, not 0"),
        ({"batch_size": 0}, "probe.batch_size must be a positive integer, not 0"),
    ],
)
def test_bad_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ldr.measure(Linear(MATRIX), WORLD, SETTINGS, replace(COMMON, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projections": -1}, "probes.locality.projections must be at least 0, not -1"),
        ({"projections": 1}, "projections must be at least 2"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LocalityConfig(**change)


def test_without_a_grammar_there_are_fewer_levels_unless_they_are_asked_for() -> None:
    pictures = ImageSet(torch.rand(5, *WORLD.image_shape), "pictures")
    for images, levels, expected in ((WORLD, -1, 15), (pictures, -1, 8), (pictures, 3, 3)):
        common = ProbeConfig(images=2, levels=levels)
        assert len(ldr.measure(Linear(MATRIX), images, SETTINGS, common).t) == expected


def test_without_a_grammar_a_few_inputs_start_and_more_come_where_they_are_needed() -> None:
    """A ratio that hardly varies takes the first block; one that does takes what 0.01 needs."""

    class Varied(Denoiser):
        """x0_hat = x, and its neighbour's, by as much as the input says."""

        def __init__(self, spread: float) -> None:
            super().__init__(SCHEDULER)
            self.spread = spread

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            much = 1 + self.spread * x_t.detach().mean((1, 2, 3), keepdim=True).tanh()
            return x_t + much * x_t.roll(1, -1)

    pictures = ImageSet(torch.rand(60, 1, 1, 4, generator=torch.Generator().manual_seed(0)), "some")
    config = Config(probe=replace(COMMON, images=60, levels=3, level=600))
    found = {}
    for spread in (0.0, 0.3, 0.9):
        subject = subject_of(Varied(spread), pictures, config)
        results = SETTINGS.measure(subject, Keep(None, "locality", {}))
        network = results["network"]
        assert network.settings["precision"] == PRECISION
        assert all(torch.equal(network.inputs, r.inputs) for r in results.values())
        found[spread] = network
        assert f"for {FIRST} inputs, up to 60 if the error needs them," in SETTINGS.cost(subject)
    assert found[0.0].inputs.tolist() == [FIRST] * len(found[0.0].t)
    more = found[0.3]
    assert FIRST < more.inputs.max() < 60
    assert (more.ldr.standard_error < 1.5 * PRECISION).all()
    assert found[0.9].inputs.max() == 60  # no more than asked for
    # What is asked for holds instead, from a first block of as many as --n.
    asked = replace(config, probe=replace(config.probe, precision=0.5))
    subject = subject_of(Varied(0.3), pictures, asked)
    network = SETTINGS.measure(subject, Keep(None, "locality", {}))["network"]
    assert network.inputs.tolist() == [60] * len(network.t)


def test_fewer_inputs_than_the_first_block_are_all_taken() -> None:
    common = stated(ProbeConfig(images=5), grammar_known=False)
    assert (common.images, common.precision_images) == (5, 5)
    assert inputs_needed(torch.rand(5), common) == 5
    assert stated(ProbeConfig(images=5), grammar_known=True) == ProbeConfig(images=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": -0.1}, "probe.precision must be at least 0, not -0.1"),
        ({"precision_images": 0}, "probe.precision_images must be at least 1, not 0"),
    ],
)
def test_a_precision_out_of_range_is_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ProbeConfig(**change)
