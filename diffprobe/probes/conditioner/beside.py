"""Who listens to the condition: a network, the exact optimum, and the network untrained."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffprobe.datasets.condition import Conditions
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser, NetworkDenoiser
from diffprobe.models.told import prompt_embeddings, takes_conditions, tell
from diffprobe.probes.conditioner import ConditionerConfig
from diffprobe.probes.conditioner.listening import (
    Listening,
    Tell,
    jacobian_energies,
    replaced_energies,
)
from diffprobe.probing.noise_levels import check_images, clean_inputs, input_sources
from diffprobe.probing.untrained import untrained

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


def unfit(subject: "Subject") -> str | None:
    """Return why there is no condition of tokens; None where there is one."""
    denoiser = subject.denoiser
    if prompt_embeddings(denoiser) is not None:
        return None
    if not isinstance(denoiser, NetworkDenoiser) or not takes_conditions(denoiser):
        return "the network is told no condition of tokens: no word, no class and no prompt"
    conditions = _conditions(subject)
    if conditions is None:
        return "it is not known what its conditions mean (condition.name, or --dataset)"
    network: Any = denoiser.network
    made_for = tuple(network.config["condition"])
    if made_for != (known := (conditions.tokens, conditions.symbols)):
        return (
            f"the network takes {made_for[0]} tokens of {made_for[1]} symbols, and the conditions "
            f"of its world have {known[0]} of {known[1]}"
        )
    return None


def measure_beside(
    settings: ConditionerConfig, subject: "Subject", keep: "Keep"
) -> dict[str, Listening]:
    """Replace tokens, and take the Jacobian in their embeddings, of all on the same inputs."""
    denoisers: dict[str, Denoiser | None] = {
        **subject.beside("bayes"),
        "untrained": untrained(subject.denoiser, subject.config.probe.seed),
    }
    if prompt_embeddings(subject.denoiser) is not None:
        denoisers.pop("bayes", None)
    found: dict[str, Listening] = {}
    for who, denoiser in denoisers.items():
        if denoiser is None:
            continue
        kinds = ("replaced",) if who == "bayes" else ("replaced", "jacobian")
        for kind in kinds:
            part = f"{who}-{kind}"
            compute = partial(_measure, settings, subject, denoiser, kind, f"conditioner, {part}")
            found[part] = keep(part, Listening, compute)
    return found


@dataclass(frozen=True)
class _Inputs:
    """Noisy images, what is told of each, and what is told instead.

    Attributes:
        x_t: (N, C, H, W).
        told, others: (N, M) long, or embeddings (N, M, width).
        names: Of M tokens.
        conditions: What tokens mean; None of a prompt.
    """

    x_t: Tensor
    told: Tensor
    others: Tensor
    names: tuple[str, ...]
    conditions: Conditions | None


def _inputs(subject: "Subject") -> _Inputs:
    common, denoiser = subject.config.probe, subject.denoiser
    check_images(common.images)
    x_0, eps = (
        x.to(denoiser.device) for x in clean_inputs(subject.images, common.images, common.seed)
    )
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([subject.level], device=denoiser.device))
    x_t = alpha * x_0 + sigma * eps
    if (prompt := prompt_embeddings(denoiser)) is not None:
        told = prompt.expand(common.images, -1, -1)
        others = told.mean(1, keepdim=True).expand_as(told)
        names = tuple(f"token {j}" for j in range(prompt.shape[1]))
        return _Inputs(x_t, told, others, names, None)
    conditions = _conditions(subject)
    assert conditions is not None  # for mypy: `unfit` has seen to it
    random = generator(common.seed, "probe")
    words = conditions.grammar.sample(common.images, random)  # those of `clean_inputs`
    told = conditions.of(words, generator(common.seed, "conditions"))
    others = other_tokens(conditions, told, generator(common.seed, "other tokens"))
    what = "cell" if conditions.of_cells else "class"
    names = tuple(f"{what} {j}" for j in range(conditions.tokens))
    device = denoiser.device
    return _Inputs(x_t, told.to(device), others.to(device), names, conditions)


def other_tokens(conditions: Conditions, told: Tensor, random: torch.Generator) -> Tensor:
    """Return for each token another symbol with which the condition is possible: (N, M) long.

    Of several one is drawn; where there is none the token stays.
    """
    found = told.clone()
    first = torch.randint(max(1, conditions.symbols - 1), told.shape, generator=random)
    for j in range(conditions.tokens):
        open_ = torch.ones(len(told), dtype=torch.bool)
        for turn in range(conditions.symbols - 1):
            shift = 1 + (first[:, j] + turn) % (conditions.symbols - 1)
            tried = told.clone()
            tried[:, j] = (told[:, j] + shift) % conditions.symbols
            fits = open_ & conditions.possible(tried)
            found[fits, j] = tried[fits, j]
            open_ = open_ & ~fits
    return found


def _measure(
    settings: ConditionerConfig, subject: "Subject", denoiser: Denoiser, kind: str, told_as: str
) -> Listening:
    common, inputs, t = subject.config.probe, _inputs(subject), subject.level
    random = generator(common.seed, "projections of tokens")
    rows = list(torch.arange(common.images).split(common.batch_size))
    parts = []
    for row in subject.progress(rows, desc=told_as, unit="batch"):
        x_t, told = inputs.x_t[row], inputs.told[row]
        telling: Tell = partial(tell, denoiser, conditions=inputs.conditions)
        if kind == "replaced":
            others = inputs.others[row]
            part = replaced_energies(telling, x_t, t, told, others, subject.regions)
        else:
            embedded = told if told.is_floating_point() else _embedded(denoiser, told)
            part = jacobian_energies(
                telling, x_t, t, embedded, subject.regions, settings.projections, random
            )
        parts.append(part.cpu())
    return Listening.of(
        torch.cat(parts),
        input_sources(subject.images, common.images, common.seed),
        of_cells=inputs.conditions is not None and inputs.conditions.of_cells,
        kind=kind,
        tokens=inputs.names,
        t=t,
        log_snr=denoiser.log_snr(torch.tensor([t])).item(),
        settings={
            "images": common.images,
            "projections": settings.projections if kind == "jacobian" else 0,
            "seed": common.seed,
        },
    )


@torch.no_grad()
def _embedded(denoiser: Any, told: Tensor) -> Tensor:
    embedded: Tensor = denoiser.network.embedding(told)
    return embedded


def _conditions(subject: "Subject") -> Conditions | None:
    if subject.dataset is None:
        return None
    return subject.config.condition.build(subject.dataset.grammar)
