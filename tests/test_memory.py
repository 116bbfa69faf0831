import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffprobe.cli import run
from diffprobe.config import SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.datasets.stored_images import FiledImages, StoredImages, fits, held, pieces, room
from diffprobe.evaluation.memorisation import measure
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations import memory
from diffprobe.foundations.errors import MemoryLimitError, UsageError
from diffprobe.foundations.memory import GIB, LEAST, LIBRARIES, MIB
from diffprobe.models import FunctionDenoiser, NetworkDenoiser, noise_scheduler
from diffprobe.models.footprint import activation_bytes, inputs_at_once
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.report import report_samples
from diffprobe.resolution import resolve
from diffprobe.sampling import load_samples, sample
from diffprobe.sampling.samplers.ddpm import DDPMConfig

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))
SHAPE = (1, 8, 8)


@pytest.fixture
def world() -> SymbolImages:
    return resolve(preset="demo", assignments=["grammar.length=4", "images.grid=[1, 4]"]).dataset()


def leave_no_room(patch: pytest.MonkeyPatch) -> None:
    """No set of images may be held, and a piece of them has one."""
    patch.setattr("diffprobe.datasets.stored_images.HELD", 0)
    patch.setattr("diffprobe.datasets.stored_images.PIECE", 0)
    patch.setattr("diffprobe.datasets.image_arrays.PIECE", 0)


@given(st.integers(1, 10**6), st.sampled_from(["B", "kB", "MiB", "GB", "TiB"]))
def test_sizes_are_read(number: int, unit: str) -> None:
    assert memory.parse(f"{number}{unit}") == number * memory.UNITS[unit.upper()]
    assert memory.parse(f" {number} {unit.lower()} ") == memory.parse(f"{number}{unit}")


@pytest.mark.parametrize("text", ["", "4", "GiB", "-1GiB", "4 GiX", "1e3MB", "nanGiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no size of memory: give a number and a unit"):
        memory.parse(text)


@given(st.integers(LIBRARIES + LEAST, 64 * GIB), st.integers(1, GIB), st.floats(0.01, 1))
def test_items_keep_to_their_share(size: int, each: int, share: float) -> None:
    with memory.limited(size):
        n = memory.items(each, share)
        assert n == 1 or n * each <= share * (size - LIBRARIES)
        assert (n + 1) * each > share * memory.workable()
        assert n <= memory.usual_items(each, share)
        if each > share * (size - LIBRARIES):
            with pytest.raises(MemoryLimitError, match=r"one takes .*: give at least"):
                memory.room_for(each, share, "one")
        else:
            assert memory.room_for(each, share, "one") == n
    assert memory.budget() is None


def test_what_is_said_to_be_enough_is_enough() -> None:
    with memory.limited(GIB), pytest.raises(MemoryLimitError) as error:
        memory.room_for(900 * MIB, 1 / 2, "one input")
    with memory.limited(memory.parse(str(error.value).rpartition(" ")[2])):
        assert memory.room_for(900 * MIB, 1 / 2, "one input") == 1
    with pytest.raises(MemoryLimitError, match=r"is too small: .* give at least 764 MiB"):
        memory.limited(200 * MIB).__enter__()


def test_the_peak_counts_what_was_held() -> None:
    before = memory.peak()
    filled = bytearray(before + 64 * MIB)
    assert memory.peak() - before > 32 * MIB
    assert len(filled) > before


@given(st.integers(-5, 4), st.integers(-6, 6), st.integers(-6, 6), st.integers(1, 3))
def test_images_in_a_file_are_indexed_as_a_tensor_is(
    place: int, first: int, last: int, step: int
) -> None:
    tensor = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    filed = FiledImages((5, 2, 3, 4))
    filed[:2], filed[2:] = tensor[:2], tensor[2:]
    assert filed.shape == tensor.shape
    assert torch.equal(filed[place], tensor[place])
    assert torch.equal(filed[first:last:step], tensor[first:last:step])
    indices = torch.tensor([4, 0, 4])
    assert torch.equal(filed[indices], tensor[indices])
    assert torch.equal(filed[tensor.sum((1, 2, 3)) > 0], tensor[tensor.sum((1, 2, 3)) > 0])
    assert torch.equal(torch.cat(list(pieces(filed))), tensor)


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize(
    "images",
    [
        np.random.default_rng(0).integers(0, 256, (7, 8, 8), np.uint8),
        np.random.default_rng(0).random((7, 1, 8, 8)).astype(">f4"),
        np.random.default_rng(0).normal(0, 1, (7, 8, 8, 1)),
        np.random.default_rng(0).random((7, 1, 8, 8)) < 0.5,
    ],
    ids=["bytes", "big-endian floats", "channels last", "booleans"],
)
def test_what_is_too_large_is_read_from_its_file_in_the_same_way(
    images: np.ndarray, archive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "images.npy"
    (np.savez_compressed if archive else np.save)(path.with_suffix(""), images)
    path = next(tmp_path.iterdir())
    whole = load_samples(path, SHAPE)
    leave_no_room(monkeypatch)
    stored = load_samples(path, SHAPE)
    assert isinstance(stored.images, StoredImages)
    assert torch.equal(stored.images[:], whole.images)
    assert stored.notes == whole.notes
    with pytest.raises(UsageError, match=r"shape \(7, .*this dataset's are \(N, 1, 9, 9\)"):
        load_samples(path, (1, 9, 9))


def test_samples_in_a_file_are_those_in_memory(
    world: SymbolImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser = FunctionDenoiser(lambda x, t: 0.5 * x, SCHEDULER)
    sampling = SamplingConfig(n=5, batch_size=2, steps=3)
    whole = sample(denoiser, SHAPE, DDPMConfig(), sampling, progress=False)
    leave_no_room(monkeypatch)
    filed = sample(denoiser, SHAPE, DDPMConfig(), sampling, progress=False)
    assert isinstance(filed.images, StoredImages)
    assert torch.equal(filed.images[:], whole.images)
    filed.save(tmp_path / "samples.npz")
    with np.load(tmp_path / "samples.npz") as stored:
        assert np.array_equal(stored["images"], whole.images.numpy())
        assert json.loads(str(stored["sampler"]))["class"] == "DDPMScheduler"


def test_a_report_in_pieces_is_the_report(
    world: SymbolImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(0)
    words = torch.randint(2, (60, 4), generator=random)
    images = world.render(words) + 0.2 * torch.randn(60, 1, 8, 32, generator=random)
    images[3, 0, 0, 0], images[4] = torch.nan, 0.0
    np.save(tmp_path / "images.npy", images.numpy())
    whole = report_samples(tmp_path / "images.npy", world, tmp_path / "whole")
    leave_no_room(monkeypatch)
    assert not fits(images.shape)
    pieced = report_samples(tmp_path / "images.npy", world, tmp_path / "pieced")
    assert pieced.content == whole.content
    csv = [(tmp_path / part / "samples.csv").read_text() for part in ("whole", "pieced")]
    assert csv[0] == csv[1]


def test_memorisation_in_pieces(world: SymbolImages, monkeypatch: pytest.MonkeyPatch) -> None:
    assert room((2, *SHAPE)).sum() == 0
    images = world.draw_images(6, torch.Generator().manual_seed(0))
    config = resolve(preset="demo", assignments=["grammar.length=4", "images.grid=[1, 4]",
        "stream.name='finite'", "stream.words=3"])  # fmt: skip
    stream = config.stream.build(world.grammar)
    found = []
    for _ in range(2):
        found.append(measure(world, stream, images, judge(world, images)))
        leave_no_room(monkeypatch)
    assert found[0].summary()["nearest_is_training"] == found[1].summary()["nearest_is_training"]
    assert torch.allclose(found[0].distance_to_training, found[1].distance_to_training)


def test_what_needs_all_at_once_is_refused_within_a_budget() -> None:
    images = FiledImages((10**6, 1, 16, 16))
    with memory.limited(GIB), pytest.raises(MemoryLimitError, match="1,000,000 images at once"):
        held(images, "a checker")
    with memory.limited(4 * GIB):
        assert held(FiledImages((2, *SHAPE)), "a checker").shape == (2, *SHAPE)


def test_activations_grow_with_the_network_and_set_the_batch() -> None:
    networks = [MLPConfig(width=width).build(SHAPE) for width in (256, 512)]
    each = [
        activation_bytes(NetworkDenoiser(network, SCHEDULER), torch.zeros(1, *SHAPE))
        for network in networks
    ]
    # A hidden layer at the least, of four bytes a unit, and never the weights.
    assert each[1] - each[0] >= 4 * 256
    assert each[1] < 512 * 512
    wide = FunctionDenoiser(lambda x, t: (x[..., None] * torch.ones(2**20)).tanh().mean(-1),
        SCHEDULER)  # fmt: skip
    assert inputs_at_once(wide, SHAPE, 64) == 64
    with memory.limited(4 * GIB):
        # 64 pixels × 2²⁰ × 4 bytes are a quarter of a GiB.
        assert 1 <= inputs_at_once(wide, SHAPE, 64) < 8
    with memory.limited(GIB), pytest.raises(MemoryLimitError, match="one input of 1 × 8 × 8"):
        inputs_at_once(wide, SHAPE, 64)


def test_sampling_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network = MLPConfig(width=32).build(SHAPE).eval().requires_grad_(False)
    denoiser = NetworkDenoiser(network, SCHEDULER)
    sampling = SamplingConfig(n=6, batch_size=6, steps=3)
    whole = sample(denoiser, SHAPE, DDPMConfig(), sampling, progress=False).images
    monkeypatch.setattr("diffprobe.sampling.sampler.inputs_at_once", lambda *_: 4)
    parts = sample(denoiser, SHAPE, DDPMConfig(), sampling, progress=False).images
    assert torch.allclose(whole, parts, atol=1e-5)


def test_outputs_are_looked_at_together_and_still_refused() -> None:
    broken = FunctionDenoiser(lambda x, t: x / 0, SCHEDULER)
    with pytest.raises(UsageError, match="is not finite"), broken.checked_together():
        broken(torch.ones(1, *SHAPE), torch.tensor([5]))
    with pytest.raises(UsageError, match="is not finite"):
        broken(torch.ones(1, *SHAPE), torch.tensor([5]))
    with pytest.raises(UsageError, match="is not finite"):
        sample(broken, SHAPE, DDPMConfig(), SamplingConfig(n=1, steps=2), progress=False)


def test_the_command_line_keeps_to_a_budget(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    again = ["sample", str(tiny_run), "--n", "4", "--sampler-steps", "2", "--json"]
    again += ["--out", str(tmp_path / "samples.npz")]
    assert run([*again, "--memory", "8GiB"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["peak_memory"]["process"] > 100 * MIB
    assert captured.err.splitlines()[-1].startswith("peak memory ")
    assert run([*again, "--memory", "100MB"]) == 2
    assert "diffprobe: error: a budget of 95 MiB is too small" in capsys.readouterr().err
    assert run([*again, "--memory", "4GiX"]) == 2
    assert "'4GiX' is no size of memory" in capsys.readouterr().err
    train = ["train", "--preset", "demo", "--set", "training.batch_size=65536", "--dry-run"]
    assert run([*train, "--memory", "2GiB"]) == 2
    assert "training with batches of 65,536 takes about" in capsys.readouterr().err


def test_judging_does_not_depend_on_the_pieces(
    world: SymbolImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = world.render(torch.randint(2, (40, 4), generator=torch.Generator().manual_seed(3)))
    whole = judge(world, images)
    leave_no_room(monkeypatch)
    pieced = judge(world, images)
    assert torch.equal(whole.words, pieced.words)
    assert torch.equal(whole.nearest, pieced.nearest)
