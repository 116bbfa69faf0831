import math
from dataclasses import replace
from functools import partial
from itertools import product as combinations
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.config import Config, ProbeConfig, SamplingConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.ranks import auroc
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.statistics import holm
from diffprobe.models import BayesDenoiser, Denoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probes.detectors import DetectorsConfig, by_verdict, figures, scores, words
from diffprobe.probes.detectors.names import KNOWS, LABELS
from diffprobe.probes.detectors.scores import Detectors
from diffprobe.probing.cache import Keep
from diffprobe.probing.jacobian import exact_energies
from diffprobe.probing.opening import subject_of
from diffprobe.probing.regions import Regions
from diffprobe.probing.sampling_path import Running, Trajectories, symbol_entropy
from diffprobe.sampling import sample
from diffprobe.sampling.samplers.ddim import DDIMConfig

SCHEDULER = noise_scheduler(NoiseConfig())
STRIP = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (1, 4))
BAYES, PRODUCT = BayesDenoiser(STRIP, SCHEDULER), ProductDenoiser(STRIP, SCHEDULER)
LEVEL = 400
SAMPLING = SamplingConfig(steps=25, batch_size=40)
SETTINGS = DetectorsConfig(samples=60, window=(0.5, 1.0), renoisings=2)
COMMON = ProbeConfig(grammar_images=32, grammar_levels=21)


class Wavering(Denoiser):
    """The product oracle, but samples of odd parity at the level keep changing along the path."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        x0_hat = PRODUCT(x_t, t)
        words, _ = STRIP.read(x0_hat)
        # Up and down in turn; too little for the reader, and nothing at the end.
        swing = (0.2 * torch.cos(t * math.pi / 40) * (t > 40)).reshape(-1, 1, 1, 1)
        odd = (words.sum(1) % 2).reshape(-1, 1, 1, 1)
        return x0_hat + swing * odd


@pytest.fixture(scope="module")
def measured() -> Detectors:
    settings = replace(SETTINGS, samples=400)
    return scores.measure(PRODUCT, STRIP, settings, COMMON, t=LEVEL, sampling=SAMPLING)


def test_scores_are_those_of_the_stored_path() -> None:
    """Everything again, from the whole path kept in memory, sample by sample."""
    mixture = Wavering(SCHEDULER)
    result = scores.measure(mixture, STRIP, SETTINGS, COMMON, t=LEVEL, sampling=SAMPLING)
    path: list[list[tuple[int, Tensor, Tensor]]] = [[], []]
    images = sample(
        mixture,
        STRIP.image_shape,
        DDIMConfig(),
        replace(SAMPLING, n=60),
        watch=lambda index, t, x_t, x0_hat: path[index].append((int(t), x_t, x0_hat)),
    ).images
    levels = [t for t, _, _ in path[0]]
    x_t, x0_hat = (
        torch.cat([torch.stack([step[i] for step in batch], 1) for batch in path]) for i in (1, 2)
    )
    assert x0_hat.shape == (60, 25, *STRIP.image_shape)

    late = [i for i, t in enumerate(levels) if t <= 499]
    variance = x0_hat[:, late].var(1, correction=0).reshape(60, 4, 4, 4)
    by_cell = variance.mean((1, 3))  # rows, and columns within a cell
    assert by_cell.shape == (60, 4)
    check(result, "trajectory_variance", variance.mean((1, 2, 3)))
    check(result, "trajectory_variance_worst_cell", by_cell.amax(1))

    low, high = result.settings["grammar_lives"]
    living = [i for i, t in enumerate(levels) if low <= t <= high]
    assert 2 < len(living) < len(levels)
    for oracle, name, sign in ((BAYES, "bayes", 1), (PRODUCT, "product", -1)):
        distance = torch.zeros(60)
        for i in living:
            product = SCHEDULER.alphas_cumprod[levels[i]]
            error = x0_hat[:, i] - oracle(x_t[:, i], torch.full((60,), levels[i]))
            distance += product / (1 - product) / 2 * error.square().sum((1, 2, 3)) / len(living)
        check(result, f"distance_to_{name}", sign * distance)

    early = [i for i, t in enumerate(levels) if t >= LEVEL]
    entropy = torch.stack([brute_entropy(x0_hat[:, i]) for i in early]).mean(0)
    check(result, "symbol_entropy", entropy)

    nearest = min(range(25), key=lambda i: abs(levels[i] - LEVEL))
    assert result.t == levels[nearest]
    check(result, "odds_under_grammar", brute_odds(x_t[:, nearest], result.t), 1e-3)
    words, legible = STRIP.read(images)
    assert torch.equal(result.legible, legible.all(1))
    assert torch.equal(result.grammatical, legible.all(1) & (words.sum(1) % 2 == 0))


def check(result: Detectors, name: str, expected: Tensor, rel: float = 1e-4) -> None:
    assert result.scores[name].shape == (60,)
    assert expected.std() > 0
    torch.testing.assert_close(
        result.scores[name], expected.double(), rtol=rel, atol=1e-6, msg=lambda m: f"{name}: {m}"
    )


def brute_entropy(x0_hat: Tensor) -> Tensor:
    glyphs, tau = STRIP.glyphs.images[:, 0, 0], STRIP.glyphs.radius
    cells = x0_hat.reshape(-1, 4, 4, 4).transpose(1, 2)  # (N, cell, row, column)
    squares = (cells[:, :, None] - glyphs).square().mean((-1, -2))
    p = torch.exp(-squares / (2 * tau**2))
    p = p / p.sum(-1, keepdim=True)
    return -(p * p.clamp(min=1e-30).log()).sum(-1).mean(1)


def brute_odds(x_t: Tensor, t: int) -> Tensor:
    """Sum over all 16 words of the product of the cells' posteriors."""
    posterior = PRODUCT.posterior(x_t.double(), torch.full((len(x_t),), t))
    invalid, valid = torch.zeros(2, len(x_t), dtype=torch.float64)
    for word in combinations(range(2), repeat=4):
        share = torch.stack([posterior[:, i, v] for i, v in enumerate(word)]).prod(0)
        if sum(word) % 2:
            invalid += share
        else:
            valid += share
    return (invalid / valid).log()


def test_the_ldr_is_that_of_each_sample() -> None:
    settings = replace(SETTINGS, projections=200, samples=40)
    result = scores.measure(BAYES, STRIP, settings, COMMON, t=LEVEL, sampling=SAMPLING)
    seen: list[Tensor] = []

    def watch(index: int, t: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
        if t == result.t:
            seen.append(x_t)

    sample(BAYES, STRIP.image_shape, DDIMConfig(), replace(SAMPLING, n=40), watch=watch)
    energies = exact_energies(BAYES, seen[0], result.t, Regions.cells(STRIP))
    exact = energies.diagonal(dim1=1, dim2=2).sum(1) / energies.sum((1, 2))
    together = torch.corrcoef(torch.stack([exact, result.scores["ldr"]]))[0, 1]
    assert together > 0.95
    assert (exact - result.scores["ldr"]).abs().max() < 0.1


def test_a_detector_finds_what_it_is_made_for() -> None:
    settings = replace(SETTINGS, samples=300)
    result = scores.measure(
        Wavering(SCHEDULER), STRIP, settings, COMMON, t=LEVEL, sampling=SAMPLING
    )
    for name in ("trajectory_variance", "trajectory_variance_worst_cell", "distance_to_bayes"):
        assert result.auroc[name].low > 0.6, name
    # Odd samples are farther from the product oracle, against what the detector presumes.
    assert result.auroc["distance_to_product"].high < 0.4


class Split(Denoiser):
    """The Bayes oracle where symbols read even, the product oracle where they read odd."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        local = PRODUCT(x_t, t)
        odd = (STRIP.read(local)[0].sum(1) % 2).bool().reshape(-1, 1, 1, 1)
        return torch.where(odd, local, BAYES(x_t, t))


class Halfway(Denoiser):
    """The mean of the two oracles."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (BAYES(x_t, t) + PRODUCT(x_t, t)) / 2


def test_hallucinations_made_locally_show_by_verdict() -> None:
    settings = replace(SETTINGS, samples=120)
    result = scores.measure(Split(SCHEDULER), STRIP, settings, COMMON, t=LEVEL, sampling=SAMPLING)
    told = result.by_verdict
    assert told["ldr"]["invalid"].value > 0.9
    assert told["ldr"]["difference"].low > 0.05
    assert told["excess_ldr"]["difference"].low > 0.05
    # Samples that are valid in the end were not all read even at all steps.
    assert told["excess_ldr"]["valid"].value < 0.1
    assert told["gamma"]["invalid"].high < 0.3 < 0.7 < told["gamma"]["valid"].low
    assert told["to_bayes_nats"]["difference"].low > 0
    assert told["to_product_nats"]["difference"].high < 0

    invalid = result.legible & ~result.grammatical
    excess = result.each["ldr"] - result.each["bayes_ldr"]
    difference = excess[invalid].nanmean() - excess[result.grammatical].nanmean()
    assert told["excess_ldr"]["difference"].value.item() == pytest.approx(difference.item())
    text = "\n".join(words.by_verdict(SETTINGS.summary({"network": result})["network"]))
    assert str(told["excess_ldr"]["difference"].estimate()) in text

    ax = figures.plot_differences(result, Figure().subplots(), result)
    points = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert points == [told[name]["difference"].value.item() for name in figures.SHARES] * 2
    shown = figures.plot_excess(result, Figure().subplots())
    means = [line.get_xdata()[0] for line in shown.lines]
    assert means == pytest.approx(
        [told["excess_ldr"][verdict].value.item() for verdict in ("valid", "invalid")], abs=1e-5
    )


def test_by_verdict_the_product_oracle_is_local_alike(measured: Detectors) -> None:
    told = measured.by_verdict
    for verdict in ("valid", "invalid"):
        assert told["ldr"][verdict].value == 1
        assert told["gamma"][verdict].value == 0
        assert told["to_product_nats"][verdict].value == 0
    for name in ("ldr", "gamma", "excess_ldr"):
        assert told[name]["difference"].contains(0.0), name


def test_halfway_between_the_oracles_gamma_is_one_half() -> None:
    result = scores.measure(Halfway(SCHEDULER), STRIP, SETTINGS, COMMON, t=LEVEL, sampling=SAMPLING)
    found = by_verdict.among(result.each, "gamma", result.legible)
    assert found.value.item() == pytest.approx(0.5, abs=1e-4)


def test_fewer_than_twenty_of_a_verdict_tell_no_interval() -> None:
    random = generator(0, "test")
    each = {
        name: torch.rand(60, generator=random, dtype=torch.float64)
        for name in (*by_verdict.QUANTITIES, "along_axis", "axis")
    }
    for invalid, known in ((19, False), (20, True)):
        chosen = torch.arange(60) < invalid
        told = by_verdict.compare(each, ~chosen, chosen)
        for name in by_verdict.QUANTITIES:
            if name in ("gamma", "bayes_ldr"):
                continue  # its weights leave fewer in effect; it tells none
            assert told[name]["invalid"].low.isfinite() == known, name
            assert told[name]["difference"].low.isfinite() == known, name
            assert told[name]["valid"].low.isfinite(), name
            assert told[name]["invalid"].value.isfinite(), name


def test_in_samples_of_the_product_oracle_only_the_grammar_finds_anything(
    measured: Detectors,
) -> None:
    assert measured.invalid.contains(0.5)
    assert set(measured.auroc) == set(KNOWS)
    for name in ("ldr", "distance_to_product"):
        area = measured.auroc[name]
        assert (area.value, area.low, area.high) == (0.5, 0.5, 0.5), name
    for name, area in measured.auroc.items():
        if KNOWS[name] == "grammar":
            assert area.low > 0.9, name
        else:
            assert area.low <= 0.52, name
            assert area.high >= 0.48, name


def test_samples_of_the_bayes_oracle_leave_nothing_to_detect() -> None:
    settings = replace(SETTINGS, samples=50)
    finely = replace(SAMPLING, steps=100)
    result = scores.measure(BAYES, STRIP, settings, COMMON, t=LEVEL, sampling=finely)
    assert result.invalid.count < 5
    assert all(area.value is None for area in result.auroc.values())
    content = SETTINGS.summary({"network": result})
    assert "too few to tell" in words.areas(content["network"])[-1]
    figures.plot(result, Figure().subplots())


def test_renoising_counts_cells_that_are_read_differently() -> None:
    class Flipping(Denoiser):
        """Returns the clean word with the first cell's symbol exchanged where t is the level."""

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            words, _ = STRIP.read(PRODUCT(x_t, t))
            words[:, 0] ^= int(t[0]) == 20
            return STRIP.render(words) + 0 * x_t

    result = scores.measure(Flipping(SCHEDULER), STRIP, SETTINGS, COMMON, t=20, sampling=SAMPLING)
    assert result.scores["renoising"].tolist() == pytest.approx([0.25] * 60, abs=1e-9)


def test_soft_readings_go_from_certain_to_even() -> None:
    glyphs = STRIP.glyphs.images[:, 0, 0]
    clear = STRIP.render(torch.tensor([[0, 1, 1, 0]]))
    between = glyphs.mean(0).repeat(1, 4)[None, None]
    other = math.exp(-9 / 2)  # three radii away
    p = torch.tensor([1, other]) / (1 + other)
    assert symbol_entropy(STRIP, clear).item() == pytest.approx(-(p * p.log()).sum().item(), 1e-4)
    assert symbol_entropy(STRIP, between).item() == pytest.approx(math.log(2), 1e-4)


def test_variants_of_a_symbol_are_averaged_over() -> None:
    world = SymbolImages(ModularSumConfig(2, 3, 3).build(), Glyphs.font("abc", (6, 6), 3), (1, 2))
    images = torch.randn(5, *world.image_shape, generator=generator(0, "test"))
    cells = world.cells(images)[:, :, None, None]
    squares = (cells - world.glyphs.images).square().mean((-1, -2, -3))
    p = torch.exp(-squares / (2 * world.glyphs.radius**2)).double().mean(-1)
    p = p / p.sum(-1, keepdim=True)
    expected = torch.special.entr(p).sum(-1).mean(1)
    torch.testing.assert_close(symbol_entropy(world, images), expected.float())


def test_running_moments_are_those_of_the_whole() -> None:
    values = torch.randn(9, 3, 2, generator=generator(0, "test"))
    running = Running()
    for value in values:
        running.add(value)
    torch.testing.assert_close(running.mean, values.mean(0))
    torch.testing.assert_close(running.variance, values.var(0, correction=0))


def test_batches_do_not_change_scores_that_draw_nothing() -> None:
    """The noise of a batch depends on its size: the sampler's batches are the same, ours differ."""
    once = scores.measure(BAYES, STRIP, SETTINGS, COMMON, t=LEVEL, sampling=SAMPLING)
    small_common = replace(COMMON, batch_size=7)
    again = scores.measure(BAYES, STRIP, SETTINGS, small_common, t=LEVEL, sampling=SAMPLING)
    for name in set(KNOWS) - {"ldr", "renoising"}:
        assert torch.equal(once.scores[name], again.scores[name]), name


def test_the_probe_of_a_subject(tmp_path: Path, measured: Detectors) -> None:
    config = Config(
        probe=replace(COMMON, level=LEVEL), probes={"detectors": SETTINGS}, sampling=SAMPLING
    )
    subject = subject_of(Wavering(SCHEDULER), STRIP, config)
    kept: list[str] = []

    def keep(part: str, cls: type, compute: partial) -> Detectors:
        kept.append(part)
        assert cls is Detectors
        return compute()

    results = SETTINGS.measure(subject, keep)
    assert kept == list(results) == ["network", "product"]
    SETTINGS.draw(results, subject, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{name}.{ending}"
        for name in ("detectors", "detector-scores", "detectors-by-verdict")
        for ending in ("png", "svg")
    }
    content = SETTINGS.summary(results)
    network = content["network"]
    assert network["invalid"].n == int(results["network"].legible.sum())
    area = network["auroc"]["trajectory_variance"]
    assert area.positives + area.negatives == network["invalid"].n
    text = "\n".join(SETTINGS.lines(content, subject))
    assert str(area) in text
    assert "better than chance" in text
    assert "over 0.5 to 1 of the path: not the default" in text
    usual = {**content, "network": {**network, "window_is_default": True}}
    assert "over 0.5 to 1 of the path: the default" in "\n".join(SETTINGS.lines(usual, subject))


def test_verdicts_follow_the_p_that_is_corrected_for_the_table() -> None:
    """One of eight detectors at p = 0.02 is what chance gives; at 0.002 it is not."""
    positive = torch.arange(200) < 60

    def spread(shift: float) -> Tensor:
        up, down = (torch.linspace(0, 1, n, dtype=torch.float64) for n in (60, 140))
        return torch.cat([up + shift, down])

    def table(shift: float) -> Detectors:
        scores = {name: spread(0.0) for name in KNOWS} | {"trajectory_variance": spread(shift)}
        return Detectors(
            scores=scores,
            auroc={name: auroc(score, positive) for name, score in scores.items()},
            each={},
            by_verdict={},
            legible=torch.ones(200, dtype=torch.bool),
            grammatical=~positive,
            t=0,
            log_snr=0.0,
            settings={"window": (0.8, 1.0)},
        )

    for shift, told in ((0.11, "not told from chance"), (0.15, "better than chance")):
        result = table(shift)
        raw = [area.p for area in result.auroc.values()]
        assert result.auroc["trajectory_variance"].p == min(raw) < 0.05
        assert list(result.corrected.values()) == holm(raw)
        content = SETTINGS.summary({"network": result})
        assert content["network"]["p_corrected"] == result.corrected
        (line,) = (
            line for line in words.areas(content["network"]) if "  trajectory variance  " in line
        )
        assert f"{told}, p = {8 * min(raw):.2g}" in line


def test_windows_in_one_pass_are_those_of_the_stored_path() -> None:
    windows = [(0.0, 0.5), (0.8, 1.0), (0.4, 0.7)]
    watch, kept = Trajectories(1000, windows), []
    settings = replace(SAMPLING, n=50)  # two batches

    def both(index: int, t: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
        watch(index, t, x_t, x0_hat)
        kept.append((index, 1 - int(t) / 999, x0_hat))

    sample(Wavering(SCHEDULER), STRIP.image_shape, DDIMConfig(), settings, watch=both)
    assert watch.variance.shape == (3, 50, *STRIP.image_shape)
    for (low, high), found in zip(windows, watch.variance, strict=True):
        wanted = [
            torch.stack([x for i, at, x in kept if i == batch and low <= at <= high]).var(
                0, correction=0
            )
            for batch in (0, 1)
        ]
        torch.testing.assert_close(found, torch.cat(wanted), rtol=1e-4, atol=1e-6)


def test_what_is_kept_is_what_was_measured(tmp_path: Path, measured: Detectors) -> None:
    Keep(tmp_path, "detectors", {})("network", Detectors, lambda: measured)
    kept = Keep(tmp_path, "detectors", {})("network", Detectors, lambda: pytest.fail("again"))
    assert kept.auroc == measured.auroc
    assert kept.invalid == measured.invalid
    for name, score in measured.scores.items():
        assert torch.equal(kept.scores[name], score), name


def test_the_best_detector_knows_no_grammar(measured: Detectors) -> None:
    chosen = scores.best(measured)
    assert KNOWS[chosen] != "grammar"
    values = [a.value or 0 for n, a in measured.auroc.items() if KNOWS[n] != "grammar"]
    assert measured.auroc[chosen].value == max(values)


def test_figures_show_every_detector_and_the_control(measured: Detectors) -> None:
    ax = figures.plot(measured, Figure().subplots(), measured)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(LABELS.values())
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(points) == 2 * len(KNOWS)
    assert points[0].get_xdata()[0] == measured.auroc["trajectory_variance"].value
    shown = figures.plot_scores(measured, "symbol_entropy", Figure().subplots())
    assert len(shown.lines) == 2
    with pytest.raises(UsageError, match="did you mean 'symbol_entropy'"):
        figures.plot_scores(measured, "symbol_entrophy", Figure().subplots())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "detectors.samples must be at least 1"),
        ({"renoisings": 0}, "renoisings must be at least 1"),
        ({"projections": 1}, "projections must be at least 2"),
        ({"window": (0.8, 0.2)}, "detectors.window must be two shares"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DetectorsConfig(**changes)


def test_levels_and_samplers_that_miss_the_grammar_are_refused() -> None:
    with pytest.raises(UsageError, match="t=1000 is outside"):
        scores.measure(PRODUCT, STRIP, SETTINGS, COMMON, t=1000, sampling=SAMPLING)
    narrow = replace(SETTINGS, window=(0.50, 0.55))
    with pytest.raises(UsageError, match=r"takes 1 steps in probes\.detectors\.window"):
        scores.measure(PRODUCT, STRIP, narrow, COMMON, t=LEVEL, sampling=SAMPLING)
    coarse, everywhere = replace(SAMPLING, steps=3), replace(SETTINGS, window=(0, 1))
    with pytest.raises(UsageError, match="0 steps where the grammar lives"):
        scores.measure(PRODUCT, STRIP, everywhere, COMMON, t=LEVEL, sampling=coarse)


def test_a_subject_without_a_grammar_is_refused() -> None:
    subject = subject_of(
        PRODUCT, STRIP, Config(probe=replace(COMMON, level=LEVEL), probes={"detectors": SETTINGS})
    )
    assert SETTINGS.unfit(subject) is None
    object.__setattr__(subject, "images", None)
    assert "no grammar is known" in str(SETTINGS.unfit(subject))
    with pytest.raises(UsageError, match="no grammar is known"):
        SETTINGS.measure(subject, lambda *_: None)
