"""Datasets from their configuration."""

from diffprobe.config import (
    AutomatonConfig,
    Config,
    ContextFreeConfig,
    CopyConfig,
    DigitImagesConfig,
    DyckConfig,
    FontImagesConfig,
    GrammarConfig,
    ImagesConfig,
    ModularSumConfig,
    PalindromeConfig,
    ParityConfig,
    WordListConfig,
)
from diffprobe.datasets.automaton import Automaton
from diffprobe.datasets.catalog import Copy, DigitSum, Dyck, ModularSum, Palindrome, Parity
from diffprobe.datasets.context_free import ContextFree
from diffprobe.datasets.glyphs import Glyphs
from diffprobe.datasets.grammar import Grammar
from diffprobe.datasets.images import SymbolImages
from diffprobe.datasets.word_list import WordList


def build_dataset(config: Config) -> SymbolImages:
    """Return the symbol images that a configuration describes.

    Raises:
        UsageError: If grammar, glyphs and grid do not fit each other.
    """
    images = config.images
    return SymbolImages(build_grammar(config.grammar), _build_glyphs(images), images.grid)


def build_grammar(config: GrammarConfig) -> Grammar:
    """Return the grammar that a configuration describes.

    Raises:
        UsageError: If it is none.
    """
    match config:
        case ParityConfig():
            return Parity(config.length)
        case ModularSumConfig():
            return ModularSum(config.length, config.base, config.modulus)
        case CopyConfig():
            return Copy(config.length, config.symbols)
        case PalindromeConfig():
            return Palindrome(config.length, config.symbols)
        case DyckConfig():
            return Dyck(config.length, config.kinds)
        case WordListConfig():
            return WordList.parse(config.words, config.symbols or None)
        case AutomatonConfig():
            return Automaton(
                config.transitions,
                config.accept,
                length=config.length,
                start=config.start,
                weights=config.weights or None,
            )
        case ContextFreeConfig():
            return ContextFree.parse(config.rules, config.length, config.symbols or None)
    return DigitSum()


def _build_glyphs(config: ImagesConfig) -> Glyphs:
    if isinstance(config, FontImagesConfig):
        return Glyphs.font(config.symbols, config.cell, config.variants, config.font or None)
    if isinstance(config, DigitImagesConfig):
        return Glyphs.digits(config.split)
    return Glyphs.pixels()
