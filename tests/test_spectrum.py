from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.datasets import Glyphs, SymbolImages, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import Denoiser, NetworkDenoiser, noise_scheduler
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.probes.spectrum import SpectrumConfig, figures, singular_values
from diffprobe.probing.jacobian import exact_jacobian

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))
WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (2, 2))
SETTINGS = SpectrumConfig(images=3, values=4, iterations=30, projections=400)


class Linear(Denoiser):
    def __init__(self, matrix: Tensor) -> None:
        super().__init__(SCHEDULER)
        self.matrix = matrix

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (x_t.flatten(1) @ self.matrix.T).reshape(x_t.shape)


def transformer() -> Denoiser:
    config = TransformerConfig(patch=(4, 4), width=16, depth=1, heads=2)
    network = config.build(WORLD.image_shape)
    random = torch.Generator().manual_seed(0)
    for p in network.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=random)
    return NetworkDenoiser(network.eval(), SCHEDULER)


@pytest.mark.parametrize("denoiser", [transformer(), BayesDenoiser(WORLD, SCHEDULER)])
def test_the_top_of_the_spectrum_is_that_of_the_matrix(denoiser: Denoiser) -> None:
    result = singular_values.measure(denoiser, WORLD, SETTINGS, t=400)
    matrix = exact_jacobian(denoiser, result.x_t, 400).double()
    left, values, _ = torch.linalg.svd(matrix)
    assert result.values.shape == (3, 4)
    assert torch.allclose(result.values, values[:, :4], rtol=1e-3, atol=1e-5)
    assert (result.value_residual < 0.02 * values[:, :1]).all()
    for vectors in (result.inputs, result.outputs):
        assert vectors.shape == (3, 4, 1, 8, 8)
        assert torch.allclose(vectors.flatten(2).norm(dim=2), torch.ones(3, 4), atol=1e-4)
    pushed = torch.einsum("npq,nkq->nkp", matrix.float(), result.inputs.flatten(2))
    expected = result.values[..., None].float() * result.outputs.flatten(2)
    assert torch.allclose(pushed, expected, atol=2e-3 * values.max().item())
    # Leading vectors up to their sign, where the first value stands alone.
    for i in range(3):
        if values[i, 0] > 1.2 * values[i, 1]:
            cosine = (left[i, :, 0].float() @ result.outputs[i, 0].flatten()).abs()
            assert cosine > 0.99


def test_moments_are_those_of_the_matrix() -> None:
    random = torch.Generator().manual_seed(1)
    matrix = torch.randn(4, 4, generator=random)
    result = singular_values.measure(
        Linear(matrix),
        hypercube(ParityConfig(4).build()),
        replace(SETTINGS, projections=4000),
        t=400,
    )
    squares = torch.linalg.svdvals(matrix).square()
    energy = squares.sum().item()
    antisymmetric = ((matrix - matrix.T) / 2).square().sum().item() / energy
    assert result.energy.tolist() == pytest.approx([energy] * 3, rel=0.06)
    assert result.asymmetry.tolist() == pytest.approx([antisymmetric] * 3, rel=0.1)
    rank = energy**2 / squares.square().sum().item()
    assert result.effective_rank.tolist() == pytest.approx([rank] * 3, rel=0.1)
    mean = result.mean("asymmetry")
    assert mean.value.item() == pytest.approx(result.asymmetry.mean().item())
    assert mean.low.isnan()  # three inputs make no interval


def test_ratios_of_few_projections_are_unbiased() -> None:
    random = torch.Generator().manual_seed(1)
    matrix = torch.randn(4, 4, generator=random)
    world = hypercube(ParityConfig(4).build())
    settings = replace(SETTINGS, images=4000, iterations=1)
    exact = singular_values.measure(
        Linear(matrix), world, replace(settings, images=4, projections=8000), t=400
    )
    few = singular_values.measure(Linear(matrix), world, replace(settings, projections=8), t=400)
    for name in ("asymmetry", "effective_rank"):
        truth = getattr(exact, name).mean().item()
        mean = few.mean(name)
        assert mean.value.item() == pytest.approx(truth, abs=4 * mean.standard_error.item() + 0.01)


def test_the_optimum_is_symmetric_and_a_rotation_is_not() -> None:
    bayes = singular_values.measure(BayesDenoiser(WORLD, SCHEDULER), WORLD, SETTINGS, t=500)
    assert bayes.asymmetry.max() < 1e-8
    turn = torch.tensor([[0.0, -1.0, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]])
    rotation = singular_values.measure(
        Linear(turn), hypercube(ParityConfig(4).build()), SETTINGS, t=500
    )
    assert rotation.asymmetry.tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    assert rotation.effective_rank.tolist() == pytest.approx([4.0] * 3, rel=1e-4)
    assert rotation.values.flatten().tolist() == pytest.approx([1.0] * 12, rel=1e-4)


def test_what_depends_on_nothing_has_no_rank() -> None:
    result = singular_values.measure(
        Linear(torch.zeros(4, 4)), hypercube(ParityConfig(4).build()), SETTINGS, t=500
    )
    assert (result.values == 0).all()
    assert result.effective_rank.isnan().all()
    assert result.mean("asymmetry").n == 0


def test_no_interval_reaches_below_nothing() -> None:
    linear, world = Linear(torch.eye(4)), hypercube(ParityConfig(4).build())
    one = singular_values.measure(linear, world, SETTINGS, t=500)
    values = torch.zeros(20, 1, dtype=torch.float64)
    values[7] = 10.0
    found = replace(one, values=values, sources=torch.arange(20)).mean("largest")
    assert found.low == 0
    assert found.high > found.value == 0.5


def test_bad_settings_are_refused_and_the_figure_shows_the_values() -> None:
    linear, world = Linear(torch.eye(4)), hypercube(ParityConfig(4).build())
    for change, message in (
        ({"values": 5}, "must lie in 1 … 4"),
        ({"images": 1}, "images must be at least 2"),
        ({"projections": 1}, "projections must be at least 2"),
    ):
        with pytest.raises(UsageError, match=message):
            singular_values.measure(linear, world, replace(SETTINGS, **change), t=1)
    result = singular_values.measure(linear, world, SETTINGS, t=500)
    (line,) = figures.plot(result, Figure().subplots()).lines
    assert line.get_ydata().tolist() == pytest.approx([1.0] * 4, rel=1e-4)


def test_the_band_is_explained_and_no_axis_starts_below_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []

    @contextmanager
    def kept(path: Path, width: float, height: float) -> Iterator[Figure]:
        drawn.append(Figure(figsize=(width, height)))
        yield drawn[-1]

    monkeypatch.setattr(figures, "figure", kept)
    world = hypercube(ParityConfig(4).build())
    result = singular_values.measure(Linear(torch.eye(4)), world, SETTINGS, t=500)
    subject: Any = SimpleNamespace(architecture="mlp")
    figures.draw({"network": result}, subject, tmp_path)
    (ax,) = drawn[0].axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "mlp",
        "least to greatest of the inputs",
    ]
    assert ax.get_ylim()[0] == 0
    assert all(tick == round(tick) for tick in ax.get_xticks())


def test_no_denoiser_s_values_are_cut_off() -> None:
    world = hypercube(ParityConfig(4).build())
    ax = Figure().subplots()
    for scale in (1.0, 3.0, 0.5):
        result = singular_values.measure(Linear(scale * torch.eye(4)), world, SETTINGS, t=500)
        figures.plot(result, ax, label=f"{scale}")
    bottom, top = ax.get_ylim()
    assert bottom == 0
    assert top > 3
