import pytest
import torch
from torch import Tensor

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import Denoiser, NetworkDenoiser, noise_scheduler
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.models.networks.unet import UNetConfig
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.probing.jacobian import (
    Linearisation,
    batches,
    estimated_energies,
    exact_energies,
    exact_jacobian,
    pixel_energies,
    reverse_passes,
)
from diffprobe.probing.regions import Regions

WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (2, 2))
REGIONS = Regions.cells(WORLD)
MASKS = REGIONS.masks
SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))


def networks() -> dict[str, Denoiser]:
    unet = UNetConfig(channels=(8, 8), layers_per_block=1, attention=(False, True), norm_groups=4)
    transformer = TransformerConfig(patch=(4, 4), width=16, depth=1, heads=2)
    found: dict[str, Denoiser] = {"bayes": BayesDenoiser(WORLD, SCHEDULER)}
    for config in (unet, transformer, MLPConfig(width=32)):
        network = config.build(WORLD.image_shape)
        random = torch.Generator().manual_seed(0)
        for p in network.parameters():
            p.data += 0.1 * torch.randn(p.shape, generator=random)
        found[config.name] = NetworkDenoiser(network.double().eval(), SCHEDULER)
    return found


DENOISERS = networks()


@pytest.fixture(params=DENOISERS)
def denoiser(request: pytest.FixtureRequest) -> Denoiser:
    return DENOISERS[request.param]


def inputs(n: int = 2) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randn(n, *WORLD.image_shape, generator=random, dtype=torch.float64)


def full_jacobian(denoiser: Denoiser, x: Tensor, t: int) -> Tensor:
    """Return (N, pixels, pixels) by central differences."""
    pixels, step = x[0].numel(), 1e-5
    level = torch.full((2 * pixels,), t)
    found = []
    with torch.no_grad():
        for image in x:
            shifts = step * torch.eye(pixels, dtype=x.dtype).reshape(pixels, *image.shape)
            outputs = denoiser(torch.cat([image + shifts, image - shifts]), level).flatten(1)
            found.append(((outputs[:pixels] - outputs[pixels:]) / (2 * step)).T)
    return torch.stack(found)


def by_region(entries: Tensor) -> Tensor:
    flat = MASKS.flatten(1).double()
    return torch.einsum("rp,npq,sq->nrs", flat, entries, flat)


@pytest.mark.parametrize("power", [1, 2])
def test_exact_energies_agree_with_finite_differences(denoiser: Denoiser, power: int) -> None:
    x = inputs()
    expected = by_region(full_jacobian(denoiser, x, 500).abs() ** power)
    found = exact_energies(denoiser, x, 500, REGIONS, power)
    assert found.shape == (2, 4, 4)
    assert found.dtype == torch.float64
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_projections_estimate_without_bias(denoiser: Denoiser) -> None:
    x = inputs(1)
    exact = exact_energies(denoiser, x, 500, REGIONS)[0]
    random = torch.Generator().manual_seed(2)
    draws = torch.stack(
        [estimated_energies(denoiser, x, 500, REGIONS, 1, random)[0, 0] for _ in range(400)]
    )
    error = draws.std(0) / 20
    assert ((draws.mean(0) - exact).abs() < 5 * error + 1e-12).all()


def test_projections_are_told_one_by_one(denoiser: Denoiser) -> None:
    one, two = (torch.Generator().manual_seed(3) for _ in range(2))
    x = inputs()
    singly = torch.cat([estimated_energies(denoiser, x, 200, REGIONS, 1, one) for _ in range(3)], 1)
    together = estimated_energies(denoiser, x, 200, REGIONS, 3, two)
    assert together.shape == (2, 3, 4, 4)
    assert torch.allclose(together, singly)


@pytest.mark.parametrize("power", [1, 2])
def test_the_rest_of_the_image_is_a_part_of_its_own(denoiser: Denoiser, power: int) -> None:
    x = inputs()
    some = Regions(MASKS[1:3], REGIONS.names[1:3], REGIONS.boxes[1:3])
    whole = exact_energies(denoiser, x, 500, REGIONS, power)[:, 1:3]
    found = exact_energies(denoiser, x, 500, some, power)
    assert found.shape == (2, 2, 3)
    assert torch.allclose(found[..., :2], whole[..., 1:3])
    assert torch.allclose(found[..., 2], whole[..., 0] + whole[..., 3])


def test_batched_equals_unbatched(denoiser: Denoiser) -> None:
    x = inputs(3)
    whole = exact_energies(denoiser, x, 300, REGIONS)
    parts = [exact_energies(denoiser, part, 300, REGIONS) for part in batches(x, 2)]
    assert torch.allclose(torch.cat(parts), whole)


def test_rows_agree_with_finite_differences_to_1e_7(denoiser: Denoiser) -> None:
    x = inputs()
    found = exact_jacobian(denoiser, x, 500)
    assert found.shape == (2, 64, 64)
    assert (found - full_jacobian(denoiser, x, 500)).abs().max() < 1e-7
    some = torch.tensor([3, 60])
    assert torch.equal(exact_jacobian(denoiser, x, 500, some), found[:, some])


def test_both_products_are_those_of_the_matrix(denoiser: Denoiser) -> None:
    x = inputs()
    matrix = exact_jacobian(denoiser, x, 400)
    random = torch.Generator().manual_seed(4)
    line = Linearisation(denoiser, x, 400, twice=True)
    for _ in range(2):  # again and again on one graph
        v = torch.randn(x.shape, generator=random, dtype=x.dtype)
        forth = torch.einsum("npq,nq->np", matrix, v.flatten(1))
        back = torch.einsum("npq,np->nq", matrix, v.flatten(1))
        assert torch.allclose(line.push_forward(v).flatten(1), forth, rtol=1e-6, atol=1e-9)
        assert torch.allclose(line.pull_back(v).flatten(1), back, rtol=1e-6, atol=1e-9)


def test_energies_of_pixels_are_those_of_the_rows(denoiser: Denoiser) -> None:
    x, random = inputs(), torch.Generator().manual_seed(5)
    region = MASKS[2]
    rows = exact_jacobian(denoiser, x, 500, region.flatten().nonzero()[:, 0])
    expected = rows.square().sum(1).reshape(x.shape)
    exact = pixel_energies(denoiser, x, 500, region, 0, random)
    assert torch.allclose(exact[:, 0], expected)
    draws = pixel_energies(denoiser, x, 500, region, 300, random)
    assert draws.shape == (2, 300, 1, 8, 8)
    error = draws.std(1) / 300**0.5
    assert ((draws.mean(1) - exact[:, 0]).abs() < 5 * error + 1e-9).all()


def test_intervals_of_the_estimate_cover_the_exact_value() -> None:
    """400 repeats of 64 projections; benchmarks/jacobian.py does it for all architectures."""
    denoiser, x = DENOISERS["mlp"], inputs(1)
    exact = exact_energies(denoiser, x, 500, REGIONS)[0].sum()
    random, same = torch.Generator().manual_seed(6), x.expand(64, -1, -1, -1)
    covered = 0
    for _ in range(400):
        totals = estimated_energies(denoiser, same, 500, REGIONS, 1, random).sum((1, 2, 3))
        half = 1.96 * totals.std() / 8
        covered += bool((totals.mean() - exact).abs() <= half)
    # Nominal 0.95 of 400; three standard deviations of that count are 0.033.
    assert 0.917 <= covered / 400 <= 0.983


def test_the_cost_is_counted() -> None:
    assert reverse_passes(MASKS, 0) == 64
    assert reverse_passes(MASKS[:1], 0) == 16
    assert reverse_passes(MASKS, 3) == 12


class Broken(Denoiser):
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return x_t * torch.nan


def test_bad_input_is_refused(denoiser: Denoiser) -> None:
    random = torch.Generator()
    with pytest.raises(UsageError, match="projections must be at least 1"):
        estimated_energies(denoiser, inputs(), 1, REGIONS, 0, random)
    with pytest.raises(UsageError, match="t=1000 is outside 0 … 999"):
        exact_energies(denoiser, inputs(), 1000, REGIONS)
    with pytest.raises(UsageError, match="output at t=5 is not finite"):
        Linearisation(Broken(SCHEDULER), inputs(), 5)
    with pytest.raises(UsageError, match="batch size"):
        list(batches(inputs(), 0))
