"""Worlds whose rules are known exactly: grammars, glyphs, and images of symbols."""

from diffprobe.datasets.automaton import Automaton
from diffprobe.datasets.build import build_dataset, build_grammar
from diffprobe.datasets.catalog import Copy, DigitSum, Dyck, ModularSum, Palindrome, Parity
from diffprobe.datasets.context_free import ContextFree
from diffprobe.datasets.glyphs import Glyphs
from diffprobe.datasets.grammar import Grammar
from diffprobe.datasets.image_set import ImageSet
from diffprobe.datasets.images import SymbolImages, hypercube
from diffprobe.datasets.split import WordSplit
from diffprobe.datasets.word_list import WordList

__all__ = [
    "Automaton",
    "ContextFree",
    "Copy",
    "DigitSum",
    "Dyck",
    "Glyphs",
    "Grammar",
    "ImageSet",
    "ModularSum",
    "Palindrome",
    "Parity",
    "SymbolImages",
    "WordList",
    "WordSplit",
    "build_dataset",
    "build_grammar",
    "hypercube",
]
