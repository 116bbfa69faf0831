"""Context-free rules as text.

    # balanced brackets
    S -> "(" S ")" S | ""

One symbol's alternatives a line, separated by `|`; a line that begins with `|` goes on with the
last one. Terminals stand in double or single quotes and `""` is the empty word; everything else is
the name of a symbol that has rules of its own. The first line's symbol is the start. A number at
the beginning of an alternative is its weight, 1 where there is none.

NLTK's notation of a probabilistic grammar is read, too: a probability in brackets stands behind
every alternative, and those of a symbol add up to one. An alternative of nothing but its
probability is the empty word; `%start S` names the start; a line that ends in a backslash goes on.

    S -> NP VP [1.0]
    VP -> 'sees' NP [0.7] | 'sleeps' [0.3]
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from diffprobe.foundations.errors import UsageError, unknown_name

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+) | (?P<comment>\#.*) | (?P<arrow>->|::=|→) | (?P<bar>\|)
      | (?P<terminal>"[^"]*"|'[^']*') | (?P<name>[^\W\d]((?!->|::=)[\w/^<>-])*)
      | (?P<probability>\[[ ]*(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ ]*\])
      | (?P<weight>[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?![\w.]))""",
    re.VERBOSE,
)

ROUNDED = 0.01  # probabilities of a symbol may miss one by so much, as in NLTK
EXAMPLE = """S -> "(" S ")" S | \"\""""  # for messages


@dataclass(frozen=True)
class Item:
    """One symbol on the right-hand side of a rule, and where it stands."""

    name: str
    terminal: bool
    line: int
    column: int


@dataclass(frozen=True)
class Alternative:
    """One right-hand side of a rule, without empty words, and its weight."""

    items: tuple[Item, ...]
    weight: float = 1.0
    is_probability: bool = False


@dataclass(frozen=True)
class Rules:
    """Parsed rules.

    Attributes:
        start: Name of the start symbol.
        alternatives: Symbol -> its right-hand sides.
        lines: Symbol -> the line of its first rule.
    """

    start: str
    alternatives: Mapping[str, list[Alternative]]
    lines: Mapping[str, int]


def parse_rules(text: str) -> Rules:
    """Read the text format.

    Raises:
        UsageError: With line and column, at the first thing that is not in the format.
    """
    alternatives: dict[str, list[Alternative]] = {}
    lines: dict[str, int] = {}
    head = start = ""
    for number, line in _whole_lines(text):
        if directive := re.fullmatch(r"\s*%start\s+(\S+)\s*", line):
            start = directive[1]
            continue
        tokens = _tokens(line, number)
        if not tokens:
            continue
        if tokens[0][0] == "bar":
            if not head:
                raise rule_error(
                    number, tokens[0][2], "there is no rule yet for this line to go on"
                )
            body = tokens[1:]
        else:
            head, body = _head(tokens, number)
            lines.setdefault(head, number)
        alternatives.setdefault(head, []).extend(_alternatives(body, number, len(line)))
    if not alternatives:
        raise UsageError("there are no rules in the text")
    _check_probabilities(alternatives, lines)
    if not start:
        return Rules(next(iter(alternatives)), alternatives, lines)
    if start not in alternatives:
        raise unknown_name("symbol in %start", start, alternatives)
    # The start comes first, wherever its rules stand.
    return Rules(start, {start: alternatives[start], **alternatives}, lines)


def _whole_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line, with those that it goes on in."""
    whole, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.rstrip()
        comment = not whole and line.lstrip().startswith("#")
        whole, first = whole + line, first or number
        if line.endswith("\\") and not comment:
            whole = whole[:-1] + " "
            continue
        yield first, whole
        whole, first = "", 0
    if whole:
        yield first, whole


def _check_probabilities(
    alternatives: Mapping[str, Sequence[Alternative]], lines: Mapping[str, int]
) -> None:
    """Refuse probabilities that are not those of every alternative, or do not add up to one."""
    if not any(a.is_probability for found in alternatives.values() for a in found):
        return
    for name, found in alternatives.items():
        if without := sum(not a.is_probability for a in found):
            raise rule_error(
                lines[name],
                1,
                f"{without} of the {len(found)} alternatives of {name} have no probability such as "
                "[0.5] behind them, and others of the grammar have: write it behind each",
            )
        total = math.fsum(a.weight for a in found)
        if abs(total - 1) > ROUNDED:
            raise rule_error(
                lines[name],
                1,
                f"the probabilities of {name} add up to {total:g}, not to 1; weights that need not "
                "stand before an alternative, without brackets",
            )


def _tokens(line: str, number: int) -> list[tuple[str, str, int]]:
    """Return the kind, the text and the column of each token."""
    found = []
    column = 0
    while column < len(line):
        match = _TOKEN.match(line, column)
        if match is None:
            raise rule_error(number, column + 1, _foreign(line[column:]))
        if match.lastgroup not in ("space", "comment"):
            found.append((str(match.lastgroup), match[0], column + 1))
        column = match.end()
    return found


def _foreign(rest: str) -> str:
    """Say what is wrong with text that is in another notation, and how it is written here."""
    if rest[0] in "\"'":
        return "this quote is not closed"
    if match := re.match("=>|:=|==|<-|=|:", rest):
        return f"a rule is written with '->', not '{match[0]}', as in {EXAMPLE}"
    if match := re.match(r"<([\w -]+)>", rest):
        return f"a symbol's name stands without < >: {match[1].replace(' ', '-')}"
    if rest[0] in "()[]{}*+?;,.":
        return (
            f"{rest[0]!r} is no rule: terminals stand in quotes, and all alternatives are written "
            f"out between |, as in {EXAMPLE}"
        )
    return f"{rest[0]!r} is no rule"


def _head(
    tokens: list[tuple[str, str, int]], number: int
) -> tuple[str, list[tuple[str, str, int]]]:
    kind, name, column = tokens[0]
    if kind != "name":
        raise rule_error(
            number, column, f"a rule begins with the name of a symbol, not with {name}"
        )
    if len(tokens) < 2 or tokens[1][0] != "arrow":
        at = tokens[1][2] if len(tokens) > 1 else column + len(name)
        raise rule_error(number, at, f"'->' is missing after {name}")
    return name, tokens[2:]


def _alternatives(tokens: list[tuple[str, str, int]], number: int, end: int) -> list[Alternative]:
    found = []
    items: list[Item] = []
    weight: float | None = None
    written = behind = False
    for kind, text, column in [*tokens, ("bar", "", end + 1)]:
        if kind == "arrow":
            raise rule_error(number, column, "a second '->' in one line")
        if behind and kind != "bar":
            raise rule_error(number, column, "a probability ends an alternative, and | is missing")
        if kind == "bar":
            if not (written or behind):
                raise rule_error(number, column, 'an alternative is missing (the empty word is "")')
            found.append(Alternative(tuple(items), 1.0 if weight is None else weight, behind))
            items, weight, written, behind = [], None, False, False
        elif kind == "probability":
            if weight is not None:
                raise rule_error(number, column, "an alternative has a weight or a probability")
            weight, behind = _positive(text.strip("[] "), number, column), True
        elif kind == "weight":
            if written or weight is not None:
                raise rule_error(
                    number, column, "a weight stands at the beginning of an alternative"
                )
            weight = _positive(text, number, column)
        else:
            written = True
            if kind == "name":
                items.append(Item(text, False, number, column))
            elif len(text) > 2:
                items.append(Item(text[1:-1], True, number, column))
    return found


def _positive(text: str, number: int, column: int) -> float:
    if not 0 < (weight := float(text)) < math.inf:
        raise rule_error(number, column, f"a weight is positive and finite, not {text}")
    return weight


def rule_error(line: int, column: int, what: str) -> UsageError:
    """Return the error for what is wrong at a place in the text."""
    return UsageError(f"line {line}, column {column}: {what}")
