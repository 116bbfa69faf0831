"""What the page says of locality and gamma, chosen by numbers and their intervals."""

from pathlib import Path
from typing import Any

import pytest

from diffprobe.foundations.records import write_record
from diffprobe.report.story import Story, read_story


def number(value: float | None, half: float | None = 0.01, n: int = 128) -> dict[str, Any]:
    known = value is not None and half is not None
    return {
        "value": value,
        "standard_error": half / 1.96 if known else None,
        "low": value - half if known else None,
        "high": value + half if known else None,
        "n": n,
    }


def listening(
    ldr: dict[str, Any], optimum: dict[str, Any] | None, excess: dict[str, Any] | None
) -> str:
    (said,) = Story(1600, -0.94, ldr, optimum, excess, 0.167).findings()
    return said


def test_a_network_that_hears_its_own_cell_alone() -> None:
    assert listening(number(0.998, 0.002), number(0.585), number(0.413, 0.018)) == (
        "The network listens only to itself: 99.8 % of what its outputs depend on at log-SNR −0.9 "
        "is the same cell of the input, where the optimum has 58 % (excess LDR 0.413 ± 0.018)."
    )


@pytest.mark.parametrize(
    ("ldr", "optimum", "excess", "opening"),
    [
        (
            number(0.7),
            number(0.5),
            number(0.2),
            "The network listens to itself more than it should",
        ),
        # Where the optimum is as local, being local is no fault.
        (
            number(0.99),
            number(0.97),
            number(0.02, 0.005),
            "The network listens only to itself, and so does the optimum",
        ),
        (number(0.3), number(0.6), number(-0.3), "The network listens to itself less than"),
        (number(0.6), number(0.59), number(0.01, 0.03), "The network listens to itself as much as"),
        (number(0.6), number(0.5), number(0.1, 0.2), "Undecided whether the network listens"),
        (number(0.9, None, 5), number(0.5, None, 5), number(0.4, None, 5), "Undecided whom"),
        (number(None, None, 0), number(0.5), None, "The network’s output depends on nothing"),
        # 0.91 ± 0.05 may be less than 0.9: local is not claimed.
        (number(0.91, 0.05), number(0.5), number(0.41, 0.05), "The network listens to itself more"),
    ],
)
def test_the_sentence_claims_no_more_than_the_interval(
    ldr: dict[str, Any], optimum: dict[str, Any], excess: dict[str, Any] | None, opening: str
) -> None:
    assert listening(ldr, optimum, excess).startswith(opening)


def test_without_an_optimum_nothing_is_too_local() -> None:
    said = listening(number(0.99), None, None)
    assert said.startswith("99 % of what its outputs depend on")
    assert "no known optimum" in said


@pytest.mark.parametrize(
    ("gamma", "opening"),
    [
        (number(0.01, 0.03), "It uses nothing of the grammar that could be told"),
        (number(0.34, 0.05), "It uses 34 % of the grammar"),
        (number(0.98, 0.03), "It uses the grammar as the optimum does"),
        (number(0.1, 0.3), "Undecided whether it uses the grammar"),
        (number(-0.2, 0.1), "Its outputs lean against the grammar"),
        (number(1.4, 0.2), "Its outputs lean on the grammar more than the optimum’s"),
        (number(0.5, None, 20), "Undecided how much of the grammar it uses"),
    ],
)
def test_what_gamma_says(gamma: dict[str, Any], opening: str) -> None:
    (said,) = Story(1, 0.0, gamma=gamma).findings()
    assert said.startswith(opening)
    assert "0 is local, 1 optimal" in said


def test_where_there_is_no_grammar() -> None:
    why = "the symbols of a word are independent, there is no grammar to use"
    (said,) = Story(1, 0.0, gamma=number(None, None, 0), undefined=why).findings()
    assert said == f"How much of the grammar it uses is not defined: {why}."


def test_the_story_is_read_at_the_level_of_the_probes(tmp_path: Path) -> None:
    assert read_story(tmp_path) is None
    rows = [
        {"t": t, "ldr": {"network": number(x), "bayes": number(x - 0.1)}, "excess_ldr": number(0.1)}
        for t, x in ((900, 0.9), (400, 0.7))
    ]
    summary = {
        "step": 12,
        "level": {"t": 400, "log_snr": -1.5},
        "regions": {"no_locality": 0.25},
        "probes": {"locality": {"levels": rows}},
    }
    write_record(tmp_path / "summary.json", summary)
    found = read_story(tmp_path)
    assert found is not None
    assert found.ldr == number(0.7)
    assert found.optimum == number(0.7 - 0.1)
    assert (found.step, found.log_snr, found.no_locality) == (12, -1.5, 0.25)
    assert found.gamma is None
    for differs, told in (({"images": 500}, number(0.7)), ({"output": "epsilon"}, None)):
        called = {"probes": {"locality_x": {"levels": rows}}}
        settings = {"locality_x": {"differs": differs}}
        write_record(tmp_path / "summary.json", {**summary, **called, "settings": settings})
        other = read_story(tmp_path)
        assert (None if other is None else other.ldr) == told
    write_record(tmp_path / "summary.json", {**summary, "probes": {"spectrum": {}}})
    assert read_story(tmp_path) is None
    (tmp_path / "summary.json").write_text("[]")
    assert read_story(tmp_path) is None
