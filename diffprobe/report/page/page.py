"""Renders the page: numbers as text, data for the scripts as JSON, everything inlined.

A Content-Security-Policy in the page allows the scripts and the style that are in it, by their
hashes, and pictures that are in it; anything else, and any request, is refused by the browser.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from diffprobe.foundations.figures import COLORS, DARK
from diffprobe.foundations.records import interval, plain
from diffprobe.report.page.figures import Figure
from diffprobe.report.page.gallery import Gallery
from diffprobe.report.page.glossary import GLOSSARY

SCRIPTS = ("page.js", "gallery.js", "explorer.js")
TOLD = 8  # pairs and substitutions in a table; report.json has more


def render(
    content: dict[str, Any],
    gallery: Gallery,
    explorer: dict[str, Any] | None = None,
    figures: Sequence[Figure] = (),
) -> str:
    """Return the page.

    Args:
        content: What report.json holds.
        gallery: The samples.
        explorer: What `explorer_data` returns.
        figures: Pictures with captions.
    """
    environment = templates()
    environment.filters |= {"number": number, "estimate": interval}
    environment.globals |= {
        "percent": percent,
        "lines_of": _chance_lines,
        "numbered": lambda rates: list(enumerate(rates)),
        "paired": lambda rates, what: [(" and ".join(map(str, r[what])), r) for r in rates[:TOLD]],
        "named": lambda rates, a, b, by: [(f"{r[a]}{by}{r[b]}", r) for r in rates[:TOLD]],
    }
    style = _colors() + _own("style.css") + _widths(figures)
    script = _script(*SCRIPTS)
    data = {"gallery": {"columns": gallery.columns, **gallery.content}, "explorer": explorer}
    return environment.get_template("template.html").render(
        report=plain(content),
        sprite=gallery.source,
        shown=len(gallery.content["words"]),
        kinds=gallery.content["kinds"],
        explorer=explorer,
        figures=figures,
        details=json.dumps(plain(content)["details"], indent=2, ensure_ascii=False),
        data=_embedded(data),
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
    )


def render_explorer(explorer: dict[str, Any]) -> str:
    """Return a page of the explorer alone.

    Args:
        explorer: What `explorer_data` returns.
    """
    style, script = _colors() + _own("style.css"), _script("page.js", "explorer.js")
    return (
        templates()
        .get_template("explorer.html")
        .render(
            explorer=explorer,
            told=("jacobian", "ldr", "excess", "bayes", "product", "log-snr"),
            data=_embedded({"gallery": None, "explorer": explorer}),
            style=Markup(style),
            script=Markup(script),
            policy=_policy(style, script),
        )
    )


def templates() -> jinja2.Environment:
    """Return what reads the templates of this package, with what all of them use."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_own),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "count": "{:,}".format}
    environment.globals |= {"glossary": GLOSSARY}
    return environment


def percent(share: float | None) -> str:
    """Return a share in per cent, with more digits where it is small.

    >>> percent(0.0712), percent(0.00012), percent(0), percent(None)
    ('7.1 %', '0.012 %', '0 %', 'undefined')
    """
    if share is None:
        return "undefined"
    digits = 1 if share >= 0.001 or share == 0 else 3
    return "0 %" if share == 0 else f"{100 * share:.{digits}f} %"


def number(value: float | None) -> str:
    """Return a number as text reads best: up to three digits behind the point, a true minus sign.

    >>> number(-0.12345), number(139.37), number(3), number(None)
    ('−0.123', '139.4', '3', 'undefined')
    """
    if value is None:
        return "undefined"
    digits = 0 if isinstance(value, int) else 3 if abs(value) < 10 else 1
    return f"{value:,.{digits}f}".replace("-", "−")


def _chance_lines(chance: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"kind": name, "name": f"chance ({name})", "value": chance[name]["value"]}
        for name in ("product", "uniform")
    ]


def _own(name: str) -> str:
    return (files("diffprobe.report.page") / name).read_text("utf-8")


def _script(*names: str) -> str:
    return '"use strict";\n' + "\n".join(map(_own, names))


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )


def _colors() -> str:
    """The colours of the figures as custom properties, for style.css."""

    def rule(colors: dict[str, str]) -> str:
        return ":root{" + "".join(f"--{name}:{color};" for name, color in colors.items()) + "}"

    dark = {name: DARK[c.lower()] for name, c in COLORS.items() if c.lower() in DARK}
    return f"{rule(COLORS)}@media(prefers-color-scheme:dark){{{rule(dark)}}}\n"


def _widths(figures: Sequence[Figure]) -> str:
    """How wide each figure would be, for style.css."""
    return "".join(f"#figure-{i}{{--wide:{f.width}px}}" for i, f in enumerate(figures))


def _embedded(data: Any) -> Markup:
    """JSON that no content can close: without `<` there is no end tag and no comment."""
    text = json.dumps(plain(data), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
