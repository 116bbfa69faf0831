"""What the site adds to the pages of docs/, which stay as GitHub shows them.

- A page that includes the README, the changelog or how to contribute has it whole, with its links.
- What is linked outside docs/ is offered as a file; a folder is named.
- The gallery has every figure of every page.
- The page of `diffprobe` itself says where each of its names is described.
"""

import importlib
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

import diffprobe

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent
# What stands elsewhere -> the page that includes it.
PLACES = {
    ROOT / "README.md": DOCS / "index.md",
    ROOT / "CHANGELOG.md": DOCS / "changes.md",
    ROOT / "CONTRIBUTING.md": DOCS / "contributing.md",
}
FENCED = re.compile(r"(^```.*?^```)", re.M | re.S)
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
ROW = re.compile(r"^\|.*\|$", re.M)
DOT = re.compile(r"(?<=\w)\.(?=[a-z])")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+\.png)\)")
INCLUDED = re.compile(r"^```\{include\} (\S+)\n```", re.M)
# What a page asks for -> what makes it.
GALLERY = "```{gallery}\n```"
FACE = "```{face}\n```"


def source(app: Sphinx, name: str, content: list[str]) -> None:
    """Give Sphinx a page as the site has it."""
    page = Path(app.env.doc2path(name))
    if page.suffix != ".md":
        return
    text = moved(content[0], page, page.parent)
    for path in INCLUDED.findall(text):
        app.env.note_dependency(page.parent / path)
    text = INCLUDED.sub(lambda found: included(page.parent / found[1], page), text)
    if GALLERY in text:
        app.env.note_reread()
        text = text.replace(GALLERY, "\n".join(gallery()))
    text = text.replace(FACE, "\n".join(face()) if FACE in text else "")
    content[0] = text


def moved(text: str, page: Path, to: Path) -> str:
    """Return a text with its links as they are where it moves to, its tables fit for a page.

    Args:
        text: In Markdown; blocks of code are left as they are.
        page: The file that it stands in.
        to: The folder of the page that it will stand on.
    """

    def link(found: re.Match[str]) -> str:
        words, path, anchor = found[1], found[2], found[3] or ""
        there = (page.parent / path).resolve()
        if there.is_dir():
            return f"{words} (`{there.relative_to(ROOT).as_posix()}/`)"
        return (
            f"[{words}]({Path(os.path.relpath(PLACES.get(there, there), to)).as_posix()}{anchor})"
        )

    parts = FENCED.split(text)
    parts[::2] = [LINK.sub(link, ROW.sub(breakable, part)) for part in parts[::2]]
    return "".join(parts)


def breakable(row: re.Match[str]) -> str:
    """Return a row of a table in which the long names of measures may break after a dot."""
    return row[0] if "`" in row[0] or "](" in row[0] else DOT.sub(".<wbr>", row[0])


def included(file: Path, page: Path) -> str:
    """Return the text of a file outside docs/ for a page."""
    return moved(file.read_text("utf-8"), file.resolve(), page.parent)


def gallery() -> Iterator[str]:
    """Yield in Markdown, page by page, the figures that are shown, each leading to its page."""
    stands = {page: file for file, page in PLACES.items()}
    for page in sorted(DOCS.rglob("*.md"), key=lambda page: (page.stem != "index", page)):
        file = stands.get(page, page)
        text = FENCED.sub("", file.read_text("utf-8"))
        figures = dict.fromkeys(IMAGE.findall(text))
        if not figures:
            continue
        title = re.search(r"^# (.+)$", text, re.M)[1]
        path = page.relative_to(DOCS).as_posix()
        yield f"\n## [{title}]({path})\n\n:::{{container}} gallery"
        for words, figure in figures:
            there = os.path.relpath(file.parent / figure, DOCS)
            yield f"- [![{words}]({there})]({path})\n  {words}"
        yield ":::"


def face() -> Iterator[str]:
    """Yield in Markdown the names of `diffprobe`: where a package describes one, or all of it."""
    packages = [
        importlib.import_module(f"diffprobe.{stub.parent.name}")
        for stub in sorted((ROOT / "diffprobe").glob("*/__init__.pyi"))
    ]
    own = []
    for name in diffprobe.__all__:
        found = getattr(diffprobe, name)
        home = [p.__name__ for p in packages if name in p.__all__ and getattr(p, name) is found]
        told = (found.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
        if inspect.ismodule(found):
            yield f"- `{name}`, a module: {told}"
        elif home:
            yield f"- {{py:obj}}`{name} <{home[0]}.{name}>`: {told}"
        else:
            own.append(name)
    yield f"\n```{{eval-rst}}\n.. automodule:: diffprobe\n   :members: {', '.join(own)}\n```"


def described(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Show as code what a docstring indents: formulas and examples."""
    told = "\n".join(lines)
    if what == "property":
        told = f": {told}"  # or napoleon takes for a type what stands before its first colon
    told = re.sub(r"^(\S.*):\n\n(?=    \S)", r"\1::\n\n", told, flags=re.M)
    told = re.sub(r"^(\S.*[^:\n])\n\n(?=    \S)", r"\1\n\n::\n\n", told, flags=re.M)
    lines[:] = told.split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", source)
    app.connect("autodoc-process-docstring", described, priority=400)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
