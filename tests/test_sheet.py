import io
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.images.coloured import ColouredImagesConfig
from diffprobe.evaluation import judge
from diffprobe.report import report_samples, sheet
from diffprobe.report.page.gallery import Gallery

WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01"), (1, 4))


def images(valid: int, wrong: int, unreadable: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    odd = torch.tensor([[0, 0, 0, 1]]).expand(wrong, -1)
    drawn = WORLD.render(torch.cat([WORLD.grammar.sample(valid, random), odd]))
    return torch.cat([drawn, torch.zeros(unreadable, *WORLD.image_shape)])


@pytest.mark.drawn
def test_wrong_and_unreadable_samples_are_marked(tmp_path: Path) -> None:
    def count(folder: str, *numbers: int) -> int:
        report_samples(images(*numbers), WORLD, tmp_path / folder)
        picture = Image.open(tmp_path / folder / "samples.png").convert("RGB")
        return int((np.abs(np.asarray(picture).astype(int) - (213, 94, 0)).max(-1) < 8).sum())

    right, wrong = count("right", 40, 0), count("wrong", 30, 10)
    assert wrong > right + 500  # the legend alone has a little of the colour


def test_frames_and_crosses_are_where_the_verdicts_say() -> None:
    shown = images(5, 2, 1)
    shown[7, :, :, :24] = WORLD.render(torch.zeros(1, 4, dtype=torch.long))[0, :, :, :24]
    verdicts = judge(WORLD, shown)
    assert verdicts.legible_cells[7].tolist() == [True, True, True, False]
    ax = sheet.plot(WORLD, shown, verdicts, Figure().subplots())
    picture = np.ma.filled(ax.images[0].get_array(), np.nan)
    frames = sorted(ax.patches, key=lambda p: (p.get_y(), p.get_x()))
    assert [p.get_linestyle() for p in frames] == ["-"] * 5 + ["--"] * 2
    for index, frame in enumerate(frames):
        # Each frame is around its own sample.
        top, left = int(frame.get_y() + 1), int(frame.get_x() + 1)
        assert np.array_equal(picture[top : top + 8, left : left + 32], shown[index, 0].numpy())
    one, other = (line.get_xydata() for line in ax.lines)
    assert (one[:, 0].max() - one[:, 0].min(), one[:, 1].max() - one[:, 1].min()) == (8, 8)
    assert np.array_equal(one[:, 1], other[::-1, 1])
    left = int(one[:, 0].min() + 0.5) - 24
    top = int(one[:, 1].min() + 0.5)
    assert np.array_equal(picture[top : top + 8, left : left + 32], shown[7, 0].numpy())


def test_no_row_is_left_half_filled() -> None:
    shown = images(47, 1)
    ax = sheet.plot(WORLD, shown, judge(WORLD, shown), Figure().subplots(), limit=11)
    rows = {p.get_y() for p in ax.patches}
    columns = {p.get_x() for p in ax.patches}
    assert len(ax.patches) == len(rows) * len(columns) <= 11


def test_colours_are_shown_as_they_are() -> None:
    world = ColouredImagesConfig(grid=(1, 4)).build(ParityConfig(4).build())
    shown = world.render(torch.tensor([[0, 1, 1, 0], [0, 0, 0, 1]]))
    verdicts = judge(world, shown)
    assert verdicts.grammatical.tolist() == [True, False]
    ax = sheet.plot(world, shown, verdicts, Figure().subplots())
    picture = np.asarray(ax.images[0].get_array())
    for image, frame in zip(shown, ax.patches, strict=True):
        top, left = int(frame.get_y() + 1), int(frame.get_x() + 1)
        found = picture[top : top + 8, left : left + 32]
        assert np.allclose(found, (image.permute(1, 2, 0).numpy() + 1) / 2)
    assert (picture[0] == 1).all()  # the gaps are white

    tiled = np.asarray(Image.open(io.BytesIO(Gallery.of(shown, verdicts, world).picture)))
    assert tiled.shape[2] == 3
    first = tiled[:8, :32].astype(float)
    assert np.abs(first - 127.5 * (shown[0].permute(1, 2, 0).numpy() + 1)).max() <= 0.5
