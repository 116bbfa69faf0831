"""What is answered before torch is imported: it takes seconds, and a slip of the pen should not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Every command in one process of its own, one after another, and what each has imported.
CODE = """
import contextlib, io, json, sys
from diffprobe.cli import run

answers = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    heavy = [name for name in ("torch", "diffusers", "scipy") if name in sys.modules]
    answers.append([code, out.getvalue(), err.getvalue(), heavy])
json.dump(answers, sys.stdout)
"""

SLIPS = [
    ("train --preset demmo", "did you mean 'demo'"),
    ("train --preset demo --set network.hedas=3", "did you mean 'network.heads'"),
    ("train --preset demo --set network.heads=3", "3 heads do not divide a width of 112"),
    ("train --preset demo --set network.patch=[3,3]", "does not divide an image of 8×48"),
    ("train --preset parity-unet --set images.cell=[7,8]", "must be divisible by 4"),
    ("train --preset demo --set images.grid=[2,2]", "a grid of 2×2 has 4 cells"),
    ("train --preset demo --set images.symbols=字0", "no glyph for '字'"),
    ("train --preset demo --set sampler.name=dimm", "did you mean 'ddim'"),
    ("train --preset demo --steps -1 --dry-run", "must be a positive integer"),
    ("train --preset demo --set training.checkpoints=1000000000", "at most 10,000"),
    ("train --preset demo --set grammar.length=65536", "at most 4,096"),
    ("train --preset demo --branch-from nowhere", "not of the form RUN@STEP"),
    ("study run capacity --scale big", "unknown scale 'big': choose from"),
    ("study run capacity --set network.widht=3", "did you mean 'network.width'"),
    ("study run capacity --max-cells 3", "has 4 cells, more than --max-cells 3"),
    ("study run absent.toml", "no grid at absent.toml"),
    ("sample --checkpoint absent", "no checkpoint or run folder at absent"),
    ("sample --checkpoint {run} --sampler dimm", "did you mean 'ddim'"),
    ("sample --checkpoint {run} --sampler RePaintScheduler", "cannot be used here: "),
    ("sample --checkpoint {run} --sampler-steps 2000", "exceeds the 1000 noise levels"),
    ("sample --checkpoint {run} --weights emma", "did you mean 'ema'"),
    ("sample --checkpoint {run} --out {run}", "is a folder"),
    ("probe --list", "locality"),
    ("probe --checkpoint {run} --probe localty", "did you mean 'locality'"),
    ("probe localty --checkpoint {run}", "did you mean 'locality'"),
    ("probe --checkpoint {run} --level 1000", "t=1000 is outside 0 … 999"),
    ("probe --checkpoint {run} --cell 9", "probe.region=9 is outside 0 … 3"),
    ("probe --checkpoint {run} --regions 9x9", "does not fit an image of 8×32"),
    ("probe --checkpoint {run} --regions absent.png", "no mask image at absent.png"),
    ("probe --checkpoint {run} --images absent", "no folder of images at absent"),
    ("report absent.npz", "no file of samples, and no run, at absent.npz"),
    ("report {run}", "has no samples yet"),
    ("report {run} --samplers dimm", "did you mean 'ddim'"),
    ("kinds grammar partiy", "did you mean 'parity'"),
]


@pytest.fixture(scope="module")
def answers(tiny_run: Path) -> dict[str, Any]:
    asked = [arguments for arguments, _ in SLIPS]
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        input=json.dumps([arguments.format(run=tiny_run).split() for arguments in asked]),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(asked, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("arguments", "message"), SLIPS)
def test_a_slip_of_the_pen_is_answered_before_torch(
    arguments: str, message: str, answers: dict[str, Any]
) -> None:
    code, out, err, heavy = answers[arguments]
    assert message in (out if code == 0 else err.splitlines()[-1])
    assert code == (0 if "--list" in arguments else 2)
    assert heavy == []


# As if torch took for ever.
BLOCKED = """
import sys
sys.modules["torch"] = None
from diffprobe.cli import run

run(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "arguments",
    ["train --preset demo --out {run}", "sample {run}", "probe {run}", "report {run}.npy"],
)
def test_what_is_done_is_said_before_torch(arguments: str, tiny_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "samples.npy"
    file.touch()
    filled = arguments.format(run=tiny_run).replace(f"{tiny_run}.npy", str(file)).split()
    done = subprocess.run([sys.executable, "-c", BLOCKED, *filled], capture_output=True, text=True)
    first = done.stderr.splitlines()[0]
    assert first.endswith(" …")
    assert any(str(path) in first for path in (tiny_run, file))
