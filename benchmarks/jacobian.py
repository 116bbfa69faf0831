"""The Jacobian engine against what one would write without it: time, values, memory, coverage."""

import time
from collections.abc import Callable

import torch
from captum.attr import Saliency
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations import memory as memory_held
from diffprobe.models import Denoiser, NetworkDenoiser, noise_scheduler
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.models.networks.unet import UNetConfig
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.probes.locality import LocalityConfig, ldr
from diffprobe.probing.jacobian import (
    Linearisation,
    estimated_energies,
    exact_energies,
    exact_jacobian,
    rademacher,
)
from diffprobe.probing.noise_levels import noisy_inputs
from diffprobe.probing.ratio import local_dependency_ratios
from diffprobe.probing.regions import Regions

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))
LEVEL = 400
TIMED = 32  # pixels of which a loop is timed; the work is the same for each
REPEATS = 150  # intervals whose coverage is counted


def network(config: MLPConfig | UNetConfig | TransformerConfig, world: SymbolImages) -> Denoiser:
    """Return a network with weights away from their initial zeros."""
    found = config.build(world.image_shape).eval()
    random = torch.Generator().manual_seed(0)
    for p in found.parameters():
        p.data += 0.02 * torch.randn(p.shape, generator=random)
    return NetworkDenoiser(found, SCHEDULER).requires_grad_(False)


def timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def pixel_loop(denoiser: Denoiser, x_t: Tensor, regions: Tensor, pixels: list[int]) -> Tensor:
    """One input at a time, one forward and backward pass for each output pixel."""
    flat = regions.flatten(1).float()
    rows = []
    for image in x_t:
        for pixel in pixels:
            x = image[None].clone().requires_grad_()
            output = denoiser(x, torch.tensor([LEVEL])).flatten()[pixel]
            (row,) = torch.autograd.grad(output, x)
            rows.append(row.flatten().square() @ flat.T)
    return torch.stack(rows).reshape(len(x_t), len(pixels), len(regions))


def captum_loop(denoiser: Denoiser, x_t: Tensor, regions: Tensor, pixels: list[int]) -> Tensor:
    """The same by captum, a saliency map for each output pixel."""
    flat = regions.flatten(1).float()
    saliency = Saliency(lambda x: denoiser(x, torch.full((len(x),), LEVEL)).flatten(1))
    rows = []
    for image in x_t:
        for pixel in pixels:
            x = image[None].clone().requires_grad_()
            row = saliency.attribute(x, target=pixel, abs=False)
            rows.append(row.detach().flatten().square() @ flat.T)
    return torch.stack(rows).reshape(len(x_t), len(pixels), len(regions))


def all_cells_to_a_precision() -> dict[str, float]:
    """LDR over all cells to a standard error of 0.01, each way on as many inputs as that takes.

    Returns:
        Loop -> how many times as fast the engine is.
    """
    world = SymbolImages(ParityConfig(16).build(), Glyphs.font("01"), (4, 4))
    denoiser = network(UNetConfig(layers_per_block=1), world)
    size = sum(p.numel() for p in denoiser.parameters())
    regions = Regions.cells(world)
    settings = LocalityConfig(projections=2)
    common = ProbeConfig(images=8, batch_size=64, precision=0.01)
    levels = torch.tensor([LEVEL])
    print(f"U-Net, {size:,} parameters, 32×32 pixels, 16 cells: LDR to a standard error of 0.01")
    begun = time.perf_counter()
    result = ldr.measure(denoiser, world, settings, common, levels=levels)
    seconds = time.perf_counter() - begun
    inputs = int(result.inputs)
    print(
        f"  engine         {seconds:8.2f} s  LDR {result.ldr.value.item():.4f} ± "
        f"{result.ldr.standard_error.item():.4f}, {inputs} inputs"
    )
    # The exact energies of each input have no error of projection, so fewer inputs might do: the
    # loops are given those that their own spread asks for, two at the least.
    x_t = noisy_inputs(denoiser, world, 8, LEVEL, 0)
    exact = exact_energies(denoiser, x_t, LEVEL, regions)
    share = exact.diagonal(dim1=1, dim2=2).sum(1) / exact.sum((1, 2))
    needed = max(2, int((share.std() / 0.01).square().ceil()))
    timed_pixels, faster = list(range(0, 1024, 1024 // TIMED)), {}
    for name, loop in (("autograd loop", pixel_loop), ("captum loop", captum_loop)):
        loop(denoiser, x_t[:1], regions.masks, timed_pixels[:2])  # a warm-up
        part, rows = timed(lambda loop=loop: loop(denoiser, x_t[:1], regions.masks, timed_pixels))
        total = part * 1024 / TIMED * needed
        faster[name] = total / seconds
        expected = exact_jacobian(denoiser, x_t[:1], LEVEL, torch.tensor(timed_pixels))
        by_region = expected.square() @ regions.masks.flatten(1).float().T
        off = ((rows - by_region).abs() / by_region.abs().max()).max().item()
        print(
            f"  {name:14} {total:8.2f} s  ({needed} inputs × 1,024 pixels, from {TIMED}); "
            f"engine {faster[name]:.0f} "
            f"times faster, {faster[name] * inputs / needed:.0f} an input; values off by {off:.1e}"
        )
    return faster


def whole_jacobian() -> None:
    """All rows for 16 inputs, beside torch's own function and a loop written by hand."""
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01"), (2, 2))
    denoiser = network(UNetConfig(channels=(16, 32), attention=(False, True)), world)
    x_t = noisy_inputs(denoiser, world, 16, LEVEL, 0)

    def functional() -> Tensor:
        parts = []
        for image in x_t:
            rows = torch.autograd.functional.jacobian(
                lambda x: denoiser(x, torch.tensor([LEVEL])), image[None]
            )
            parts.append(rows.reshape(256, 256))
        return torch.stack(parts)

    def by_hand() -> Tensor:
        x = x_t.clone().requires_grad_()
        output = denoiser(x, torch.full((16,), LEVEL)).flatten(1).sum(0)
        rows = [
            torch.autograd.grad(output[p], x, retain_graph=True)[0].flatten(1) for p in range(256)
        ]
        return torch.stack(rows, 1)

    print("whole Jacobian of a U-Net, 16×16 pixels, 16 inputs; the best of three, in turn")
    ways = {
        "engine": lambda: exact_jacobian(denoiser, x_t, LEVEL),
        "loop by hand": by_hand,
        "functional.jacobian, one by one": functional,
    }
    runs = [{name: timed(work) for name, work in ways.items()} for _ in range(3)]
    best = {name: min(run[name][0] for run in runs) for name in ways}
    for name in ways:
        off = (runs[0][name][1] - runs[0]["engine"][1]).abs().max().item()
        print(
            f"  {name:32} {best[name]:6.2f} s  ratio {best[name] / best['engine']:.2f}, "
            f"values off by {off:.1e}"
        )


def memory() -> None:
    """Peak memory of the estimate, on images of ever more pixels but the same number of values."""
    print("peak memory of the estimate, batches of the same number of pixels in all")
    for grid, images in (((2, 2), 64), ((4, 4), 16), ((8, 8), 4)):
        world = SymbolImages(ParityConfig(grid[0] * grid[1]).build(), Glyphs.font("01"), grid)
        denoiser = network(UNetConfig(layers_per_block=1), world)
        common = ProbeConfig(images=images)
        regions = Regions.grid(world.image_shape, 2, 2)
        ldr.measure(denoiser, world, None, common, regions=regions, levels=torch.tensor([LEVEL]))
        peak = memory_held.peak() / memory_held.GIB
        _, height, width = world.image_shape
        print(f"  {height}×{width} pixels, {images:2} images: {peak:.2f} GiB so far")


def coverage() -> None:
    """How often the 95 % interval of the projections contains the exact value, in some repeats."""
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (2, 2))
    regions = Regions.cells(world)
    print(f"95 % intervals of 32 projections, {REPEATS} repeats")
    for config in (
        MLPConfig(width=64),
        UNetConfig(channels=(8, 8), layers_per_block=1, attention=(False, True), norm_groups=4),
        TransformerConfig(patch=(4, 4), width=16, depth=1, heads=2),
    ):
        denoiser = network(config, world)
        x_t = noisy_inputs(denoiser, world, 1, LEVEL, 0)
        exact = exact_energies(denoiser, x_t, LEVEL, regions)[0].sum()
        random, same = torch.Generator().manual_seed(0), x_t.expand(32, -1, -1, -1)
        covered = 0
        for _ in range(REPEATS):
            totals = estimated_energies(denoiser, same, LEVEL, regions, 1, random).sum((1, 2, 3))
            half = 2.04 * totals.std() / 32**0.5  # Student's t, 31 degrees of freedom
            covered += bool((totals.mean() - exact).abs() <= half)
        print(f"  {config.name:12} {covered / REPEATS:.1%}")


def coded_projections() -> None:
    """LDR from several regions in one reverse pass, told apart by signs, beside a pass for each."""
    print("LDR by coded projections; passes: reverse passes to a standard error of 0.01")
    parity = SymbolImages(ParityConfig(64).build(), Glyphs.font("01", (3, 3)), (8, 8))
    small = UNetConfig(channels=(16, 32), attention=(False, True), layers_per_block=1)
    brackets = SymbolImages(DyckConfig(10, 2).build(), Glyphs.font("()[]", (6, 6)), (2, 5))
    for what, denoiser, world, log_snr in (
        ("U-Net", network(small, parity), parity, 0.0),
        ("Bayes, parity", BayesDenoiser(parity, SCHEDULER), parity, 2.0),
        ("Bayes, brackets", BayesDenoiser(brackets, SCHEDULER), brackets, -0.5),
    ):
        levels = denoiser.log_snr(torch.arange(denoiser.timesteps))
        t = int((levels - log_snr).abs().argmin())
        x_t, regions = noisy_inputs(denoiser, world, 8, t, 0), Regions.cells(world)
        truth = local_dependency_ratios(exact_energies(denoiser, x_t, t, regions)[:, None])
        told, random = truth.isfinite(), torch.Generator().manual_seed(0)
        print(f"  {what}, {len(regions)} regions: exactly {truth[told].mean():.4f}")
        for passes in (2 * len(regions), 4, 16):
            each = 2 if passes == 2 * len(regions) else 0
            found = []
            for _ in range(4):
                if each:
                    energies = estimated_energies(denoiser, x_t, t, regions, each, random)
                    found.append(local_dependency_ratios(energies))
                else:
                    found.append(coded_ratios(denoiser, x_t, t, regions.masks, passes, random))
            ratios = torch.stack(found)[:, told]
            off = ratios.mean(1) - truth[told].mean()
            spread = (ratios.var(0).mean() + truth[told].var()).sqrt().item()
            print(
                f"    {passes:4} {'a pass a region' if each else 'coded':15}  bias "
                f"{off.mean():+.4f} ± {2 * off.std() / len(off) ** 0.5:.4f}  sd of an input "
                f"{spread:.3f}  passes {passes * (spread / 0.01) ** 2:,.0f}"
            )


def coded_ratios(
    denoiser: Denoiser, x_t: Tensor, t: int, masks: Tensor, passes: int, random: torch.Generator
) -> Tensor:
    """Return the LDR of each input from K passes with all regions in each, (N,).

        g_k = Jᵀ sum_r s_kr v_r,   B_rr ~ mean over k != l of s_kr s_lr (g_k · g_l) on region r,
        sum of all B ~ mean over k of ‖g_k‖²,

    s random signs, and v the same in all passes: both are unbiased; their ratio's bias of first
    order is taken away by the jackknife over passes.
    """
    line = Linearisation(denoiser, x_t, t)
    parts, v = masks.to(x_t), rademacher(line.output, random)
    decoded = []
    for _ in range(passes):
        signs = torch.einsum(
            "nr,rchw->nchw", rademacher(x_t.new_empty(len(x_t), len(parts)), random), parts
        )
        decoded.append((signs * line.pull_back(signs * v)).flatten(1).double())
    draws = torch.stack(decoded, 1)

    def ratio(some: Tensor) -> Tensor:
        k, each = some.shape[1], some.square().sum((1, 2))
        return (some.sum(1).square().sum(1) - each) / ((k - 1) * each)

    left = torch.stack([ratio(draws[:, torch.arange(passes) != k]) for k in range(passes)])
    return passes * ratio(draws) - (passes - 1) * left.mean(0)


if __name__ == "__main__":
    torch.set_num_threads(2)
    all_cells_to_a_precision()
    whole_jacobian()
    coverage()
    coded_projections()
    memory()
