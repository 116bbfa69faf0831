import csv
import math
import re
from pathlib import Path

import torch

from diffprobe.datasets import Glyphs, SymbolImages, WordList
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.report import report_samples
from diffprobe.report.export import FORMULA

WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01"), (1, 4))


def images(valid: int, wrong: int, unreadable: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    odd = torch.tensor([[0, 0, 0, 1]]).expand(wrong, -1)
    drawn = WORLD.render(torch.cat([WORLD.grammar.sample(valid, random), odd]))
    return torch.cat([drawn, torch.zeros(unreadable, *WORLD.image_shape)])


def test_one_line_of_csv_per_sample(tmp_path: Path) -> None:
    # Names that CSV, Markdown and HTML would mistake for their own.
    words = WordList(torch.tensor([[0, 1, 2], [2, 1, 0]]), 4)
    drawn = Glyphs.font("abcd")
    names = ('a,"b"', "<b>", "|*c*|", "d")
    glyphs = Glyphs(drawn.images, drawn.counts, names, drawn.radius, drawn.bandwidth)
    world = SymbolImages(words, glyphs, (1, 3))
    shown = world.render(torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 2]]))
    shown[2, :, :, 8:16] = math.nan
    report_samples(shown, world, tmp_path, title="a|b <i>*c*</i>")
    with (tmp_path / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["valid-novel", "invalid", "illegible"]
    assert rows[1] == {
        "sample": "1",
        "verdict": "invalid",
        "word": 'a,"b" <b> d',
        "nearest": 'a,"b" <b> |*c*|',
        "distance": "1",
        "wrong_cells": "2",
        "unreadable_cells": "",
        "unreadable_symbols": "",
        "kinds": "distance 1",
        "confidence": "1.000 1.000 1.000",
        "validator": "",
    }
    assert rows[2]["unreadable_cells"] == "1"
    assert rows[2]["unreadable_symbols"] in names
    assert rows[2]["confidence"] == "1.000 0.000 1.000"
    assert rows[2]["distance"] == rows[2]["nearest"] == ""

    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("### a\\|b \\<i\\>\\*c\\*\\</i\\>\n")
    assert "| grammatical, of the legible | 50.0% | 9.5% to 90.5% | 1 of 2 |" in summary
    assert "| illegible | 33.3% |" in summary
    for line in summary.splitlines():
        assert not re.search(r"(?<!\\)<", line)
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) == 5


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    words = WordList(torch.tensor([[0, 1], [1, 0]]), 4)
    world = SymbolImages(words, Glyphs.font("=+'0"), (1, 2))
    drawn = torch.tensor([[0, 1], [1, 0], [2, 3], [3, 3]])
    report_samples(world.render(drawn), world, tmp_path)
    with (tmp_path / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["word"] for row in rows] == ["'=+", "'+=", "''0", "00"]
    assert not any(cell.startswith(FORMULA[:-1]) for row in rows for cell in row.values())
    names = "=+'0"
    spelled = ["".join(names[symbol] for symbol in word) for word in drawn.tolist()]
    assert [row["word"].removeprefix("'") for row in rows] == spelled
