"""Datasets from their configuration."""

from diffprobe.config import (
    Config,
    DigitImagesConfig,
    FontImagesConfig,
    GrammarConfig,
    ImagesConfig,
    ModularSumConfig,
    ParityConfig,
)
from diffprobe.datasets.catalog import DigitSum, ModularSum, Parity
from diffprobe.datasets.glyphs import Glyphs
from diffprobe.datasets.grammar import Grammar
from diffprobe.datasets.images import SymbolImages


def build_dataset(config: Config) -> SymbolImages:
    """Return the symbol images that a configuration describes.

    Raises:
        UsageError: If grammar, glyphs and grid do not fit each other.
    """
    images = config.images
    return SymbolImages(build_grammar(config.grammar), _build_glyphs(images), images.grid)


def build_grammar(config: GrammarConfig) -> Grammar:
    """Return the grammar that a configuration describes."""
    if isinstance(config, ParityConfig):
        return Parity(config.length)
    if isinstance(config, ModularSumConfig):
        return ModularSum(config.length, config.base, config.modulus)
    return DigitSum()


def _build_glyphs(config: ImagesConfig) -> Glyphs:
    if isinstance(config, FontImagesConfig):
        return Glyphs.font(config.symbols, config.cell, config.variants, config.font or None)
    if isinstance(config, DigitImagesConfig):
        return Glyphs.digits(config.split)
    return Glyphs.pixels()
