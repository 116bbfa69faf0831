"""Fixtures shared by several test files."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from browser import Browser, find_browser
from matplotlib.figure import Figure
from PIL import Image

from diffprobe.config import Config
from diffprobe.foundations import figures
from diffprobe.resolution import resolve
from diffprobe.training import train

# Of every short probe; test_commands.py asks for still less of what need not be right.
SHORT_PROBES = [
    "probe.grammar_images=8",
    "probes.placement.images=8",
    "probes.placement.levels=5",
    "probes.conditional-information.levels=3",
    "probes.attribution.shapley_samples=4",
    "probes.attribution.metric_images=2",
    "probes.patching.images=4",
    "probes.patching.levels=1",
    "probes.patching.samples=4",
]

TINY = [
    "grammar.length=4",
    "images.grid=[1, 4]",
    "noise.prediction_type='v_prediction'",
    "network.width=32",
    "network.depth=1",
    "training.steps=30",
    "training.batch_size=16",
    "training.checkpoints=3",
    "training.log_every=10",
    "training.save_every=10",
    "training.validation_size=32",
    "sampling.n=24",
    "sampling.steps=4",
    "probe.images=8",
    "probe.levels=4",
    "probe.grammar_levels=5",
    "probe.along_samples=16",
    "probes.conditional-information.images=8",
    "probes.attribution.integration_steps=8",
    "probes.attribution.redraws=4",
    *SHORT_PROBES,
]


_drawn = figures._store


def _blank(canvas: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 9), 255).save(path.with_name(f"{path.name}.png"))
    svg = '<svg width="9pt" height="9pt" xmlns="http://www.w3.org/2000/svg"><defs></defs></svg>'
    path.with_name(f"{path.name}.svg").write_text(svg)


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Laying out and drawing is two thirds of what a run of all commands takes.
    figures._store = _drawn if item.get_closest_marker("drawn") else _blank


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # Tiny tensors: threads cost more than they give, and bits do not depend on the machine's cores.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """A transformer on strips of four symbols, trained in about a second."""
    return resolve(assignments=TINY)


@pytest.fixture(scope="session")
def tiny_run(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `tiny_config`; tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return train(tiny_config, out, "cpu").path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A tab of Chromium, where there is one."""
    program = find_browser()
    if program is None:
        message = "there is no Chromium; install Debian's: make browser"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened
