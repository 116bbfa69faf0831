"""What was measured is found again only where it is the same, and one setting keeps off another."""

import ast
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from pipelines import unet

import diffprobe
from diffprobe.cli import run
from diffprobe.config import Config, ProbeConfig, SamplingConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.datasets.inference.word_list import WordList
from diffprobe.foundations import intervals
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.records import plain
from diffprobe.models import FunctionDenoiser, NetworkDenoiser, noise_scheduler
from diffprobe.probes.sensitivity import SensitivityConfig
from diffprobe.probing import (
    Keep,
    code,
    inputs,
    open_subject,
    opening,
    run_probes,
    subject_of,
    summaries,
)
from diffprobe.probing.identity import hash_of_denoiser, hash_of_images, hash_of_network
from diffprobe.probing.naming import differing, tag
from diffprobe.probing.subject import Subject
from diffprobe.probing.summaries import Setting, other_settings, read_summary

SMALL = Config(
    probe=ProbeConfig(images=4, levels=2, batch_size=4),
    sampling=SamplingConfig(steps=2, batch_size=4),
)


def network(**options: Any) -> UNet2DModel:
    torch.manual_seed(0)
    return unet(in_channels=1, out_channels=1, **options)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(random.integers(0, 255, (8, 8), np.uint8)).save(folder / f"{i}.png")
    return folder


def test_what_the_scheduler_says_is_part_of_what_is_kept(pictures: Path, tmp_path: Path) -> None:
    """The same weights predict something else, or on another schedule: no number is the same."""
    DDPMPipeline(network(), DDPMScheduler()).save_pretrained(tmp_path / "foreign")
    ratios = []
    for i, changes in enumerate(
        (
            {},
            {"prediction_type": "sample"},
            {"prediction_type": "sample", "beta_schedule": "scaled_linear"},
            {},
        )
    ):
        DDPMScheduler(**changes).save_pretrained(tmp_path / "foreign" / "scheduler")
        subject = open_subject(tmp_path / "foreign", SMALL, images=pictures, regions="2x2")
        kept, fresh = (
            run_probes(subject, ["sensitivity"], out=tmp_path / out).results["sensitivity"]
            for out in ("kept", f"fresh-{i}")
        )
        assert torch.equal(kept["network"].map.value, fresh["network"].map.value)
        ratios.append(kept["network"].local_share.value.item())
    assert len(set(ratios)) == 3
    assert ratios[0] == ratios[3]
    # What was measured of another network than is there now is told no more.
    DDPMScheduler(prediction_type="sample").save_pretrained(tmp_path / "foreign" / "scheduler")
    subject = open_subject(tmp_path / "foreign", SMALL, images=pictures, regions="2x2")
    run_probes(replace(subject, asked={}), ["sensitivity"], out=tmp_path / "kept")
    summary = read_summary(tmp_path / "kept")
    assert summary is not None
    assert list(summary["probes"]) == ["sensitivity"]


def of(denoiser: NetworkDenoiser) -> str | None:
    return hash_of_denoiser(denoiser, hash_of_network(denoiser))


def test_a_denoiser_is_told_apart_by_all_that_its_output_depends_on() -> None:
    usual = NetworkDenoiser(network(), DDPMScheduler())
    assert of(usual) == of(NetworkDenoiser(network(), DDPMScheduler()))
    moved = network()
    with torch.no_grad():
        next(moved.parameters())[0, 0, 0, 0] += 1e-6
    others = [
        NetworkDenoiser(moved, DDPMScheduler()),
        # As many weights, in other heads.
        NetworkDenoiser(network(attention_head_dim=2), DDPMScheduler()),
        NetworkDenoiser(network(), DDPMScheduler(prediction_type="sample")),
        NetworkDenoiser(network(), DDPMScheduler(beta_schedule="scaled_linear")),
        NetworkDenoiser(network(), DDPMScheduler(num_train_timesteps=999)),
        NetworkDenoiser(network(), DDPMScheduler(clip_sample=False)),
    ]
    assert len({of(each) for each in (usual, *others)}) == 7


def test_inputs_are_told_apart_by_every_word_and_every_pixel(tiny_config: Config) -> None:
    images = torch.rand(200, 1, 4, 4)
    changed = images.clone()
    changed[199, 0, 3, 3] += 1e-6
    assert hash_of_images(ImageSet(images, "x")) != hash_of_images(ImageSet(changed, "x"))
    dataset = tiny_config.dataset()
    assert hash_of_images(dataset) == hash_of_images(tiny_config.dataset())
    words = torch.cartesian_prod(*[torch.arange(2)] * 4)
    words = words[dataset.grammar.contains(words)]
    rare = torch.ones(len(words), dtype=torch.float64)
    rare[-1] = 1e-6  # nobody draws it in 64 pictures
    grammars = (WordList(words), WordList(words, weights=rare), WordList(words[:-1]))
    hashes = {
        hash_of_images(SymbolImages(grammar, dataset.glyphs, dataset.grid)) for grammar in grammars
    }
    assert len(hashes) == 3


def test_other_code_measures_and_draws_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("cli/x.py", "probes/a/figures.py", "probes/a/words.py", "probing/y.py", "models/z.py")
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("one")
    monkeypatch.setattr(code, "ROOT", tmp_path)

    def after(file: str) -> tuple[bool, bool]:
        before = code.measuring_code.__wrapped__(), code.drawing_code.__wrapped__()
        (tmp_path / file).write_text((tmp_path / file).read_text() + "more")
        now = code.measuring_code.__wrapped__(), code.drawing_code.__wrapped__()
        return now[0] != before[0], now[1] != before[1]

    assert [after(file) for file in files] == [
        (False, False),
        (False, True),
        (False, True),
        (True, True),
        (True, True),
    ]


def of_top_level(file: Path) -> Iterator[str]:
    """Names of the modules that are imported where a file is."""
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_what_measures_needs_nothing_that_draws() -> None:
    """Otherwise a number would depend on code that is not part of its key, or wait for it."""
    root = Path(diffprobe.__file__).parent
    drawing = [f for f in root.rglob("*.py") if f.stem.rpartition("_")[2] in code.DRAWING]
    assert len(drawing) > 10
    for file in root.rglob("*.py"):
        if file in drawing or file.relative_to(root).parts[0] in code.ABOVE:
            continue
        for module in of_top_level(file):
            assert module.split(".")[0] not in ("matplotlib", "captum"), file
            if module != "diffprobe.foundations.figures":  # colours and labels
                assert root.parent.joinpath(*module.split(".")).with_suffix(".py") not in drawing


def test_what_tells_nothing_is_measured_again(tmp_path: Path) -> None:
    calls = []

    def measuring(value: float) -> Callable[[], Interval]:
        def measure() -> Interval:
            calls.append(value)
            return intervals.mean(torch.full((12,), value, dtype=torch.float64))

        return measure

    keep = Keep(tmp_path, "probe", {})
    assert keep("network", Interval, measuring(float("nan"))).value.isnan()
    assert keep("network", Interval, measuring(1.0)).value == 1
    assert keep("network", Interval, measuring(2.0)).value == 1
    assert calls[1:] == [1.0]
    (path,) = tmp_path.glob("*.npz")
    broken = bytearray(path.read_bytes())
    broken[len(broken) // 2] ^= 1
    path.write_bytes(broken)
    assert keep("network", Interval, measuring(3.0)).value == 3


def quick(subject: Subject, **changes: Any) -> Subject:
    """The same, sensitivity alone being asked of it, with other common settings."""
    probe = replace(subject.config.probe, images=4, **changes)
    config = replace(subject.config, probe=probe, probes={"sensitivity": SensitivityConfig()})
    own = replace(subject.own, probe=replace(subject.own.probe, images=4), probes=config.probes)
    return replace(subject, config=config, own=own)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_another_setting_leaves_the_first_alone(tiny_run: Path, tmp_path: Path) -> None:
    subject = open_subject(tiny_run)
    first = run_probes(quick(subject), ["sensitivity"], out=tmp_path)
    before = contents(tmp_path)
    assert set(before) == {
        "lock",
        "sensitivity.json",
        "sensitivity.png",
        "sensitivity.svg",
        "summary.json",
    }
    other = run_probes(quick(subject, region=2), ["sensitivity"], out=tmp_path)
    after = contents(tmp_path)
    assert {k: v for k, v in after.items() if k in before and k != "summary.json"} == {
        k: v for k, v in before.items() if k != "summary.json"
    }
    assert {f"sensitivity_region-2.{e}" for e in ("json", "png", "svg")} == {*after} - {*before}
    summary = read_summary(tmp_path)
    assert summary is not None
    assert summary["settings"]["sensitivity_region-2"] == Setting(
        "sensitivity", {"region": 2}, subject.identity["network"]
    )
    told = {name: each["region"] for name, each in summary["probes"].items()}
    assert told == {"sensitivity": 0, "sensitivity_region-2": 2}
    assert other_settings(tmp_path) == {"_region-2": "region 2"}
    # Another level is told of neither; what counts for all stays that of the run's own settings.
    run_probes(replace(quick(subject, level=7), level=7), ["sensitivity"], out=tmp_path)
    summary = read_summary(tmp_path)
    assert summary is not None
    assert summary["level"]["t"] == subject.level != 7
    assert set(summary["probes"]) == {
        "sensitivity",
        "sensitivity_region-2",
        "sensitivity_level-7",
    }
    assert len(list((tmp_path / "cache").glob("sensitivity-network-*.npz"))) == 3
    # What is measured again replaces its own numbers alone.
    run_probes(quick(subject), ["sensitivity"], out=tmp_path)
    summary = read_summary(tmp_path)
    assert summary is not None
    for name, results in zip(told, (first, other), strict=True):
        assert summary["probes"][name] == plain(results.summary()["probes"]["sensitivity"])


def test_other_weights_stand_beside_the_first(tiny_run: Path, tmp_path: Path) -> None:
    subject = quick(open_subject(tiny_run))
    run_probes(subject, ["sensitivity"], out=tmp_path)
    raw = open_subject(tiny_run, replace(subject.config, sampling=SamplingConfig(weights="raw")))
    other = quick(replace(raw, own=subject.own), region=1)
    assert differing(other, SensitivityConfig()) == {"region": 1, "weights": "raw"}
    run_probes(other, ["sensitivity"], out=tmp_path)
    summary = read_summary(tmp_path)
    assert summary is not None
    assert list(summary["probes"]) == ["sensitivity", "sensitivity_region-1_weights-raw"]
    assert summary["hash"] == subject.identity["network"] != other.identity["network"]


def test_a_damaged_summary_is_begun_anew(tiny_run: Path, tmp_path: Path) -> None:
    subject = quick(open_subject(tiny_run))
    run_probes(subject, ["sensitivity"], out=tmp_path)
    whole = (tmp_path / "summary.json").read_text()
    for damage in (
        whole[:-50],
        "[]",
        whole.replace('"probes": {', '"probes": 3, "more": {'),
        whole.replace('"differs"', '"differ"'),
        whole.replace('"dynamics"', '"dynamic"'),
    ):
        (tmp_path / "summary.json").write_text(damage)
        assert other_settings(tmp_path) == {}
        run_probes(subject, ["sensitivity"], out=tmp_path)
        summary = read_summary(tmp_path)
        assert summary is not None
        assert list(summary["probes"]) == ["sensitivity"]


def test_two_commands_at_once_both_stand_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads what is there, and the second would write over what the first adds meanwhile."""
    told = {
        **dict.fromkeys(summaries.OPENED),
        "differs": {},
        "hash": "a",
        "skipped": {},
        "along": {},
        "dynamics": None,
    }

    def slowly(folder: Path) -> Any:
        found = read_summary(folder)
        time.sleep(0.2)
        return found

    def write(name: str) -> None:
        setting = Setting(name, {}, "a")
        ours = {**told, "probes": {name: {}}, "settings": {name: setting}}
        summaries.write_summary(tmp_path, ours)

    monkeypatch.setattr(summaries, "read_summary", slowly)
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, ("locality", "sensitivity")))
    found = read_summary(tmp_path)
    assert found is not None
    assert sorted(found["probes"]) == sorted(found["settings"]) == ["locality", "sensitivity"]


def test_figures_are_drawn_again_only_where_they_have_changed(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = SensitivityConfig.draw

    def counted(*arguments: Any) -> None:
        drawn.append(1)
        draw(*arguments)

    monkeypatch.setattr(SensitivityConfig, "draw", counted)
    subject = quick(open_subject(tiny_run))

    def times(**changes: Any) -> int:
        drawn.clear()
        run_probes(replace(subject, **changes), ["sensitivity"], out=tmp_path)
        return len(drawn)

    assert [times(), times()] == [1, 0]
    (tmp_path / "sensitivity.svg").unlink()
    assert [times(), times()] == [1, 0]
    (tmp_path / "sensitivity.png").write_bytes(b"another picture")
    assert [times(), times()] == [1, 0]
    assert times(architecture="mlp") == 1  # its colour
    note = tmp_path / "cache" / "sensitivity-figures.json"
    note.write_text(note.read_text()[:-20])
    assert times(architecture="mlp") == 1
    assert not list(tmp_path.glob(".*"))


def test_a_function_is_drawn_each_time(tiny_config: Config, tmp_path: Path) -> None:
    half = FunctionDenoiser(lambda x_t, t: x_t / 2, noise_scheduler(tiny_config.noise))
    subject = quick(subject_of(half, tiny_config.dataset(), tiny_config))
    assert subject.identity["denoiser"] is None
    for _ in range(2):
        run_probes(subject, ["sensitivity"], out=tmp_path)
        (tmp_path / "sensitivity.png").unlink()
    assert not (tmp_path / "cache").exists()


def test_each_probe_is_told_and_written_before_the_next(tiny_run: Path, tmp_path: Path) -> None:
    subject = quick(open_subject(tiny_run))
    config = subject.config.with_probe("spectrum", images=2, values=2, iterations=1)
    subject = replace(subject, config=config, own=config)
    seen: list[tuple[str, set[str]]] = []

    def told(lines: list[str]) -> None:
        if lines:
            seen.append((lines[0].split()[0], set(contents(tmp_path))))

    run_probes(subject, ["sensitivity", "spectrum"], out=tmp_path, told=told)
    assert [first for first, _ in seen] == ["sensitivity", "spectrum"]
    assert "sensitivity.json" in seen[0][1]
    assert {"sensitivity.png", "summary.json", "spectrum.json"} <= seen[1][1]
    assert "spectrum.png" not in seen[1][1]


def test_the_command_line_tells_once_and_json_is_all_there_is(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["probe", "sensitivity", "--checkpoint", str(tiny_run), "--out", str(tmp_path)]
    command += ["--device", "cpu", "--n", "4"]
    assert run(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["sensitivity", "figures", "next"]
    assert run([*command, "--region", "1", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["settings"]["sensitivity"]["differs"] == {"images": 4, "region": 1}
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {"sensitivity_images-4.png", "sensitivity_images-4_region-1.png"}


def test_what_is_known_before_a_probe_is_kept_too(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the grammar is worth, and the inputs that a foreign denoiser makes itself."""
    DDPMPipeline(network(), DDPMScheduler()).save_pretrained(tmp_path / "foreign")
    cache = tmp_path / "cache"

    def opened() -> tuple[Subject, Subject]:
        return (
            open_subject(tiny_run, cache=cache),
            open_subject(tmp_path / "foreign", SMALL, cache=cache),
        )

    first = opened()

    def again(*arguments: Any, **options: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(opening, "symbols_form_at", again)
    monkeypatch.setattr(opening.GrammarWeight, "of", again)
    monkeypatch.setattr(inputs, "sample", again)
    second = opened()
    assert first[0].weight is not None
    assert second[0].weight is not None
    assert torch.equal(first[0].weight.weight, second[0].weight.weight)
    assert (first[0].level, first[0].forms_at) == (second[0].level, second[0].forms_at)
    assert isinstance(first[1].images, ImageSet)
    assert isinstance(second[1].images, ImageSet)
    assert torch.equal(first[1].images.images, second[1].images.images)


def test_how_a_foreign_denoiser_is_asked_is_in_the_names(pictures: Path, tmp_path: Path) -> None:
    DDPMPipeline(network(), DDPMScheduler()).save_pretrained(tmp_path / "foreign")
    subject = open_subject(tmp_path / "foreign", SMALL, images=pictures, regions="2x2")
    assert tag(differing(subject, SensitivityConfig())) == "_regions-2x2_pictures-pictures"
    changed = replace(subject.config, probe=replace(SMALL.probe, region=3))
    subject = replace(subject, config=changed, asked={})
    assert tag(differing(subject, SensitivityConfig())) == "_region-3"
    # A probe that does not read it is not called after it.
    assert tag(differing(subject, changed.probe_settings("locality"))) == ""  # type: ignore[arg-type]
