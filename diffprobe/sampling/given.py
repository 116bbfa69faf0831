"""Cells that are given: conditions on which the others are sampled."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.datasets.spelling import spell, typed_names
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.seeding import generator as seeded
from diffprobe.models.noise_schedule import GIVEN, NoiseSchedule

# In a word, stands for a cell that is to be sampled; and in a word that is typed.
FREE = -1
BLANK = "_"


@dataclass(frozen=True, eq=False)
class Given:
    """Pictures of cells that stay as they are.

    A denoiser that takes noise levels by cell is shown a given cell clean, at the level `GIVEN`:
    an oracle then samples the conditional distribution exactly. Any other is shown it with fresh
    noise at the level of all cells (replacement, Song et al., arXiv:2011.13456, appendix I.2),
    which is an approximation.

    Attributes:
        images: (1, C, H, W) for all samples, or (n, C, H, W); only given cells are looked at.
        cells: (1, L) or (n, L) bool, which cells are given.
        grid: Where they are.
    """

    images: Tensor
    cells: Tensor
    grid: CellGrid

    def __post_init__(self) -> None:
        if self.cells.ndim != 2 or self.cells.shape[1] != self.grid.cells:
            raise UsageError(
                f"given cells are marked by (n, {self.grid.cells}) bools, "
                f"not {tuple(self.cells.shape)}"
            )
        if self.images.ndim != 4 or len(self.images) != len(self.cells):
            raise UsageError(
                f"pictures of given cells are (n, C, H, W), one for each of {len(self.cells)} "
                f"rows of cells, not {tuple(self.images.shape)}"
            )

    @classmethod
    def words(cls, dataset: SymbolImages, words: Tensor, variants: Tensor | None = None) -> "Given":
        """Return the pictures of words of which some cells are `FREE`.

        Args:
            dataset: Whose glyphs are drawn.
            words: (L,), (1, L) or (n, L) long.
            variants: Of the same shape, which picture of each symbol; the first by default.

        Raises:
            UsageError: If no valid word has the given symbols.
        """
        words = words.reshape(-1, dataset.grammar.length)
        known = words != FREE
        drawn = words.where(known, 0)
        dataset.grammar.check_words(drawn)
        _check_possible(dataset, words)
        if variants is not None:
            variants = variants.reshape(words.shape).where(known, 0)
        return cls(dataset.render(drawn, variants), known, dataset.cell_grid)

    @classmethod
    def read(cls, text: str, dataset: SymbolImages, n: int, seed: int = 0) -> "Given":
        """Return what a text says is given of each of `n` samples.

        Args:
            text: Words with `_` for each cell that is sampled, or names of sets that the grammar
                has (`GrammarKind.conditions`), separated by spaces. Sample i takes the next of the
                i-th, and begins again with the first; those of a set come in random order.
            dataset: Whose words they are. Which picture of a symbol is given is drawn.
            n: How many samples.
            seed: Of the order and the pictures.

        Raises:
            UsageError: If there is no such symbol or set, a word has too many cells or too few, or
                leaves nothing to sample, or no valid word has the symbols given.
        """
        sets = dataset.grammar.kind.conditions() if dataset.grammar.kind is not None else {}
        every = []
        for item in text.split():
            if item in sets:
                order = torch.randperm(len(sets[item]), generator=seeded(seed, f"given {item}"))
                every.append(sets[item][order])
            else:
                every.append(_typed(item, dataset, list(sets)))
        if not every:
            raise UsageError(f"sampling.given names no word: {text!r}")
        turns = [divmod(i, len(every)) for i in range(n)]
        words = torch.stack([every[item][turn % len(every[item])] for turn, item in turns])
        _check_possible(dataset, words)
        known = words != FREE
        images = dataset.draw(words.where(known, 0), seeded(seed, "pictures of given cells"))
        return cls(images, known, dataset.cell_grid)

    def part(self, places: Tensor, device: torch.device) -> "Given":
        """Return what is given of the samples at `places (n,)`, on a device."""
        rows = slice(None) if len(self.cells) == 1 else places
        images, cells = self.images[rows].to(device), self.cells[rows].to(device)
        n = len(places)
        return Given(images.expand(n, -1, -1, -1), cells.expand(n, -1), self.grid)

    def check(self, n: int, image_shape: tuple[int, int, int]) -> None:
        """Raise UsageError unless it is for `n` samples of `image_shape` (C, H, W)."""
        if len(self.cells) not in (1, n) or tuple(self.images.shape[1:]) != image_shape:
            channels, height, width = image_shape
            raise UsageError(
                f"given cells are for images {tuple(self.images.shape)}; sampled are "
                f"({n}, {channels}, {height}, {width})"
            )

    def onto(self, images: Tensor) -> Tensor:
        """Return `images (n, C, H, W)` with the given cells laid over them."""
        return torch.where(self.mask, self.images.to(images), images)

    def levels(self, t: Tensor) -> Tensor:
        """Return levels `t`, (n,) or (n, L), with `GIVEN` in the given cells: (n, L)."""
        by_cell = t if t.ndim == 2 else t[:, None].expand(-1, self.grid.cells)
        return by_cell.masked_fill(self.cells, GIVEN)

    def noisy_onto(
        self, x_t: Tensor, t: Tensor, schedule: NoiseSchedule, generator: torch.Generator
    ) -> Tensor:
        """Return `x_t` with the given cells laid over, noisy at their level `t (n,)`."""
        images = self.images.to(x_t)
        eps = torch.randn(images.shape, generator=generator, device=x_t.device, dtype=x_t.dtype)
        return torch.where(self.mask, schedule.noise(images, eps, t), x_t)

    @property
    def mask(self) -> Tensor:
        """Which pixels are given: (n, 1, H, W) bool."""
        return self.grid.spread(self.cells)


def _typed(item: str, dataset: SymbolImages, sets: list[str]) -> Tensor:
    """The word that was typed, `FREE` where it has a blank: (1, L) long."""
    names = typed_names(dataset.glyphs.names)
    if BLANK in names:
        raise UsageError(
            f"{BLANK!r} is a symbol here, and stands for a cell that is sampled: give cells from "
            "Python, by sample(given=Given.words(…))"
        )
    names[BLANK] = FREE
    word, rest = spell(item, names)
    if rest:
        if sets and BLANK not in item:
            raise unknown_name("set of given cells", item, sets)
        raise UsageError(
            f"{rest[0]!r} in {item!r} is not among the symbols {' '.join(dataset.glyphs.names)}"
            f"; {BLANK} stands for a cell that is sampled"
        )
    if len(word) != (length := dataset.grammar.length):
        raise UsageError(
            f"{item!r} has {len(word)} cells, words have {length}: a symbol for each that is "
            f"given, {BLANK} for each that is sampled"
        )
    if FREE not in word:
        raise UsageError(f"{item!r} leaves nothing to sample: put {BLANK} for a cell that is")
    return torch.tensor([word])


def _check_possible(dataset: SymbolImages, words: Tensor) -> None:
    """Raise UsageError unless some valid word has the given symbols of each of `words (n, L)`."""
    distinct = words.cpu().unique(dim=0)
    known = distinct != FREE
    certain = torch.nn.functional.one_hot(distinct.where(known, 0), dataset.grammar.symbols).bool()
    scores = torch.zeros(certain.shape, dtype=torch.float64)
    scores = scores.masked_fill(known[..., None] & ~certain, -torch.inf)
    every = [dataset.grammar.log_partition(chunk) for chunk in dataset.grammar.chunks(scores)]
    impossible = distinct[torch.cat(every) == -torch.inf]
    if len(impossible):
        names = [*typed_names(dataset.glyphs.names), BLANK]
        shown = "".join(names[symbol] for symbol in impossible[0].tolist())
        raise UsageError(f"no valid word has the symbols given: {shown}")
