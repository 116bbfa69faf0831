"""The assessment in plain sentences."""

from collections.abc import Sequence

from diffprobe.evaluation.assessment import HARDLY_ANY, Assessment

NOTHING_READ = (
    "No sample can be read, so nothing can be said about the grammar: train longer, or see whether "
    "the samples show this dataset's symbols at all."
)


def headlines(assessment: Assessment) -> list[str]:
    """Return the rates with their intervals, counts and the chance line."""
    verdicts = assessment.verdicts
    lines = [
        f"Legible: {verdicts.legible_rate}.",
        f"Grammatical, of the legible: {verdicts.grammatical_rate}; "
        f"chance {verdicts.product_rate:.1%}.",
    ]
    if _errs(assessment):
        lines.append(f"Corrected for the reader's errors: {assessment.grammatical}.")
    return lines


def findings(assessment: Assessment, names: Sequence[str]) -> list[str]:
    """Return what the rates say, a sentence each, none claimed beyond its interval.

    Args:
        assessment: Of the samples.
        names: V printable names of the symbols.
    """
    verdicts, recall = assessment.verdicts, assessment.memorisation
    lines = [*assessment.notes, *assessment.mended, *_about_reading(assessment)]
    checked = assessment.checked.lines() if assessment.checked is not None else []
    if verdicts.grammatical_rate.value is None:
        return [*lines, *checked, NOTHING_READ]
    corrected, chance = assessment.grammatical, verdicts.product_rate
    if verdicts.uniform_rate == 1:
        lines.append("Every word is valid: there is no rule to learn.")
    elif assessment.conditional:
        rate = verdicts.grammatical_rate
        lines.append(f"Of the legible samples on this condition {rate} obey the rule.")
    elif corrected.low <= chance <= corrected.high:
        lines.append(
            "The grammatical rate cannot be told from chance: "
            "these samples show no sign that the rule was learned."
        )
    elif corrected.low > chance and assessment.mended:
        lines.append(
            "The grammatical rate is above chance; drawn so, that of a network without the rule "
            "would be, too."
        )
    elif corrected.low > chance:
        lines.append("The grammatical rate is above chance: something of the rule was learned.")
    else:
        lines.append("The grammatical rate is below chance.")
    if assessment.kept is not None:
        lines.append(f"Of the legible samples {assessment.kept} are what their condition asks for.")
    if assessment.broken.invalid.count:
        lines += _about_violations(assessment, names)
    if recall is not None and recall.recalled.value is not None:
        lines.append(
            f"Of the valid samples {recall.recalled} are among the {recall.training_words:,} "
            f"training words; exact sampling of the language would give {recall.uniform:.1%}."
        )
    return [*lines, *checked]


def _errs(assessment: Assessment) -> bool:
    return assessment.calibration.misread.count > 0


def _about_reading(assessment: Assessment) -> list[str]:
    verdicts, calibration = assessment.verdicts, assessment.calibration
    lines = verdicts.broken.lines()
    if verdicts.legible_rate.count and verdicts.legible_rate.high < HARDLY_ANY:
        lines.append(
            "Hardly a sample can be read: train longer, or see whether the samples show this "
            "dataset's symbols at all."
        )
    if _errs(assessment):
        lines.append(
            f"The reader is not perfect: of {calibration.source} it refuses "
            f"{calibration.refused} of the cells, and reads {calibration.misread} of the others "
            "as another symbol."
        )
    return lines


def _about_violations(assessment: Assessment, names: Sequence[str]) -> list[str]:
    broken, by_chance = assessment.broken, assessment.chance["product"]
    kind, rate = next(iter(broken.kinds.items()))
    # What is drawn tells the kinds apart; how many words are invalid by chance is known exactly.
    of_invalid = by_chance.kinds[kind].count / max(1, by_chance.invalid.count)
    chance = of_invalid * (1 - assessment.verdicts.product_rate)
    lines = [f"The most frequent violation is “{kind}”: {rate}; chance {chance:.1%}."]
    one = broken.distances.get(1)
    if one is not None and one.count:
        lines.append(f"One substitution would repair {broken.repairable} of the invalid samples.")
    if broken.symbols:
        first = broken.symbols[0]
        lines.append(
            f"“{names[first.first]}” and “{names[first.second]}” break together most often: "
            f"{first.rate}."
        )
    return lines
