"""Samples for the page's gallery: one picture of them all, and what was read in each."""

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from diffprobe.datasets import SymbolImages
from diffprobe.datasets.stored_images import Pictures
from diffprobe.evaluation.verdicts import VERDICTS, Verdicts

LARGEST = 1000  # samples shown
PIXELS = 2_000_000  # shown in all: as PNG 2 MB at most, even of noise


@dataclass(frozen=True)
class Gallery:
    """The first samples, small enough for a page.

    Attributes:
        picture: A greyscale PNG of the samples side by side, row by row; paper white, ink black.
        columns: Samples in a row of it.
        content: What was read, in terms of JSON: lists with one entry per sample.
    """

    picture: bytes
    columns: int
    content: dict[str, Any]

    @classmethod
    def of(cls, images: Pictures, verdicts: Verdicts, dataset: SymbolImages) -> "Gallery":
        """Take the first samples, as many as the page can hold.

        Args:
            images: (N, 1, H, W) float in [-1, 1]; other values are clipped.
            verdicts: Of these samples.
            dataset: Whose symbols and grid they have.
        """
        _, height, width = dataset.image_shape
        n = max(1, min(len(images), LARGEST, PIXELS // (height * width)))
        columns = max(1, round(math.sqrt(n * height / width)))
        kinds = list(verdicts.violations)
        return cls(
            picture=_picture(images[:n], columns),
            columns=columns,
            content={
                "total": len(images),
                "image": [height, width],
                "grid": list(dataset.grid),
                "symbols": list(dataset.glyphs.names),
                "verdicts": list(VERDICTS),
                "verdict": verdicts.labels[:n].tolist(),
                "kinds": kinds,
                "violations": [
                    [k for k, kind in enumerate(kinds) if verdicts.violations[kind][i]]
                    for i in range(n)
                ],
                "words": verdicts.words[:n].tolist(),
                "nearest": verdicts.nearest[:n].tolist(),
                "distance": verdicts.distance[:n].tolist(),
                "wrong": _places(verdicts.wrong_cells[:n]),
                "unreadable": _places(~verdicts.legible_cells[:n]),
                "confidence": verdicts.confidence[:n].double().round(decimals=3).tolist(),
            },
        )

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.picture).decode()


def _picture(images: Tensor, columns: int) -> bytes:
    rows = math.ceil(len(images) / columns)
    ink = images.float().nan_to_num(0.0).clamp(-1, 1)
    ink = pad(ink, (0, 0, 0, 0, 0, 0, 0, rows * columns - len(ink)), value=-1.0)
    tiled = rearrange(ink, "(r k) c h w -> (r h) (k w) c", k=columns)
    # Ink on paper is dark on light; colours are as they are.
    shown = (127.5 * (1 - tiled[..., 0] if images.shape[1] == 1 else 1 + tiled)).round()
    file = io.BytesIO()
    Image.fromarray(shown.cpu().numpy().astype(np.uint8)).save(file, "png", optimize=True)
    return file.getvalue()


def _places(marked: Tensor) -> list[list[int]]:
    """The indices that are true in each row of (N, L)."""
    return [row.nonzero()[:, 0].tolist() for row in marked.cpu()]
