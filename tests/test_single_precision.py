"""Devices without float64, such as MPS: none is here, and the meta device stands in for one.

Every operation is watched, and none may make a float64 tensor there. Pipelines are only loaded and
asked for shapes; probes measure, on the device of `single`, whose tensors have values.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pipelines import KINDS
from single import Device, single
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.devices import device_of_doubles, in_double
from diffprobe.models import NetworkDenoiser, load_denoiser, noise_scheduler
from diffprobe.models.modules.transformer import StripTransformer
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import WienerDenoiser
from diffprobe.probing import run_probes, subject_of
from diffprobe.resolution import resolve

__all__ = ["single"]  # the fixture


class NoDoubles(TorchDispatchMode):
    """Refuse float64 on the meta device, as MPS does."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and each.is_meta and each.dtype == torch.float64:
                raise TypeError(f"{func} made a float64 tensor where there is none")
        return result


@pytest.mark.parametrize("name", ["pixels", "sdxl", "pixart-alpha", "sd3", "aura-flow"])
def test_no_float64_reaches_the_device(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    kind.build(tmp_path)
    denoiser = load_denoiser(tmp_path, condition=kind.condition(tmp_path))
    with NoDoubles():
        denoiser.to("meta")
        assert {b.device.type for b in (*denoiser.parameters(), *denoiser.buffers())} == {"meta"}
        x_t = torch.zeros(2, *kind.image_shape, device="meta")
        t = torch.tensor([3, 700], device="meta")
        prediction = denoiser.predict(x_t, denoiser.schedule.timestep(t))
        x0_hat = denoiser.schedule.x0_hat(denoiser.prediction_type, x_t, prediction, t)
        assert x0_hat.dtype == torch.float32
        assert x0_hat.shape == x_t.shape
        with pytest.raises(TypeError, match="float64 tensor where there is none"):
            x0_hat.double()


def test_a_linear_denoiser_moves_too() -> None:
    images = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with NoDoubles():
        denoiser = WienerDenoiser(images, noise_scheduler(NoiseConfig())).to("meta")
        found = denoiser(
            torch.zeros(2, 1, 4, 4, device="meta"), torch.tensor([3, 9], device="meta")
        )
    assert found.dtype == torch.float32


def test_levels_are_exact_wherever_they_are_asked_for() -> None:
    schedule = WienerDenoiser(torch.randn(3, 1, 2, 2), noise_scheduler(NoiseConfig())).schedule
    t = torch.tensor([0, 500, 999])
    product = schedule.scheduler.alphas_cumprod.double()[t]
    assert torch.equal(schedule.values(t, torch.float64)[0], product.sqrt())
    assert torch.equal(schedule.half().values(t)[0], product.sqrt().float())
    assert torch.allclose(schedule.log_snr(t), (product / (1 - product)).log())


def test_doubles_are_where_there_are_some() -> None:
    assert device_of_doubles(torch.device("mps")) == torch.device("cpu")
    assert device_of_doubles(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert in_double(torch.ones(2)).dtype == torch.float64


PROBES = (
    "locality",
    "placement",
    "attribution",
    "sensitivity",
    "intervention",
    "spectrum",
    "conditional-information",
    "conditioner",
    "detectors",
    "hidden-states",
    "patching",
)


@pytest.mark.parametrize("probe", PROBES)
def test_probes_measure_on_a_device_without_float64(
    probe: str, single: torch.device, tmp_path: Path
) -> None:
    told = probe == "conditioner"
    world = hypercube(ParityConfig(4).build(), (2, 2))
    torch.manual_seed(0)
    network = StripTransformer(
        world.image_shape, (1, 1), 8, 2, 2, None, *([(4, 2)] if told else [])
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    config = resolve(
        assignments=[
            "probe.images=12",
            "probe.levels=2",
            "probe.grammar_images=32",
            "probe.grammar_levels=21",
            "sampling.steps=40",
            "probes.attribution.images=12",
            "probes.detectors.samples=24",
            "probes.spectrum.values=2",
            "probes.patching.images=12",
            "probes.patching.levels=1",
            "probes.patching.samples=4",
            "condition.name=" + ("word" if told else "none"),
        ]
    )
    scheduler = noise_scheduler(NoiseConfig())
    denoiser = NetworkDenoiser(network, scheduler, image_shape=world.image_shape)
    with Device():
        subject = subject_of(denoiser.to(single), world, config, progress=False)
        assert subject.denoiser.device == single
        run_probes(subject, [probe], out=tmp_path, figures=False)
    assert list(tmp_path.glob(f"{probe}*.json"))
