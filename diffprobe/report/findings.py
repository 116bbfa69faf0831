"""The verdicts in plain sentences."""

from diffprobe.verdicts import Verdicts


def findings(verdicts: Verdicts) -> list[str]:
    """Return what the samples show, a sentence each, none claimed beyond its interval."""
    legible, grammatical = verdicts.legible_rate, verdicts.grammatical_rate
    chance = verdicts.product_rate
    lines = [f"Legible: {legible}."]
    if grammatical.value is None:
        return [*lines, "No sample can be read, so nothing can be said about the grammar."]
    lines.append(f"Grammatical, of the legible: {grammatical}; chance {chance:.1%}.")
    if grammatical.contains(chance):
        lines.append(
            "The grammatical rate cannot be told from chance: "
            "these samples show no sign that the rule was learned."
        )
    elif grammatical.low > chance:
        lines.append("The grammatical rate is above chance: something of the rule was learned.")
    else:
        lines.append("The grammatical rate is below chance.")
    wrong = [(kind, rate) for kind, rate in verdicts.violation_rates().items() if rate.count]
    if wrong:
        kind, rate = wrong[0]
        lines.append(f"The most frequent violation is “{kind}”: {rate}.")
    return lines
