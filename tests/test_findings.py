import math

import torch

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation import assess
from diffprobe.report.findings import findings, headlines

WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01"), (1, 4))


def images(valid: int, wrong: int, unreadable: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    odd = torch.tensor([[0, 0, 0, 1]]).expand(wrong, -1)
    drawn = WORLD.render(torch.cat([WORLD.grammar.sample(valid, random), odd]))
    return torch.cat([drawn, torch.zeros(unreadable, *WORLD.image_shape)])


def test_findings_claim_nothing_beyond_the_interval() -> None:
    def said(valid: int, wrong: int, unreadable: int = 0) -> str:
        return " ".join(findings(assess(images(valid, wrong, unreadable), WORLD), "01"))

    assert "cannot be told from chance" in said(52, 48)
    assert "above chance" in said(90, 10)
    assert "below chance" in said(10, 90)
    assert "No sample can be read" in said(0, 0, 5)
    assert "train longer" in said(0, 0, 5)
    assert "Hardly a sample" not in said(0, 0, 800)
    assert "Hardly a sample can be read: train longer" in said(2, 0, 800)
    assert "“odd parity”: 10.0%" in said(90, 10)
    assert "violation" not in said(90, 0)
    lines = headlines(assess(images(90, 10), WORLD))
    assert lines[0].startswith("Legible: 100.0% (95 % interval")
    assert lines[1].endswith("chance 50.0%.")
    broken = images(9, 1)
    broken[:3] = math.nan
    lines = findings(assess(broken, WORLD), "01")
    assert lines[0].startswith("The images were read as floats in [-1, 1]")
    assert "3 of 10 samples hold values that are not finite (NaN or infinite)" in lines[1]
    assert lines[1].endswith(": 0, 1, 2.")


def test_negatives_are_told_from_what_nobody_can_read() -> None:
    lines = findings(assess(-images(60, 40), WORLD), "01")
    assert any(line.startswith("As negatives 100 of the first 100 samples") for line in lines)
    noise = torch.randn(50, *WORLD.image_shape, generator=torch.Generator().manual_seed(0))
    assert not any("negatives" in line for line in findings(assess(noise, WORLD), "01"))
