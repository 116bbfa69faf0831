"""The site that `make docs` built: whole, readable without a network, at two widths."""

import html
import inspect
import os
import re
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import pytest
from browser import Browser

ROOT = Path(__file__).parent.parent
SITE = ROOT / "site" / "html"
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
# What a browser fetches by itself: element -> attributes.
FETCHED = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "object": ("data",),
}


class Fetched(HTMLParser):
    """What a page fetches, what its frames fetch, and the names of its places."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.places: set[str] = set()
        self.frames: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.places |= {told["id"]} if "id" in told else set()
        self.fetched += [told[name] for name in FETCHED.get(tag, ()) if name in told]
        self.fetched += re.findall(r"url\(['\"]?([^'\")]+)", told.get("style", ""))
        if "srcdoc" in told:
            self.frames.append(told["srcdoc"])
            self.fetched += Fetched(told["srcdoc"]).fetched


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    if not (SITE / "index.html").exists():
        message = "there is no site; build it: make docs"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


def read(page: str) -> str:
    return (SITE / page).read_text("utf-8")


def elsewhere(address: str) -> bool:
    return re.match(r"(https?:)?//", address.strip()) is not None


def test_nothing_is_fetched_from_elsewhere() -> None:
    pages = [*SITE.rglob("*.html")]
    assert len(pages) > 30
    for page in pages:
        found = Fetched(page.read_text("utf-8")).fetched
        assert found, page
        assert not [*filter(elsewhere, found)], page
    for sheet in SITE.rglob("*.css"):
        asked = re.findall(r"(?:@import|url\()\s*['\"]?([^'\")]+)", sheet.read_text("utf-8"))
        assert not [*filter(elsewhere, asked)], sheet


def test_what_would_be_fetched_is_found() -> None:
    frame = html.escape("<img src='//there/a.png'>")
    page = f"<script src='https://there/a.js'></script><iframe srcdoc=\"{frame}\"></iframe>"
    page += "<p style='background: url(https://there/b.png)'><a href='https://there'>a link</a></p>"
    found = [*filter(elsewhere, Fetched(page).fetched)]
    assert found == ["https://there/a.js", "//there/a.png", "https://there/b.png"]


def test_every_page_is_in_the_navigation() -> None:
    named = set(
        re.findall(r'class="reference internal" href="([\w/-]+)\.html"', read("index.html"))
    )
    pages = {p.relative_to(ROOT / "docs").with_suffix("") for p in (ROOT / "docs").rglob("*.md")}
    pages |= {p.relative_to(ROOT / "docs").with_suffix("") for p in TUTORIALS}
    assert {page.as_posix() for page in pages} - named == {"index"}


def test_the_gallery_has_every_figure() -> None:
    folders = (ROOT / "docs" / "figures", ROOT / "docs" / "studies" / "figures")
    figures = {path.name for folder in folders for path in folder.glob("*.png")}
    shown = {Path(address).name for address in Fetched(read("gallery.html")).fetched}
    assert figures <= shown
    assert 'href="studies/sharpness.html"' in read("gallery.html")
    pages = re.findall(r'<h2><a class="reference internal" href="([^"]+)"', read("gallery.html"))
    assert len(set(pages)) == len(pages) > 10


@pytest.mark.parametrize(
    "package", ["", *(stub.parent.name for stub in ROOT.glob("diffprobe/*/__init__.pyi"))]
)
def test_every_public_name_is_described(package: str) -> None:
    """A new package needs a page docs/api/NAME.md like the others, and a line in docs/api.md."""
    name = f"diffprobe.{package}".strip(".")
    page, offered = read(f"api/{package or 'diffprobe'}.html"), import_module(name)
    named = [n for n in offered.__all__ if inspect.isclass(getattr(offered, n))]
    named += [n for n in offered.__all__ if inspect.isroutine(getattr(offered, n))]
    assert named
    for each in named:
        assert f'id="{name}.{each}"' in page or f"{each}</span></code></a>" in page, each


def test_what_is_raised_is_described() -> None:
    page = read("api/evaluation.html")
    assert "Raises" in page
    assert "UsageError" in page
    assert ">References<" in read("api/models.html")


def test_a_property_is_told_whole() -> None:
    """What stands before its first colon is no type."""
    page = read("api/models.html")
    assert "What x_t and x_0 are: images, or an autoencoder" in page


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_are_run_and_stored_without_outputs(tutorial: Path) -> None:
    assert '"outputs": []' in tutorial.read_text("utf-8")
    assert '"output_type"' not in tutorial.read_text("utf-8")
    page = read(f"tutorials/{tutorial.stem}.html")
    assert page.count("cell_output") > 2
    assert "Traceback" not in page


def test_a_tutorial_shows_the_explorer() -> None:
    (frame,) = Fetched(read("tutorials/first-probe.html")).frames
    assert "Content-Security-Policy" in frame
    assert 'id="explorer"' in frame


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("page", ["index", "tutorials/first-probe", "kinds", "api/models"])
def test_pages_fit_and_ask_for_nothing_elsewhere(browser: Browser, page: str, width: int) -> None:
    browser.open(SITE / f"{page}.html", width)
    assert browser.value("document.documentElement.scrollWidth - innerWidth") <= 0
    assert [address for address in browser.requests if not address.startswith("file:")] == []
    assert browser.log == []


def test_the_site_is_searched_without_a_server(browser: Browser) -> None:
    browser.open(SITE / "search.html")
    browser.value("document.querySelector('form input[name=q]').value = 'palindrome'")
    browser.value("document.querySelector('form input[name=q]').form.submit()")
    browser.wait(
        "[...document.querySelectorAll('.search a')].some((a) => a.href.includes('grammars'))"
    )


def test_the_site_is_dark_where_that_is_liked(browser: Browser) -> None:
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    browser.open(SITE / "index.html", scheme="dark")
    assert max(browser.value(brightness)) < 64
    browser.open(SITE / "index.html", scheme="light")
    assert min(browser.value(brightness)) > 192
