"""Renders the page on images without a grammar: rates, and the first samples of each kind."""

from collections.abc import Sequence
from typing import Any, TypedDict

from markupsafe import Markup

from diffprobe.report.page.page import _colors, _hash, _own, templates

PIXELS = ".checked { max-width: 100%; height: auto; image-rendering: pixelated; }\n"


class Example(TypedDict):
    """Samples of one kind."""

    kind: str
    samples: list[int]
    source: str  # a data URI
    width: int  # pixels on the page


def render_checked(content: dict[str, Any], examples: Sequence[Example]) -> str:
    """Return the page.

    Args:
        content: What report.json holds.
        examples: Pictures of the samples of each kind.
    """
    style = _colors() + _own("style.css") + PIXELS
    return (
        templates()
        .get_template("checked.html")
        .render(
            report=content,
            examples=examples,
            style=Markup(style),
            policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
            "base-uri 'none'; form-action 'none'",
        )
    )
