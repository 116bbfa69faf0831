import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.unets.unet_2d import UNet2DOutput
from matplotlib.figure import Figure
from scipy.optimize import minimize
from torch import Tensor, nn

from diffprobe.config import Config, ProbeConfig, SamplingConfig
from diffprobe.datasets import WordList, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.records import plain
from diffprobe.foundations.statistics import wilson
from diffprobe.models import BayesDenoiser, Denoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.checkpoint import load_denoiser
from diffprobe.models.denoiser import FunctionDenoiser, NetworkDenoiser
from diffprobe.models.modules.mlp import MLP
from diffprobe.models.modules.transformer import StripTransformer
from diffprobe.models.networks.unet import UNetConfig
from diffprobe.models.noise_schedule import GIVEN
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probes.hidden_states import (
    HiddenStatesConfig,
    figures,
    linear_probe,
    questions,
    words,
)
from diffprobe.probes.hidden_states.activations import activations, default_layers, hashed
from diffprobe.probes.hidden_states.layer_probes import over_words
from diffprobe.probes.hidden_states.questions import HiddenStates
from diffprobe.probing.cache import Keep
from diffprobe.probing.opening import subject_of
from diffprobe.probing.untrained import untrained

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="sample"))
PAIR = hypercube(ParityConfig(2).build())
SIGNS = hypercube(ParityConfig(5).build())
SETTINGS = HiddenStatesConfig(levels=5, images=1000, samples=400)
COMMON = ProbeConfig()
SAMPLING = SamplingConfig(steps=10, batch_size=150)


class Knowing(MLP):
    """Local in its output, the product oracle's; a feature beside its neurons knows the parity.

    E[x_1 … x_d | x_t] of independent signs is the product of u_i = tanh(alpha x_i / sigma²), whose
    sign is the exact optimum's answer. It is told as much as `gain`, zero before training.
    """

    def __init__(
        self, image_shape: tuple[int, int, int] = (1, 1, 5), width: int = 8, time_width: int = 4
    ) -> None:
        super().__init__(image_shape, width, time_width)
        self.gain = nn.Parameter(torch.zeros(()))
        self.features = nn.Identity()
        self.product = ProductDenoiser(SIGNS, SCHEDULER)

    def forward(self, sample: Tensor, timestep: Tensor, return_dict: bool = True) -> UNet2DOutput:
        alpha, sigma = self.product.alpha_sigma(timestep)
        u = (alpha * sample / sigma**2).tanh().flatten(1)
        time = torch.zeros(len(sample), self.time_width)
        neurons = self.hidden(torch.cat([sample.flatten(1), time], 1)).relu()
        self.features(torch.cat([neurons, self.gain * u.prod(1, keepdim=True).sign()], 1))
        return UNet2DOutput(sample=self.product(sample, timestep))


def knowing() -> NetworkDenoiser:
    torch.manual_seed(0)
    network = Knowing()
    with torch.no_grad():
        network.gain.fill_(1)
    return NetworkDenoiser(network, SCHEDULER)


KNOWN = replace(SETTINGS, layers=("features",))
# Noise, next to no doubt about any word, and none.
LEVELS = torch.tensor([999, 100, 0])


def found(result: HiddenStates) -> dict[str, Any]:
    content: dict[str, Any] = words.summary({result.question: result})[result.question]
    return content


# ---- the questions ---------------------------------------------------------------------------


def test_a_layer_that_computes_the_parity_is_found_on_unseen_words() -> None:
    result = questions.measure(knowing(), SIGNS, KNOWN, COMMON)
    pixels, hidden, output = result.accuracy.value
    assert result.layers == ("x_t", "features", "x0_hat")
    assert result.words == 16
    # Where it is noisier the probe has not enough images to give the one feature its due.
    assert (hidden[3:] - result.optimum.value[3:]).abs().max() < 0.02
    assert hidden[-1] == result.optimum.value[-1] == 1
    assert max(pixels.max(), output.max()) < 0.6
    assert result.best == (1, len(result.t) - 2)
    content = found(result)
    told = words.verdict(content)
    assert told == "above the untrained network, and generalises to unseen words"
    assert content["difference"]["low"] > 0.2
    assert content["untrained_networks"] == 3
    # It knows the parity, and cannot tell words apart as well.
    assert content["selectivity"]["low"] > 0.1
    assert content["selectivity"]["value"] == pytest.approx(
        content["shared"]["value"] - content["control"]["value"]
    )


@pytest.fixture(scope="module")
def random_features() -> HiddenStates:
    """Features of a wide network that has not been trained, on parity."""
    torch.manual_seed(0)
    world = hypercube(ParityConfig(6).build())
    network = NetworkDenoiser(MLP(world.image_shape, 256, 4), SCHEDULER)
    return questions.measure(network, world, SETTINGS, COMMON, levels=LEVELS)


def test_an_untrained_network_knows_nothing(random_features: HiddenStates) -> None:
    """It tells words that its probe has seen, and that is all."""
    content = found(random_features)
    assert content["shared"]["low"] > 0.6
    assert content["accuracy"]["value"] < 0.6
    assert content["difference"]["low"] < 0 < content["difference"]["high"]
    assert words.verdict(content) == "no more than an untrained network"


def test_what_knows_words_alone_has_no_selectivity(random_features: HiddenStates) -> None:
    content = found(random_features)
    assert content["control"]["low"] > 0.6
    assert content["selectivity"]["low"] < 0.03
    assert content["selectivity"]["high"] < 0.12
    assert random_features.shared_images > 400


def test_a_network_that_cannot_be_built_anew_is_said_to_have_no_control() -> None:
    module = knowing().network

    def function(x_t: Tensor, t: Tensor) -> Tensor:
        return module(x_t, t).sample

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return function(x_t, t)

    denoiser = FunctionDenoiser(Plain(), SCHEDULER)
    settings = replace(KNOWN, layers=("function.inner.features",))
    content = found(questions.measure(denoiser, SIGNS, settings, COMMON, levels=LEVELS))
    assert content["untrained_range"] is None
    told = words.verdict(content)
    assert told == "above one half, and no untrained network to compare with"
    text = "\n".join(words.lines({"word": content}))
    assert "no network to build anew" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "above the untrained network, and generalises to unseen words"),
        (
            {"accuracy": {"value": 0.62, "low": 0.49}},
            "above the untrained network, but not above one half on unseen words",
        ),
        ({"difference": {"low": -0.01}}, "no more than an untrained network"),
        ({"untrained_range": [0.5, 0.85]}, "no more than an untrained network"),
        ({"accuracy": {"value": 0.8, "low": math.nan}}, "too few words for a verdict"),
    ],
)
def test_verdicts_stand_against_the_controls(change: dict[str, Any], told: str) -> None:
    content = {
        "accuracy": {"value": 0.8, "low": 0.7},
        "difference": {"low": 0.1},
        "untrained_range": [0.5, 0.6],
        "chance": 0.5,
    }
    assert words.verdict(content | change) == told


def test_the_layer_foretells_the_sample_from_pure_noise_on() -> None:
    """Without a grammar each pixel keeps the sign it starts with."""
    result = questions.measure_samples(knowing(), SIGNS, KNOWN, COMMON, SAMPLING)
    pixels, hidden, _ = result.accuracy.value
    assert result.t[0] == 999
    assert set(result.t.tolist()) <= set(range(99, 1000, 100))
    assert hidden.min() > 0.93
    assert pixels.max() < 0.6
    assert result.optimum.value.isnan().all()
    assert result.settings["images"] % 2 == 0
    assert result.settings["images"] > 300
    assert result.words == 16


def test_what_is_asked_of_samples_is_their_own_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The activations of a sample are matched with its own verdict and word, batch after batch."""
    seen = {}

    def asked(question: str, _: object, inputs: object, words: Tensor, labels: Tensor, *__: object):  # type: ignore[no-untyped-def]
        seen.update(inputs=inputs, words=words, labels=labels)

    monkeypatch.setattr(questions, "ask", asked)
    questions.measure_samples(knowing(), SIGNS, KNOWN, COMMON, SAMPLING)
    assert seen["labels"].double().mean() == 0.5
    assert torch.equal(SIGNS.grammar.contains(seen["words"]), seen["labels"])
    signs = seen["words"] * 2 - 1
    for x_t, _ in seen["inputs"].values():
        flat = x_t.flatten(1)
        assert torch.equal(flat.sign().long(), signs) or torch.equal(flat.sign().long(), -signs)


def test_what_is_given_is_clean_where_the_layers_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def asked(_: str, __: object, inputs: object, words: Tensor, *___: object):  # type: ignore[no-untyped-def]
        seen.update(inputs=inputs, words=words)

    monkeypatch.setattr(questions, "ask", asked)
    blanks = "_" * (SIGNS.grammar.length - 1)
    sampling = replace(SAMPLING, given=f"-{blanks} +{blanks}")
    product = ProductDenoiser(SIGNS, SCHEDULER)
    questions.measure_samples(product, SIGNS, KNOWN, COMMON, sampling)
    first = SIGNS.render(seen["words"])
    assert set(seen["words"][:, 0].tolist()) == {0, 1}
    for t, (x_t, levels) in seen["inputs"].items():
        assert torch.equal(SIGNS.cells(x_t)[:, 0], SIGNS.cells(first)[:, 0])
        assert (levels[:, 0] == GIVEN).all()
        assert (levels[:, 1:] == t).all()


def test_levels_run_from_noise_to_image_through_where_it_is_decided() -> None:
    result = questions.measure(knowing(), SIGNS, replace(KNOWN, levels=6), COMMON)
    assert (result.t[0], result.t[-1]) == (999, 0)
    assert (result.t.diff() < 0).all()
    assert result.optimum.value[1] == pytest.approx(0.55, abs=0.07)
    assert result.optimum.value[-2] == pytest.approx(0.99, abs=0.015)
    gaps = result.log_snr[1:-1].diff()
    assert gaps.max() - gaps.min() < 0.1


def test_too_few_words_give_no_number() -> None:
    few = questions.measure(
        knowing(), hypercube(ParityConfig(4).build()), KNOWN, COMMON, levels=LEVELS
    )
    assert few.lacking.startswith("8 valid and 8 invalid words, and 10 of either are needed")

    class Blank(MLP):
        def forward(self, sample: Tensor, timestep: Tensor, return_dict: bool = True):  # type: ignore[no-untyped-def]
            super().forward(sample, timestep)
            return UNet2DOutput(sample=torch.zeros_like(sample))

    blank = NetworkDenoiser(Blank(PAIR.image_shape, 4, 4), SCHEDULER)
    result = questions.measure_samples(blank, PAIR, SETTINGS, COMMON, SAMPLING)
    assert result.accuracy.value.isnan().all()
    content = found(result)
    assert math.isnan(content["accuracy"]["value"])
    told = "\n".join(words.lines({"sample": content}))
    assert "undefined: 0 valid and 0 invalid words" in told
    ax = figures.plot(result, Figure().subplots())
    assert ax.texts[0].get_text() == "undefined: too few words"


def test_the_best_layer_is_chosen_on_the_validation_part() -> None:
    result = questions.measure(knowing(), SIGNS, KNOWN, COMMON, levels=LEVELS)
    shown = torch.tensor([[0.9, 0.9, 0.9], [0.6, 0.5, 0.9], [0.5, 0.7, 0.5], [0.9, 0.9, 0.9]])
    value = torch.tensor([[0.5] * 3, [0.8] * 3, [0.652] * 3, [0.5] * 3]).double()
    result = replace(
        result,
        layers=("x_t", "first", "second", "x0_hat"),
        t=torch.tensor([999, 100, 0]),
        log_snr=torch.tensor([-10.0, 2, 9]),
        validation=shown,
        accuracy=Interval(value, value, value, value, value),
    )
    content = found(result)
    assert (content["layer"], content["t"]) == ("second", 100)
    assert content["accuracy"]["value"] == pytest.approx(0.652)


def test_the_figure_shows_the_controls(random_features: HiddenStates) -> None:
    ax = figures.plot(random_features, Figure().subplots())
    band = ax.collections[0].get_paths()[0].vertices
    each = random_features.untrained_each.value
    assert band[:, 1].min() == pytest.approx(float(each.min()))
    assert band[:, 1].max() == pytest.approx(float(each.max()))
    drawn = {c.get_label(): c for c in ax.containers}
    for label, number in (
        ("words seen", random_features.shared),
        ("random labels", random_features.control),
    ):
        assert drawn[label].lines[0].get_ydata() == pytest.approx([float(number.value)])
    shown = drawn["output:in"].lines[0].get_ydata()
    assert shown == pytest.approx(random_features.accuracy.value[1].numpy())


# ---- intervals -------------------------------------------------------------------------------


def test_intervals_over_words_cover_where_images_of_a_word_agree() -> None:
    """Each word has a share of its own at which its images are answered."""
    random = torch.Generator().manual_seed(0)
    covered, by_image = [], []
    for _ in range(400):
        shares = torch.rand(32, generator=random)
        counts = torch.randint(10, 40, (32,), generator=random)
        words = torch.arange(32).repeat_interleave(counts)
        right = (torch.rand(len(words), generator=random) < shares[words]).double()
        covered.append(over_words(right, words).contains(0.5))
        by_image.append(wilson(int(right.sum()), len(right)).contains(0.5))
    assert 0.92 < torch.stack(covered).double().mean() < 0.975
    assert np.mean(by_image) < 0.75


def test_where_all_answers_are_right_words_still_bound_them() -> None:
    """0.89^32 = 0.025: if fewer words were right, all of 32 would hardly be."""
    words = torch.arange(32).repeat(5)
    told = over_words(torch.ones(160), words)
    assert told.value == told.high == 1
    assert float(told.low) ** 32 == pytest.approx(0.025)
    none = over_words(torch.zeros(160), words, least=-1.0)
    assert none.low == -none.high < 0


# ---- the untrained network -------------------------------------------------------------------


def test_the_untrained_network_has_fresh_weights_and_no_layer_at_zero() -> None:
    torch.manual_seed(0)
    network = StripTransformer((1, 8, 32), (8, 8), 16, 2, 2)
    denoiser = NetworkDenoiser(network, SCHEDULER)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    state = torch.random.get_rng_state()
    fresh, other = (untrained(denoiser, 0, draw) for draw in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert fresh is not None
    assert other is not None
    assert type(fresh.network) is StripTransformer
    for name in ("image_shape", "patch", "width", "depth", "heads"):
        assert fresh.network.config[name] == network.config[name]
    assert denoiser.network is network
    for name, weight in fresh.network.state_dict().items():
        assert torch.equal(network.state_dict()[name], before[name])
        assert weight.shape == before[name].shape
        assert weight.any()
        assert not torch.equal(weight, other.network.state_dict()[name])
    again = untrained(denoiser, 0, 1)
    assert again is not None
    x_t, t = torch.randn(2, 1, 8, 32), torch.tensor([5, 5])
    assert torch.equal(other(x_t, t), again(x_t, t))
    # As it starts its blocks are the identity, and every block's state is linear in the pixels.
    states = activations(fresh, x_t, 5)
    assert not torch.allclose(states["blocks.0"], states["blocks.1"], atol=1e-3)
    assert untrained(BayesDenoiser(PAIR, SCHEDULER), 0) is None


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
    unet = UNetConfig(channels=(8, 16), attention=(False, True)).build((1, 8, 16))
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
    x_t = torch.randn(2, 1, 1, 5)
    with pytest.raises(UsageError, match="unknown layer 'hiden': did you mean 'hidden'"):
        activations(denoiser, x_t, 0, ("hiden",))
    with pytest.raises(UsageError, match="has no layers"):
        default_layers(BayesDenoiser(PAIR, SCHEDULER))
    with torch.no_grad():
        denoiser.network.hidden.weight[0, 0] = math.nan
    with pytest.raises(UsageError, match="features gives numbers that are not finite"):
        activations(denoiser, x_t, 0, ("features",))
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


def test_penalties_that_only_get_worse_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    minimise = linear_probe.minimise

    def counted(*arguments: Any) -> Tensor:
        tried.append(arguments[2])
        return minimise(*arguments)

    monkeypatch.setattr(linear_probe, "minimise", counted)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(300, 60, generator=random)
    parts = [(x[i : i + 150], torch.rand(150, generator=random) > 0.5) for i in (0, 150)]
    early = linear_probe.fit(*parts)
    assert len(tried) == 2 + linear_probe.PENALTIES.index(early.penalty) + 1
    assert len(tried) < len(linear_probe.PENALTIES)
    monkeypatch.setattr(linear_probe, "PATIENCE", 99)
    assert linear_probe.fit(*parts).penalty == early.penalty


# ---- bad input, and the whole ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": 2}, "hidden-states.levels must be at least 3"),
        ({"images": 4}, "hidden-states.images must be at least 20"),
        ({"controls": 0}, "hidden-states.controls must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        HiddenStatesConfig(**change)  # type: ignore[arg-type]


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown layer 'blocks\.9'"):
        questions.measure(knowing(), SIGNS, replace(SETTINGS, layers=("blocks.9",)), COMMON)


def test_a_language_of_all_words_has_nothing_to_tell() -> None:
    free = hypercube(WordList(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])))
    with pytest.raises(UsageError, match="no invalid words"):
        questions.measure(knowing(), free, KNOWN, COMMON)


def test_a_run_is_asked_both_questions(tiny_run: Path, tiny_config: Config, tmp_path: Path) -> None:
    kind = HiddenStatesConfig(levels=3, images=400, samples=200, controls=2)
    config = tiny_config
    network: Denoiser = load_denoiser(tiny_run)
    subject = subject_of(network, config.dataset(), config, architecture="transformer")
    keep = Keep(tmp_path / "cache", "hidden-states", {})
    results = kind.measure(subject, keep)
    assert results["word"].layers == ("x_t", "blocks.0", "x0_hat")
    assert results["word"].accuracy.value.shape == (3, 3)
    text = "\n".join(kind.lines(kind.summary(results), subject))
    assert "undefined: 8 valid and 8 invalid words" in text
    kind.draw(results, subject, tmp_path)
    # Neither question can be asked of so few words: axes would be empty.
    assert not (tmp_path / "hidden-states.png").exists()
    again = kind.measure(subject, keep)
    assert plain(again["word"]) == plain(results["word"])
    with pytest.raises(UsageError, match="none is known"):
        kind.measure(replace(subject, images=None), Keep(None, "hidden-states", {}))  # type: ignore[arg-type]


def test_results_and_their_intervals_are_kept(
    random_features: HiddenStates, tmp_path: Path
) -> None:
    keep = Keep(tmp_path, "hidden-states", {})
    keep("word", HiddenStates, lambda: random_features)
    kept = keep("word", HiddenStates, lambda: pytest.fail("measured again"))
    assert plain(kept) == plain(random_features)
    content = found(kept)
    text = "\n".join(words.lines({"word": content}))
    assert "the same network untrained: " in text
    assert "over 3 seeds" in text
    assert "selectivity" in text
