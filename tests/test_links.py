"""Every link and figure of the pages leads somewhere, headings included."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")]
PAGES = [*FOLDER, *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {"#" + heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for path, anchor in LINK.findall(text):
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{path} is not there"
        assert not anchor or anchor in anchors(there), f"{path} has no heading {anchor}"


def test_pages_link() -> None:
    """Reading the pages finds what stands in them."""
    found = LINK.findall((ROOT / "README.md").read_text("utf-8"))
    assert ("docs/probes.md", "") in found
    assert any(anchor for _, anchor in found)
