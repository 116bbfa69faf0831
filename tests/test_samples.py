import contextlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffprobe.foundations.errors import UsageError
from diffprobe.sampling import Samples, as_samples, load_samples


def test_anybodys_images_are_read(tmp_path: Path) -> None:
    path = tmp_path / "theirs.npz"
    np.savez(path, arr=np.zeros((5, 8, 16)))
    assert load_samples(path).images.shape == (5, 1, 8, 16)
    assert load_samples(path).images.dtype == torch.float32


def test_what_a_file_holds_is_told_by_its_content(tmp_path: Path) -> None:
    array, images = np.full((5, 1, 8, 16), 255, np.uint8), torch.ones(5, 1, 8, 16)
    np.save(tmp_path / "plain.npy", array)
    np.savez(tmp_path / "archive.npz", images=array)
    (tmp_path / "plain.npy").rename(tmp_path / "named.npz")
    (tmp_path / "archive.npz").rename(tmp_path / "named.npy")
    for name in ("named.npz", "named.npy"):
        assert torch.equal(load_samples(tmp_path / name, (1, 8, 16)).images, images)
        assert load_samples(tmp_path / name).notes == (
            "The images were read as integers from 0 to 255.",
        )


def test_our_own_samples_are_taken_as_they_are(tmp_path: Path) -> None:
    # All positive, as they would be in [0, 1]; the file says that a sampler made them.
    ours = Samples(torch.rand(3, 1, 4, 4), {"class": "DDIMScheduler"})
    ours.save(tmp_path / "ours.npz")
    again = load_samples(tmp_path / "ours.npz")
    assert torch.equal(again.images, ours.images)
    assert again.notes == ()
    assert as_samples(ours, (1, 4, 4)) is ours
    with pytest.raises(UsageError, match=r"shape \(3, 1, 4, 4\)"):
        as_samples(ours, (1, 4, 5))
    with pytest.raises(UsageError, match=r"ours.npz: images have shape \(3, 1, 4, 4\)"):
        load_samples(tmp_path / "ours.npz", (1, 4, 5))


def test_folders_of_pictures_and_single_ones_are_read(tmp_path: Path) -> None:
    black = np.zeros((4, 6), np.uint8)
    for name, picture in {
        "b.png": Image.fromarray(black + 255),
        "a.PNG": Image.fromarray(black).convert("RGB"),
        "c.png": Image.fromarray(np.full((4, 6), 65535, np.uint16)),
        "d.bmp": Image.fromarray(black + 255).convert("1"),
        "e.png": Image.fromarray(black).convert("RGBA"),
        "f.png": Image.fromarray(black + 255).convert("P"),
        ".hidden.png": Image.fromarray(black),
    }.items():
        picture.save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = load_samples(tmp_path, (1, 4, 6))
    assert found.files == ("a.PNG", "b.png", "c.png", "d.bmp", "e.png", "f.png")
    assert found.images.amax((1, 2, 3)).tolist() == [-1, 1, 1, 1, -1, 1]
    assert torch.equal(found.images.amin((1, 2, 3)), found.images.amax((1, 2, 3)))
    assert load_samples(tmp_path).images.shape == (6, 3, 4, 6)
    assert load_samples(tmp_path / "b.png").images.shape == (1, 1, 4, 6)


def test_pictures_that_do_not_fit_are_named(tmp_path: Path) -> None:
    def refused(message: str, shape: tuple[int, int, int] | None = (1, 4, 6)) -> None:
        with pytest.raises(UsageError, match=message):
            load_samples(tmp_path, shape)

    refused("holds no pictures")
    Image.new("L", (6, 4)).save(tmp_path / "a.png")
    Image.new("L", (6, 5)).save(tmp_path / "b.png")
    refused(r"b.png is 5 × 6 \(H × W\), grey; this dataset's are 4 × 6 \(H × W\), grey")
    refused(r"b.png is 5 × 6 .* those of .*a.png are 4 × 6", None)
    Image.new("RGB", (6, 4), (9, 0, 0)).save(tmp_path / "b.png")
    refused(r"b.png is 4 × 6 \(H × W\), 3 channels; this dataset's are 4 × 6 \(H × W\), grey")
    Image.new("RGBA", (6, 4), (9, 9, 9, 99)).save(tmp_path / "b.png")
    refused("b.png is transparent in part")
    (tmp_path / "b.png").write_bytes(b"not a png")
    refused("b.png cannot be read as an image")
    Image.fromarray(np.zeros((4, 6), np.float32)).save(tmp_path / "a.tif")
    refused("a.tif holds floats of unknown scale")


def test_files_that_are_no_samples_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(UsageError, match="no file of samples"):
        load_samples(path)
    for content in (b"not a zip file", b"", b"PK", b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"x.npz cannot be read as an .npz or .npy"):
            load_samples(path)
    np.savez(path, a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(UsageError, match="no array named 'images'"):
        load_samples(path)
    np.savez(path, images=np.array(["a"]))
    with pytest.raises(UsageError, match=r"x.npz: images of <U1 are no numbers"):
        load_samples(path)
    np.savez(path, images=np.array([object()]))
    with pytest.raises(UsageError, match="pickled objects"):
        load_samples(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UsageError, match="pickled objects"):
        load_samples(path)
    torch.save(torch.zeros(2, 1, 4, 4), path)
    with pytest.raises(UsageError, match="pickled by PyTorch: save the tensor's"):
        load_samples(path)
    Samples(torch.zeros(2, 1, 4, 4), {}).save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match=r"cannot be read as an .npz"):
        load_samples(path)


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_no_flipped_bit_is_a_traceback(ending: str, tmp_path: Path) -> None:
    path, random = tmp_path / f"x.{ending}", np.random.default_rng(0)
    if ending == "npz":
        Samples(torch.rand(2, 1, 4, 4), {"class": "DDIM", "n": 2}).save(path)
    else:
        np.save(path, np.ones((2, 1, 4, 4), np.float32))
    whole = path.read_bytes()
    for bit in random.integers(8 * min(len(whole), 600), size=400).tolist():
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with contextlib.suppress(UsageError):
            load_samples(path)
