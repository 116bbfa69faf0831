from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from diffprobe.config import Config
from diffprobe.datasets.streams.finite import FiniteConfig
from diffprobe.foundations.statistics import wilson
from diffprobe.probing.along import Along, Moment, Rates, lines
from diffprobe.probing.along_figures import plot, plot_missed
from diffprobe.probing.opening import open_subject
from diffprobe.probing.suite import run_probes
from diffprobe.training import train


def estimate(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def moment(step: int, ldr: float, missed: float, right: int) -> Moment:
    followed: dict[str, Any] = {
        "ldr": estimate(ldr, ldr - 0.1, ldr + 0.02),
        "bayes_ldr": estimate(0.6, 0.5, 0.7),
        "gamma": estimate(0.3, float("nan"), float("nan")),
        "mu": None,
        "unexplained": estimate(0.9, 0.8, 1.0),
        "missed_along_nats": estimate(missed, missed, missed),
        "to_product_nats": estimate(5.0, 4.0, 6.0),
    }
    return Moment(
        step, {}, followed, Rates(wilson(20, 20), wilson(right, 20), wilson(0, right), {})
    )


ALONG = Along(
    moments=[moment(10, 0.9, 0.7, 5), moment(100, 0.8, 0.2, 15)],
    asked=(),
    t=300,
    log_snr=-1.25,
    total_correlation=0.69,
    product_rate=0.5,
    settings={},
)


def curve(ax: Any, label: str) -> Any:
    (found,) = (c for c in ax.containers if c.get_label() == label)
    return found


def test_curves_are_the_rows_and_lines_the_chance() -> None:
    ax = plot(ALONG, Figure().subplots())
    line, _, (bars,) = curve(ax, "LDR at log-SNR −1.2")
    assert line.get_xydata().tolist() == [[10, 0.9], [100, 0.8]]
    assert np.allclose([s[:, 1] for s in bars.get_segments()], [[0.8, 0.92], [0.7, 0.82]])
    assert curve(ax, "grammatical, of the legible").lines[0].get_ydata().tolist() == [0.25, 0.75]
    # Without an interval the point stands alone; what is defined nowhere is not drawn.
    ends = curve(ax, "gamma, share of the grammar used").lines[2][0].get_segments()
    assert np.allclose([s[:, 1] for s in ends], 0.3)
    assert "mu" not in " ".join(c.get_label() for c in ax.containers)
    level = {line.get_label(): line.get_ydata()[0] for line in ax.lines}
    assert level["chance of grammatical"] == 0.5
    assert level["LDR of the Bayes optimum"] == 0.6
    below = plot_missed(ALONG, Figure().subplots())
    assert curve(below, "nats of the grammar missed").lines[0].get_ydata().tolist() == [0.7, 0.2]
    assert below.lines[-1].get_ydata()[0] == 0.69


def test_the_table_has_a_line_for_each_checkpoint() -> None:
    head, first, last = lines(ALONG)
    assert head.split()[:3] == ["step", "LDR", "gamma"]
    assert "0.900 (0.800 to 0.920)" in first
    assert "25.0% (" in first
    assert last.split()[0] == "100"


def test_without_a_grammar_what_is_known_is_told() -> None:
    alone = [replace(m, followed={"ldr": m.followed["ldr"]}, rates=None) for m in ALONG.moments]
    bare = replace(ALONG, moments=alone, total_correlation=None, product_rate=None)
    assert lines(bare)[0].split() == ["step", "LDR", "legible", "grammatical"]
    ax = plot(bare, Figure().subplots())
    assert len(ax.containers) == 1
    assert bare.rows()[0]["legible"] is None


def test_summaries_are_of_what_was_asked_for() -> None:
    named = replace(
        ALONG,
        moments=[replace(m, summaries={"spectrum": {"largest": 1.0}}) for m in ALONG.moments],
        asked=("spectrum",),
    )
    assert named.summaries() == {
        "spectrum": [{"step": 10, "largest": 1.0}, {"step": 100, "largest": 1.0}]
    }
    assert ALONG.summaries() == {}
    with pytest.raises(KeyError):
        replace(ALONG, asked=("spectrum",)).summaries()


def test_of_each_checkpoint_it_is_told_what_is_memorised(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(tiny_config.training, steps=2, checkpoints=1)
    config = replace(tiny_config, stream=FiniteConfig(words=3), training=training)
    dataset = config.dataset()
    known = config.stream.build(dataset.grammar).training
    assert known is not None
    every = torch.cartesian_prod(*[torch.arange(2)] * 4)
    is_valid = dataset.grammar.contains(every)
    is_known = (every[:, None] == known).all(-1).any(-1)
    words = torch.cat([known[:2], every[is_valid & ~is_known][:1], every[~is_valid][:2]])
    monkeypatch.setattr("diffprobe.probing.along.sample", lambda *_, **__: dataset.render(words))
    subject = open_subject(train(config, tmp_path, "cpu").path, config)
    along = run_probes(subject, ["locality"], steps="all", figures=False).along
    assert along is not None
    rates = along.moments[-1].rates
    assert rates is not None
    assert rates.recalled == wilson(2, 3)
    counts = {name: rate.count for name, rate in rates.verdicts.items()}
    assert counts == {"valid-novel": 1, "valid-memorised": 2, "invalid": 2, "illegible": 0}
