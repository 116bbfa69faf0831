import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import ModelMixin, UNet2DModel

from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.foundations.errors import UsageError
from diffprobe.models import NetworkDenoiser, load_denoiser, noise_scheduler
from diffprobe.models.checkpoint import save_checkpoint
from diffprobe.models.local_oracle import neighbourhoods
from diffprobe.models.networks.local_convolution import LocalConvolutionConfig
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.models.networks.residual_mlp import ResidualMLPConfig
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.models.networks.unet import UNetConfig
from diffprobe.models.noise_settings import NoiseConfig

SHAPE = (1, 8, 16)
CONFIGS = [
    MLPConfig(width=32),
    ResidualMLPConfig(width=16, depth=2),
    TransformerConfig(width=16, depth=2, heads=2),
    TransformerConfig(patch=(4, 4), width=16, depth=1, heads=2),
    UNetConfig(channels=(8, 16), layers_per_block=1, attention=(False, True), norm_groups=4),
]
LOCAL = LocalConvolutionConfig(patch=(8, 8), width=16)


@pytest.fixture(params=[LOCAL, *CONFIGS], ids=lambda c: f"{c.name}")
def network(request: pytest.FixtureRequest) -> ModelMixin:
    return request.param.build(SHAPE, seed=0)


def inputs(n: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(n, *SHAPE, generator=random), torch.tensor([0, 500, 999])[:n]


def awaken(network: ModelMixin) -> ModelMixin:
    """Give layers that start at zero some weight, so that they can be seen."""
    random = torch.Generator().manual_seed(1)
    for p in network.parameters():
        p.data += 0.05 * torch.randn(p.shape, generator=random)
    return network


def test_output_has_the_shape_of_the_input(network: ModelMixin) -> None:
    x, t = inputs()
    assert network(x, t).sample.shape == x.shape
    assert torch.equal(network(x, t, return_dict=False)[0], network(x, t).sample)


def test_every_parameter_and_every_pixel_matters(network: ModelMixin) -> None:
    x, t = inputs()
    x.requires_grad_()
    awaken(network)(x, t).sample.square().sum().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name
    assert x.grad is not None
    assert (x.grad != 0).all()


def test_time_matters(network: ModelMixin) -> None:
    x, _ = inputs(1)
    awaken(network).eval()
    outputs = [network(x, torch.tensor([t])).sample for t in (0, 999)]
    assert not torch.allclose(*outputs, atol=1e-5)


def test_images_of_a_batch_are_independent(network: ModelMixin) -> None:
    x, t = inputs()
    awaken(network).eval()
    together = network(x, t).sample
    alone = torch.cat([network(x[i : i + 1], t[i : i + 1]).sample for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_saved_networks_come_back(network: ModelMixin, tmp_path: Path) -> None:
    network.save_pretrained(tmp_path)
    again = type(network).from_pretrained(tmp_path, low_cpu_mem_usage=False)
    saved, loaded = network.state_dict(), again.state_dict()
    assert [*saved] == [*loaded]
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)
    x, t = inputs()
    # Convolutions may sum in another order where the weights lie elsewhere in memory.
    assert torch.allclose(again.eval()(x, t).sample, network.eval()(x, t).sample, atol=1e-6)


def test_half_precision_and_double(network: ModelMixin) -> None:
    x, t = inputs()
    awaken(network).eval()
    exact = network.double()(x.double(), t).sample
    half = network.bfloat16()(x.bfloat16(), t).sample
    assert exact.dtype == torch.float64
    assert half.dtype == torch.bfloat16
    assert (half.double() - exact).norm() < 0.1 * exact.norm()


def test_the_same_seed_gives_the_same_weights() -> None:
    for config in CONFIGS:
        a, b, c = (config.build(SHAPE, seed) for seed in (0, 0, 1))
        pairs = list(zip(a.parameters(), b.parameters(), c.parameters(), strict=True))
        assert all(torch.equal(p, q) for p, q, _ in pairs)
        assert not all(torch.equal(p, r) for p, _, r in pairs)


def test_the_mlp_is_the_formula_of_the_paper() -> None:
    network = MLPConfig(width=5, time_width=4).build((1, 1, 3), seed=0)
    x = torch.tensor([[0.3, -1.0, 2.0]])
    # diffusers' embedding of t = 0: cosines of zero and sines of zero.
    features = torch.cat([x, torch.tensor([[0.0, 0.0, 1.0, 1.0]])], 1)
    found = network(x.reshape(1, 1, 1, 3), torch.tensor([0])).sample.flatten(1)
    for order in (features, torch.cat([x, torch.tensor([[1.0, 1.0, 0.0, 0.0]])], 1)):
        hidden = (order @ network.hidden.weight.T + network.hidden.bias).clamp(min=0)
        expected = hidden @ network.output.weight.T + network.output.bias
        if torch.allclose(found, expected, atol=1e-6):
            return
    pytest.fail("the output is not W2 relu(W1 [x; time] + b1) + b2")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UNetConfig().build((1, 8, 18)), "divisible by 4, and the image is 8×18"),
        (lambda: UNetConfig(channels=()), "at least one level"),
        (
            lambda: UNetConfig(attention=(True,)),
            "attention has 1 entries and network.channels 3",
        ),
        (lambda: UNetConfig(channels=(20, 20, 20)), "norm_groups=8 does not divide 20"),
        (lambda: TransformerConfig(patch=(8, 5)).build(SHAPE), "patch of 8×5 pixels does not"),
        (lambda: TransformerConfig(width=30), "4 heads do not divide a width of 30"),
        (lambda: MLPConfig(width=-1), "width must be a positive integer, not -1"),
        (lambda: LocalConvolutionConfig(radius=-1), "network.radius must not be negative"),
        (lambda: LocalConvolutionConfig(patch=(8, 5)).build(SHAPE), "patch of 8×5 pixels does not"),
    ],
)
def test_architectures_that_do_not_fit_are_refused(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_beyond_its_radius_a_local_convolution_sees_nothing(radius: int) -> None:
    """The Jacobian is exactly zero there, and not within, on a grid of 3×4 cells."""
    cells = CellGrid(3, 4, 2, 2)
    config = LocalConvolutionConfig(patch=(2, 2), radius=radius, width=8, depth=2)
    network = awaken(config.build((1, 6, 8), seed=0)).double().eval()
    x = torch.randn(1, 1, 6, 8, generator=torch.Generator().manual_seed(0)).double()

    def by_cell(x: torch.Tensor) -> torch.Tensor:
        return cells.cut(network(x, torch.tensor([300])).sample)[0].flatten(1)

    jacobian = torch.autograd.functional.jacobian(by_cell, x)  # (L, pixels of a cell, 1, C, H, W)
    energy = cells.cut(jacobian.reshape(-1, 1, 6, 8)).reshape(12, 4, 12, 4).square().sum((1, 3))
    near = neighbourhoods(cells, radius)
    assert (energy[~near] == 0).all()
    assert (energy[near] > 0).all()


def test_the_unet_is_diffusers_own() -> None:
    assert type(CONFIGS[-1].build(SHAPE)) is UNet2DModel


BY_CELL = [dataclasses.replace(config, levels_by_cell=True) for config in CONFIGS]
GRID = (2, 4)  # cells of 4×4


@pytest.fixture(params=[c for c in BY_CELL if getattr(c, "patch", (4, 4)) == (4, 4)], ids=str)
def by_cell(request: pytest.FixtureRequest) -> NetworkDenoiser:
    network = awaken(request.param.build(SHAPE, seed=0, grid=GRID)).eval()
    return NetworkDenoiser(network, noise_scheduler(NoiseConfig(prediction_type="sample")))


def test_each_cells_level_matters(by_cell: NetworkDenoiser) -> None:
    x = inputs(1)[0]
    t = torch.full((1, 8), 500)
    with torch.no_grad():
        before = by_cell(x, t)
        assert torch.allclose(by_cell(x, torch.tensor([500])), before, atol=1e-6)
        changes = []
        for cell in range(8):
            other = t.clone()
            other[0, cell] = 20
            changes.append(by_cell(x, other) - before)
    flat = torch.stack(changes).flatten(1)
    assert (flat.norm(dim=1) > 1e-3).all()
    # No two cells' levels do the same.
    assert (torch.cdist(flat, flat) + torch.eye(8) > 1e-3).all()


def test_networks_with_levels_by_cell_come_back(by_cell: NetworkDenoiser, tmp_path: Path) -> None:
    scheduler = noise_scheduler(NoiseConfig(prediction_type="sample"))
    save_checkpoint(tmp_path / "step-000001", {"raw": by_cell.network}, scheduler)
    again = load_denoiser(tmp_path / "step-000001")
    x, t = inputs(2)[0], torch.randint(1000, (2, 8), generator=torch.Generator().manual_seed(0))
    assert again.cells == by_cell.cells
    assert again.image_shape == SHAPE
    assert torch.equal(again(x, t), by_cell(x, t))


def test_every_parameter_with_levels_by_cell_matters(by_cell: NetworkDenoiser) -> None:
    x, t = inputs(2)[0], torch.randint(1000, (2, 8), generator=torch.Generator().manual_seed(0))
    by_cell(x, t).square().sum().backward()
    for name, p in by_cell.network.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


def test_a_token_is_told_the_level_of_its_cell() -> None:
    """Tokens that do not listen to each other change where their own cell's level does."""
    config = TransformerConfig(patch=(2, 2), width=16, depth=1, heads=2, levels_by_cell=True)
    network = awaken(config.build(SHAPE, seed=0, grid=GRID)).eval()
    network.blocks = torch.nn.ModuleList()
    x = inputs(1)[0]
    t = torch.full((1, 8), 500)
    before = network(x, t).sample
    for cell in range(8):
        other = t.clone()
        other[0, cell] = 20
        changed = CellGrid.of(SHAPE, GRID).cut(network(x, other).sample - before)
        assert [i for i in range(8) if (changed[0, i] != 0).any()] == [cell]


def test_levels_by_cell_are_refused_where_they_are_not_told(network: ModelMixin) -> None:
    denoiser = NetworkDenoiser(network, noise_scheduler(NoiseConfig()))
    assert denoiser.cells is None
    with pytest.raises(UsageError, match="takes one noise level an image"):
        denoiser(inputs(2)[0], torch.zeros(2, 8, dtype=torch.long))
    for config in CONFIGS[:-1]:
        with pytest.raises(UsageError, match="takes one noise level an image"):
            config.build(SHAPE)(inputs(2)[0], torch.zeros(2, 8, dtype=torch.long))


def test_a_grid_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="needs images made of a grid of cells"):
        BY_CELL[0].build(SHAPE)
    with pytest.raises(UsageError, match="8×8 pixels does not divide a cell of 4×4"):
        BY_CELL[2].build(SHAPE, grid=GRID)
