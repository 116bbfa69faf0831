"""Does a text-to-image model spell? Its pictures of words, read by OCR and held to a word list.

    pip install 'diffprobe[ocr]'                      # its models come with the package: offline
    python examples/text_rendering.py --draw signs    # 72 pictures, drawn here by no model
    python examples/text_rendering.py signs           # what was asked, and what is read
    PYTHONPATH=examples diffprobe report signs --validator text_rendering:words

A picture is called after the word that was asked for, then perhaps a group (the model, its
guidance) and a number: `exit.png`, `exit-sdxl-3.png`. What is read in it is

    right            the word that was asked for
    another word     a word of the list, and not that one
    one letter off   no word, but one edit (a letter more, less or another) from one of the list
    two letters off  the same with two
    no word          further from all of them
    illegible        the reader finds no text, or is not sure of it

A reader makes mistakes of its own, and may mend what it reads: draw words of which you know how
they are spelled, in the style of your pictures, and look at how it judges these first. With --draw
the group is how the word was drawn, so that the first column is the truth.
"""

import argparse
import string
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from tqdm import tqdm

from diffprobe.foundations.statistics import wilson

SIGNS = (
    "bakery books bridge cafe closed danger dentist exit flowers garage hotel library market "
    "museum office open parking pharmacy police school station theatre tickets welcome"
)
WORDS = SIGNS.split()
KINDS = ("right", "another word", "one letter off", "two letters off", "no word", "illegible")
SURE = 0.5  # below it the reader is not


def words(images: NDArray[np.float32]) -> list[list[str]]:
    """Return what is wrong with the text of each picture, as a validator of `diffprobe report`.

    A validator is not told what was asked for: every word of the list is right.

    Args:
        images: (N, C, H, W) in [-1, 1].
    """
    pictures = ((images.transpose(0, 2, 3, 1) + 1) * 127.5).round().astype(np.uint8)
    found = [kind_of(read(np.broadcast_to(p, (*p.shape[:2], 3))), WORDS) for p in pictures]
    return [[] if kind == "another word" else [kind] for kind in found]


def read(picture: NDArray[np.uint8]) -> str:
    """Return the letters in a picture (H, W, 3), small; nothing where they cannot be told."""
    lines, _ = reader()(np.ascontiguousarray(picture))
    sure = [text for _, text, score in lines or [] if float(score) >= SURE]
    return "".join(c for c in "".join(sure).lower() if c.isalpha())


@cache
def reader() -> Any:
    """Return the OCR, made once."""
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR()


def kind_of(text: str, known: list[str], asked: str | None = None) -> str:
    """Return which of `KINDS` a text is."""
    if not text:
        return "illegible"
    if text == asked:
        return "right"
    nearest = min(edits(text, word) for word in known)
    return KINDS[1 + min(nearest, 3)]


def edits(one: str, other: str) -> int:
    """Return the fewest letters to put in, take out or replace (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def report(folder: Path, known: list[str]) -> None:
    """Print how often each kind is read, by group, with 95 % Wilson intervals."""
    by_group: dict[str, list[tuple[str, str, str]]] = {}
    paths = sorted(folder.glob("*.png"))
    for path in tqdm(paths, "reading", disable=None):
        asked, *rest = path.stem.lower().split("-")
        text = read(np.asarray(Image.open(path).convert("RGB")))
        group = rest[0] if len(rest) > 1 else "all"
        by_group.setdefault(group, []).append((asked, text, kind_of(text, known, asked)))
    if not by_group:
        sys.exit(f"text_rendering.py: {folder} holds no .png pictures")
    for group, rows in sorted(by_group.items()):
        counts = Counter(kind for _, _, kind in rows)
        print(f"\n{group}: {len(rows)} pictures")
        for kind in KINDS:
            if counts[kind]:
                far = [edits(text, asked) for asked, text, k in rows if k == kind and text]
                edited = f", {np.mean(far):.1f} edits from what was asked" if any(far) else ""
                shown = next(f"{a} → {t or '–'}" for a, t, k in rows if k == kind)
                rate = wilson(counts[kind], len(rows))
                print(f"  {kind:15} {rate}{edited}   e.g. {shown}")


def draw(folder: Path, seed: int = 0, copies: int = 3) -> None:
    """Draw words rightly, wrongly in four ways, and blurred: pictures of 256×96 pixels."""
    random = np.random.default_rng(seed)
    font = ImageFont.truetype(findfont("DejaVu Sans:bold"), 34)
    folder.mkdir(parents=True, exist_ok=True)
    orders = [random.permutation(WORDS).tolist() for _ in range(copies)]
    for index, asked in enumerate(word for order in orders for word in order):
        group = ("right", "other", "letter", "letters", "nonsense", "blurred")[index % 6]
        text = asked
        if group == "other":
            text = str(random.choice([w for w in WORDS if w != asked]))
        elif group == "nonsense":
            text = "".join(random.choice(list("bcdfghjklmnpqrstvwz"), len(asked)))
        for place in random.permutation(len(asked))[: {"letter": 1, "letters": 2}.get(group, 0)]:
            others = [c for c in string.ascii_lowercase if c != text[place]]
            text = text[:place] + str(random.choice(others)) + text[place + 1 :]
        ground, ink = random.integers(150, 256, 3), random.integers(0, 90, 3)
        picture = Image.new("RGB", (256, 96), tuple(ground.tolist()))
        ImageDraw.Draw(picture).text(
            (128, 48), text.upper(), fill=tuple(ink.tolist()), font=font, anchor="mm"
        )
        if group == "blurred":
            picture = picture.filter(ImageFilter.GaussianBlur(9))
        picture.save(folder / f"{asked}-{group}-{index}.png")


def main() -> None:
    """Draw pictures, or report on a folder of them."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draw", action="store_true", help="draw an example into the folder")
    parser.add_argument("--words", type=Path, metavar="FILE", help="one word a line")
    given = parser.parse_args()
    if given.draw:
        draw(given.folder)
        return
    known = given.words.read_text("utf-8").lower().split() if given.words else WORDS
    report(given.folder, known)


if __name__ == "__main__":
    main()
