"""The studies `mixture` and `proportions`, and claims of where a measure crosses a number."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError
from diffprobe.studies.catalogue import SCALES
from diffprobe.studies.catalogue.mixture import RECALL, SHARE
from diffprobe.studies.claims import Claim
from diffprobe.studies.computations.proportions import Proportions
from diffprobe.studies.computations.skills import Skills
from diffprobe.studies.crossings import crossed
from diffprobe.studies.study import Study
from diffprobe.studies.table import StudyTable
from diffprobe.studies.verdicts import judge

SHARES, WIDTHS = (0.01, 0.1, 1.0), (10, 100)


def table(*, tops: tuple[float, float] = (0.5, 0.8), seeds: int = 3) -> StudyTable:
    """Recall at three shares: 0, 0.2 and a top for each width, a little more with every seed."""
    rows = []
    for width, top in zip(WIDTHS, tops, strict=True):
        for share, value in zip(SHARES, (0.0, 0.2, top), strict=True):
            for seed in range(seeds):
                row: dict[str, Any] = {"cell": f"{width}-{share}-{seed}", "seed": seed}
                row |= {"network.width": str(width), SHARE: str(share), "components": str(share)}
                more = 0.01 * seed if value else 0.0
                row |= {"step": None, "measure": RECALL, "log_snr": None, "value": value + more}
                rows.append({**row, **dict.fromkeys(("standard_error", "low", "high")), "n": 1})
    names = {"network.width": WIDTHS, SHARE: SHARES, "components": SHARES}
    return StudyTable(
        rows, {name: list(map(str, each)) for name, each in names.items()}, ((SHARE, "components"),)
    )


def test_a_threshold_is_told_on_a_line_in_the_logarithm_of_the_setting() -> None:
    (rows,) = table(seeds=1).by_seed(RECALL).values()
    found = {row["network.width"]: row for row in crossed(rows, SHARE, [0.35]).content}
    assert found["10"]["value"] == pytest.approx(-1 + (0.35 - 0.2) / (0.5 - 0.2))
    assert found["100"]["value"] == pytest.approx(-1 + (0.35 - 0.2) / (0.8 - 0.2))
    assert [row["n"] for row in found.values()] == [1, 1]
    assert {row[SHARE] for row in found.values()} == {None}
    # What never gets there is a bound, and how sharp it is then is not defined.
    never = {row["network.width"]: row for row in crossed(rows, SHARE, [0.6]).content}
    assert (never["10"]["value"], never["10"]["n"]) == (0.0, 0)
    sharp = {row["network.width"]: row for row in crossed(rows, SHARE, [0.1, 0.6]).content}
    assert sharp["10"]["value"] is None
    assert sharp["100"]["value"] == pytest.approx((0.6 - 0.2) / 0.6 + 0.5)


def test_claims_are_about_thresholds_their_slope_and_their_width() -> None:
    crosses = {SHARE: 0.35}
    rule: dict[str, Any] = {"measure": RECALL, "crosses": crosses}
    slope = Claim("a", **rule, trend="decreasing", against="network.width", slope=True)
    less = Claim("b", **rule, between={"network.width": [100, 10]}, expect="less")
    sharp = Claim("c", RECALL, where={"network.width": 100}, crosses={SHARE: [0.1, 0.6]}, below=3.0)
    bound = Claim("d", RECALL, where={"network.width": 10}, crosses={SHARE: 0.6}, below=0.5)
    each = judge([(claim, table()) for claim in (slope, less, sharp, bound)])
    per_seed = [
        0.15 / 0.6 - 0.15 / 0.3,
        (0.15 - 0.01) / 0.6 - (0.15 - 0.01) / 0.3,
        (0.15 - 0.02) / 0.6 - (0.15 - 0.02) / 0.3,
    ]
    mean = sum(per_seed) / 3
    # A decade of width lies between the two.
    assert each[0].estimate.value == pytest.approx(mean)
    assert each[1].estimate.value == pytest.approx(mean)
    assert each[2].estimate.n == 3
    assert [verdict.never for verdict in each] == [0, 0, 0, 3]
    assert each[0].verdict == "supported"
    assert slope.rule() == (
        f"slope of log10 of the share of facts at {RECALL} 0.35 over a decade of network.width < 0"
    )
    assert sharp.rule().startswith(f"decades of share of facts from {RECALL} 0.1 to 0.6 at ")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"crosses": {"network.wdth": 0.5}, "below": 1.0}, "did you mean 'network.width'"),
        ({"crosses": {"network.name": 0.5}, "below": 1.0}, "no positive numbers"),
        ({"crosses": {"network.width": [1, 2, 3]}, "below": 1.0}, "takes a number or two"),
        ({"crosses": {"network.width": 1}, "where": {"network.width": 4}, "below": 1.0}, "fixes"),
        ({"crosses": {"network.width": 1, "network.name": 1}, "below": 1.0}, "takes one setting"),
        ({"below": 1.0, "slope": True}, "`slope` goes with `trend`"),
    ],
)  # fmt: skip
def test_a_claim_that_crosses_nothing_is_refused(rule: dict[str, Any], message: str) -> None:
    known = {"network.width": [4, 8], "network.name": ["a", "b"]}
    with pytest.raises(UsageError, match=message):
        Claim("a", "loss", **rule).check("claims[0]", ["loss"], known)


@pytest.mark.parametrize("scale", SCALES)
def test_mixtures_differ_in_what_is_asked_alone(scale: str) -> None:
    first, second = Study.open("mixture", scale).questions.values()
    cells = list(first.combinations())
    assert len(cells) == len(first.values("network.width")) * len(first.values(SHARE))
    for varied in (cells[0], cells[-1]):
        config: Any = first.config(varied, 0)
        facts, brackets = config.grammar.components
        assert facts.share == varied[SHARE]
        assert facts.share + brackets.share == pytest.approx(1)
        # A key begins with what no balanced word begins with.
        assert facts.grammar.first == (1,)
        assert config.objective.cells == facts.grammar.key
    usual, longer, fewer = (second.config(varied, 0) for varied in second.combinations())
    assert longer.training.steps == 4 * usual.training.steps == 4 * fewer.training.steps
    tables: Any = [config.grammar for config in (usual, fewer)]
    many, few = (grammar.components[0].grammar for grammar in tables)
    assert few.words.tolist() == many.words[: few.facts].tolist()
    assert 4 * few.facts == many.facts


def test_the_computation_of_proportions_is_exact_where_it_can_be() -> None:
    small = Proportions(
        tau=0.6, popularity=3.0, samples=40, facts=8, steps=4, batch_size=4, width=4
    )
    # One family teaches nothing of the other.
    first, second = ({tuple(w) for w in f.words[:, 1:].tolist()} for f in small.families(3))
    assert not first & second
    assert small.shares[0] == pytest.approx(0.9**0.6 / (0.9**0.6 + 0.1**0.6))
    (found,) = small.compute([3], "cpu", lambda items, **_: items)  # type: ignore[arg-type]
    numbers: Any = found
    p = [i**-3.0 for i in range(1, 9)]
    p = [each / math.fsum(p) for each in p]
    expected = [math.fsum(x * (1 - x) ** (q * 40) for x in p) for q in small.shares]
    assert numbers["expected"] == pytest.approx(0.9 * expected[0] + 0.1 * expected[1])
    assert numbers["error"] == pytest.approx(0.9 * numbers["common"] + 0.1 * numbers["rare"])
    # Four steps teach less than there is to learn.
    assert numbers["optimum"] < numbers["error"]
    assert 0.6 < numbers["proposed"] < 0.9
    with pytest.raises(UsageError, match="common must lie between 0 and 1, not 1"):
        Proportions(common=1.0)


def test_who_composes_all_facts_that_were_drawn_is_the_optimum_of_skills(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(_: Skills, __: int, words: Tensor, asked: Tensor, ___: str) -> Tensor:
        apart = [w.reshape(len(w), -1).split([14, 10], 1) for w in (words, asked)]
        drawn, each = (
            torch.cat([k.reshape(len(k), 2, 7), v.reshape(len(v), 2, 5)], -1) for k, v in apart
        )
        seen = drawn.flatten(0, 1).unique(dim=0)
        return (each[:, :, None] == seen).all(-1).any(-1)

    monkeypatch.setattr(Skills, "_told", told)
    small = Skills(tau=0.6, popularity=3.0, samples=20, facts=8)
    (found,) = small.compute([3], "cpu", lambda items, **_: items)  # type: ignore[arg-type]
    numbers: Any = found
    assert 0 < numbers["optimum"] < 0.5
    assert numbers["error"] == pytest.approx(numbers["optimum"])
    right = 1 - 0.9 * numbers["common"] - 0.1 * numbers["rare"]
    assert numbers["error"] == pytest.approx(1 - right**2)
    with pytest.raises(UsageError, match="3 of 64 facts make 262,144 words, more than 65,536"):
        Skills(parts=3)


@pytest.mark.parametrize(("name", "cells"), [("mixture", 14), ("proportions", 18)])
def test_it_runs_at_its_smallest(
    name: str, cells: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffprobe.cli import run

    store, out = tmp_path / "cells", tmp_path / "out"
    options = ["--scale", "tiny", "--cells", str(store), "--out", str(out)]
    assert run(["study", "run", name, *options, "--json"]) == 0
    questions = json.loads(capsys.readouterr().out)["questions"]
    done = [question["cells"] for question in questions]
    assert sum(each["done"] for each in done) == sum(each["asked"] for each in done) == cells
    rows = [row for q in questions for row in q["claims"]]
    assert 4 <= len(rows) <= 8
    assert all(row["estimate"]["n"] == 2 for row in rows if "decades of" not in row["rule"])
