import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.config import Config, ProbeConfig
from diffprobe.datasets import Glyphs, SymbolImages, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import BayesDenoiser, Denoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.checkpoint import load_denoiser
from diffprobe.models.checkpoint_folder import list_checkpoints
from diffprobe.models.denoiser import NetworkDenoiser
from diffprobe.models.modules.mlp import MLP
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probes.two_layer import TwoLayerConfig, figures, losses, neurons
from diffprobe.probes.two_layer.words import lines, summary
from diffprobe.probing.cache import Keep
from diffprobe.probing.opening import subject_of
from diffprobe.resolution import resolve
from diffprobe.training import train
from diffprobe.training.run_folder import RunFolder

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="sample"))
WORLD = hypercube(ParityConfig(4).build())
SETTINGS = TwoLayerConfig(draws=64, levels=2)
COMMON = ProbeConfig(grammar_images=64)
LEVELS = torch.tensor([300, 172])


class Between(MLP):
    """In the shape of the network: the product oracle, moved by a share towards the Bayes one."""

    def __init__(self, share: float, world: SymbolImages = WORLD) -> None:
        super().__init__(world.image_shape, 8, 4)
        self.share = share
        self.product = ProductDenoiser(world, SCHEDULER)
        self.bayes = BayesDenoiser(world, SCHEDULER)

    def forward(self, sample: Tensor, timestep: Tensor, return_dict: bool = True) -> UNet2DOutput:
        product, bayes = self.product(sample, timestep), self.bayes(sample, timestep)
        return UNet2DOutput(sample=product + self.share * (bayes - product))


def between(share: float) -> Denoiser:
    return NetworkDenoiser(Between(share), SCHEDULER)


def network(width: int = 16, seed: int = 0) -> NetworkDenoiser:
    torch.manual_seed(seed)
    return NetworkDenoiser(MLP(WORLD.image_shape, width, 4), SCHEDULER)


def scalar_mmse(snr: float) -> float:
    """The error of one sign in Gaussian noise, 1 - E tanh(snr + sqrt(snr) z), by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    return 1 - float(np.tanh(snr + math.sqrt(snr) * nodes) @ weights) / math.sqrt(2 * math.pi)


def test_oracle_losses_match_quadrature() -> None:
    result = losses.measure(network(), WORLD, replace(SETTINGS, draws=2048), COMMON, levels=LEVELS)
    exact = [4 * scalar_mmse(math.exp(s)) for s in result.log_snr.tolist()]
    loss = result.product_loss
    slack = (loss.value - torch.tensor(exact)).abs() / loss.standard_error
    assert slack.max() < 3
    assert (loss.standard_error / loss.value).max() < 0.05

    # Two equal signs are one sign seen twice: a single one at twice the signal-to-noise ratio.
    twins = hypercube(ParityConfig(2).build())
    torch.manual_seed(0)
    two = NetworkDenoiser(MLP(twins.image_shape, 8, 4), SCHEDULER)
    result = losses.measure(two, twins, replace(SETTINGS, draws=2048), COMMON, levels=LEVELS)
    exact = [2 * scalar_mmse(2 * math.exp(s)) for s in result.log_snr.tolist()]
    loss = result.bayes_loss
    slack = (loss.value - torch.tensor(exact)).abs() / loss.standard_error
    assert slack.max() < 3


def test_the_loss_is_the_mean_square_error_over_all_words() -> None:
    denoiser = network()
    result = losses.measure(denoiser, WORLD, replace(SETTINGS, draws=2048), COMMON, levels=LEVELS)
    random = torch.Generator().manual_seed(1)
    for index, t in enumerate(LEVELS):
        x_0 = WORLD.render(WORLD.grammar.words()).repeat(3000, 1, 1, 1)
        x_t = denoiser.noise(x_0, t.expand(len(x_0)), random)
        with torch.no_grad():
            squares = (denoiser(x_t, t.expand(len(x_t))) - x_0).square().sum((1, 2, 3))
        loss = result.loss[0, index]
        error = math.hypot(float(squares.std()) / len(squares) ** 0.5, loss.standard_error)
        assert abs(float(squares.mean()) - loss.value) < 3.5 * error


def test_the_stated_error_is_the_spread_over_seeds() -> None:
    results = [
        losses.measure(network(), WORLD, SETTINGS, replace(COMMON, seed=seed), levels=LEVELS)
        for seed in range(60)
    ]
    for name in ("loss", "gained"):
        spread = torch.stack([getattr(r, name).value for r in results]).std(0)
        stated = torch.stack([getattr(r, name).standard_error for r in results]).mean(0)
        assert ((spread / stated - 1).abs() < 0.3).all()


def test_a_network_between_the_oracles_is_placed_exactly() -> None:
    shares = {1: -1.0, 10: 0.0, 100: 0.02, 1000: 0.5, 9999: 1.0}
    checkpoints = {step: between(share) for step, share in shares.items()}
    result = losses.measure(checkpoints, WORLD, SETTINGS, COMMON)
    g = torch.tensor(list(shares.values()), dtype=torch.float64)
    torch.testing.assert_close(result.gained.value, 1 - (1 - g).square(), atol=1e-6, rtol=0)
    torch.testing.assert_close(result.distance, g.square(), atol=1e-6, rtol=0)
    assert result.gained.standard_error.max() < 1e-6
    assert result.steps.tolist() == list(shares)
    assert result.plateau == (10, 100)
    assert result.loss.value[1].tolist() == pytest.approx(
        result.product_loss.value.tolist(), abs=1e-6
    )
    assert result.loss.value[-1].tolist() == pytest.approx(
        result.bayes_loss.value.tolist(), abs=1e-6
    )


def test_steps_at_which_the_product_s_loss_is_reached_and_left() -> None:
    """A way of 1 - (1 - g)² is gained: crossings lie on straight lines in log10 of the step."""
    gained = {10: -1.1, 100: 0.9, 1000: 1.0}
    checkpoints = {step: between(1 - math.sqrt(1 - g)) for step, g in gained.items()}
    found = summary(losses.measure(checkpoints, WORLD, SETTINGS, COMMON))
    assert found["arrived"] == {"log10_step": pytest.approx(1.5, abs=1e-5), "happened": True}
    assert found["left"] == {"log10_step": pytest.approx(1.6, abs=1e-5), "happened": True}
    assert found["plateau_decades"] == pytest.approx(0.1, abs=1e-5)
    assert "reached at step 32 and left at step 40: 0.10 decades" in "\n".join(lines(found))

    # What happened before the first checkpoint, and what has not happened by the last.
    found = summary(losses.measure({10: between(0), 1000: between(0)}, WORLD, SETTINGS, COMMON))
    assert found["arrived"] == {"log10_step": 1.0, "happened": True}
    assert found["left"] == {"log10_step": 3.0, "happened": False}
    assert "reached at step 10 and left not by step 1,000, the last" in "\n".join(lines(found))


def test_the_levels_are_where_the_grammar_is_worth_most() -> None:
    result = losses.measure(network(), WORLD, SETTINGS, COMMON)
    assert result.t.tolist() == sorted(result.t.tolist(), reverse=True)
    assert ((result.log_snr > -1) & (result.log_snr < 3)).all()


def test_cosines_match_a_search_over_all_directions() -> None:
    w = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=5))) / 5**0.5
    axes = torch.cat([torch.eye(5), -torch.eye(5)])
    unit = w / w.norm(dim=1, keepdim=True)
    coordinate, parity = neurons._cosines(w)
    torch.testing.assert_close(coordinate, (unit @ axes.T).amax(1))
    torch.testing.assert_close(parity, (unit @ signs.T).amax(1))


def test_neurons_of_known_kinds_are_counted() -> None:
    """Four neurons along a coordinate, one of them to another pixel; four along a sign vector."""
    denoiser = network(width=8)
    with torch.no_grad():
        into = torch.zeros(8, 4)
        into[:4] = torch.diag(torch.tensor([1.0, -1, 1, 1]))
        into[4:] = torch.tensor([1.0, -1, 1, 1]) * 1.5  # of norm 3
        out = torch.zeros(8, 4)
        out[torch.arange(8), torch.tensor([0, 1, 2, 0, 0, 0, 0, 0])] = 1.0
        denoiser.network.hidden.weight[:, :4] = into
        denoiser.network.output.weight.copy_(out.T)
    result = losses.measure(denoiser, WORLD, SETTINGS, COMMON, levels=LEVELS)
    shares = {name: value[0].tolist() for name, value in result.statistics.items()}
    assert shares["serving_coordinate"] == pytest.approx([4 / 8, 4 / 16])
    assert shares["serving_coordinate_through"] == pytest.approx([3 / 8, 3 / 16])
    assert shares["serving_parity"] == pytest.approx([4 / 8, 12 / 16])
    assert shares["coordinate"] == pytest.approx([(4 + 4 / 2) / 8, (4 + 12 / 2) / 16])


def test_chance_is_that_of_random_directions() -> None:
    chance = losses.measure(network(), WORLD, SETTINGS, COMMON, levels=LEVELS).chance
    g = np.random.default_rng(0).normal(size=(100_000, 4))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    assert chance["coordinate"] == pytest.approx(np.abs(g).max(1).mean(), abs=0.003)
    assert chance["parity"] == pytest.approx(np.abs(g).sum(1).mean() / 2, abs=0.003)
    served = (np.abs(g).max(1) >= SETTINGS.threshold).mean()
    assert chance["serving_coordinate"] == pytest.approx(served, abs=0.005)
    assert chance["same_coordinate"] == pytest.approx(1 / 4, abs=0.01)
    assert chance["serving_coordinate_through"] == pytest.approx(served / 4, abs=0.004)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": 5}, "two-layer.draws must be even"),
        ({"levels": 0}, "two-layer.levels must be at least 1"),
        ({"threshold": 1.0}, r"two-layer.threshold must lie in \(0, 1\)"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TwoLayerConfig(**change)  # type: ignore[arg-type]


def test_other_networks_and_worlds_are_refused() -> None:
    with pytest.raises(UsageError, match="BayesDenoiser"):
        losses.measure(BayesDenoiser(WORLD, SCHEDULER), WORLD, SETTINGS, COMMON)
    strips = SymbolImages(ParityConfig(4).build(), Glyphs.font("01"), (1, 4))
    with pytest.raises(UsageError, match="words of signs"):
        losses.measure(network(), strips, SETTINGS, COMMON)
    with pytest.raises(UsageError, match="at most 4,096, not 8,192"):
        losses.measure(network(), hypercube(ParityConfig(14).build()), SETTINGS, COMMON)


@pytest.fixture(scope="module")
def config() -> Config:
    small = ["grammar.length=4", "images.grid=[1, 4]", "network.width=32", "training.steps=20"]
    few = ["training.checkpoints=3", "training.validation_size=16", "training.batch_size=8"]
    probe = ["probes.two-layer.draws=8", "probe.grammar_images=16"]
    return resolve(preset="hypercube-mlp", assignments=[*small, *few, *probe])


@pytest.mark.drawn
def test_a_run_is_probed_up_to_its_checkpoint(config: Config, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", "cpu").path
    checkpoints = list_checkpoints(run)
    middle = checkpoints[1]
    subject = subject_of(
        load_denoiser(middle.path),
        config.dataset(),
        config,
        architecture="mlp",
        run=RunFolder(run),
        step=middle.step,
    )
    kind = config.probe_settings("two-layer")
    results = kind.measure(subject, Keep(None, "two_layer", {}))
    result = results["network"]
    assert result.steps.tolist() == [c.step for c in checkpoints[:2]]
    alone = losses.measure(load_denoiser(middle.path), subject.images, kind, config.probe)
    torch.testing.assert_close(result.loss.value[1], alone.loss.value[0])

    found = kind.summary(results)
    assert found["neurons"]["coordinate"]["plain"] == pytest.approx(
        float(alone.neurons.coordinate.mean()), abs=1e-6
    )
    text = "\n".join(kind.lines(found, subject))
    assert "all 8 words" in text
    assert f"at step {result.steps[int(result.distance.argmin())]:,}" in text
    kind.draw(results, subject, tmp_path)
    assert (tmp_path / "two-layer.png").stat().st_size > 10_000


def test_curves_are_the_result() -> None:
    result = losses.measure({10: between(0), 20: between(1)}, WORLD, SETTINGS, COMMON)
    ax = figures.plot(result, Figure().subplots(), level=1)
    drawn = ax.containers[0].lines[0].get_ydata()
    assert drawn == pytest.approx((result.loss.value[:, 1] / 4).tolist())
    ax = figures.plot_shares(result, Figure().subplots())
    assert any(np.allclose(line.get_ydata(), result.chance["serving_parity"]) for line in ax.lines)


def test_no_panel_s_losses_are_cut_off() -> None:
    result = losses.measure({10: between(0), 20: between(1)}, WORLD, SETTINGS, COMMON)
    panels = Figure().subplots(1, 2, sharey=True)
    for level, ax in enumerate(panels):
        figures.plot(result, ax, level)
    worst = max(result.loss.value[:, :2].max(), result.to_product.value[:, :2].max())
    assert panels[0].get_ylim()[0] == 0
    assert panels[0].get_ylim()[1] > float(worst) / 4
