"""The samplers that a configuration can name: ours, one a file, and all of diffusers' schedulers.

What diffusers brings is lent: a kind of the scheduler's name, with an `eta` where it has one.
"""

import ast
import dataclasses
import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.kinds import Kind, announced
from diffprobe.foundations.settings import check_share

if TYPE_CHECKING:
    from diffprobe.models.noise_schedule import NoiseSchedule
    from diffprobe.sampling.paths import NoisePath


FLOW = "FlowMatchEulerDiscreteScheduler"  # the one of diffusers' schedulers that is for flows


class SamplerKind(Kind, ABC):
    """Settings of a sampler; how many steps it takes is the sampling's.

    Attributes:
        flows: Whether it follows a flow, too.
    """

    role: ClassVar[str] = "sampler"
    flows: ClassVar[bool] = False

    @abstractmethod
    def path(self, schedule: "NoiseSchedule", steps: int) -> "NoisePath":
        """Return the way from noise to images, for one batch.

        Args:
            schedule: The denoiser's.
            steps: How many.

        Raises:
            UsageError: If the sampler is not for this schedule.
        """

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that are not the default."""
        found = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if (value := getattr(self, field.name)) != field.default:
                found[field.name] = value
        return found

    @property
    def title(self) -> str:
        """What it is called in figures and tables."""
        settings = (f"{key} {_short(value)}" for key, value in self.changed.items())
        return ", ".join([self.name, *settings])

    @property
    def label(self) -> str:
        """The settings for a file's name, such as `_eta-0.5`; empty where all are the default."""
        return "".join(f"_{key}-{_short(value)}" for key, value in self.changed.items())


def for_flows() -> list[str]:
    """Return the names of the samplers that follow a flow."""
    ours = {
        name: cast(type[SamplerKind], kind.load()) for name, kind in announced("sampler").items()
    }
    return [*(name for name, kind in ours.items() if kind.flows), FLOW]


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return "to".join(map(_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class _Lent(SamplerKind):
    """A scheduler of diffusers."""

    def __post_init__(self) -> None:
        if (reason := _unfit(self.name)) is not None:
            raise UsageError(f"sampler {self.name} cannot be used here: {reason}")

    def path(self, schedule: "NoiseSchedule", steps: int) -> "NoisePath":
        """Return its path; see `SamplerKind.path`."""
        from diffprobe.sampling.paths import FlowPath, SchedulerPath

        if self.name == FLOW:
            if not schedule.is_flow:
                raise UsageError(
                    f"sampler {FLOW} cannot be used here: it is for flow matching, and this is a "
                    "diffusion"
                )
            return FlowPath(schedule, steps)
        eta = {key: value for key, value in vars(self).items() if key == "eta"}
        return SchedulerPath(self.name, schedule, steps, scheduler=self.name, step_options=eta)


class _LentWithEta(_Lent):
    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(eta=self.eta)  # type: ignore[attr-defined]


def lent_names() -> list[str]:
    """Return the names of diffusers' scheduler classes, without importing it."""
    return sorted(_files())


@functools.cache
def lent(name: str) -> type[Kind] | None:
    """Return the kind of the diffusers scheduler of that name; None if there is none."""
    if name not in _files():
        return None
    has_eta = "eta" in [argument.arg for argument in _arguments(_step(name))]
    return dataclasses.make_dataclass(
        f"{name}Config",
        [("eta", float, dataclasses.field(default=0.0))] if has_eta else [],
        bases=(_LentWithEta if has_eta else _Lent,),
        namespace={"name": name, "__doc__": f"{name} of diffusers."},
        frozen=True,
    )


@functools.cache
def _files() -> Mapping[str, Path]:
    """Scheduler class -> its file, from what diffusers' own list of lazy imports says."""
    spec = find_spec("diffusers")
    if spec is None or spec.origin is None:
        return {}
    folder = Path(spec.origin).parent / "schedulers"
    public = set(re.findall(r'"(\w+)"', Path(spec.origin).read_text("utf-8")))
    listed = re.findall(
        r'_import_structure\["(\w+)"\] = \[([^\]]*)\]', (folder / "__init__.py").read_text("utf-8")
    )
    return {
        name: folder / f"{module}.py" if module != "deprecated" else folder / module
        for module, classes in listed
        for name in re.findall(r'"(\w+Scheduler)"', classes)
        if name in public
    }


@functools.cache
def _source(name: str) -> ast.ClassDef | None:
    """The source of a scheduler's class."""
    place = _files()[name]
    files = sorted(place.glob("*.py")) if place.is_dir() else [place]
    for file in files if place.exists() else []:
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
    return None


def _step(name: str) -> ast.FunctionDef | None:
    """The source of a scheduler's `step`."""
    source = _source(name)
    parts = [] if source is None else source.body
    found = [f for f in parts if isinstance(f, ast.FunctionDef) and f.name == "step"]
    return found[0] if found else None


def _arguments(step: ast.FunctionDef | None) -> list[ast.arg]:
    return [] if step is None else [*step.args.args, *step.args.kwonlyargs]


def _unfit(name: str) -> str | None:
    """Why a scheduler cannot follow a denoiser's noise levels; None where it can.

    Told by its source, so that nothing need be imported to say so, and a later version of
    diffusers needs no list.
    """
    if name == FLOW:
        return None
    if "Inverse" in name:
        return "it goes from images to noise"
    source, step = _source(name), _step(name)
    if step is None or source is None:
        return "it has no step that takes x0_hat"
    needed = [argument.arg for argument in step.args.args[1:]]
    needed = needed[: len(needed) - len(step.args.defaults)]
    if needed[:1] != ["model_output"] or len(needed) > 3:
        return f"its step takes {', '.join(needed)}"
    named = {node.attr for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    named |= {node.arg for node in ast.walk(source) if isinstance(node, ast.arg)}
    if "alphas_cumprod" not in named or "snr_shift_scale" in named:
        return "it has noise levels of its own, and not those of the denoiser's diffusion"
    return None
