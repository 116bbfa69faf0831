import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.unets.unet_2d import UNet2DOutput
from matplotlib.figure import Figure
from scipy.optimize import minimize
from torch import Tensor, nn

from diffprobe.config import Config, NoiseConfig, ProbeConfig, SamplingConfig, UNetConfig
from diffprobe.datasets import Parity, SymbolImages, WordList, build_dataset, hypercube
from diffprobe.datasets.glyphs import Glyphs
from diffprobe.errors import UsageError
from diffprobe.models import BayesDenoiser, Denoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.checkpoint import load_denoiser
from diffprobe.models.denoiser import FunctionDenoiser, NetworkDenoiser
from diffprobe.models.mlp import MLP
from diffprobe.models.transformer import StripTransformer
from diffprobe.models.unet import build_unet
from diffprobe.probes import hidden_states, linear_probe
from diffprobe.probes.activations import activations, default_layers, hashed
from diffprobe.probes.cache import Keep
from diffprobe.probes.subject import subject_of

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="sample"))
PAIR = hypercube(Parity(2))
CONFIG = ProbeConfig(hidden_levels=5, hidden_images=1000, hidden_samples=400)
SAMPLING = SamplingConfig(steps=10, batch_size=150)


class Knowing(MLP):
    """Local in its output, the product oracle's; its neurons are relu(±x_1 ± x_2).

    Twice the smaller of |x_1| and |x_2|, with the sign of x_1 x_2, is linear in the neurons.
    """

    def __init__(self) -> None:
        super().__init__(PAIR.image_shape, 4, 4)
        self.product = ProductDenoiser(PAIR, SCHEDULER)
        with torch.no_grad():
            self.hidden.weight.zero_()
            self.hidden.bias.zero_()
            self.hidden.weight[:, :2] = torch.tensor([[1.0, 1], [-1, -1], [1, -1], [-1, 1]])

    def forward(self, sample: Tensor, timestep: Tensor, return_dict: bool = True) -> UNet2DOutput:
        super().forward(sample, timestep)
        return UNet2DOutput(sample=self.product(sample, timestep))


def knowing() -> NetworkDenoiser:
    return NetworkDenoiser(Knowing(), SCHEDULER)


# ---- the questions ---------------------------------------------------------------------------


def test_a_layer_that_computes_the_parity_reaches_the_optimum() -> None:
    """The optimum of two signs is the sign of x_1 x_2, which the layer holds linearly."""
    result = hidden_states.measure(knowing(), PAIR, CONFIG)
    pixels, hidden, output = result.accuracy
    assert result.layers == ("x_t", "output:in", "x0_hat")
    assert result.n == 500
    slack = 3 * math.sqrt(0.25 / result.n)
    assert (hidden - result.optimum).abs().max() < slack
    assert (pixels - 0.5).abs().max() < slack
    assert (output - 0.5).abs().max() < slack
    assert hidden[-1] == result.optimum[-1] == 1
    assert result.best == (1, len(result.t) - 2)
    assert ((result.low <= result.accuracy) & (result.accuracy <= result.high)).all()
    assert result.rate(1, 2).value == pytest.approx(float(hidden[2]))


def test_the_layer_foretells_the_sample_from_pure_noise_on() -> None:
    """Without a grammar each pixel keeps the sign it starts with."""
    result = hidden_states.measure_samples(knowing(), PAIR, CONFIG, SAMPLING)
    pixels, hidden, _ = result.accuracy
    assert result.t[0] == 999
    assert set(result.t.tolist()) <= set(range(99, 1000, 100))
    assert hidden.min() > 0.93
    assert (pixels - 0.5).abs().max() < 3 * math.sqrt(0.25 / result.n)
    assert result.optimum.isnan().all()
    assert result.settings["images"] % 2 == 0
    assert result.settings["images"] > 300


def test_what_is_asked_of_samples_is_their_own_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The activations of a sample are matched with its own verdict, batch after batch."""
    seen = {}

    def asked(question: str, _: object, inputs: dict[int, Tensor], labels: Tensor, *__: object):  # type: ignore[no-untyped-def]
        seen.update(inputs=inputs, labels=labels)

    monkeypatch.setattr(hidden_states, "_ask", asked)
    hidden_states.measure_samples(knowing(), PAIR, CONFIG, SAMPLING)
    assert seen["labels"].double().mean() == 0.5
    for x_t in seen["inputs"].values():
        assert ((x_t.flatten(1).prod(1) > 0) == seen["labels"]).all()


def test_levels_run_from_noise_to_image_through_where_it_is_decided() -> None:
    result = hidden_states.measure(knowing(), PAIR, replace(CONFIG, hidden_levels=6))
    assert (result.t[0], result.t[-1]) == (999, 0)
    assert (result.t.diff() < 0).all()
    assert result.optimum[1] == pytest.approx(0.55, abs=0.07)
    assert result.optimum[-2] == pytest.approx(0.99, abs=0.015)
    gaps = result.log_snr[1:-1].diff()
    assert gaps.max() - gaps.min() < 0.1


def test_too_few_verdicts_give_no_number() -> None:
    class Blank(MLP):
        def forward(self, sample: Tensor, timestep: Tensor, return_dict: bool = True):  # type: ignore[no-untyped-def]
            super().forward(sample, timestep)
            return UNet2DOutput(sample=torch.zeros_like(sample))

    blank = NetworkDenoiser(Blank(PAIR.image_shape, 4, 4), SCHEDULER)
    result = hidden_states.measure_samples(blank, PAIR, CONFIG, SAMPLING)
    assert result.accuracy.isnan().all()
    found = hidden_states.summary({"sample": result})
    assert found["sample"]["accuracy"].value is None
    subject = subject_of(blank, PAIR)
    assert "too few samples" in "\n".join(hidden_states.lines(found, subject))
    ax = hidden_states.plot(result, Figure().subplots())
    assert ax.texts[0].get_text().startswith("too few")


def test_the_best_layer_is_chosen_on_the_validation_part() -> None:
    result = hidden_states.measure(knowing(), PAIR, CONFIG)
    shown = torch.tensor([[0.9, 0.9, 0.9], [0.6, 0.5, 0.9], [0.5, 0.7, 0.5], [0.9, 0.9, 0.9]])
    result = replace(
        result,
        layers=("x_t", "first", "second", "x0_hat"),
        t=torch.tensor([999, 100, 0]),
        log_snr=torch.tensor([-10.0, 2, 9]),
        validation=shown,
        accuracy=torch.tensor([[0.5] * 3, [0.8] * 3, [0.652] * 3, [0.5] * 3]),
        optimum=torch.tensor([0.5, 0.99, 1]),
    )
    found = hidden_states.summary({"word": result})["word"]
    assert (found["layer"], found["t"]) == ("second", 100)
    assert found["accuracy"].value == pytest.approx(0.652)
    assert found["bayes"].value == pytest.approx(0.99, abs=0.002)


# ---- the exact optimum -----------------------------------------------------------------------

UNEVEN = WordList(torch.tensor([[0, 0, 0], [0, 1, 2], [2, 1, 0], [0, 2, 2], [1, 1, 1]]), 3)
GLYPHS = Glyphs.font("abc", (4, 4), variants=2)


def test_the_log_odds_match_a_sum_over_all_words() -> None:
    world = SymbolImages(UNEVEN, GLYPHS, (1, 3))
    denoiser = BayesDenoiser(world, SCHEDULER)
    random = torch.Generator().manual_seed(0)
    t = 400
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t]), torch.float64)
    words = torch.randint(0, 3, (20, 3), generator=random)
    x_t = denoiser.noise(world.draw(words, random), torch.tensor([t]), random)

    every = torch.tensor(list(itertools.product(range(3), repeat=3)))
    variants = torch.tensor(list(itertools.product(range(2), repeat=3)))
    pictures = torch.stack([world.render(every, v.expand(27, 3)) for v in variants]).double()
    square = (x_t.double()[:, None, None] - alpha * pictures).square().sum((-3, -2, -1))
    likelihood = (-square / (2 * sigma.flatten() ** 2)).exp().mean(1)  # image by word
    valid = (every[:, None] == UNEVEN.list).all(-1).any(-1)
    marginals = torch.stack([(UNEVEN.list == v).double().mean(0) for v in range(3)], 1)
    product = marginals[torch.arange(3), every].prod(1)
    p_valid = likelihood[:, valid].mean(1)
    q = product * ~valid
    p_invalid = (likelihood * q).sum(1) / q.sum()
    expected = p_valid.log() - p_invalid.log()
    torch.testing.assert_close(hidden_states.log_odds(denoiser, world, x_t, t), expected)


@pytest.mark.parametrize("t", [0, 500, 999])
def test_the_log_odds_stay_finite_or_certain(t: int) -> None:
    world = hypercube(Parity(6))
    denoiser = BayesDenoiser(world, SCHEDULER)
    random = torch.Generator().manual_seed(0)
    words = hidden_states.mixed_words(world.grammar, 100, random)
    x_t = denoiser.noise(world.render(words), torch.tensor([t]), random)
    odds = hidden_states.log_odds(denoiser, world, x_t, t)
    assert not odds.isnan().any()
    if t == 0:
        assert ((odds > 0) == world.grammar.contains(words)).all()


def test_the_optimum_is_as_right_as_it_believes() -> None:
    world = hypercube(Parity(4))
    denoiser = BayesDenoiser(world, SCHEDULER)
    random = torch.Generator().manual_seed(0)
    words = hidden_states.mixed_words(world.grammar, 5000, random)
    labels = world.grammar.contains(words)
    for t in (100, 200, 300):
        x_t = denoiser.noise(world.render(words), torch.tensor([t]), random)
        odds = hidden_states.log_odds(denoiser, world, x_t, t)
        right = ((odds > 0) == labels).double().mean()
        assert abs(right - odds.abs().sigmoid().mean()) < 0.015


def test_invalid_words_follow_the_product_of_the_marginals() -> None:
    words = hidden_states.mixed_words(UNEVEN, 20_000, torch.Generator().manual_seed(0))
    valid = UNEVEN.contains(words)
    assert valid.tolist() == [True, False] * 20_000
    every = torch.tensor(list(itertools.product(range(3), repeat=3)))
    marginals = UNEVEN.symbol_marginals()
    q = marginals[torch.arange(3), every].prod(1) * ~UNEVEN.contains(every)
    code = torch.tensor([9, 3, 1])
    drawn = torch.bincount(words[~valid] @ code, minlength=27) / 20_000
    torch.testing.assert_close(drawn.double(), q / q.sum(), atol=0.012, rtol=0)


# ---- activations -----------------------------------------------------------------------------


def test_activations_are_what_the_layers_compute() -> None:
    torch.manual_seed(0)
    network = MLP((1, 2, 3), 10, 4)
    denoiser = NetworkDenoiser(network, SCHEDULER)
    x_t = torch.randn(7, 1, 2, 3)
    found = activations(denoiser, x_t, 500, ("output:in", "hidden", "hidden:in"), batch_size=3)
    assert list(found) == ["hidden:in", "hidden", "output:in", "x0_hat"]  # as they are run
    torch.testing.assert_close(found["hidden:in"][:, :6], x_t.flatten(1))
    torch.testing.assert_close(found["hidden"], network.hidden(found["hidden:in"]))
    torch.testing.assert_close(found["output:in"], found["hidden"].relu())
    torch.testing.assert_close(found["x0_hat"], network.output(found["output:in"]))
    assert default_layers(denoiser) == ("output:in",)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_blocks_are_found_and_run_in_order() -> None:
    unet = build_unet(UNetConfig(channels=(8, 16), attention=(False, True)), (1, 8, 16))
    assert isinstance(unet, UNet2DModel)
    denoiser = NetworkDenoiser(unet, SCHEDULER)
    found = activations(denoiser, torch.randn(2, 1, 8, 16), 10, features=100_000)
    blocks = ["down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1"]
    assert list(found) == [*blocks, "x0_hat"]
    assert found["mid_block"].shape == (2, 16 * 4 * 8)
    assert found["down_blocks.0"].shape == (2, 8 * 4 * 8)

    strip = NetworkDenoiser(StripTransformer((1, 8, 32), (8, 8), 16, 3, 2), SCHEDULER)
    found = activations(strip, torch.randn(2, 1, 8, 32), 10)
    assert list(found) == ["blocks.0", "blocks.1", "blocks.2", "x0_hat"]
    assert found["blocks.1"].shape == (2, 4 * 16)


def test_any_module_has_layers() -> None:
    body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return self.body(x_t)

    denoiser = FunctionDenoiser(Plain(), SCHEDULER)
    x_t = torch.randn(3, 1, 4, 4)
    found = activations(denoiser, x_t, 10)
    name = default_layers(denoiser)[0]
    assert name.endswith("body.2:in")
    torch.testing.assert_close(found[name], body[:2](x_t).flatten(1))


def test_hashing_keeps_inner_products() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(20, 5000, generator=random)
    assert hashed(x, 5000) is x
    folded = [hashed(x, 1000, seed) for seed in range(200)]
    assert folded[0].shape == (20, 1000)
    torch.testing.assert_close(folded[0][3:5], hashed(x[3:5], 1000, 0))
    products = torch.stack([f @ f.T for f in folded])
    error = products.std(0) / len(folded) ** 0.5
    off = ~torch.eye(20, dtype=torch.bool)
    slack = ((products.mean(0) - x @ x.T) / error)[off]
    assert slack.square().mean() < 1.5
    one = hashed(torch.eye(50), 10)
    assert ((one != 0).sum(1) == 1).all()  # each number goes to one sum, none is lost


def test_layers_that_do_not_exist_are_refused() -> None:
    denoiser = knowing()
    x_t = torch.randn(2, 1, 1, 2)
    with pytest.raises(UsageError, match="unknown layer 'hiden': did you mean 'hidden'"):
        activations(denoiser, x_t, 0, ("hiden",))
    with pytest.raises(UsageError, match="has no layers"):
        default_layers(BayesDenoiser(PAIR, SCHEDULER))
    with torch.no_grad():
        denoiser.network.hidden.weight[0, 0] = math.nan
    with pytest.raises(UsageError, match="output:in gives numbers that are not finite"):
        activations(denoiser, x_t, 0)
    denoiser.network.spare = nn.Linear(1, 1)
    with pytest.raises(UsageError, match="the layer spare is not used"):
        activations(denoiser, x_t, 0, ("spare",))


# ---- the linear probe ------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_the_probe_minimises_its_loss(penalty: float) -> None:
    random = torch.Generator().manual_seed(0)
    z = torch.randn(200, 10, generator=random)
    labels = z[:, 0] + torch.randn(200, generator=random) > 0.3
    found = linear_probe.minimise(z, labels, penalty, torch.zeros(11)).numpy()

    x, sign = z.double().numpy(), np.where(labels, 1.0, -1.0)

    def loss(w: np.ndarray) -> float:
        margin = sign * (x @ w[:-1] + w[-1])
        return float(np.logaddexp(0, -margin).mean() + penalty / 2 * w[:-1] @ w[:-1])

    best = minimize(loss, np.zeros(11))
    assert loss(found.astype(float)) == pytest.approx(best.fun, abs=1e-6)
    assert found == pytest.approx(best.x, abs=5e-3)


def test_the_penalty_is_chosen_for_what_was_not_trained_on() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(600, 80, generator=random) * torch.logspace(-3, 3, 80) + 5
    x[:, 7] = 3.0  # says nothing, and has no scale
    signal = x[:, 0] > 5
    chance = torch.rand(600, generator=random) > 0.5
    weak = linear_probe.fit((x[:100], chance[:100]), (x[100:200], chance[100:200]))
    strong = linear_probe.fit((x[:100], signal[:100]), (x[100:200], signal[100:200]))
    assert weak.penalty >= 1
    assert strong.penalty < 1
    # Ranked by size alone this would be lost: the answer is in the smallest feature.
    assert ((strong(x[200:]) > 0) == signal[200:]).double().mean() > 0.65


# ---- bad input, and the whole ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_levels": 2}, "hidden_levels must be at least 3"),
        ({"hidden_images": 4}, "hidden_images must be at least 20"),
        ({"hidden_layers": ("blocks.9",)}, "unknown layer 'blocks.9'"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hidden_states.measure(knowing(), PAIR, replace(CONFIG, **change))  # type: ignore[arg-type]


def test_a_language_of_all_words_has_nothing_to_tell() -> None:
    free = hypercube(WordList(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])))
    with pytest.raises(UsageError, match="no invalid words"):
        hidden_states.measure(knowing(), free, CONFIG)


def test_a_run_is_asked_both_questions(tiny_run: Path, tiny_config: Config, tmp_path: Path) -> None:
    probe = replace(tiny_config.probe, hidden_levels=3, hidden_images=60, hidden_samples=40)
    config = replace(tiny_config, probe=probe)
    network: Denoiser = load_denoiser(tiny_run)
    subject = subject_of(network, build_dataset(config), config, architecture="transformer")
    results = hidden_states.probe(subject, Keep(None, "hidden-states", {}))
    assert results["word"].layers == ("x_t", "blocks.0", "x0_hat")
    assert results["word"].accuracy.shape == (3, 3)
    text = "\n".join(hidden_states.lines(hidden_states.summary(results), subject))
    assert "chance 50%" in text
    assert "exact optimum" in text
    hidden_states.draw(results, subject, tmp_path)
    assert (tmp_path / "hidden-states.png").stat().st_size > 10_000
    with pytest.raises(UsageError, match="none is known"):
        hidden_states.probe(replace(subject, images=None), Keep(None, "hidden-states", {}))  # type: ignore[arg-type]
