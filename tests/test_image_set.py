from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffprobe.datasets import ImageSet
from diffprobe.datasets.image_set import read_images
from diffprobe.foundations.errors import UsageError


def test_images_are_drawn_without_replacement_as_long_as_they_last() -> None:
    images = torch.arange(5.0).reshape(5, 1, 1, 1)
    drawn = ImageSet(images, "numbers").draw_images(12, torch.Generator().manual_seed(0))
    counts = drawn.flatten().long().bincount()
    assert counts.sum() == 12
    assert counts.min() >= 2
    assert counts.max() <= 3
    assert sorted(drawn[:5].flatten().tolist()) == [0, 1, 2, 3, 4]


def test_pictures_are_read_by_name_scaled_and_cut(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 8).astype(np.uint8), (4, 1))  # 4 × 8: wider than asked
    Image.fromarray(ramp).save(tmp_path / "b.png")
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "a.PNG")
    (tmp_path / "notes.txt").write_text("no picture")
    grey = read_images(tmp_path, (1, 4, 4))
    assert grey.shape == (2, 1, 4, 4)
    expected = torch.from_numpy(ramp[:, 2:6].astype(np.float32)) / 127.5 - 1
    assert torch.allclose(grey[1, 0], expected, atol=1e-6)
    colour = read_images(tmp_path, (3, 4, 4))
    assert colour[0].amax((1, 2)).tolist() == [1, -1, -1]


def test_what_is_no_folder_of_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of images"):
        read_images(tmp_path / "absent", (1, 4, 4))
    with pytest.raises(UsageError, match="holds no pictures"):
        read_images(tmp_path, (1, 4, 4))
    (tmp_path / "broken.png").write_bytes(b"not a png")
    with pytest.raises(UsageError, match=r"broken.png cannot be read as an image"):
        read_images(tmp_path, (1, 4, 4))
    with pytest.raises(UsageError, match="1 or 3 channels; the model takes 4"):
        read_images(tmp_path, (4, 4, 4))
    with pytest.raises(UsageError, match="not finite"):
        ImageSet(torch.full((1, 1, 2, 2), torch.nan), "broken")
    with pytest.raises(UsageError, match="at least one"):
        ImageSet(torch.zeros(0, 1, 2, 2), "nothing")
