"""What of a network can be replaced: whole activations, heads, and the tokens of cells.

    blocks.1.project      the whole of what the module gives
    blocks.1:head2        one head of the attention in it
    blocks.1:own          what it gives at the tokens of the cell in which two words differ
    blocks.1:others       at all other tokens

Where nothing is named they are the modules that write to a network's main stream, attention and
MLP of each block, every head, and the stream itself behind each block by tokens: in the whole it
carries everything.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from einops import reduce
from torch import Tensor, nn

from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.hidden_states.activations import default_layers
from diffprobe.probes.patching.edits import (
    ATTENTION,
    GIVEN,
    edited,
    network_of,
    watched_attention,
)
from diffprobe.probing.regions import Regions

# Names, in our networks and in diffusers', of what a block adds to the stream that goes by it.
WRITERS = ("project", "mlp", "fall", "attn", "attn1", "attn2", "ff")
# The network itself: all that it computes.
WHOLE = "network"
# Behind the name of a module, what of it is at some tokens only.
OWN, OTHERS = ":own", ":others"

Tokens = Literal["all", "own", "others"]


@dataclass(frozen=True)
class Component:
    """A part of a network's activations.

    Attributes:
        name: Such as "blocks.1:head2".
        site: Where it passes by; see `edits`.
        head: Its place on the second axis of an attention; None for all.
        tokens: At which tokens: all, those of the cell that differs, or the others.
    """

    name: str
    site: str
    head: int | None = None
    tokens: Tokens = "all"


@dataclass(frozen=True)
class Components:
    """The components of a network.

    Attributes:
        parts: In the order in which the network runs them; first the network as a whole.
        owners: Site -> the region of each token of what passes there, one tensor after another:
            region numbers of the shape of the tokens, -1 for those of none.
        looking: Modules with an attention between tokens of cells.
    """

    parts: tuple[Component, ...]
    owners: dict[str, list[Tensor]]
    looking: tuple[str, ...]

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site of a component, once."""
        return tuple(dict.fromkeys(part.site for part in self.parts))


@torch.no_grad()
def components_of(denoiser: Denoiser, patterns: Sequence[str], regions: Regions) -> Components:
    """Return the components of a denoiser's network.

    Args:
        denoiser: Run once, on an image of zeros, to see what passes where.
        patterns: Names of modules; `*` stands for any part of a name between points, `**` for any
            number of parts, and `:in` behind one for what the module is given. None is every writer
            and the blocks.
        regions: R regions; tokens are told apart where each region has tokens of its own.

    Raises:
        UsageError: If a pattern fits no module (the nearest are named), or none that runs.
    """
    network = network_of(denoiser)
    whole, by_tokens = _chosen(denoiser, network, patterns)
    seen, looking = _passing(denoiser, network, {*whole, *by_tokens}, regions)
    if patterns and (unused := [site for site in whole if site not in seen]):
        raise UsageError(f"the module {unused[0]} is not used by the network, or gives no tensor")
    owners = {}
    parts = [Component(WHOLE, "")]
    for site, values in seen.items():
        if site.endswith(ATTENTION):
            name = site.removesuffix(ATTENTION)
            if not patterns or any(_within(name, module) for module in whole):
                heads = range(values[0].shape[1])
                parts += [Component(f"{name}:head{h}", site, h) for h in heads]
            continue
        if site in whole:
            parts.append(Component(site, site))
        if site in by_tokens and (told := _owners(values, network, regions)):
            owners[site] = told
            parts.append(Component(site + OWN, site, tokens="own"))
            parts.append(Component(site + OTHERS, site, tokens="others"))
    heard = {part.site.removesuffix(ATTENTION) for part in parts if part.head is not None}
    return Components(tuple(parts), owners, tuple(name for name in looking if name in heard))


def matching(names: Sequence[str], pattern: str) -> list[str]:
    """Return the names of modules that fit a pattern.

    >>> matching(["blocks", "blocks.0", "blocks.0.mlp", "blocks.1"], "blocks.*")
    ['blocks.0', 'blocks.1']
    >>> matching(["blocks.0", "blocks.0.mlp"], "**.mlp")
    ['blocks.0.mlp']
    """
    stands = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    pieces = re.split(r"(\*\*|\*|\?)", pattern)
    form = re.compile("".join(stands.get(piece, re.escape(piece)) for piece in pieces))
    return [name for name in names if form.fullmatch(name)]


def region_of_tokens(shape: Sequence[int], network: nn.Module, regions: Regions) -> Tensor | None:
    """Return the region of each token: -1 for one of none; None where regions have no own tokens.

    Args:
        shape: Of an activation: (B, tokens, D), or (B, D, h, w), whose positions are the tokens.
        network: Its configuration may tell its patches.
        regions: R regions of the image.

    Returns:
        Long, (tokens,) or (h, w).
    """
    height, width = regions.masks.shape[2:]
    if len(shape) == 4:
        grid: tuple[int, int] | None = (shape[2], shape[3])
    elif len(shape) == 3:
        grid = _token_grid(shape[1], network, height, width)
    else:
        return None
    if grid is None or height % grid[0] or width % grid[1]:
        return None
    rows, columns = grid
    covered = reduce(
        regions.masks[:, 0].double(), "r (i h) (j w) -> r i j", "mean", i=rows, j=columns
    )
    owner = torch.where(covered.amax(0) > 0.5, covered.argmax(0), -1)
    if len(owner[owner >= 0].unique()) < len(regions):
        return None
    return owner if len(shape) == 4 else owner.flatten()


def _passing(
    denoiser: Denoiser, network: nn.Module, sites: Iterable[str], regions: Regions
) -> tuple[dict[str, list[Tensor]], list[str]]:
    """What passes each site, and each attention, of one image, in the order of the run.

    Beside it the modules whose attention is between tokens of cells.
    """
    seen: dict[str, list[Tensor]] = {}
    looking: list[str] = []

    def note(site: str, value: Tensor) -> Tensor:
        seen.setdefault(site, []).append(value)
        return value

    def look(name: str, query: Tensor, key: Tensor, how: Any, heard: Tensor) -> Tensor:
        tokens = query.shape[2]
        alike = tokens == key.shape[2] and name not in looking
        if alike and region_of_tokens((1, tokens, 1), network, regions) is not None:
            looking.append(name)
        return note(name + ATTENTION, heard)

    x_t = torch.zeros(1, *regions.masks.shape[1:], device=denoiser.device)
    t = torch.full((1,), denoiser.timesteps // 2, device=denoiser.device)
    edits = {site: partial(note, site) for site in sites}
    with edited(network, edits), watched_attention(network, look):
        denoiser(x_t, t)
    return seen, looking


def _chosen(
    denoiser: Denoiser, network: nn.Module, patterns: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The sites that are patched as a whole, and those that are patched by tokens."""
    modules = {n: m for n, m in network.named_modules() if n and not isinstance(m, nn.ModuleList)}
    if patterns:
        found = []
        for pattern in patterns:
            fits = matching(list(modules), pattern.removesuffix(GIVEN))
            if not fits:
                raise unknown_name("module", pattern, modules)
            found += [n + GIVEN if pattern.endswith(GIVEN) else n for n in fits]
        return found, found
    blocks = list(default_layers(denoiser))
    writers = [n for n in modules if _writes(n) and any(n.startswith(f"{b}.") for b in blocks)]
    return writers or blocks, blocks


def _writes(name: str) -> bool:
    """Whether a module is called as one that writes, or is one in a list that is called so."""
    parts = name.split(".")
    in_list = parts[-1].isdigit() and parts[-2:-1] in (["attentions"], ["resnets"])
    return in_list or parts[-1] in WRITERS


def _within(name: str, site: str) -> bool:
    module = site.removesuffix(GIVEN)
    return name == module or name.startswith(f"{module}.")


def _owners(seen: Sequence[Tensor], network: nn.Module, regions: Regions) -> list[Tensor]:
    """The region of each token of every tensor that passes a site; none where one has no tokens."""
    found = [region_of_tokens(value.shape, network, regions) for value in seen]
    return [owner for owner in found if owner is not None] if None not in found else []


def _token_grid(n: int, network: nn.Module, height: int, width: int) -> tuple[int, int] | None:
    """Rows and columns of `n` tokens: by the network's own patches, or else by square ones."""
    config = getattr(network, "config", {})
    patch = config.get("patch")
    if patch is not None and n == (height // patch[0]) * (width // patch[1]):
        return height // patch[0], width // patch[1]
    side = (height * width // n) ** 0.5 if n else 0.0
    if not side.is_integer() or not side or (height // int(side)) * (width // int(side)) != n:
        return None
    return height // int(side), width // int(side)
