"""Checkers of the user's own: beside a grammar, or of images of which no grammar is known.

A validator is a function of one argument, whose name says what it is shown:

    def check(words):      the words read in the legible samples: texts where the name of every
                           symbol is one character, otherwise tuples of names
    def check(images):     a numpy array (N, C, H, W) of float32 in [-1, 1], of all samples whose
                           values are finite and within ±10

An attribute `takes = "words"` or `"images"` says so for a callable whose argument has another name.
What it returns are the kinds of violations: N entries, one for each sample, each a list of names
(or one name, or None); or a dict from names to N booleans.
"""

import contextlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.datasets.stored_images import held
from diffprobe.datasets.symbol_images import BEYOND
from diffprobe.evaluation.verdicts import Verdicts, judge
from diffprobe.foundations.errors import UsageError, ValidatorError, unknown_name
from diffprobe.foundations.statistics import Rate, wilson
from diffprobe.foundations.tables import Table
from diffprobe.sampling.samples import Images, as_pictures, as_samples

TAKES = ("words", "images")


@dataclass(frozen=True)
class Validator:
    """A function that finds violations.

    Attributes:
        name: What it is called in reports: `module:function`.
        takes: What it is shown, "words" or "images".
        function: As this module describes.
    """

    name: str
    takes: str
    function: Callable[[Any], Any]

    @classmethod
    def of(cls, validator: "Validator | Callable[[Any], Any] | str") -> "Validator":
        """Take a function, or the name `module:function` of one.

        Modules in the working directory are found, too.

        Raises:
            UsageError: If there is no such function, or it does not say what it takes.
            ValidatorError: If its module raises an error.
        """
        if isinstance(validator, Validator):
            return validator
        if isinstance(validator, str):
            name, function = validator, _imported(validator)
        else:
            function = validator
            module, own = (getattr(function, key, "") for key in ("__module__", "__name__"))
            name = f"{module}:{own}" if own else type(function).__name__
        parameters = _parameters(function, name)
        takes = getattr(function, "takes", parameters[0] if parameters else None)
        if takes not in TAKES:
            raise UsageError(
                f"the validator {name} must take 'words' or 'images': name its argument so "
                f"(it has {', '.join(parameters) or 'none'}), or set {name.split(':')[-1]}.takes"
            )
        return cls(name, takes, function)


@dataclass(frozen=True, repr=False)
class Checked(Table):
    """What a validator found in N samples.

    Attributes:
        name: Of the validator.
        takes: "words" or "images".
        asked: (N,) bool, the samples that it was shown.
        kinds: Kind -> (N,) bool, most frequent first.
    """

    name: str
    takes: str
    asked: Tensor
    kinds: dict[str, Tensor]

    @property
    def wrong(self) -> Tensor:
        """(N,) bool: samples in which anything was found."""
        none = torch.zeros_like(self.asked)
        return torch.stack([none, *self.kinds.values()]).any(0)

    @property
    def wrong_rate(self) -> Rate:
        """Share of these among the samples it was shown."""
        return wilson(int(self.wrong.sum()), int(self.asked.sum()))

    def rates(self) -> dict[str, Rate]:
        """Return each kind's share among the samples it was shown."""
        n = int(self.asked.sum())
        return {kind: wilson(int(found.sum()), n) for kind, found in self.kinds.items()}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for any violation, and one for each kind."""
        rates = {"any": self.wrong_rate, **self.rates()}
        return [{"kind": kind, **rate.rows()[0]} for kind, rate in rates.items()]

    def summary(self) -> dict[str, Any]:
        """Return the rates, as JSON can hold them."""
        return {
            "name": self.name,
            "takes": self.takes,
            "asked": int(self.asked.sum()),
            "any": self.wrong_rate,
            "kinds": self.rates(),
        }

    def lines(self) -> list[str]:
        """Return the rates in words."""
        seen = "legible samples" if self.takes == "words" else "samples"
        return [
            f"{self.name} finds fault with {self.wrong_rate} of the {seen}.",
            *(f"“{kind}”, by {self.name}: {rate}." for kind, rate in self.rates().items()),
        ]

    def __repr__(self) -> str:
        return f"<Checked {int(self.asked.sum()):,} samples by {self.name}: {self.wrong_rate}>"


def check(
    images: Images,
    validator: Validator | Callable[[Any], Any] | str,
    dataset: SymbolImages | None = None,
    verdicts: Verdicts | None = None,
) -> Checked:
    """Show samples to a validator.

    Args:
        images: N samples, as `as_samples` takes them.
        validator: A function, or its name `module:function`.
        dataset: Whose symbols they show; a validator of words needs it.
        verdicts: Of the samples, where they are judged already.

    Raises:
        UsageError: If there is no such function, it needs a dataset, or returns something else.
        ValidatorError: If it raises an error.
    """
    asked_for = Validator.of(validator)
    samples = as_samples(images) if dataset is None else as_pictures(images, dataset)
    pictures = samples.images
    if len(pictures) == 0:
        raise UsageError("there are no samples to judge")
    shown: Any
    if asked_for.takes == "words":
        if dataset is None:
            raise UsageError(
                f"the validator {asked_for.name} takes words, and without a dataset none is read: "
                "say which with --dataset, or take images"
            )
        verdicts = verdicts or judge(dataset, samples)
        asked, names = verdicts.legible, dataset.glyphs.names
        words = [tuple(names[s] for s in word) for word in verdicts.words[asked].tolist()]
        letters = all(len(name) == 1 for name in names)
        shown = ["".join(word) for word in words] if letters else words
    else:
        whole = held(pictures, f"the validator {asked_for.name} looks at all samples")
        asked = (whole.abs() <= BEYOND).flatten(1).all(1)  # not where it is not a number
        shown = whole[asked].cpu().numpy()
    found = _kinds(_called(asked_for, shown), int(asked.sum()), asked_for.name)
    kinds = {
        kind: torch.zeros_like(asked).masked_scatter(asked, each.to(asked.device))
        for kind, each in found.items()
    }
    return Checked(
        name=asked_for.name,
        takes=asked_for.takes,
        asked=asked,
        kinds=dict(sorted(kinds.items(), key=lambda item: -int(item[1].sum()))),
    )


def _parameters(function: Any, name: str) -> list[str]:
    if not callable(function):
        raise UsageError(f"the validator {name} is no function but {type(function).__name__}")
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:  # written in C
        return []


def _imported(name: str) -> Callable[[Any], Any]:
    module, _, function = name.partition(":")
    if not module or not function:
        raise UsageError(
            f"a validator is named MODULE:FUNCTION, such as checks:fingers; not {name}"
        )
    if module.endswith(".py"):
        better = module.removesuffix(".py").replace("/", ".")
        raise UsageError(f"give the module's name, not its file: {better}:{function}")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        with _told(name, None):
            found = importlib.import_module(module) if _exists(module) else None
    finally:
        sys.path.remove(here)
    if found is None:
        if beside := [path.stem for path in Path.cwd().glob("*.py")]:
            raise unknown_name("module", module, beside)
        raise UsageError(f"no module {module!r} is installed or lies in {here}")
    if not hasattr(found, function):
        own = [n for n, each in vars(found).items() if inspect.isfunction(each)]
        raise unknown_name(f"function in {module}", function, own)
    chosen: Callable[[Any], Any] = getattr(found, function)
    return chosen


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package on the way to it
        return False


def _called(validator: Validator, shown: Any) -> Any:
    try:
        file = inspect.getsourcefile(inspect.unwrap(validator.function))
    except TypeError:  # an object that is called
        file = inspect.getsourcefile(type(validator.function))
    with _told(validator.name, file):
        found = validator.function(shown)
        # What is made one by one may fail while it is.
        return list(found) if isinstance(found, Iterator) else found


@contextlib.contextmanager
def _told(name: str, file: str | None) -> Iterator[None]:
    """Say where in the user's code an error came from; what it prints is no result of ours."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    # Whatever the code of somebody else raises.
    except (Exception, SystemExit) as error:
        what = " ".join(traceback.format_exception_only(error)[-1].split())
        where = _place(error, file)
        raise ValidatorError(f"the validator {name} failed: {what} ({where})") from error


def _place(error: BaseException, file: str | None) -> str:
    """The last line of the user's file that the error went through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {(error.text or '').strip()}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if f.filename == file] or [
        f for f in frames if not f.filename.startswith("<frozen") and f.filename != __file__
    ]
    last = (theirs or list(frames))[-1]
    return f"{last.filename}, line {last.lineno}, in {last.name}: {last.line}"


def _kinds(found: Any, n: int, name: str) -> dict[str, Tensor]:
    """Return kind -> (n,) bool of whatever a validator returned."""
    if isinstance(found, Mapping):
        return {_kind(k, name): _booleans(k, each, n, name) for k, each in found.items()}
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise UsageError(
            f"the validator {name} returned {type(found).__name__}; it must return the kinds of "
            "violations of each sample, or a dict from kinds to booleans"
        )
    entries = list(found)
    if len(entries) != n:
        raise UsageError(
            f"the validator {name} returned {len(entries):,} entries for {n:,} samples"
        )
    kinds: dict[str, Tensor] = {}
    for sample, entry in enumerate(entries):
        if entry is not None and not isinstance(entry, Iterable):
            raise UsageError(
                f"the validator {name} returned {entry!r} for sample {sample}; it must be a list "
                "of names of violations, or return a dict from names to booleans"
            )
        for kind in [entry] if isinstance(entry, str) and entry else entry or ():
            kinds.setdefault(_kind(kind, name), torch.zeros(n, dtype=torch.bool))[sample] = True
    return kinds


def _kind(kind: Any, name: str) -> str:
    if not isinstance(kind, str) or not kind:
        raise UsageError(f"the validator {name} returned {kind!r} where the name of a kind is due")
    return str(kind)


def _booleans(kind: str, found: Any, n: int, name: str) -> Tensor:
    try:
        values = torch.as_tensor(found).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"the validator {name} returned no booleans for “{kind}”: {error}"
        ) from error
    if tuple(values.shape) != (n,):
        raise UsageError(
            f"the validator {name} returned {tuple(values.shape)} values for “{kind}”; "
            f"there are {n:,} samples"
        )
    if values.dtype != torch.bool and not ((values == 0) | (values == 1)).all():
        raise UsageError(f"the validator {name} returned numbers for “{kind}”, not booleans")
    return values.bool()
