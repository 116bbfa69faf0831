"""The optimizers that a configuration can name: AdamW, and all of `torch.optim` that fit.

What PyTorch brings is lent: a kind of that name whose settings are the arguments of the class.
"""

import dataclasses
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


class OptimizerKind(Kind, ABC):
    """Settings of an optimizer; the learning rate is set at every step."""

    role: ClassVar[str] = "optimizer"

    @abstractmethod
    def build(self, parameters: "Iterable[nn.Parameter]") -> "Optimizer":
        """Return the optimizer.

        Raises:
            UsageError: If a setting is out of range.
        """


# Needs a closure, gradients that are sparse, or weights that are all matrices.
UNFIT = ("LBFGS", "SparseAdam", "Muon")


class _Lent(OptimizerKind):
    """An optimizer of PyTorch; its fields are the arguments of the class."""

    optimizer: ClassVar[Any]

    def __post_init__(self) -> None:
        import torch

        self.build([torch.nn.Parameter(torch.zeros(1))])

    def build(self, parameters: "Iterable[nn.Parameter]") -> "Optimizer":
        """Return the optimizer; see `OptimizerKind.build`."""
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        try:
            made: Optimizer = self.optimizer(parameters, lr=1.0, **settings)
        except (ValueError, TypeError, RuntimeError) as error:
            raise UsageError(f"the optimizer {self.name} refuses its settings: {error}") from error
        return made


def lent_names() -> list[str]:
    """Return the names of PyTorch's optimizers that fit, in small letters."""
    return sorted(name.lower() for name in _classes())


@functools.cache
def lent(name: str) -> type[Kind] | None:
    """Return the kind of the PyTorch optimizer of that name; None if there is none."""
    found = {each.lower(): cls for each, cls in _classes().items()}.get(name.lower())
    if found is None:
        return None
    fields = [
        (argument.name, *_setting(argument.annotation, argument.default))
        for argument in inspect.signature(found).parameters.values()
        if argument.name not in ("params", "lr") and _plain(argument.default)
    ]
    told = {
        "name": name,
        "optimizer": found,
        "__doc__": f"{found.__name__} of torch.optim, with its own settings.",
    }
    return dataclasses.make_dataclass(
        f"{found.__name__}Config", fields, bases=(_Lent,), namespace=told, frozen=True
    )


def _setting(annotation: Any, default: Any) -> tuple[Any, Any]:
    """The type of an argument and its field; PyTorch writes 0 where it means 0.0."""
    if isinstance(default, tuple):
        return tuple[(float,) * len(default)], dataclasses.field(default=default)  # type: ignore[misc]
    kind = annotation if annotation in (float, int, bool, str) else type(default)
    if "float" in str(annotation):
        kind = float
    return kind, dataclasses.field(default=kind(default))


def _plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(each, float | int) for each in value)
    return isinstance(value, bool | int | float | str)


def _classes() -> dict[str, Any]:
    from torch import optim

    return {
        name: cls
        for name, cls in vars(optim).items()
        if inspect.isclass(cls)
        and issubclass(cls, optim.Optimizer)
        and cls is not optim.Optimizer
        and name not in UNFIT
    }
