"""Reading and replacing what parts of a network compute, while it runs.

A *site* is where an activation passes by. It is named as PyTorch names the module, relative to the
network:

    blocks.2              what the module returns; "" is the network itself
    blocks.2:in           what it is given first
    blocks.2:attention    what its attention gives, (B, heads, tokens, d), before heads are joined

Modules are reached by forward hooks. Attention is reached where it is computed, in the call of
PyTorch's `scaled_dot_product_attention` within the module, so that queries and keys are those that
count, after whatever norms and rotations a network has, and no network need be made for it: our
transformer and diffusers' processors all call it. Everything is put back when a context ends,
whatever happened in it.

In the manner of TransformerLens and nnsight, whose hook points and interventions these are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from diffprobe.models.denoiser import Denoiser, NetworkDenoiser

ATTENTION = ":attention"
GIVEN = ":in"

# From an activation to what takes its place.
Edit = Callable[[Tensor], Tensor]
# Called with the innermost module that runs, queries, keys and what the call returns.
Watch = Callable[[str, Tensor, Tensor, Mapping[str, Any], Tensor], Tensor]


def network_of(denoiser: Denoiser) -> nn.Module:
    """Return the network whose modules have names."""
    network: nn.Module = denoiser.network if isinstance(denoiser, NetworkDenoiser) else denoiser
    return network


@contextmanager
def edited(network: nn.Module, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Replace activations within: every tensor that passes a site is what its edit returns.

    Args:
        network: Whose modules are named.
        edits: Site -> edit, called for each tensor in the order in which they pass.
    """
    modules = dict(network.named_modules())
    with ExitStack() as stack:
        attending = {
            s.removesuffix(ATTENTION): e for s, e in edits.items() if s.endswith(ATTENTION)
        }
        for site, edit in edits.items():
            if site.endswith(ATTENTION):
                continue
            handle = _hook(modules[site.removesuffix(GIVEN)], edit, given=site.endswith(GIVEN))
            stack.callback(handle.remove)
        if attending:
            stack.enter_context(
                watched_attention(
                    network,
                    lambda name, query, key, how, heard: (
                        attending[name](heard) if name in attending else heard
                    ),
                )
            )
        yield


@contextmanager
def recorded(network: nn.Module, sites: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Yield site -> the tensors that pass it within, in order."""
    found: dict[str, list[Tensor]] = {site: [] for site in sites}

    def record(site: str, value: Tensor) -> Tensor:
        found[site].append(value)
        return value

    def recorder(site: str) -> Edit:
        return lambda value: record(site, value)

    with edited(network, {site: recorder(site) for site in sites}):
        yield found


def replayed(values: Sequence[Tensor]) -> Edit:
    """Return the edit that puts recorded `values`, one after another, for what passes."""
    left = iter(values)
    return lambda _: next(left)


@contextmanager
def watched_attention(network: nn.Module, watch: Watch) -> Iterator[None]:
    """Call `watch` at each attention within; what it returns goes on.

    Args:
        network: Whose modules are named.
        watch: Takes the name of the innermost module that runs, queries and keys (B, heads,
            tokens, d), what else the attention was told, and what it gives.
    """
    running: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: running.append(name)

    def leave(*_: Any) -> None:
        running.pop()

    with ExitStack() as stack:
        for name, module in network.named_modules():
            stack.callback(module.register_forward_pre_hook(enter(name)).remove)
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        stack.enter_context(_Attention(running, watch))
        yield


def attention_weights(query: Tensor, key: Tensor, how: Mapping[str, Any]) -> Tensor:
    """Return the weights of an attention: (B, heads, queries, keys), each row adding up to 1.

    Args:
        query, key: (B, heads, tokens, d); keys may have fewer heads, which are shared then.
        how: `scale` and `attn_mask`, as PyTorch's attention takes them.
    """
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scale = how.get("scale")
    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    mask = how.get("attn_mask")
    if mask is not None:
        logits = (
            logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
        )
    weights: Tensor = logits.softmax(-1)
    return weights


class _Attention(TorchFunctionMode):
    """Lets every call of PyTorch's attention within a module be seen, and its result replaced."""

    def __init__(self, running: Sequence[str], watch: Watch) -> None:
        super().__init__()
        self.running = running
        self.watch = watch

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        arguments: tuple[Any, ...] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        found = function(*arguments, **(options or {}))
        if function is not scaled_dot_product_attention or not self.running:
            return found
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        told = {**dict(zip(names, arguments, strict=False)), **(options or {})}
        return self.watch(self.running[-1], told["query"], told["key"], told, found)


def _hook(module: nn.Module, edit: Edit, *, given: bool) -> Any:
    if not given:
        return module.register_forward_hook(lambda _, arguments, result: _mapped(result, edit))

    def replace(
        _: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[Any, Any]:
        if arguments:
            return (_mapped(arguments[0], edit), *arguments[1:]), options
        first = next(iter(options))
        return arguments, {**options, first: _mapped(options[first], edit)}

    return module.register_forward_pre_hook(replace, with_kwargs=True)


def _mapped(value: Any, edit: Edit) -> Any:
    """Edit every tensor of what a module returns: a tensor, a tuple, or an output of diffusers."""
    if isinstance(value, Tensor):
        return edit(value)
    if isinstance(value, tuple | list):
        return type(value)(_mapped(part, edit) for part in value)
    if isinstance(value, Mapping):
        changed = {key: _mapped(part, edit) for key, part in value.items()}
        return type(value)(**changed)
    return value
