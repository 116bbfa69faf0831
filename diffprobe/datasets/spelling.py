"""Words as they are typed: the names of their symbols, one after another."""

from collections.abc import Mapping, Sequence


def typed_names(names: Sequence[str]) -> dict[str, int]:
    """Return each symbol by its name as it is typed: words are separated by spaces.

    >>> typed_names(["0", "open hand"])
    {'0': 0, 'openhand': 1}
    """
    return {name.replace(" ", ""): symbol for symbol, name in enumerate(names)}


def spell(text: str, symbols: Mapping[str, int]) -> tuple[list[int], str]:
    """Return the symbols of a word, the longest name first, and what of it names none.

    >>> spell("0110?1", {"0": 0, "1": 1, "11": 2})
    ([0, 2, 0], '?1')
    """
    word, rest = [], text
    while rest:
        name = max((name for name in symbols if rest.startswith(name)), key=len, default=None)
        if name is None:
            break
        word.append(symbols[name])
        rest = rest[len(name) :]
    return word, rest
