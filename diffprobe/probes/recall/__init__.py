"""Recall: which facts does a denoiser know, asked by their keys?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import NO_GRAMMAR, Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.recall.asking import Recall
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


@dataclass(frozen=True)
class RecallConfig(ProbeKind):
    """Shares of the facts whose values a denoiser tells, their keys given."""

    name: ClassVar[str] = "recall"
    rank: ClassVar[int] = 9
    reads: ClassVar[tuple[str, ...]] = ("probe.batch_size", "probe.seed")
    captions: ClassVar[Mapping[str, Caption]] = {
        "recall": (
            "Facts recalled",
            "Share of the facts of each component whose value is told whole, with 95 % interval, "
            "where the key is given and all else is noise; pale, of the value's cells.",
        ),
    }

    draws: int = field(default=4, metadata={"help": "Times that each fact is asked."})

    def __post_init__(self) -> None:
        check_at_least(1, "probes.recall", draws=self.draws)

    def unfit(self, subject: "Subject") -> str | None:
        """Facts are asked of a world that has some, and of denoisers to which keys can be given."""
        from diffprobe.probes.recall.asking import facts_in

        if subject.dataset is None:
            return NO_GRAMMAR
        if not facts_in(subject.dataset.grammar):
            return "the grammar has no facts (the grammar 'facts', or a mixture with it)"
        if subject.denoiser.cells is None:
            return (
                "keys cannot be given to a network that takes one noise level an image: train with "
                "network.levels_by_cell = true and the objective 'given'"
            )
        return None

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, Recall]":
        """Ask the network and the optima for all facts."""
        from functools import partial

        from diffprobe.probes.recall.asking import Recall, measure

        assert subject.dataset is not None
        return {
            name: keep(
                name,
                Recall,
                partial(measure, denoiser, subject.dataset, self, subject.config.probe),
            )
            for name, denoiser in subject.beside("bayes", "product").items()
        }

    def glance(self, subject: "Subject", keep: "Keep") -> "dict[str, Recall]":
        """All of it is quick."""
        return self.measure(subject, keep)

    def followed(self, summary: Mapping[str, Any], subject: "Subject") -> dict[str, Any]:
        """Return the share of the facts recalled."""
        return {"facts recalled": summary["network"]["share"]}

    def summary(self, results: "Mapping[str, Recall]") -> dict[str, Any]:
        """Return the shares of each, over all components and by component."""
        return {
            name: {"share": r.share, "cells": r.cells, "components": r.components}
            for name, r in results.items()
        }

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the shares in words."""
        found = ["facts recalled, by their keys"]
        for name, told in summary.items():
            found.append(f"  {name:11} {told['share']}; of the cells of values {told['cells']}")
            if len(told["components"]) > 1:
                found += [f"    {which}: {rate}" for which, rate in told["components"].items()]
        return found

    def draw(self, results: "Mapping[str, Recall]", subject: "Subject", folder: Path) -> None:
        """Draw the shares of each component."""
        from diffprobe.probes.recall.figures import draw

        draw(results, subject, folder)
