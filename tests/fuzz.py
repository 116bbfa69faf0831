"""Hostile input, at random: `make fuzz`, or `python tests/fuzz.py CASES [FAMILY...]`.

Whatever is asked for, and whatever lies in the files, a command ends with a documented exit code
and at most one line of error, never with a traceback; and the weights of a run stay as they are.
"""

import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from diffprobe.cli import COMMANDS, run
from diffprobe.config import Config, to_toml
from diffprobe.foundations import kinds
from diffprobe.foundations.settings import to_settings
from diffprobe.resolution import preset_names

CODES = {0, 1, 2, 3}  # of the documentation
PATIENCE = 60  # seconds that a case may take

NUMBERS = st.sampled_from(
    ["0", "1", "2", "3", "7", "-1", "0.5", "-0.5", "1e-9", "1e308", "-1e308", "nan", "inf", "-inf",
     "2147483648", "9223372036854775808", "9" * 26, "1_000", "0x10", "1e400", "true"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["", " ", ".", "..", "/", "a b", "ä", "字", "=+", "'", '"', "[", "[]", "{}", "[1, 2]", "[[1]]",
     "[-1, 0]", "{a = 1}", "1,2", "1,,2", "4x4", "0x0", "1x999999", "0,0,4,4", "0,0,4,4;0,0,4,4",
     "\0", "\n", "\udcff", "x" * 5000, "[" * 3000, "9" * 5000, "1979-05-27", "None", "demo", "ddim"]
)  # fmt: skip
VALUES = st.one_of(NUMBERS, WORDS, st.text(max_size=6))
JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 3, 10**6, 2**63, 10**30, 0.5, -0.5, 1e308, float("nan")]),
    st.sampled_from(["", "x", "..", "\0", "1", "nan", "UNet2DModel", "epsilon"]),
    st.sampled_from([[], [0], [0, 0], [1, 2, 3], [[]], {}, {"name": "x"}, {"a": {"b": []}}]),
)


@dataclass(frozen=True)
class Material:
    """What is damaged: a small run with samples and probes, a foreign pipeline, pictures."""

    run: Path
    foreign: Path
    pictures: Path
    config: Path


# ---- one case ------------------------------------------------------------------------------------


class TooSlowError(BaseException):
    """A case took longer than anybody would wait."""


def check(arguments: list[str], told: Counter[str] | None = None) -> int:
    """Run a command line in this process, and hold it to its promises."""
    out, err = io.StringIO(), io.StringIO()

    def give_up(signum: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"after {PATIENCE} s: {arguments}")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(arguments)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert code in CODES, (code, arguments)
    assert "Traceback" not in err.getvalue(), err.getvalue()
    if code in (1, 2):
        lines = err.getvalue().strip().splitlines()
        assert lines, arguments
        assert lines[-1].startswith("diffprobe: error: "), err.getvalue()
        assert len(lines[-1]) > len("diffprobe: error: "), arguments
    if told is not None:
        told[f"exit {code}"] += 1
    return code


def weights(folder: Path) -> dict[str, str]:
    """What must not change: every file of every checkpoint."""
    files = (p for p in sorted(folder.rglob("checkpoints/**/*")) if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@contextlib.contextmanager
def copy_of(source: Path) -> Iterator[Path]:
    """A copy to be damaged, in a working directory of its own."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / source.name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
        with contextlib.chdir(folder):
            yield target


# ---- damage --------------------------------------------------------------------------------------


@st.composite
def damages(draw: Any) -> Callable[[bytes], bytes]:
    """Something that happens to the bytes of a file."""
    kind = draw(st.sampled_from(["flip", "cut", "empty", "bytes", "json", "json", "json", "deep"]))
    if kind == "cut":
        share = draw(st.floats(0, 1))
        return lambda content: content[: int(len(content) * share)]
    if kind == "empty":
        return lambda content: b""
    if kind == "bytes":
        other = draw(st.sampled_from([b"5", b"[]", b"{}", b"null", b"\xff\xfe", b"\0" * 64, b"PK"]))
        return lambda content: other
    if kind == "deep":
        return lambda content: b"[" * 100_000
    if kind == "json":
        place, value = draw(st.integers(0, 10**6)), draw(JSON)
        return lambda content: _with_value(content, place, value)
    places = draw(st.lists(st.integers(0, 2**31), min_size=1, max_size=4))
    return lambda content: _flipped(content, places)


def _flipped(content: bytes, places: list[int]) -> bytes:
    changed = bytearray(content)
    for place in places if content else []:
        changed[place // 8 % len(content)] ^= 1 << place % 8
    return bytes(changed)


def _with_value(content: bytes, place: int, value: Any) -> bytes:
    """The same JSON with one value replaced; the last line of several."""
    try:
        *lines, last = content.decode().strip().split("\n") if b"}\n{" in content else [content]
        packed = json.loads(last)
    except ValueError:
        return _flipped(content, [place])
    spots: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, below in list(pairs):
            spots.append((node, key))
            if isinstance(below, dict | list):
                visit(below)

    if isinstance(packed, dict | list):
        visit(packed)
    if not spots:
        return json.dumps(value).encode()
    node, key = spots[place % len(spots)]
    node[key] = value
    return "\n".join([*lines, json.dumps(packed)]).encode() + b"\n"


# ---- families of cases ---------------------------------------------------------------------------


@st.composite
def command_lines(draw: Any, material: Material) -> list[str]:
    """Any command with options that are there, and values that are not what they should be."""
    name = draw(st.sampled_from([*COMMANDS, "nonsense", ""]))
    if name not in COMMANDS:
        return [name, *draw(st.lists(VALUES, max_size=2))]
    likely = _likely(material)
    group = importlib.import_module(f"diffprobe.cli.{name}").command
    options = [p.opts[0] for p in group.params if isinstance(p, click.Option) and not p.is_flag]
    line = [name]
    if name == "probe" and draw(st.booleans()):
        line.append(draw(st.one_of(st.sampled_from(kinds.names("probe")), VALUES)))
    if name in ("kinds", "presets", "report"):
        known = [*kinds.ROOMS, *preset_names(), "run", "run"]
        line += draw(st.lists(st.one_of(st.sampled_from(known), VALUES), max_size=2))
    if name in ("sample", "probe") and draw(st.integers(0, 4)):
        line += ["--checkpoint", "run"]
    if name == "train" and draw(st.integers(0, 4)):
        line += ["--config", str(material.config)]
    for option in draw(st.lists(st.sampled_from(options), max_size=4)) if options else []:
        pool = st.sampled_from(likely[option]) if option in likely else NUMBERS
        value = assignments() if option == "--set" else st.one_of(pool, pool, pool, VALUES)
        line += [option, draw(value)]
    # What would work for minutes if it were in order.
    cheap = {
        "demo": ["--set", "training.steps=0"],
        "train": ["--dry-run"],
        "sample": ["--n", "2"],
        "probe": ["--dry-run"],
    }
    return [*line, *cheap.get(name, [])]


def _likely(material: Material) -> dict[str, list[str]]:
    """Values of options that may well be right."""
    return {
        "--preset": preset_names(),
        "--config": [str(material.config)],
        "--checkpoint": ["run", str(material.foreign)],
        "--branch-from": ["run@30", "run@7"],
        "--out": ["out", "run", "tiny.toml", "deep/er"],
        "--sampler": kinds.names("sampler"),
        "--samplers": ["ddim,ddpm", "euler"],
        "--nfe": ["1,2", "3"],
        "--eta": ["0", "1", "0,1"],
        "--weights": ["raw", "ema"],
        "--probe": [*kinds.names("probe"), "all"],
        "--steps": ["last", "all", "1", "5"],
        "--output": ["x0", "epsilon", "score"],
        "--regions": ["2x2", "1x4", "0,0,8,8", "0,0,8,8;0,8,8,8"],
        "--dataset": ["demo", str(material.config)],
        "--images": [str(material.pictures)],
        "--device": ["cpu", "cpu:0", "cuda:7", "meta"],
    }


def _keys() -> list[str]:
    content = to_settings(Config())
    return [f"{section}.{key}" for section, below in content.items() for key in [*below, "name"]]


@st.composite
def assignments(draw: Any) -> str:
    """A text for `--set`: any key, any value."""
    keys = st.sampled_from(_keys())
    key = draw(st.one_of(keys, keys, keys, st.text(max_size=8)))
    return f"{key}{draw(st.sampled_from(['=', '=', '=', '', '==']))}{draw(VALUES)}"


@st.composite
def configurations(draw: Any, material: Material) -> bytes:
    """A TOML file: settings with other kinds and other values, or no TOML."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(st.binary(max_size=40), st.just(b"a = " + b"[" * 5000)))
    content = material.config.read_text("utf-8").splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content) - 1))
        key, equals, _ = content[place].partition(" = ")
        if equals and key != "name":
            content[place] = f"{key} = {draw(VALUES)}"
        elif equals:
            role = content[place - 1].strip("[]").split(".")[0]
            names = kinds.names(role) if role in kinds.ROOMS else ["x"]
            content[place] = f"name = {json.dumps(draw(st.sampled_from(names)))}"
    return "\n".join(content).encode("utf-8", "surrogateescape")


GRID = """
question = "Is it so?"
base = "hypercube-mlp"
seeds = 2
measures = ["loss", "excess_ldr@0"]
along = true
settings = { "network.width" = [4, 8] }
fixed = { "grammar.length" = 4, "images.grid" = [2, 2] }
together = [{ "training.steps" = [1, 2], "training.batch_size" = [2, 4] }]
claims = [{ text = "It is.", measure = "loss", where = { step = 1 }, above = 0.5, margin = 0.1 }]
figures = [{ y = "loss", x = "step", colour = "network.width", panel = "training.steps" }]
"""


@st.composite
def grids(draw: Any) -> bytes:
    """A grid of a study with other values, in any place, or other keys."""
    content = GRID
    for _ in range(draw(st.integers(1, 2))):
        words = re.findall(r'"[^"]*"|[\w.]+|\[[^\]]*\]|\{[^}]*\}', content)
        content = content.replace(draw(st.sampled_from(words)), draw(VALUES), 1)
    return content.encode("utf-8", "surrogateescape")


@st.composite
def pictures(draw: Any) -> tuple[str, bytes]:
    """A file of images: any numbers in any shape, whole or damaged, under either name."""
    shape = draw(st.sampled_from([(2, 1, 8, 32), (0, 1, 8, 32), (2, 8, 32), (1,), (), (2, 3, 8, 32),
                                  (2, 1, 4, 4), (2, 1, 8, 32, 1)]))  # fmt: skip
    kind = draw(
        st.sampled_from(
            ["float32", "float64", "uint8", "int64", "bool", "complex64", "U3", "datetime64[s]"]
        )
    )
    fill = draw(st.sampled_from([0.0, 1.0, -1.0, 255.0, 1e30, float("nan"), float("inf")]))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = np.full(shape, fill).astype(kind)
    file = io.BytesIO()
    form = draw(st.sampled_from(["npz", "npz", "npy", "two"]))
    if form == "npy":
        np.save(file, array)
    elif form == "two":
        np.savez(file, a=array, b=array)
    else:
        np.savez_compressed(file, images=array, sampler=np.array(json.dumps(draw(JSON))))
    content = file.getvalue()
    if draw(st.booleans()):
        content = draw(damages())(content)
    return draw(st.sampled_from(["s.npz", "s.npy", "s"])), content


def fuzz(family: str, material: Material, told: Counter[str], n: int, number: int = 0) -> None:
    """Run `n` cases of a family."""

    def a_command_line(data: Any) -> None:
        with copy_of(material.run) as folder:
            before = weights(folder)
            check(data.draw(command_lines(material)), told)
            assert weights(folder) == before

    def a_configuration(data: Any) -> None:
        with copy_of(material.config) as file:
            file.write_bytes(data.draw(configurations(material)))
            check(["train", "--config", str(file), "--dry-run", "--device", "cpu"], told)

    def a_grid(data: Any) -> None:
        Path("grid.toml").write_bytes(data.draw(grids()))
        check(["study", "run", "grid.toml", "--dry-run", "--max-cells", "20"], told)

    def a_damaged_run(data: Any) -> None:
        with copy_of(material.run) as folder:
            files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".png")
            file = data.draw(st.sampled_from(files))
            file.write_bytes(data.draw(damages())(file.read_bytes()))
            before = weights(folder)
            # Told twice, as the quick ones come first.
            command = data.draw(
                st.sampled_from(["sample", "report", "dry", "train", "sample", "report", "probe"])
            )
            line = {
                "sample": ["sample", "--checkpoint", folder.name, "--n", "2"],
                "report": ["report", folder.name],
                "dry": ["probe", "--checkpoint", folder.name, "--dry-run"],
                "probe": ["probe", "sensitivity", "--checkpoint", folder.name],
                "train": ["train", "--config", str(material.config), "--out", folder.name],
            }[command]
            check([*line, "--device", "cpu"] if command != "report" else line, told)
            assert weights(folder) == before

    def damaged_pictures(data: Any) -> None:
        name, content = data.draw(pictures())
        with copy_of(material.config) as file:
            Path(name).write_bytes(content)
            check(["report", name, "--dataset", file.name], told)

    def a_damaged_checkpoint(data: Any) -> None:
        with copy_of(material.foreign) as folder:
            files = sorted(p for p in folder.rglob("*") if p.is_file())
            file = data.draw(st.sampled_from(files))
            file.write_bytes(data.draw(damages())(file.read_bytes()))
            options = ["--images", str(material.pictures), "--n", "2", "--level", "3"]
            options += ["--set", "probes.sensitivity.projections=2", "--out", "out"]
            check(["probe", "sensitivity", "--checkpoint", folder.name, *options], told)

    cases = {
        "command lines": a_command_line,
        "configurations": a_configuration,
        "grids": a_grid,
        "damaged runs": a_damaged_run,
        "damaged pictures": damaged_pictures,
        "damaged checkpoints": a_damaged_checkpoint,
    }
    decorate = settings(
        max_examples=n,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(decorate(given(st.data())(cases[family])))()


# Family -> its share of the cases.
SHARES = {
    "command lines": 0.25,
    "configurations": 0.15,
    "grids": 0.1,
    "damaged runs": 0.2,
    "damaged pictures": 0.2,
    "damaged checkpoints": 0.1,
}


# ---- material ------------------------------------------------------------------------------------


def make_material(folder: Path, tiny_run: Path) -> Material:
    """Put together what is damaged, from a tiny run."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
    from PIL import Image

    from diffprobe.training import RunFolder

    run_folder = Path(shutil.copytree(tiny_run, folder / "run"))
    config = folder / "tiny.toml"
    config.write_text(to_toml(RunFolder(run_folder).config()))
    for line in (["sample"], ["probe", "--probe", "locality"]):
        assert check([*line, "--checkpoint", str(run_folder), "--device", "cpu"]) == 0
    assert check(["report", str(run_folder)]) == 0
    unet = UNet2DModel(
        sample_size=4,
        in_channels=3,
        out_channels=3,
        block_out_channels=(4, 4),
        layers_per_block=1,
        norm_num_groups=2,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=8)).save_pretrained(folder / "foreign")
    (folder / "pictures").mkdir()
    for i in range(3):
        Image.new("RGB", (4, 4), (80 * i, 0, 255)).save(folder / "pictures" / f"{i}.png")
    return Material(run_folder, folder / "foreign", folder / "pictures", config)


def main(cases: int, *families: str) -> int:
    """Fuzz, print the counts, and return 1 where a promise was broken."""
    from conftest import TINY

    from diffprobe.resolution import resolve
    from diffprobe.training import train

    torch.set_num_threads(1)
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        with contextlib.redirect_stderr(io.StringIO()):
            tiny = train(resolve(assignments=TINY), Path(place) / "tiny", "cpu").path
        material = make_material(Path(place), tiny)
        chosen = families or tuple(SHARES)
        whole = sum(SHARES[family] for family in chosen)
        done: Counter[str] = Counter()
        for family in chosen:
            told: Counter[str] = Counter()
            started = time.monotonic()
            try:
                fuzz(
                    family, material, told, round(cases * SHARES[family] / whole), int(time.time())
                )
                outcome = "no traceback"
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                failed, outcome = 1, "BROKEN: see above"
                traceback.print_exception(error)
            counts = ", ".join(f"{count} {what}" for what, count in sorted(told.items()))
            seconds = time.monotonic() - started
            click.echo(f"{family:20} {told.total():5} cases, {counts}; {seconds:.0f} s; {outcome}")
            done["damaged" if family.startswith("damaged") else "sound"] += told.total()
        click.echo(f"{done.total():,} commands, {done['damaged']:,} of them on damaged input")
    return failed


if __name__ == "__main__":
    for name in [name for name in os.environ if name.startswith("DIFFPROBE_")]:
        del os.environ[name]
    number, *chosen = [*sys.argv[1:], "2000"][: max(1, len(sys.argv) - 1)]
    sys.exit(main(int(number), *chosen))
