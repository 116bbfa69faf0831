"""Pages in a notebook: whole, in a frame of their own."""

import html
import re
from pathlib import Path

import pytest
from browser import Browser
from test_page import SPLIT, STEPS, WORLD, planted, texts, write_probes

import diffprobe
from diffprobe.foundations.errors import UsageError


def framed(shown: str) -> str:
    """What the frame of a notebook's output holds."""
    found = re.fullmatch(
        r'<iframe srcdoc="([^"]*)" sandbox="allow-scripts" title="[^"]*".*>', shown
    )
    assert found is not None
    page = html.unescape(found[1])
    assert 'href="#' not in page  # of the notebook
    return page.replace('href="about:srcdoc#', 'href="#')


def test_a_notebook_shows_a_report_as_its_page(tmp_path: Path) -> None:
    report = diffprobe.report_samples(planted(20), WORLD, tmp_path, title='"a" & <b>', stream=SPLIT)
    assert framed(report._repr_html_()) == report.page.read_text("utf-8")
    assert report.to_frame().shape[0] == len(report.rows())


def test_a_notebook_shows_what_a_checker_found(tmp_path: Path) -> None:
    checked = diffprobe.report_checked(
        planted(20), lambda images: {"dark": images.mean((1, 2, 3)) > 0}, tmp_path
    )
    assert framed(checked._repr_html_()) == checked.page.read_text("utf-8")


def test_there_may_be_nothing_to_explore(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing to explore in .*probes: measure a run"):
        diffprobe.explore(tmp_path)


def test_the_explorer_stands_alone(browser: Browser, tmp_path: Path) -> None:
    written = write_probes(tmp_path / "run" / "probes")
    explorer = diffprobe.explore(tmp_path / "run")
    assert framed(explorer._repr_html_()) == explorer.page

    file = tmp_path / "explorer.html"
    file.write_text(explorer.page, "utf-8")
    browser.open(file)
    browser.wait("document.querySelectorAll('#heats .cell').length > 0")
    ldr = written[STEPS[-1]]["network"]["ldr"]["value"][1]
    assert any(f"{ldr:.3f}" in cell for cell in texts(browser, "#numbers td"))
    assert browser.log == []
    assert browser.requests == [file.as_uri()]


@pytest.mark.parametrize("width", [1280, 390])
def test_frames_run_their_scripts_and_keep_to_themselves(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    write_probes(tmp_path / "run" / "probes")
    file = tmp_path / "notebook.html"
    shown = diffprobe.explore(tmp_path / "run")._repr_html_()
    file.write_text(f'<meta name="viewport" content="width=device-width">{shown}', "utf-8")
    browser.open(file, width)
    assert browser.value("document.documentElement.scrollWidth - innerWidth") <= 0
    assert browser.value("document.querySelector('iframe').contentDocument") is None
    assert browser.log == []
    assert browser.requests == [file.as_uri()]
