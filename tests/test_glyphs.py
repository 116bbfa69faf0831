from pathlib import Path

import pytest
import torch

from diffprobe.datasets import Glyphs
from diffprobe.datasets.images.coloured import ColouredImagesConfig
from diffprobe.foundations.errors import UsageError


def test_a_font_draws_every_symbol_within_its_range() -> None:
    glyphs = Glyphs.font("0123456789()[]αβ", cell=(9, 7), variants=3)
    assert glyphs.images.shape == (16, 3, 1, 9, 7)
    assert glyphs.cell == (9, 7)
    assert glyphs.images.min() == -1
    assert (glyphs.images.flatten(2).amax(-1) == 1).all()  # full contrast
    assert glyphs.radius > 0


def test_variants_differ_and_the_first_is_the_plain_one() -> None:
    glyphs = Glyphs.font("01", variants=6)
    assert torch.equal(glyphs.images[:, :1], Glyphs.font("01").images)
    flat = glyphs.images.flatten(2)
    distance = torch.cdist(flat, flat) + torch.eye(6) * 99
    assert distance.min() > 0.3


def test_pixels_are_the_corners_of_the_hypercube() -> None:
    glyphs = Glyphs.pixels()
    assert glyphs.images.flatten().tolist() == [-1, 1]


def test_digits_are_real_and_split_without_overlap() -> None:
    train, held_out = Glyphs.digits("train"), Glyphs.digits("held-out")
    assert train.counts.sum() + held_out.counts.sum() == 1797
    a = {tuple(i.flatten().tolist()) for i in train.images[train.known]}
    b = {tuple(i.flatten().tolist()) for i in held_out.images[held_out.known]}
    assert len(a) + len(b) >= 1797 - 3  # the file itself holds hardly a duplicate
    assert not a & b
    assert train.images.min() == -1
    assert train.images.max() == 1
    # A symbol with fewer pictures than K repeats its first one behind them.
    padded = train.images[~train.known]
    firsts = train.images[:, :1].expand_as(train.images)[~train.known]
    assert torch.equal(padded, firsts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Glyphs.font("0漢"), r"has no glyph for '漢' \(U\+6F22\)"),
        (lambda: Glyphs.font("00"), "distinct"),
        (lambda: Glyphs.font(""), "at least one"),
        (lambda: Glyphs.font("01", cell=(2, 8)), "too small"),
        (lambda: Glyphs.font("01", variants=0), "variants"),
        (lambda: Glyphs.font("01", font="nowhere.ttf"), "no font file at nowhere.ttf"),
        (lambda: Glyphs.font(["-", "\N{NON-BREAKING HYPHEN}"]), "alike"),
        (lambda: Glyphs.digits("test"), "'train' or 'held-out'"),
    ],
)
def test_bad_glyphs_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        make()


def test_a_file_that_is_not_a_font(tmp_path: Path) -> None:
    path = tmp_path / "fake.ttf"
    path.write_text("not a font")
    with pytest.raises(UsageError, match="not a font that can be read"):
        Glyphs.font("01", font=path)


def test_coloured_glyphs_are_shapes_in_colours() -> None:
    glyphs = Glyphs.coloured("01", ("red", "#00ff00", "white"), cell=(9, 7))
    assert glyphs.images.shape == (6, 1, 3, 9, 7)
    assert (glyphs.channels, glyphs.cell) == (3, (9, 7))
    assert glyphs.names == ("red 0", "#00ff00 0", "white 0", "red 1", "#00ff00 1", "white 1")
    plain = Glyphs.font("01", cell=(9, 7)).images[:, 0, 0]
    black = -torch.ones(9, 7)
    for symbol, (shape, channels) in enumerate(
        [(s, c) for s in (0, 1) for c in ((0,), (1,), (0, 1, 2))]
    ):
        expected = torch.stack([plain[shape] if c in channels else black for c in range(3)])
        assert torch.allclose(glyphs.images[symbol, 0], expected, atol=1e-6)
    with_blank = Glyphs.coloured("01", ("red", "#00ff00", "white"), cell=(9, 7), blank=True)
    assert with_blank.names == ("empty", *glyphs.names)
    assert torch.equal(with_blank.images[1:], glyphs.images)
    assert (with_blank.images[0] == -1).all()


@pytest.mark.parametrize(
    ("colours", "message"),
    [(("rde",), "'rde' is no colour"), (("red", "red"), "alike"), (("black",), "drawn alike")],
)
def test_colours_that_cannot_be_told_are_refused(colours: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Glyphs.coloured("01", colours)
    with pytest.raises(UsageError, match="distinct and at least one"):
        ColouredImagesConfig(colours=("red", "red"))
