"""What holds for every probe, and for one from outside."""

import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from test_suite import quick

from diffprobe.cli import run
from diffprobe.config import Config, ProbeConfig, SamplingConfig, from_settings
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import to_settings
from diffprobe.probes.locality import LocalityConfig
from diffprobe.probing import Keep, open_subject, run_probes
from diffprobe.probing.suite import known_probes
from diffprobe.report.page import figures_in
from diffprobe.report.page.figures import CAPTIONS
from diffprobe.resolution import resolve
from diffprobe.training import train

NAMES = sorted(kinds.announced("probe"))


def test_a_probe_from_outside_is_one_class(
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples" / "outside")
    point = EntryPoint("probe.gain", "outside.probe:GainConfig", kinds.GROUP)
    monkeypatch.setattr(kinds, "entry_points", lambda group: [point])
    kinds.announced.cache_clear()
    request.addfinalizer(kinds.announced.cache_clear)
    assert run(["probe", "gain", "--help"]) == 0
    assert "--n N" in capsys.readouterr().out
    subject = open_subject(tiny_run)
    results = run_probes(subject, ["gain"], steps="all", out=tmp_path / "out")
    found = results.results["gain"]["network"].gain
    told = results.summary()["probes"]["gain"]["network"]["gain"]
    assert told["value"] == found.value.item()
    assert told["n"] == 64
    assert f"gain {told['value']:.3f}" in "\n".join(results.lines())
    assert (tmp_path / "out" / "gain.json").is_file()
    assert results.along is not None
    along = results.along.summaries()["gain"]
    assert along[-1]["network"]["gain"] == pytest.approx(told)
    assert along[0]["network"]["gain"]["value"] != told["value"]
    assert (tmp_path / "out" / "along-gain.png").is_file()
    assert [shown.title for shown in figures_in(tmp_path / "out")] == ["Along training"]
    caption = {"along-gain": ("Gain", "How large the output is.")}
    monkeypatch.setattr(kinds.find("probe", "gain"), "captions", caption)
    _, shown = figures_in(tmp_path / "out")
    assert (shown.title, shown.caption) == caption["along-gain"]


def test_no_two_figures_of_a_page_are_called_alike() -> None:
    names = [*CAPTIONS, *(n for kind in known_probes(Config()).values() for n in kind.captions)]
    assert len(names) == len(set(names)) > 10


def test_the_usual_probes_come_first_and_are_three() -> None:
    known = known_probes(Config())
    assert sorted(known) == NAMES
    assert [name for name, kind in known.items() if kind.usual] == list(known)[:3]
    assert list(known)[:3] == ["locality", "placement", "attribution"]


def recording(of: Any, prefix: str, read: set[str]) -> Any:
    """The same settings, noting what is read of them."""
    names = {f.name for f in fields(of)}

    class Recording(type(of)):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            if name in names:
                read.add(f"{prefix}.{name}")
            return super().__getattribute__(name)

    found = Recording(**{name: getattr(of, name) for name in names})
    read.clear()  # what was checked when it was made
    return found


# These measure worlds and networks of their own.
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("two-layer", "recall")])
def test_what_a_probe_says_it_reads_is_all_that_it_reads(
    name: str, tiny_run: Path, tmp_path: Path
) -> None:
    """Otherwise what was kept would be found again after a setting has changed that it holds."""
    if name == "conditioner":  # it asks a network that is told something
        told = resolve(assignments=[*TINY, "condition.name=word"])
        tiny_run = train(told, tmp_path / "told", "cpu").path
    config = quick(open_subject(tiny_run).config)
    few = dict.fromkeys(("methods",), ("saliency", "occlusion")) if name == "attribution" else {}
    subject = open_subject(tiny_run, config.with_probe(name, **few))
    kind = subject.config.probe_settings(name)
    read: set[str] = set()
    watched = replace(
        subject.config,
        sampling=recording(subject.config.sampling, "sampling", read),
        probe=recording(subject.config.probe, "probe", read),
    )
    kind.measure(replace(subject, config=watched), Keep(None, name, {}))
    assert "probe.seed" in read
    assert {path for path in read if path.startswith("probe.")} <= {*kind.reads}
    assert any(path.startswith("sampling.") for path in read) == ("sampling" in kind.reads)


def test_settings_of_probes_are_sections_of_the_configuration() -> None:
    config = resolve(assignments=["probes.locality.projections=4", "probes.two-layer.draws=8"])
    assert config.probe_settings("locality") == LocalityConfig(projections=4)
    assert config.probe_settings("spectrum") == kinds.find("probe", "spectrum")()
    assert from_settings(to_settings(config)) == config
    changed = config.with_probe("locality", variant="l1")
    assert changed.probe_settings("locality") == LocalityConfig(projections=4, variant="l1")
    assert config.probe_settings("locality") == LocalityConfig(projections=4)
    assert Config().probes == {}


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: resolve(assignments=["probes.locality.projection=4"]), "did you mean 'probes.loc"),
        (lambda: resolve(assignments=["probes.localty.projections=4"]), "did you mean 'locality'"),
        (lambda: resolve(assignments=["probe.projections=4"]), "unknown key 'probe.projections'"),
        (lambda: resolve(assignments=["probes.placement.images=2"]), "must be at least 3"),
        (lambda: Config().probe_settings("localty"), "did you mean 'locality'"),
    ],
)
def test_what_is_no_setting_is_refused(read: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read()


def test_the_environment_sets_a_probes_own() -> None:
    config = resolve(
        environment={
            "DIFFPROBE_PROBES_LOCALITY_PROJECTIONS": "9",
            "DIFFPROBE_PROBES_HIDDEN_STATES_LEVELS": "4",
            "DIFFPROBE_PROBE_LEVELS": "3",
        }
    )
    assert to_settings(config.probe_settings("locality"))["projections"] == 9
    assert to_settings(config.probe_settings("hidden-states"))["levels"] == 4
    assert config.probe.levels == 3


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_an_option_with_its_default(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    kind: Any = kinds.find("probe", name)
    for field in fields(kind):
        option = "--n" if field.name == "images" else f"--{field.name.replace('_', '-')}"
        assert f"{option} " in text
        assert field.metadata["help"].split()[0] in text
    common = {f.name for f in fields(ProbeConfig)} & {"levels", "output", "region"}
    own = {f.name for f in fields(kind)}
    for setting in common - own:
        shown = re.search(rf"--{setting}[ ,]", text) is not None
        assert shown == (f"probe.{setting}" in kind.reads)


def test_options_reach_the_settings(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def planned(*arguments: str) -> Any:
        assert run([*arguments, "--checkpoint", str(tiny_run), "--dry-run"]) == 0
        return json.loads(capsys.readouterr().out)

    found = planned("probe", "--level", "7", "detectors", "--window", "0.5, 1", "--samples", "9")
    assert found["settings"]["detectors"]["window"] == [0.5, 1.0]
    assert found["settings"]["detectors"]["samples"] == 9
    assert found["probe"]["level"] == 7
    found = planned("probe", "attribution", "--methods", "saliency,occlusion", "--n", "5")
    assert found["settings"]["attribution"]["methods"] == ["saliency", "occlusion"]
    assert found["settings"]["attribution"]["images"] == 5
    assert found["probe"]["images"] == 8
    found = planned("probe", "--n", "6", "--levels", "3", "placement", "--levels", "4")
    assert found["settings"]["placement"]["images"] == 6  # before the name, too
    assert found["settings"]["placement"]["levels"] == 4
    found = planned("probe", "--output", "epsilon", "attribution", "--n", "5")
    assert found["settings"]["attribution"]["output"] == "sum"  # another option there
    found = planned("probe", "locality", "--n", "5", "--seed", "3")
    assert found["probe"]["images"] == 5
    assert found["probe"]["seed"] == 3
    # A number of images or levels is that of every probe that is measured, whatever its own.
    found = planned("probe", "--n", "7", "--levels", "2", "--precision", "0.1")
    assert found["probe"]["images"] == found["settings"]["attribution"]["images"] == 7
    assert found["settings"]["placement"]["images"] == 7
    assert found["probe"]["levels"] == found["settings"]["placement"]["levels"] == 2
    assert found["probe"]["precision"] == 0.1
    assert "spectrum" not in found["settings"]
    found = planned("probe", "--probe", "spectrum", "--n", "7")
    assert found["settings"]["spectrum"]["images"] == 7
    assert found["settings"]["placement"]["images"] == 8  # the run's own
    assert planned("probe", "--probe", "locality", "--probe", "spectrum")["probes"] == [
        "locality",
        "spectrum",
    ]


def test_recording_sees_what_is_read() -> None:
    read: set[str] = set()
    watched = recording(SamplingConfig(steps=3), "sampling", read)
    assert watched.steps == 3
    assert read == {"sampling.steps"}
    assert isinstance(watched, SamplingConfig)
