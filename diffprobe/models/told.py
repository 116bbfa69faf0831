"""Denoisers with a condition for each image: networks that are told one, and the exact optimum."""

from typing import Any

from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.datasets.condition import Conditions
from diffprobe.foundations.errors import UsageError
from diffprobe.models.denoiser import Denoiser, NetworkDenoiser
from diffprobe.models.foreign import ConditionedDenoiser
from diffprobe.models.guided import ClassifierFreeDenoiser
from diffprobe.models.oracles import BayesDenoiser, SymbolDenoiser

PROMPT = "encoder_hidden_states"  # what diffusers calls the tokens that a network attends to


class ToldBayesDenoiser(SymbolDenoiser):
    """The exact optimum `E[x_0 | x_t, c]` with a condition c for each image.

    Args:
        dataset: As for `BayesDenoiser`.
        scheduler: A diffusers scheduler; what `t` means.
        conditions: What can be told of its words.
        told: (B, M) long, of each image of a batch, or (1, M) of all.
    """

    def __init__(
        self, dataset: SymbolImages, scheduler: Any, conditions: Conditions, told: Tensor
    ) -> None:
        super().__init__(dataset, scheduler)
        self.conditions = conditions
        self.register_buffer("told", told, persistent=False)
        self.told: Tensor

    def _marginals(self, scores: Tensor, rows: slice) -> Tensor:
        told = self.told.expand(len(scores), -1) if len(self.told) == 1 else self.told[rows]
        return self.conditions.marginals(scores, told)


def tell(
    denoiser: Denoiser, told: Tensor, conditions: Conditions | None = None, guidance: float = 0.0
) -> Denoiser:
    """Return a denoiser with a condition for each image of a batch.

    Args:
        denoiser: The Bayes oracle, a network that was made to be told conditions, or one that is
            told a prompt.
        told: (B, M) long, or (1, M) of all; of a network also embeddings (B, M, width).
        conditions: What can be told; needed by an oracle.
        guidance: Weight of classifier-free guidance.

    Raises:
        UsageError: If it cannot be told any.
    """
    told = told.to(denoiser.device)
    found: Denoiser
    if isinstance(denoiser, ConditionedDenoiser) and prompt_embeddings(denoiser) is not None:
        found = denoiser.with_condition(**{PROMPT: told})
    elif isinstance(denoiser, BayesDenoiser) and conditions is not None:
        found = ToldBayesDenoiser(denoiser.dataset, denoiser.scheduler, conditions, told)
    elif isinstance(denoiser, NetworkDenoiser) and takes_conditions(denoiser):
        found = ConditionedDenoiser(
            denoiser.network,
            denoiser.scheduler,
            {PROMPT: told},
            image_shape=denoiser.image_shape,
            latents=denoiser.latents,
        )
    else:
        raise UsageError(
            f"{type(denoiser).__name__} takes no condition: only a network that was trained with "
            "some (condition.name) and the Bayes oracle do"
        )
    found = found.to(denoiser.device)
    return ClassifierFreeDenoiser(found, denoiser, guidance) if guidance else found


def takes_conditions(denoiser: Denoiser) -> bool:
    """Return whether a denoiser's network was made to be told conditions."""
    settings = getattr(getattr(denoiser, "network", None), "config", {})
    return settings.get("condition") is not None


def prompt_embeddings(denoiser: Denoiser) -> Tensor | None:
    """Return the embeddings (1, M, width) of the prompt that a denoiser is told, if it is one."""
    return denoiser.condition.get(PROMPT) if isinstance(denoiser, ConditionedDenoiser) else None
