"""Devices without float64, such as MPS: none is here, and the meta device stands in for one.

Every operation is watched, and none may make a float64 tensor there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pipelines import KINDS
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffprobe.foundations.devices import device_of_doubles, in_double
from diffprobe.models import load_denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import WienerDenoiser


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
