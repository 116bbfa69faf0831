import dataclasses
import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

from diffprobe.config import SamplingConfig
from diffprobe.datasets import Glyphs, SymbolImages, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import DiffprobeError, UsageError
from diffprobe.foundations.kinds import find
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.settings import build_kind
from diffprobe.models import NetworkDenoiser, noise_scheduler
from diffprobe.models.networks.residual_mlp import ResidualMLPConfig
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, WienerDenoiser
from diffprobe.sampling import Samples, load_samples, sample, samples_name
from diffprobe.sampling.samplers import FLOW, SamplerKind, lent_names
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.sampling.samplers.ddpm import DDPMConfig
from diffprobe.sampling.samplers.sequential import SequentialConfig

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = hypercube(ParityConfig(4).build())
BAYES = BayesDenoiser(WORLD, SCHEDULER)
CONFIG = SamplingConfig(n=6, steps=8, batch_size=6)
DDIM = DDIMConfig()
CLASSES = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "dpm-solver++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
}


def sampler(name: str, **settings: Any) -> SamplerKind:
    return kinds.find("sampler", name)(**settings)


@pytest.mark.parametrize(("kind", "name"), [("epsilon", "ddim"), ("v_prediction", "ddpm")])
def test_a_network_is_sampled_as_diffusers_would(kind: str, name: str) -> None:
    """Our x0_hat through `prediction_type="sample"` against diffusers on the raw prediction."""
    network = ResidualMLPConfig(width=16, depth=1).build((1, 1, 4), seed=3)
    training = noise_scheduler(NoiseConfig(prediction_type=kind))
    ours = sample(NetworkDenoiser(network, training), (1, 1, 4), sampler(name), CONFIG).images

    cls = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}[name]
    scheduler = cls.from_config(training.config, timestep_spacing="trailing")
    scheduler.set_timesteps(CONFIG.steps)
    random = generator(CONFIG.seed, "sampling", 0)
    x = torch.randn(6, 1, 1, 4, generator=random) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        with torch.no_grad():
            output = network(x, t.expand(6)).sample
        x = scheduler.step(output, t, x, generator=random).prev_sample
    assert torch.allclose(ours, x, atol=1e-4)


def test_gaussian_data_come_out_with_their_mean_and_variance() -> None:
    """The probability flow of the Wiener denoiser has a closed solution: a linear map."""
    random = torch.Generator().manual_seed(0)
    data = 0.1 + 0.2 * torch.randn(4000, 1, 1, 1, generator=random)
    wiener = WienerDenoiser(data, SCHEDULER)
    config = SamplingConfig(n=4000, steps=1000, batch_size=4000)
    for name in ("ddim", "ddpm", "dpm-solver++", "euler", "resampling"):
        images = sample(wiener, (1, 1, 1), sampler(name), config).images
        assert images.mean().item() == pytest.approx(data.mean().item(), abs=0.01), name
        assert images.std().item() == pytest.approx(data.std().item(), rel=0.05), name


FIT = (
    "DDIMParallelScheduler",
    "DDPMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
)
# These are lent under the names of `CLASSES` as well; and what needs another schedule or library.
ALSO = {*CLASSES.values(), FLOW, "DPMSolverSDEScheduler", "UnCLIPScheduler"}


def test_what_does_not_fit_is_refused_by_name_and_reason() -> None:
    unfit = [name for name in lent_names() if name not in {*FIT, *ALSO}]
    assert len(unfit) >= 20
    for name in unfit:
        with pytest.raises(UsageError, match=f"sampler {name} cannot be used here: it"):
            sampler(name)
    for name in (FLOW, "DPMSolverSDEScheduler", "UnCLIPScheduler"):
        with pytest.raises(UsageError, match=f"sampler {name} ") as error:
            sample(BAYES, WORLD.image_shape, sampler(name), CONFIG)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", FIT)
def test_schedulers_say_nothing_of_their_settings(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    sample(BAYES, WORLD.image_shape, sampler(name), replace(CONFIG, steps=5))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [*CLASSES, *FIT])
def test_every_sampler_reaches_the_language_with_the_bayes_oracle(name: str) -> None:
    config = SamplingConfig(n=64, steps=60, batch_size=64)
    samples = sample(BAYES, WORLD.image_shape, sampler(name), config)
    words, legible = WORLD.read(samples.images)
    assert samples.images.shape == (64, 1, 1, 4)
    assert legible.all(1).float().mean() > 0.95
    assert WORLD.grammar.contains(words[legible.all(1)]).float().mean() > 0.97
    assert samples.sampler["class"] == CLASSES.get(name, name)
    assert len(samples.sampler["timesteps"]) >= 60
    json.dumps(dict(samples.sampler))


def test_plms_stays_in_bounds_where_alpha_vanishes() -> None:
    """From the noisiest level of this schedule its second step would be at |x_t| = 40."""
    cosine = noise_scheduler(NoiseConfig(beta_schedule="squaredcos_cap_v2"))
    world = SymbolImages(WORLD.grammar, Glyphs.font("01"), (1, 4))
    largest: list[float] = []
    samples = sample(
        BayesDenoiser(world, cosine),
        world.image_shape,
        sampler("PNDMScheduler"),
        SamplingConfig(n=64, steps=50, batch_size=64),
        watch=lambda batch, t, x_t, x0_hat: largest.append(x_t.abs().max().item()),
    )
    assert max(largest) < 6
    assert world.read(samples.images)[1].all(1).float().mean() > 0.95


def test_a_flow_brings_gaussian_data_and_a_language_back() -> None:
    flow = FlowMatchEulerDiscreteScheduler(shift=2.0)
    random = torch.Generator().manual_seed(0)
    data = 0.1 + 0.2 * torch.randn(4000, 1, 1, 1, generator=random)
    config = SamplingConfig(n=4000, steps=300, batch_size=4000)
    images = sample(WienerDenoiser(data, flow), (1, 1, 1), DDIM, config).images
    assert images.mean().item() == pytest.approx(data.mean().item(), abs=0.01)
    assert images.std().item() == pytest.approx(data.std().item(), rel=0.05)
    levels: list[int] = []
    samples = sample(
        BayesDenoiser(WORLD, flow),
        WORLD.image_shape,
        DDIM,
        SamplingConfig(n=64, steps=40, batch_size=64),
        watch=lambda batch, t, x_t, x0_hat: levels.append(int(t)),
    )
    assert levels == list(range(999, 0, -25))
    words, legible = WORLD.read(samples.images)
    assert legible.all(1).float().mean() > 0.95
    assert WORLD.grammar.contains(words[legible.all(1)]).float().mean() > 0.97


@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_the_path_can_be_watched(name: str) -> None:
    steps: list[tuple[int, int]] = []

    def watch(batch: int, t: torch.Tensor, x_t: torch.Tensor, x0_hat: torch.Tensor) -> None:
        steps.append((batch, int(t)))
        assert x_t.shape == (4 if batch == 0 else 2, 1, 1, 4)
        assert torch.equal(x0_hat, BAYES(x_t, t.expand(len(x_t))))

    config = replace(CONFIG, batch_size=4)
    watched = sample(BAYES, (1, 1, 4), sampler(name), config, watch=watch)
    assert [batch for batch, _ in steps] == [0] * 8 + [1] * 8
    assert [t for _, t in steps[:8]] == sorted({t for _, t in steps}, reverse=True)
    assert torch.equal(watched.images, sample(BAYES, (1, 1, 4), sampler(name), config).images)


def test_the_seed_decides() -> None:
    config = replace(CONFIG, n=10, batch_size=4)
    images, again, other = (
        sample(BAYES, (1, 1, 4), DDPMConfig(), replace(config, seed=s)).images for s in (0, 0, 1)
    )
    assert images.shape == (10, 1, 1, 4)
    assert torch.equal(images, again)
    assert not torch.equal(images, other)
    assert not torch.equal(images[:4], images[4:8])


def test_eta_adds_noise() -> None:
    plain, noisy = (sample(BAYES, (1, 1, 4), DDIMConfig(e), CONFIG).images for e in (0.0, 1.0))
    assert not torch.equal(plain, noisy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "sampling.steps must be a positive integer"),
        ({"steps": 1001}, "exceeds the 1000 noise levels"),
        ({"n": 0}, "sampling.n must be a positive integer"),
        ({"batch_size": 0}, "sampling.batch_size must be a positive integer"),
        ({"guidance": -1.0}, "sampling.guidance must be at least 0, not -1.0"),
        ({"rejection": -1}, "sampling.rejection must be at least 0, not -1"),
        ({"guidance": 1.0}, "sampling.guidance goes by a grammar, and none is known"),
        ({"rejection": 1}, "sampling.rejection goes by a grammar, and none is known"),
    ],
)
def test_bad_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sample(BAYES, (1, 1, 4), DDIM, replace(CONFIG, **change))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "dimm"}, "unknown sampler.name 'dimm': did you mean 'ddim'"),
        ({"name": "DDIMSheduler"}, "did you mean 'DDIMScheduler'"),
        ({"name": "ddim", "eta": 1.5}, r"must lie in \[0, 1\]"),
        ({"name": "DDIMScheduler", "eta": 1.5}, r"must lie in \[0, 1\]"),
        ({"name": "euler", "eta": 0.5}, "unknown key 'sampler.eta'"),
        ({"name": "EulerDiscreteScheduler", "eta": 0.5}, "unknown key 'sampler.eta'"),
        ({"name": "dpm-solver++", "order": 4}, "sampler.order must be 1, 2 or 3"),
        ({"name": "sequential", "overlap": 2.0}, r"must lie in \[0, 1\]"),
        ({"name": "resampling", "repeats": -1}, "sampler.repeats must be at least 0, not -1"),
        ({"name": "resampling", "window": [2, 2]}, r"the first the smaller, not \[2, 2\]"),
    ],
)
def test_bad_samplers_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_kind("sampler", settings, "sampler")


def test_a_sampler_of_the_other_process_is_refused() -> None:
    for name in ("FlowMatchEulerDiscreteScheduler", "KarrasVeScheduler"):
        with pytest.raises(UsageError, match="cannot be used here"):
            sample(BAYES, (1, 1, 4), sampler(name), CONFIG)
    flow = BayesDenoiser(WORLD, FlowMatchEulerDiscreteScheduler())
    with pytest.raises(UsageError, match="ddpm is not for flow matching"):
        sample(flow, (1, 1, 4), DDPMConfig(), CONFIG)
    with pytest.raises(UsageError, match="along a flow the sampler ddim has no eta"):
        sample(flow, (1, 1, 4), DDIMConfig(0.5), CONFIG)


def test_what_diffusers_has_is_lent() -> None:
    theirs = {c for c in dir(diffusers) if c.endswith("Scheduler") and c[0].isupper()}
    assert theirs == set(lent_names())
    assert all(hasattr(diffusers, name) for name in CLASSES.values())
    for name in theirs:
        cls = getattr(diffusers, name)
        if inspect.isfunction(vars(cls).get("step")):
            assert ("eta" in inspect.signature(cls.step).parameters) == (
                "eta" in {f.name for f in dataclasses.fields(find("sampler", name))}
            ), name


def test_saved_samples_come_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "samples.npz"
    samples = sample(BAYES, (1, 1, 4), DDIM, CONFIG)
    samples.save(path)
    again = load_samples(path)
    assert torch.equal(again.images, samples.images)
    assert again.sampler == json.loads(json.dumps(dict(samples.sampler)))
    assert again.sampler["config"]["prediction_type"] == "sample"


def test_samples_say_how_many_they_are_and_how_they_were_made() -> None:
    samples = Samples(torch.zeros(1200, 1, 8, 16), {"class": "DDIM<", "steps": 4, "config": {}})
    assert repr(samples) == "<Samples: 1,200 images of 1 × 8 × 16, DDIM<>"
    assert "<td>DDIM&lt;</td><td>4</td>" in samples._repr_html_()
    assert "config" not in samples._repr_html_()
    assert repr(Samples(torch.zeros(2, 1, 1, 4), {})) == "<Samples: 2 images of 1 × 1 × 4>"


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "samples.npz"
    samples = Samples(torch.zeros(2, 1, 4, 4), {"n": 2})
    samples.save(path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        Path("/dev/full").write_text("x")

    monkeypatch.setattr("numpy.lib.format.write_array_header_1_0", full)
    with pytest.raises(DiffprobeError, match="the disk is full"):
        samples.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["samples.npz"]


def test_names_tell_samples_apart() -> None:
    assert samples_name(16, DDIM, CONFIG, "ema") == "step-000016_ema_ddim-8_n-6_seed-0.npz"
    mended = replace(CONFIG, guidance=0.5, rejection=3)
    assert "ddim-8_guidance-0.5_rejection-3_n-6" in samples_name(16, DDIM, mended, "ema")
    assert "resampling-8_window--4to4_n-6" in samples_name(
        16, sampler("resampling", window=(-4.0, 4.0)), CONFIG, "ema"
    )
    assert "ddim-8_eta-0.5_n-6" in samples_name(16, DDIMConfig(0.5), CONFIG, "ema")
    names = {
        samples_name(step, kind, replace(CONFIG, seed=seed), weights)
        for step in (None, 16, 32)
        for kind in (DDIM, DDIMConfig(0.5), DDPMConfig(), SequentialConfig(overlap=0.25))
        for seed in (0, 1)
        for weights in ("raw", "ema")
    }
    assert len(names) == 48
