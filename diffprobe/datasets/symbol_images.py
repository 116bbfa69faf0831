"""Words drawn on a grid of cells, and read back."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor

from diffprobe.datasets.batches import as_batch
from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.datasets.glyphs import Glyphs
from diffprobe.datasets.images import check_grid
from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.stored_images import Pictures, StoredImages, pieces
from diffprobe.foundations import memory
from diffprobe.foundations.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the memory, what distances from cells to pictures may take.
DISTANCES = 1 / 64

# A cell is legible from this confidence on: of handwriting that the reader does not know 97 % then
# are, and 1.8 % of those are read as another digit.
LEGIBLE = 0.7

# A cell with a value beyond it is never legible: no picture, and no sample that came near one.
BEYOND = 10.0

# Nats by which the nearest picture of a clean cell beats every other. More than the evidence of any
# noisy cell, and finite: where clean cells contradict the grammar, as few as can be give in.
CERTAIN = 1e12


class SymbolImages:
    """Words of a grammar drawn with glyphs on a grid.

    Args:
        grammar: Whose words are drawn, L cells over V symbols.
        glyphs: (V, K, C, h, w) pictures of its symbols.
        grid: Rows and columns, `rows * columns == L`; cells are filled row by row.

    Raises:
        UsageError: If the grid does not hold the word, or glyphs and grammar differ in V.

    Example:
        >>> from diffprobe.datasets import Glyphs
        >>> from diffprobe.datasets.grammars.parity import ParityConfig
        >>> grammar = ParityConfig(length=6).build()
        >>> dataset = SymbolImages(grammar, Glyphs.font("01"), grid=(2, 3))
        >>> dataset.render(torch.tensor([[0, 1, 1, 0, 0, 0]])).shape
        torch.Size([1, 1, 16, 24])
    """

    def __init__(self, grammar: Grammar, glyphs: Glyphs, grid: tuple[int, int]) -> None:
        check_grid(grid, grammar.length)
        if len(glyphs.images) != grammar.symbols:
            raise UsageError(
                f"there are glyphs for {len(glyphs.images)} symbols "
                f"({' '.join(glyphs.names)}); the grammar has {grammar.symbols}"
            )
        self.grammar = grammar
        self.glyphs = glyphs
        self.grid = grid

    def __repr__(self) -> str:
        rows, columns = self.grid
        drawn = f"{rows}×{columns} cells, images {' × '.join(map(str, self.image_shape))}"
        return f"<SymbolImages of {self.grammar.title} over {' '.join(self.glyphs.names)}: {drawn}>"

    @property
    def cell_grid(self) -> CellGrid:
        """How the image is divided into cells."""
        return CellGrid(*self.grid, *self.glyphs.cell)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """C, H, W of an image, a symbol channel among C."""
        (rows, columns), (height, width) = self.grid, self.glyphs.cell
        return self.glyphs.channels, rows * height, columns * width

    @cached_property
    def plain(self) -> "SymbolImages":
        """The same world without a symbol channel: what is read, judged and shown."""
        if self.glyphs.plain is None:
            return self
        return SymbolImages(self.grammar, self.glyphs.plain, self.grid)

    def pictures(self, images: Tensor) -> Tensor:
        """Return `images (N, C, H, W)` without a symbol channel; those without as they are."""
        whole = tuple(images.shape[1:]) == self.image_shape
        return images[:, : self.plain.glyphs.channels] if whole else images

    def draw(self, words: Tensor, generator: torch.Generator) -> Tensor:
        """Render `words (N, L)` with variants drawn at random: (N, C, H, W)."""
        return self.draw_each(words[None], [generator])[0]

    def draw_each(self, words: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Render `words (K, N, L)`, each N with a generator of their own: (K, N, C, H, W)."""
        counts = self.glyphs.counts.to(words.device)[words]
        shape = words.shape[1:]
        uniform = torch.stack(
            [torch.rand(shape, generator=g, device=words.device) for g in generators]
        )
        variants = (uniform * counts).long().clamp(max=counts - 1)
        images = self.render(words.flatten(0, 1), variants.flatten(0, 1))
        return images.reshape(*words.shape[:2], *self.image_shape)

    def draw_images(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` images of words of the grammar: (n, C, H, W)."""
        return self.draw(self.grammar.sample(n, generator), generator)

    def render(self, words: Tensor, variants: Tensor | None = None) -> Tensor:
        """Draw words.

        Args:
            words: (N, L) long.
            variants: (N, L) long, which picture of each symbol; the first by default.

        Returns:
            (N, C, H, W) float32 in [-1, 1] on the device of `words`.
        """
        self.grammar.check_words(words)
        if variants is None:
            variants = torch.zeros_like(words)
        elif variants.shape != words.shape:
            raise UsageError(
                f"variants have shape {tuple(variants.shape)}; words {tuple(words.shape)}"
            )
        elif (variants < 0).any() or (variants >= self.glyphs.counts.to(words.device)[words]).any():
            raise UsageError("a variant is outside the number its symbol has")
        return self.image(self.glyphs.images.to(words.device)[words, variants])

    def image(self, cells: Tensor) -> Tensor:
        """Lay `cells (N, L, C, h, w)` on the grid: (N, C, H, W)."""
        return self.cell_grid.join(cells)

    def cells(self, images: Tensor) -> Tensor:
        """Cut `images (N, C, H, W)` into cells: (N, L, C, h, w).

        Raises:
            UsageError: If the images have another shape.
        """
        self.check_images(images)
        return self.cell_grid.cut(images)

    def read(self, images: "Tensor | NDArray[Any]") -> tuple[Tensor, Tensor]:
        """Read images back: the words, and the cells of which the reader is sure enough.

        Args:
            images: (N, C, H, W), or (N, H, W) of one channel, a tensor or array; values nominally
                in [-1, 1].

        Returns:
            words (N, L) long, and legible (N, L) bool. Where a cell is not legible its symbol is
            the best guess. A cell with a value that is not finite, or beyond ±10, is never legible.
        """
        words, confidence = self.recognise(images)
        return words, confidence >= LEGIBLE

    def recognise(self, images: "Pictures | NDArray[Any]") -> tuple[Tensor, Tensor]:
        """Read images back, and say how sure each symbol is.

        A cell is read as the symbol under which it is most likely, and its confidence is that
        symbol's posterior probability, all symbols equally likely before:

            p(v | cell) ~ mean over the pictures g of v of N(cell; g, bandwidth² I)

        It is 0 in a cell that has no picture within `glyphs.radius`: what is no symbol at all is
        not one symbol rather than another. With fonts the radius decides alone.

        Args:
            images: (N, C, H, W), values nominally in [-1, 1], with a symbol channel, which is not
                looked at, or without; looked at in pieces.

        Returns:
            words (N, L) long, and confidence (N, L) float32 in [0, 1].

        Raises:
            UsageError: If the images have another shape.
        """
        batch = images if isinstance(images, StoredImages) else as_batch(images)
        cut = (self.plain.cells(self.pictures(piece)) for piece in pieces(batch))
        parts = [
            self.recognise_cells(rearrange(cells, "n l c h w -> (n l) c h w")) for cells in cut
        ] or [self.recognise_cells(torch.empty(0, self.glyphs.channels, *self.glyphs.cell))]
        words, confidence, _ = (torch.cat(p) for p in zip(*parts, strict=True))
        shape = len(batch), self.grammar.length
        return words.reshape(shape), confidence.reshape(shape)

    def recognise_cells(self, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read single cells as `recognise` does.

        Args:
            cells: (M, C, h, w), with a symbol channel or without.

        Returns:
            symbols (M,) long, confidence (M,) float32, and each cell's root-mean-square distance
            per value to the nearest picture (M,) float32.
        """
        glyphs = self.plain.glyphs
        templates, labels = (t.to(cells.device) for t in glyphs.templates)
        chunks = (
            cells[:, : glyphs.channels]
            .float()
            .flatten(1)
            .split(memory.items(4 * len(templates), DISTANCES))
        )
        parts = [self._recognise(chunk, templates.flatten(1), labels) for chunk in chunks]
        symbols, confidence, nearest = (torch.cat(p) for p in zip(*parts, strict=True))
        return symbols, confidence, nearest

    def _recognise(
        self, cells: Tensor, templates: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        distances = torch.cdist(cells, templates)
        nearest = distances.amin(1) / math.sqrt(cells.shape[1])
        energies = distances.square_().div_(-2 * self.plain.glyphs.bandwidth**2)
        scores = torch.stack(
            [
                energies[:, labels == v].logsumexp(1) - count.log()
                for v, count in enumerate(labels.bincount())
            ],
            1,
        )
        confidence, symbols = scores.softmax(1).max(1)
        # No comparison holds for what is not a number.
        near = (nearest <= self.plain.glyphs.radius) & (cells.abs() <= BEYOND).all(1)
        return symbols, torch.where(near, confidence, 0.0), nearest

    def symbol_distances(self, images: Tensor) -> Tensor:
        """Return each cell's distance to the nearest glyph of each symbol.

        Returns:
            (N, L, V) float32, root mean square per value; NaN where a cell is not finite.
        """
        cells = rearrange(self.cells(images), "n l c h w -> (n l) (c h w)").float()
        # A symbol's padding repeats its first variant, so it changes no minimum.
        glyphs = rearrange(self.glyphs.images, "v k c h w -> (v k) (c h w)").to(cells)
        symbols = len(self.glyphs.images)
        distances = [
            rearrange(torch.cdist(chunk, glyphs), "n (v k) -> n v k", v=symbols).amin(-1)
            for chunk in cells.split(memory.items(4 * len(glyphs), DISTANCES))
        ]
        flat = torch.cat(distances) / math.sqrt(glyphs.shape[1])
        return flat.reshape(len(images), self.grammar.length, symbols)

    def evidence(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return what each noisy cell says about its symbol, up to a constant per cell.

            scores[n, i, v] = log mean_k N(cell_i(x_t); alpha g_{v,k}, sigma² I)

        Args:
            x_t: (N, C, H, W) noisy images.
            alpha: Signal scale, (N,) or (1,), or (N, L) or (1, L) where it differs from cell to
                cell.
            sigma: Noise scale, of the same shape. A cell without noise says for certain that it
                shows the picture that is nearest.

        Returns:
            (N, L, V) scores, in nats.

        Raises:
            UsageError: If a sigma is negative.
        """
        return self.symbol_scores(self.glyph_evidence(x_t, alpha, sigma))

    def glyph_evidence(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return log N(cell_i(x_t); alpha g_{v,k}, sigma² I) up to a constant per cell.

        Returns:
            (N, L, V, K), in nats; -inf for variants a symbol does not have.
        """
        if not (sigma >= 0).all():
            raise UsageError("the evidence of a noisy image needs sigma >= 0")
        # (N or 1, L or 1, 1, 1)
        alpha, sigma = (a.to(x_t).reshape(len(a), -1, 1, 1) for a in (alpha, sigma))
        clean = sigma == 0
        glyphs = self.glyphs.images.flatten(2).to(x_t)
        known = self.glyphs.known.to(x_t.device)
        # Measured from the mean glyph: at log-SNR 15 the energies are of order 1e8, and what all
        # glyphs share would cost float32 the digits in which they differ.
        centre = glyphs[known].mean(0)
        offsets = glyphs - centre
        cells = self.cells(x_t).flatten(2) - alpha[..., 0] * centre
        match = torch.einsum("nld,vkd->nlvk", cells, offsets)
        closeness = alpha * (match - alpha * offsets.square().sum(-1) / 2)
        energy = (closeness / sigma.where(~clean, 1.0).square()).masked_fill(~known, -math.inf)
        if clean.any():
            energy = torch.where(clean, _certainty(energy), energy)
        return energy

    def symbol_scores(self, evidence: Tensor) -> Tensor:
        """Average `evidence (N, L, V, K)` over the variants of each symbol: (N, L, V)."""
        return torch.logsumexp(evidence, -1) - self.glyphs.counts.to(evidence).log()

    def check_images(self, images: Tensor) -> None:
        """Raise UsageError unless `images` is (N, C, H, W) of floats for this dataset."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            raise UsageError(
                f"images have shape {tuple(images.shape)}; this dataset's are (N, {expected})"
            )
        if not images.is_floating_point():
            raise UsageError(f"images are {images.dtype}; they must be floats in [-1, 1]")


def hypercube(grammar: Grammar, grid: tuple[int, int] | None = None) -> SymbolImages:
    """Return a two-symbol grammar on the corners of the hypercube {-1, +1}^L.

    Each cell is one pixel: the images are (N, 1, 1, L), or (N, 1, rows, columns) with a grid.
    """
    return SymbolImages(grammar, Glyphs.pixels(), grid or (1, grammar.length))


def _certainty(energy: Tensor) -> Tensor:
    """0 for the likeliest picture of `energy (N, L, V, K)`, and as good as excluded all others."""
    flat = energy.flatten(2)
    certain = torch.full_like(flat, -CERTAIN).scatter(-1, flat.argmax(-1, keepdim=True), 0.0)
    return certain.reshape(energy.shape).masked_fill(energy == -math.inf, -math.inf)
