"""Verdicts: what becomes of claims.

With p of the two-sided test of a claim's threshold over seeds, corrected by Holm over all claims of
the study,

    supported       p < 0.05, and the estimate lies on the expected side
    not supported   p < 0.05, and it lies on the other
    inconclusive    else
"""

from collections.abc import Sequence
from dataclasses import dataclass

from diffprobe.foundations.estimates import Estimate
from diffprobe.studies.claims import Claim
from diffprobe.studies.seeds import p_value
from diffprobe.studies.table import StudyTable

SUPPORTED, REFUTED, OPEN = "supported", "not supported", "inconclusive"
SURE = 0.05


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: As it was written.
        estimate: Over seeds.
        p: Of the two-sided test of its threshold; 1 where there is no interval.
        corrected: The same after Holm's correction over all claims of the study.
        verdict: "supported", "not supported" or "inconclusive".
        why: Why it is inconclusive, where that is not the numbers' doing.
        afterwards: Whether it was written down, or changed, when numbers were there.
        never: Of how many runs it takes a last step for a first one, since there was none.
    """

    claim: Claim
    estimate: Estimate
    p: float
    corrected: float
    verdict: str
    why: str = ""
    afterwards: bool = False
    never: int = 0

    def line(self) -> str:
        """Return it in words."""
        late = " (written when numbers were there)" if self.afterwards else ""
        why = self.why or f"p = {self.p:.2g}, corrected {self.corrected:.2g}"
        why += f", {self.never} {self.claim.bounds} are bounds" if self.never else ""
        return (
            f"{self.verdict}: {self.claim.text}{late} "
            f"[{self.claim.rule()}: {self.estimate}, {self.estimate.n} seeds, {why}]"
        )


def judge(
    asked: Sequence[tuple[Claim, StudyTable]], afterwards: Sequence[bool] = ()
) -> list[Verdict]:
    """Return the verdict on each claim, corrected over all of them.

    Args:
        asked: Claims, each with the table of its own question.
        afterwards: Of each, whether it came after numbers.
    """
    from diffprobe.foundations.statistics import holm

    estimates = [claim.estimate(table) for claim, table in asked]
    exact = [claim.is_exact(table) for claim, table in asked]
    ps = [
        0.0 if known and e.value != claim.threshold else p_value(e, claim.threshold)
        for (claim, _), e, known in zip(asked, estimates, exact, strict=True)
    ]
    found = []
    for i, (p, corrected) in enumerate(zip(ps, holm(ps), strict=True)):
        claim, estimate = asked[i][0], estimates[i]
        verdict, why = OPEN, "" if exact[i] else _why_open(estimate)
        if not why and estimate.value is not None and corrected < SURE:
            verdict = SUPPORTED if (estimate.value > claim.threshold) == claim.upward else REFUTED
        late = bool(afterwards) and afterwards[i]
        never = claim.never(asked[i][1])
        found.append(Verdict(claim, estimate, p, corrected, verdict, why, late, never))
    return found


def _why_open(found: Estimate) -> str:
    if found.value is None:
        return "no seed has the numbers that it needs"
    if found.standard_error is None:
        return "one seed tells nothing of the next"
    return "all seeds agree to the last bit" if found.standard_error == 0 else ""
