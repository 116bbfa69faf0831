"""The verdicts in plain sentences."""

from diffprobe.memorisation import Memorisation
from diffprobe.verdicts import Verdicts


def headlines(verdicts: Verdicts) -> list[str]:
    """Return the two rates with their intervals, counts and the chance line."""
    return [
        f"Legible: {verdicts.legible_rate}.",
        f"Grammatical, of the legible: {verdicts.grammatical_rate}; "
        f"chance {verdicts.product_rate:.1%}.",
    ]


def findings(verdicts: Verdicts, recall: Memorisation | None = None) -> list[str]:
    """Return what the rates say, a sentence each, none claimed beyond its interval."""
    grammatical, chance = verdicts.grammatical_rate, verdicts.product_rate
    if grammatical.value is None:
        return ["No sample can be read, so nothing can be said about the grammar."]
    if grammatical.contains(chance):
        lines = [
            "The grammatical rate cannot be told from chance: "
            "these samples show no sign that the rule was learned."
        ]
    elif grammatical.low > chance:
        lines = ["The grammatical rate is above chance: something of the rule was learned."]
    else:
        lines = ["The grammatical rate is below chance."]
    wrong = [(kind, rate) for kind, rate in verdicts.violation_rates().items() if rate.count]
    if wrong:
        kind, rate = wrong[0]
        lines.append(f"The most frequent violation is “{kind}”: {rate}.")
    if recall is not None and recall.recalled.value is not None:
        lines.append(
            f"Of the valid samples {recall.recalled} are among the {recall.training_words:,} "
            f"training words; exact sampling of the language would give {recall.uniform:.1%}."
        )
    return lines
