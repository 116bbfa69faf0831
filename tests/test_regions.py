from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffprobe.datasets import Glyphs, ImageSet, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.probing.regions import Regions, default_regions, parse_regions

WORLD = SymbolImages(ParityConfig(6).build(), Glyphs.font("01", (5, 4)), (2, 3))


def test_cells_are_what_the_dataset_draws_symbols_in() -> None:
    regions = Regions.cells(WORLD)
    assert regions.masks.shape == (6, 1, 10, 12)
    assert (regions.masks.sum(0) == 1).all()
    for cell, (top, left, height, width) in enumerate(b for b in regions.boxes if b):
        marked = torch.zeros(1, 6, 1, 5, 4)
        marked[0, cell] = 1
        assert torch.equal(WORLD.image(marked)[0].bool(), regions.masks[cell])
        assert regions.masks[cell].sum() == height * width == 20
        centre = (top + (height - 1) / 2, left + (width - 1) / 2)
        assert regions.centres[cell].tolist() == pytest.approx(centre)
    assert regions.names[4] == "cell 4"
    assert torch.equal(default_regions(WORLD).masks, regions.masks)


def test_a_grid_covers_an_image_that_it_does_not_divide() -> None:
    regions = parse_regions("3x4", (3, 10, 7))
    assert regions.masks.shape == (12, 3, 10, 7)
    assert (regions.masks.sum(0) == 1).all()
    sizes = regions.masks[:, 0].sum((1, 2))
    assert sizes.min() >= 3
    assert sizes.max() <= 8
    images = ImageSet(torch.zeros(1, 2, 8, 3), "blank")
    assert len(default_regions(images)) == 4 * 3


def test_what_regions_leave_is_the_rest() -> None:
    regions = parse_regions("0,0,4,4; 4,2,4,4", (1, 8, 8))
    assert regions.part_names == ("box 0", "box 1", "rest")
    assert (regions.parts.sum(0) == 1).all()
    assert regions.parts[2].sum() == 64 - 32
    tiles = parse_regions("2x2", (1, 8, 8))
    assert tiles.part_names == tiles.names
    assert torch.equal(tiles.parts, tiles.masks)


def test_an_output_that_depends_on_all_pixels_alike_is_this_local() -> None:
    assert parse_regions("2x2", (1, 8, 8)).no_locality == pytest.approx(1 / 4)
    some = parse_regions("0,0,8,8; 0,8,8,8; 8,0,8,8; 8,8,4,8", (3, 16, 16))
    assert some.no_locality == pytest.approx((3 * 64 * 64 + 32 * 32) / (224 * 256))


def test_boxes_may_not_overlap_and_are_cut_to_latents() -> None:
    with pytest.raises(UsageError, match=r"box 0 .* and box 1 \(2, 2, 4, 4\) overlap"):
        parse_regions("0,0,4,4; 2,2,4,4", (1, 8, 8))
    # Pixels 7 … 16 of a latent model with 8 pixels a latent touch latents 0, 1 and 2.
    latent = parse_regions("7,0,10,8", (4, 8, 8), scale=8)
    assert latent.boxes == ((0, 0, 3, 1),)


def test_a_mask_image_has_a_region_for_each_grey_level(tmp_path: Path) -> None:
    levels = np.zeros((8, 6), np.uint8)
    levels[:2], levels[4:, 3:] = 100, 255
    Image.fromarray(levels).save(tmp_path / "mask.png")
    regions = parse_regions(str(tmp_path / "mask.png"), (2, 8, 6))
    assert regions.names == ("grey level 100", "grey level 255")
    assert torch.equal(regions.masks[0, 1], torch.from_numpy(levels == 100))
    assert torch.equal(regions.masks[1, 0], torch.from_numpy(levels == 255))
    halved = parse_regions(str(tmp_path / "mask.png"), (2, 4, 3), scale=2)
    assert halved.masks[:, 0].sum((1, 2)).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9x2", "does not fit an image of 8×6"),
        ("0x2", "does not fit"),
        ("0,0,4,9", "leaves the image of 8×6"),
        ("-1,0,4,4", "leaves the image"),
        ("0,0,0,4", "is empty"),
        ("0,0,4", "top,left,height,width"),
        (";", "at least one region"),
        ("absent.png", "no mask image at absent.png"),
    ],
)
def test_what_is_no_region_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_regions(text, (1, 8, 6))


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.new("L", (6, 8)).save(path)
    with pytest.raises(UsageError, match="all black"):
        parse_regions(str(path), (1, 8, 6))
    with pytest.raises(UsageError, match="8×6 pixels; the images have 6×8"):
        parse_regions(str(path), (1, 6, 8))
    path.write_text("no picture")
    with pytest.raises(UsageError, match="cannot be read as an image"):
        parse_regions(str(path), (1, 8, 6))
    with pytest.raises(UsageError, match=r"probe.region=6 is outside 0 … 5"):
        Regions.cells(WORLD).index(6, "probe.region")
