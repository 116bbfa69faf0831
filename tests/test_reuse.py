"""What repeated data are worth: E(K, N), the saturating form, the scaling law, frozen noise."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from diffprobe.cli import run
from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.laws.passes import Column, Loss, read_losses
from diffprobe.laws.reuse import ReuseTable, effective_reuse
from diffprobe.laws.reuse_figures import plot_profile, plot_reuse
from diffprobe.laws.saturation import fit_saturation, saturating
from diffprobe.laws.scaling import PUBLISHED, Constants, ScalingLaw, fit_scaling
from diffprobe.models import noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.resolution import resolve
from diffprobe.training import train
from diffprobe.training.objectives.frozen import FrozenConfig

R = 4.0
SEEN = [float(n) for n in np.geomspace(100, 10000, 41)]


def loss_of(samples: float) -> float:
    return 1 + 20 / samples**0.5


def curves(r: float = R, noise: float = 0.0, seed: int = 0, unique: float = 500.0) -> list[Loss]:
    """One pass of 100 to 10,000 samples, and 500 samples seen up to 20 times."""
    random = np.random.default_rng(seed)

    def told(samples: float) -> float:
        return loss_of(samples) + noise * float(random.standard_normal())

    once = [Loss(n, n, told(n), seed=seed) for n in SEEN]
    passes = [1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0]
    worth = saturating(np.array(passes), r)
    again = [
        Loss(k * unique, unique, told(unique * float(e)), seed=seed)
        for k, e in zip(passes, worth, strict=True)
    ]
    return [*once, *again]


def factors(found: ReuseTable) -> list[float | None]:
    return [each.factor.value for each in found.content]


def test_e_is_where_one_pass_reaches_the_loss() -> None:
    found = effective_reuse(curves())
    expected = saturating(np.array([each.passes for each in found.content]), R)
    # Between points of the curve, 12 % apart, a line in log(samples).
    assert factors(found) == pytest.approx(expected.tolist(), rel=2e-3)
    # At other K the curve of several passes is a line in log(samples), too.
    (between,) = effective_reuse(curves(), [5.0]).content
    assert between.factor.value == pytest.approx(float(saturating(np.array([5.0]), R)[0]), rel=0.03)


def test_outside_the_curve_of_one_pass_nothing_is_told_but_a_bound() -> None:
    ends = [Loss(100, 100, 2.0), Loss(200, 200, 1.5), Loss(400, 100, 1.2)]
    (one,) = effective_reuse(ends).content
    assert (one.factor.value, one.above, one.below) == (None, 2.0, None)
    begins = [Loss(100, 100, 2.0), Loss(200, 200, 1.5), Loss(400, 100, 2.5)]
    (one,) = effective_reuse(begins).content
    assert (one.factor.value, one.above, one.below) == (None, None, 1.0)
    other = [*ends, Loss(400, 100, 1.8, parameters=7.0)]
    last = effective_reuse(other).content[-1]
    assert (last.factor.value, last.above, last.below) == (None, None, None)


def test_the_best_learning_rate_counts_on_either_side() -> None:
    plain = [Loss(100, 100, 2.0), Loss(400, 400, 1.0), Loss(400, 100, 1.5)]
    worse = [Loss(row.seen, row.unique, row.loss + 0.3, rate="high") for row in plain]
    assert factors(effective_reuse([*worse, *plain])) == factors(effective_reuse(plain))
    assert factors(effective_reuse(plain)) == [pytest.approx(2.0)]


def test_the_first_crossing_counts_and_smoothing_delays_a_lucky_one() -> None:
    lucky = [*curves(), Loss(SEEN[8] * 1.01, SEEN[8] * 1.01, 1.0)]
    asked = [2.0]
    plain = effective_reuse(lucky, asked).content[0].factor.value
    smooth = effective_reuse(lucky, asked, smooth=9).content[0].factor.value
    assert plain is not None
    assert smooth is not None
    assert plain < 0.6 < smooth


@pytest.mark.parametrize("seeds", [1, 4])
def test_the_interval_covers(seeds: int) -> None:
    """Of one seed by the scatter of its curves, of several by their spread."""
    inside, total = 0, 400
    for i in range(total):
        rows = [row for s in range(seeds) for row in curves(noise=0.004, seed=i * seeds + s)]
        (found,) = effective_reuse(rows, [4.0]).content
        assert found.factor.low is not None
        assert found.factor.n == seeds
        inside += found.factor.contains(float(saturating(np.array([4.0]), R)[0]))
    assert 0.92 * total <= inside < total


def test_the_saturating_form_is_found_with_its_profile() -> None:
    (fit,) = fit_saturation(effective_reuse(curves()).content)
    assert fit.r.value == pytest.approx(R, rel=0.02)
    (noisy,) = fit_saturation(effective_reuse(curves(noise=0.003, seed=1)).content)
    assert noisy.r.low is not None
    assert noisy.r.high is not None
    assert noisy.r.low < R < noisy.r.high
    # Where all passes are worth fresh ones no R is too large.
    (new,) = fit_saturation(effective_reuse(curves(r=1e9)).content)
    assert new.r.high is None
    assert "more than 1e+03" in str(new.r)
    assert fit_saturation(effective_reuse(curves()).content[:2]) == []


def trainings(noise: float = 0.003) -> list[Loss]:
    """Losses of the scaling law itself, R_D = 8 and R_P = 4, with noise."""
    sizes = [1e8, 1e9, 5e9]
    places = [(p, u, k) for p in sizes for u in (1e9, 4e9, 2e10) for k in (1, 2, 4, 16, 64)]
    rows = [Loss(k * u, u, 1.0, parameters=p) for p, u, k in places]
    exact = ScalingLaw(rows, PUBLISHED).predict(8.0, 4.0)
    random = np.random.default_rng(0)
    told = exact * np.exp(noise * random.laplace(size=len(rows)))
    return [Loss(r.seen, r.unique, float(x), r.parameters) for r, x in zip(rows, told, strict=True)]


def test_the_scaling_law_is_found_from_trainings() -> None:
    fit = fit_scaling(trainings(), PUBLISHED)
    assert fit.data.low is not None
    assert fit.data.high is not None
    assert fit.data.low < 8.0 < fit.data.high
    assert fit.data.value == pytest.approx(8.0, rel=0.2)
    assert fit.parameters == pytest.approx(4.0, rel=0.5)
    assert fit.r2 > 0.99 > fit.r2_as_new
    with pytest.raises(UsageError, match="column parameters"):
        fit_scaling(curves(), PUBLISHED)


def test_the_formula_is_the_papers() -> None:
    """One training by hand: fewer parameters than its data are enough for, seen four times."""
    c = Constants(E=1.5, A=400.0, alpha=0.3, B=1000.0, beta=0.4)
    law = ScalingLaw([Loss(4e9, 1e9, 2.0, parameters=1e7)], c)
    samples = 1e9 * (1 + 5 * (1 - math.exp(-3 / 5)))
    expected = 1.5 + 400 / 1e7**0.3 + 1000 / samples**0.4
    assert law.predict(5.0, 2.0)[0] == pytest.approx(expected)
    # More of them than the compute-optimal number for 1e9 samples, G (G D)^(beta / alpha).
    g = (0.3 * 400 / (0.4 * 1000)) ** (1 / 0.7)
    enough = g * (g * 1e9) ** (0.4 / 0.3)
    wide = ScalingLaw([Loss(1e9, 1e9, 2.0, parameters=3 * enough)], c)
    size = enough * (1 + 2 * (1 - math.exp(-2 / 2)))
    assert wide.predict(5.0, 2.0)[0] == pytest.approx(1.5 + 400 / size**0.3 + 1000 / 1e9**0.4)
    apart = abs(math.log(expected / 2.0))
    assert law.objective(5.0, 2.0) == pytest.approx(1e-3 * (apart - 0.5e-3))


def test_figures_show_e_and_the_profile() -> None:
    from matplotlib.figure import Figure

    found = effective_reuse(curves())
    fits = fit_saturation(found.content)
    ax = plot_reuse(found, fits, Figure().subplots())
    points = next(line for line in ax.lines if line.get_marker() == "o")
    assert list(points.get_ydata()) == factors(found)
    form = next(line for line in ax.lines if line.get_linestyle() == "--")
    ks = np.asarray(form.get_xdata(), float)
    assert np.allclose(np.asarray(form.get_ydata(), float), saturating(ks, fits[0].r.value))
    profile = plot_profile(fits[0].r, "R", Figure().subplots())
    assert list(profile.lines[0].get_ydata()) == fits[0].r.objective


# ---- files, runs, the command --------------------------------------------------------------------


def table(path: Path, rows: list[Loss], names: tuple[str, ...] = ("seen", "unique", "loss")) -> str:
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(names)
        writer.writerows([row.seen, row.unique, row.loss] for row in rows)
    return str(path)


def test_the_command_tells_e_and_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("tokens_1e3", "different", "final")
    file = table(tmp_path / "t.csv", curves(), names)
    columns = ["seen=tokens_1e3*1e3", "unique=different*1e3", "loss=final"]
    told = [part for column in columns for part in ("--column", column)]
    out = tmp_path / "out"
    assert run(["law", "reuse", file, *told, "--passes", "2,4", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "N = 5e+05, K = 2, loss" in text
    assert "not smoothed" in text
    rows = list(csv.DictReader((out / "reuse.csv").read_text("utf-8").splitlines()))
    assert [float(row["passes"]) for row in rows] == [2, 4]
    assert (out / "reuse.png").exists()
    assert run(["law", "reuse", file, *told, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["saturation"][0]["r"]["value"] == pytest.approx(R, rel=0.02)


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("seen,unique,loss\n9,9,nan\n", [], "line 2: loss is 'nan', which is no number"),
        ("seen,unique,loss\n9,9,1\n9,-3,1\n", [], "line 3: unique is -3, not positive"),
        ("seen,uniqe,loss\n9,9,1\n", [], "rename 'uniqe'"),
        ("seen,unique,loss\n9,9,1\n8,8,2\n", [], "nowhere above unique"),
        ("seen,unique,loss\n9,9,1\n8,4,2\n", [], "of one pass there are too few rows, 1"),
        ("seen,unique,loss\n9,9,1\n8,8,2\n8,4,2\n", ["--passes", "5"], "as far as K = 5"),
        ("seen,unique,loss\n9,9,1\n", ["--column", "sen=x"], "did you mean 'seen'?"),
        ("seen,unique,loss\n9,9,1\n", ["--column", "seen=x*0"], "'0' is no positive factor"),
        ("seen,unique,loss\n9,9,1\n", ["--at", "3,4"], "--at goes with --constants"),
        ("seen,unique,loss\n9,9,1\n", ["--constants", "E=1"], "takes 'published', or E=…"),
        ("seen,unique,loss\n9,9,1\n", ["--smooth", "0"], "--smooth must be 1 or more"),
    ],
)
def test_what_cannot_be_told_is_one_clear_line(
    text: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "t.csv"
    file.write_text(text, "utf-8")
    assert run(["law", "reuse", str(file), *arguments, "--out", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_a_column_is_named_with_its_factor() -> None:
    assert Column.parse("loss=final") == ("loss", Column("final"))


SMALL = [
    "grammar.length=6",
    "images.grid=[2, 3]",
    "network.width=8",
    "training.steps=8",
    "training.batch_size=4",
    "training.validation_size=8",
    "training.log_every=1",
    "training.checkpoints=1",
]


def test_runs_are_read_with_their_streams(tmp_path: Path) -> None:
    fresh = resolve(preset="hypercube-mlp", assignments=[*SMALL, "stream.name=fresh"])
    again = resolve(
        preset="hypercube-mlp", assignments=[*SMALL, "stream.name=epochs", "stream.words=8"]
    )
    paths = [tmp_path / "fresh", tmp_path / "again"]
    for config, path in zip((fresh, again), paths, strict=True):
        train(config, path, device="cpu", progress=False)
    rows = read_losses(paths)
    assert [row.seen for row in rows] == [4.0 * step for step in range(1, 9)] * 2
    assert [row.passes for row in rows] == [1.0] * 8 + [1.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    other = resolve(preset="hypercube-mlp", assignments=[*SMALL, "network.width=9"])
    train(other, tmp_path / "other", device="cpu", progress=False)
    with pytest.raises(UsageError, match=r"differs from .* in more than .*network\.width"):
        read_losses([*paths, tmp_path / "other"])


# ---- frozen noise --------------------------------------------------------------------------------


def test_frozen_noise_is_a_words_own_and_is_noise() -> None:
    world = hypercube(ParityConfig(10).build())
    scheduler = noise_scheduler(NoiseConfig(timesteps=200))
    frozen = FrozenConfig(seed=3).build(scheduler, world)
    random = torch.Generator().manual_seed(0)
    x_0 = world.render(world.grammar.words())
    t, eps = frozen.draw(x_0, random)
    back_t, back = frozen.draw(x_0.flip(0), random)
    assert torch.equal(back_t.flip(0), t)
    assert torch.equal(back.flip(0), eps)
    assert not torch.equal(FrozenConfig(seed=4).build(scheduler, world).draw(x_0, random)[1], eps)
    # 512 words: no two share a noise, which is standard normal, and levels are over all of them.
    assert len({tuple(each.flatten().tolist()) for each in eps}) == len(eps) == 512
    assert abs(float(eps.mean())) < 4 / math.sqrt(eps.numel())
    assert float(eps.square().mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / eps.numel()))
    assert 85 < float(t.double().mean()) < 115
    assert int(t.min()) < 10
    assert int(t.max()) > 190
