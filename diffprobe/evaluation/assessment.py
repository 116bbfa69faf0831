"""Samples, judged: verdicts, how sure they are, and what chance alone would give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffprobe.datasets import Stream, SymbolImages
from diffprobe.datasets.condition import Conditions
from diffprobe.datasets.stored_images import Pictures
from diffprobe.datasets.symbol_images import LEGIBLE
from diffprobe.evaluation import memorisation, reading, violations
from diffprobe.evaluation.memorisation import Memorisation
from diffprobe.evaluation.reading import Calibration, Corrected
from diffprobe.evaluation.validator import Checked, Validator, check
from diffprobe.evaluation.verdicts import Verdicts, judge
from diffprobe.evaluation.violations import Pair, Violations
from diffprobe.evaluation.words import distribution
from diffprobe.evaluation.words.distribution import Distribution
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.records import plain
from diffprobe.foundations.statistics import Rate, clustered, wilson
from diffprobe.foundations.tables import Table
from diffprobe.sampling.samples import Images, as_pictures

# The least share of legible samples below which the reader may know the wrong glyphs.
HARDLY_ANY = 0.02
LOOKED_AT = 200  # samples that tell whether negatives can be read


@dataclass(frozen=True, repr=False)
class Assessment(Table):
    """Samples, judged.

    Attributes:
        verdicts: Of the samples.
        memorisation: The samples beside the training set; None without a finite one.
        calibration: Of the reader, under as much noise as the samples have.
        grammatical: Share of valid words among the legible samples, corrected for the reader.
        kinds: The same of each kind of violation.
        distribution: Of the legible samples' words beside their language; None of too few, and of
            samples on a condition.
        broken: What is wrong in the legible samples.
        chance: What is wrong in words of independent symbols: "uniform", and "product" for
            symbols as frequent as in the language.
        notes: How the images were read, where they are not our own.
        mended: What given cells, guidance and rejection have to do with them, in sentences.
        checked: What a validator of the user's own found, where there is one.
        conditional: Whether cells were given or a condition told, so that chance does not stand
            beside them.
        kept: Share of the legible samples that show a valid word of the condition that was told;
            None where none was.
    """

    verdicts: Verdicts
    memorisation: Memorisation | None
    calibration: Calibration
    grammatical: Corrected
    kinds: dict[str, Corrected]
    distribution: Distribution | None
    broken: Violations
    chance: dict[str, Violations]
    notes: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    checked: Checked | None = None
    conditional: bool = False
    kept: Rate | None = None

    @property
    def least_violations(self) -> float:
        """The lower bound of the corrected violation rate; 0 where no sample can be read."""
        return 1 - self.grammatical.high

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each rate of the samples, beside chance where it is known."""
        verdicts = self.verdicts
        kinds, chance = self.broken.kinds, self.chance["product"].kinds
        rates: list[tuple[str, Estimate, float | None]] = [
            ("legible", verdicts.legible_rate, None),
            ("grammatical", verdicts.grammatical_rate, verdicts.product_rate),
            ("grammatical, corrected", self.grammatical, verdicts.product_rate),
            *((name, share, None) for name, share in verdicts.shares().items()),
            *((kind, rate, chance[kind].value) for kind, rate in kinds.items()),
        ]
        if self.kept is not None:
            rates.append(("condition kept", self.kept, None))
        if self.checked is not None:
            told = {"any": self.checked.wrong_rate, **self.checked.rates()}
            rates += [(f"{self.checked.name}: {kind}", rate, None) for kind, rate in told.items()]
        return [{"rate": name, **found.rows()[0], "chance": by} for name, found, by in rates]

    def summary(self, names: Sequence[str]) -> dict[str, Any]:
        """Return every number, as JSON can hold it.

        Args:
            names: V printable names of the symbols.
        """
        verdicts, broken = self.verdicts, self.broken
        recall = self.memorisation
        every = (broken, *self.chance.values())

        def pairs(found: tuple[Pair, ...], name: str, names: Any) -> list[dict[str, Any]]:
            return [{name: [names[p.first], names[p.second]], **plain(p.rate)} for p in found]

        return {
            **verdicts.summary(),
            "grammatical": {
                **plain(verdicts.grammatical_rate),
                "corrected": self.grammatical,
            },
            "invalid": {
                **plain(broken.invalid),
                "corrected": self.grammatical.complement(),
            },
            "violations": {
                kind: {
                    **plain(rate),
                    "corrected": self.kinds[kind],
                    "chance": {name: chance.kinds[kind] for name, chance in self.chance.items()},
                }
                for kind, rate in broken.kinds.items()
            },
            "positions": [
                {
                    **plain(rate),
                    "chance": {n: c.positions[cell] for n, c in self.chance.items()},
                }
                for cell, rate in enumerate(broken.positions)
            ],
            "distances": {
                d: {
                    **plain(_at(broken, d)),
                    "chance": {n: _at(c, d) for n, c in self.chance.items()},
                }
                for d in range(1, 1 + max(max(v.distances, default=0) for v in every))
            },
            "substitutions": [
                {"read": names[p.first], "nearest": names[p.second], **plain(p.rate)}
                for p in broken.substitutions
            ],
            "pairs": {
                "paired": {
                    **plain(broken.paired),
                    "chance": {n: c.paired for n, c in self.chance.items()},
                },
                "cells": pairs(broken.cells, "cells", range(len(broken.positions))),
                "symbols": pairs(broken.symbols, "symbols", names),
            },
            "unreadable": _unreadable(verdicts, names),
            "distribution": self.distribution.summary() if self.distribution else None,
            "memorisation": recall.summary() if recall else None,
            "reading": {**self.calibration.summary(), "symbols": names},
            "condition_kept": self.kept,
            "validator": self.checked.summary() if self.checked else None,
        }

    def __repr__(self) -> str:
        return f"<Assessment of {len(self.verdicts.words):,} samples>"


def assess(
    images: Images,
    dataset: SymbolImages,
    stream: Stream | None = None,
    seed: int = 0,
    *,
    validator: Validator | Callable[[Any], Any] | str | None = None,
    conditions: Conditions | None = None,
) -> Assessment:
    """Judge samples and say how sure the judgement is.

    Args:
        images: N samples, as `as_pictures` takes them.
        dataset: Whose glyphs and grammar to judge by.
        stream: A finite training set to compare the samples with.
        seed: Of the calibration's noise and of chance.
        validator: A checker of your own, to stand beside the grammar; see `validator`.
        conditions: What can be told of the dataset's words, where samples were told something.

    Raises:
        UsageError: If there are no images, or they or the validator do not fit the dataset.
        ValidatorError: If the validator raises an error.
    """
    samples, dataset = as_pictures(images, dataset), dataset.plain
    grammar = dataset.grammar
    verdicts = judge(dataset, samples, stream)
    checked = None if validator is None else check(samples, validator, dataset, verdicts)
    pictures, how = samples.images, samples.sampler
    conditional = bool(how.get("given") or how.get("condition"))
    calibration = reading.calibrate(
        dataset, reading.residual_noise(dataset, pictures, verdicts), seed
    )
    words = verdicts.words[verdicts.legible]
    return Assessment(
        verdicts=verdicts,
        memorisation=(
            memorisation.measure(dataset, stream, pictures, verdicts)
            if stream is not None and stream.training is not None
            else None
        ),
        calibration=calibration,
        grammatical=reading.correct_grammatical(grammar, words, calibration.confusion),
        kinds=reading.correct_kinds(grammar, words, calibration.confusion),
        distribution=(
            distribution.measure(dataset, words, stream, seed)
            if len(words) >= distribution.FEWEST and not conditional
            else None
        ),
        broken=violations.measure(grammar, words, verdicts.nearest[verdicts.legible]),
        chance={
            "uniform": violations.chance(grammar, uniform=True, seed=seed),
            "product": violations.chance(grammar, uniform=False, seed=seed),
        },
        notes=(*samples.notes, *_negatives(dataset, pictures, verdicts)),
        mended=tuple(samples.mended()),
        checked=checked,
        conditional=conditional,
        kept=_kept(verdicts, how, dataset, conditions),
    )


def _kept(
    verdicts: Verdicts,
    how: Mapping[str, Any],
    dataset: SymbolImages,
    conditions: Conditions | None,
) -> Rate | None:
    """How many of the legible samples are what their condition asks for."""
    if conditions is None or not (condition := how.get("condition")):
        return None
    told = conditions.read(condition, dataset.glyphs.names, len(verdicts.words), how["seed"])
    kept = conditions.holds(verdicts.words[verdicts.legible], told[verdicts.legible])
    return wilson(int(kept.sum()), len(kept))


def _negatives(dataset: SymbolImages, images: Pictures, verdicts: Verdicts) -> list[str]:
    """Say where hardly an image can be read, and its negative can."""
    if int(verdicts.legible.sum()) >= HARDLY_ANY * len(images):
        return []
    looked_at = images[:LOOKED_AT]
    legible = int((dataset.recognise(-looked_at)[1] >= LEGIBLE).all(1).sum())
    if legible <= len(looked_at) / 2:
        return []
    return [
        f"As negatives {legible:,} of the first {len(looked_at):,} samples can be read: here the "
        "ink is +1 (white), the paper -1. Give the images the other way round."
    ]


def _at(found: Violations, distance: int) -> Rate:
    return found.distances.get(distance, wilson(0, found.invalid.n))


def _unreadable(verdicts: Verdicts, names: Sequence[str]) -> Mapping[str, Any]:
    """Where cells cannot be read, and what they would be read as."""
    refused = ~verdicts.legible_cells
    read_as = {name: verdicts.words == symbol for symbol, name in enumerate(names)}
    return {
        "positions": [wilson(count, len(refused)) for count in refused.sum(0).tolist()],
        "symbols": {
            name: clustered((refused & here).sum(1), here.sum(1)) for name, here in read_as.items()
        },
    }
