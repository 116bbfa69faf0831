"""Sharpness against exact Hessians: every number of a small network's."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from diffprobe.datasets import Glyphs, SymbolImages, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import MemoryLimitError, UsageError
from diffprobe.foundations.memory import limited
from diffprobe.models import BayesDenoiser, NetworkDenoiser, noise_scheduler
from diffprobe.models.denoiser import FunctionDenoiser
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probes.sharpness import SharpnessConfig, figures, lanczos
from diffprobe.probes.sharpness.curvature import Weights
from diffprobe.probes.sharpness.inputs import Inputs
from diffprobe.probes.sharpness.traces import measure, root_pseudovalues
from diffprobe.probes.sharpness.words import lines, summary

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))
WORLD = hypercube(ParityConfig(4).build())
SETTINGS = SharpnessConfig(images=32, levels=2, projections=48, values=3, iterations=40)


def two_layers() -> NetworkDenoiser:
    network = MLPConfig(width=3).build(WORLD.image_shape)
    random = torch.Generator().manual_seed(0)
    for p in network.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=random)
    return NetworkDenoiser(network.eval(), SCHEDULER).requires_grad_(False)


def exact(denoiser: NetworkDenoiser, bayes: BayesDenoiser | None) -> tuple[Tensor, Tensor]:
    """H and Diag(G) at the inputs of `SETTINGS`, by columns and by rows: (T, P, P) and (T, P)."""
    weights = Weights(denoiser)
    n, levels = SETTINGS.images, SETTINGS.levels
    inputs = Inputs(denoiser, weights, WORLD, n, levels, seed=0, bayes=bayes)
    with weights.differentiable():
        columns = torch.eye(len(weights))
        h = torch.stack(
            [torch.stack([inputs.product(at, v) for v in columns]) for at in range(levels)]
        )
        g = torch.zeros(levels, len(weights))
        for level in range(levels):
            for block in range(inputs.blocks):
                output = inputs.block(block, level).output
                for row in output.flatten():
                    pulled = torch.autograd.grad(row, weights.tensors, retain_graph=True)
                    flat = torch.cat([each.flatten() for each in pulled])
                    g[level] += 2 * flat.square() / output.numel() / inputs.blocks
    return h, g


@pytest.mark.parametrize("bayes", [None, BayesDenoiser(WORLD, SCHEDULER)])
def test_every_number_is_that_of_the_exact_hessian(bayes: BayesDenoiser | None) -> None:
    denoiser = two_layers()
    result = measure(denoiser, WORLD, SETTINGS, bayes=bayes)
    each, g = exact(denoiser, bayes)
    h = each.mean(0)
    values = torch.linalg.eigvalsh(h).flip(0)
    assert torch.allclose(h, h.T, atol=1e-5)
    assert torch.allclose(result.eigenvalues.value.float(), values[:3], rtol=1e-3)
    assert (result.eigenvalue_residual < 1e-3 * values[0]).all()
    tops = torch.linalg.eigvalsh(each)[:, -1]
    assert torch.allclose(result.top_by_level.value.float(), tops, rtol=1e-3)
    # Within the estimates' own errors, which over the same inputs are of the vectors alone.
    close: dict[str, float] = {"trace": 0.15, "gauss_newton_trace": 0.05}
    for name, matrix in (("trace", each.diagonal(dim1=1, dim2=2)), ("gauss_newton_trace", g)):
        assert result.overall[name].value.item() == pytest.approx(
            matrix.mean(0).sum().item(), rel=close[name]
        )
        assert torch.allclose(
            result.by_level[name].value.float(), matrix.sum(1), rtol=2 * close[name]
        )
        assert torch.allclose(
            result.by_layer[name].value.float(),
            Weights(denoiser).by_layer(matrix.mean(0)).float(),
            rtol=2 * close[name],
        )
    root = g.mean(0).sqrt().sum().item()
    assert result.overall["gauss_newton_root_trace"].value.item() == pytest.approx(root, rel=0.03)
    assert result.layers == ("hidden", "output")


class Near(nn.Module):
    """The Bayes optimum and something beside it that vanishes at weights of zero."""

    def __init__(self) -> None:
        super().__init__()
        self.bayes = BayesDenoiser(WORLD, SCHEDULER)
        self.w = nn.Parameter(torch.zeros(4))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        beside = self.w * x_t.flatten(1) + 4 * self.w.square()
        return self.bayes(x_t, t) + beside.reshape(x_t.shape)


def test_at_the_optimum_the_oracle_takes_all_noise_of_the_rest_away() -> None:
    denoiser = FunctionDenoiser(Near(), SCHEDULER, image_shape=WORLD.image_shape)
    settings = replace(SETTINGS, images=256, projections=4)
    known = measure(denoiser, WORLD, settings, bayes=BayesDenoiser(WORLD, SCHEDULER))
    unknown = measure(denoiser, WORLD, settings)
    trace, part = (known.overall[name] for name in ("trace", "gauss_newton_trace"))
    assert trace.value.item() == pytest.approx(part.value.item(), rel=1e-5)
    assert known.resolved == 1
    root = known.overall["root_trace"].value.item()
    # G is E x_i²·2/d of each weight, whatever the level: x_t has variance one.
    assert root == pytest.approx(4 * (2 / 4) ** 0.5, rel=0.05)
    assert unknown.overall["trace"].contains(trace.value).item()
    assert unknown.overall["trace"].standard_error > 1.2 * trace.standard_error
    assert known.layers == ("w",)


class Curved(nn.Module):
    """A small smooth network: R has a diagonal, which piecewise linear ones have not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.parts = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 4))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        found: Tensor = 2 * self.parts(x_t)
        return found.reshape(x_t.shape)


@pytest.mark.parametrize("bayes", [None, BayesDenoiser(WORLD, SCHEDULER)])
def test_the_hessian_is_its_gauss_newton_part_and_the_rest(bayes: BayesDenoiser | None) -> None:
    denoiser: Any = FunctionDenoiser(Curved(), SCHEDULER, image_shape=WORLD.image_shape)
    weights = Weights(denoiser)
    columns = list(torch.eye(len(weights)))
    with weights.differentiable():
        at = Inputs(denoiser, weights, WORLD, 32, 2, seed=0, bayes=bayes).block(0, 1)
        h, rest = (torch.stack(of(columns)) for of in (at.products, at.rest_products))
        rows = [
            torch.cat(
                [p.flatten() for p in torch.autograd.grad(y, weights.tensors, retain_graph=True)]
            )
            for y in at.output.flatten()
        ]
    jacobian = torch.stack(rows)
    part = 2 / len(rows) * jacobian.T @ jacobian
    assert torch.allclose(h, part + rest, atol=1e-5)
    assert rest.diagonal().abs().max() > 0.05 * part.diagonal().max()
    random = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (4000, *at.output.shape), generator=random) * 2.0 - 1
    drawn = torch.stack([at.gauss_newton_diagonal(u) for u in signs]).mean(0)
    assert torch.allclose(drawn, part.diagonal(), rtol=0.15, atol=1e-4)


def test_a_root_that_does_not_stand_out_of_its_noise_is_not_told() -> None:
    result = measure(two_layers(), WORLD, replace(SETTINGS, projections=1))
    assert result.resolved < 0.9
    assert result.overall["root_trace"].value.isnan()
    told = "\n".join(lines(summary(result)))
    assert f"not told: {result.resolved:.0%} of it stands out" in told
    assert f"tr(Diag(G)^½) {float(result.overall['gauss_newton_root_trace'].value):.3g} ±" in told


def test_the_jackknife_takes_the_bias_of_the_root_away() -> None:
    random = torch.Generator().manual_seed(0)
    weights = Weights(two_layers())
    truth = torch.rand(len(weights), generator=random) + 0.1
    # As of one vector for each of 16 blocks: squares of normal numbers, 1.4 times their mean wide.
    draws = truth * torch.randn(40, 16, len(weights), generator=random).square()
    exact_root = truth.sqrt().sum().item()
    plain = draws.mean(1).sqrt().sum(-1).mean().item()
    told = torch.stack([root_pseudovalues(each, weights) for each in draws]).sum(-1)
    assert plain < 0.988 * exact_root
    assert told.mean().item() == pytest.approx(exact_root, rel=0.003)


def test_lanczos_finds_the_top_and_says_how_far_it_is_off() -> None:
    random = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(60, 60, generator=random)).Q
    values = torch.linspace(-3, 5, 60)
    matrix = turn @ torch.diag(values) @ turn.T
    start = torch.randn(60, generator=random)
    for iterations, near in ((60, 1e-4), (20, 0.2)):
        found, residual, vectors = lanczos.largest(
            lambda v: matrix @ v, start, 3, range(iterations)
        )
        off = (found[:, None] - values.double()).abs().min(1).values
        assert (off <= residual + 1e-4).all()
        assert abs(found[0].item() - 5) < near
        assert torch.allclose(vectors @ vectors.T, torch.eye(3), atol=1e-4)
    one, _, _ = lanczos.largest(lambda v: 2 * v, start, 3, range(9))
    assert one.tolist() == pytest.approx([2.0])


def test_an_attention_layer_is_differentiated_twice_and_stays_frozen() -> None:
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (2, 2))
    network = TransformerConfig(patch=(4, 4), width=8, depth=1, heads=2).build(world.image_shape)
    denoiser = NetworkDenoiser(network.eval(), SCHEDULER).requires_grad_(False)
    few = SharpnessConfig(images=4, levels=1, projections=1, values=1, iterations=3)
    result = measure(denoiser, world, few)
    assert not any(p.requires_grad for p in denoiser.parameters())
    assert result.settings["weights"] == sum(p.numel() for p in network.parameters())
    assert result.eigenvalues.value.isfinite().all()
    assert result.overall["trace"].low.isnan()  # of four blocks no interval is told
    again = measure(denoiser, world, few)
    assert torch.equal(again.overall["trace"].value, result.overall["trace"].value)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UsageError, match="shows no weights"):
        measure(BayesDenoiser(WORLD, SCHEDULER), WORLD, SETTINGS)
    with pytest.raises(UsageError, match=r"values must lie in 1 … 223, not 224"):
        measure(two_layers(), WORLD, replace(SETTINGS, values=224, iterations=224))
    with pytest.raises(UsageError, match=r"probes.sharpness.iterations must be at least 5, not 4"):
        SharpnessConfig(values=5, iterations=4)
    broken = two_layers()
    next(iter(broken.parameters())).data.fill_(torch.inf)
    with pytest.raises(UsageError, match="loss of the network is not finite"):
        measure(broken, WORLD, SETTINGS)
    big = FunctionDenoiser(Big(), SCHEDULER, image_shape=WORLD.image_shape)
    with limited(2**30), pytest.raises(MemoryLimitError, match="20,000,000 weights in 16 blocks"):
        measure(big, WORLD, SETTINGS)


class Big(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(20_000_000))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return x_t * self.w[0]


@pytest.mark.drawn
def test_the_figure_shows_levels_and_layers(tmp_path: Path) -> None:
    result = measure(two_layers(), WORLD, replace(SETTINGS, projections=2, iterations=3))
    ax = Figure().subplots()
    figures.plot(result, result.by_level["trace"], ax)
    (line,) = [each for each in ax.lines if len(each.get_xdata()) == 2 and each.get_marker() == "o"]
    assert list(line.get_ydata()) == pytest.approx(result.by_level["trace"].value.tolist())
    assert list(line.get_xdata()) == pytest.approx(result.log_snr.tolist())
    ax = Figure().subplots()
    figures.plot_layers(result, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["hidden", "output"]
    widths = [bar.get_width() for bar in ax.patches]
    assert sum(widths[:2]) == pytest.approx(1)
    part = result.by_layer["gauss_newton_trace"].value
    assert widths[0] == pytest.approx(float(part[0] / part.sum()))
    figures.draw(result, SimpleNamespace(architecture="mlp"), tmp_path)  # type: ignore[arg-type]
    assert (tmp_path / "sharpness.png").stat().st_size > 10_000
    assert "Sharpness at 2 noise levels" in repr(result)
    assert {row["number"] for row in result.rows()} >= {"trace", "eigenvalue at a level"}
