"""Laws fitted to some curves and judged on others, and their record."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffprobe.foundations.errors import NotFoundError, offer_nearest, unknown_name
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import read_record, write_record
from diffprobe.laws.comparison import Errors, errors_of, mean_errors
from diffprobe.laws.curves import Curve
from diffprobe.laws.fitting import Fit, any_falls, fit
from diffprobe.laws.law import LAWS, MultiPower, NoDrop
from diffprobe.laws.profile import Profile, profile
from diffprobe.laws.uncertainty import Uncertainty, uncertainty_of

NAME = "law.json"
SCHEMA = "diffprobe-law/1"
DEFAULT = MultiPower.name


@dataclass(frozen=True)
class Judgement:
    """One law, and how it does.

    Attributes:
        fit: Its parameters.
        uncertainty: How far its predictions may be off.
        fitted, held_out: Its errors by the names of curves.
    """

    fit: Fit
    uncertainty: Uncertainty
    fitted: dict[str, Errors]
    held_out: dict[str, Errors]

    @property
    def mean(self) -> Errors:
        """The mean over the curves that were held out, or, without any, over those fitted."""
        return mean_errors([*(self.held_out or self.fitted).values()])


@dataclass(frozen=True)
class LawRecord:
    """What `judge` found, as `law.json` holds it.

    Attributes:
        laws: By name.
        profile: Of beta of the multi-power law; None where it was not fitted.
        warm_up: Steps of the longest warm-up of the curves.
        reach: The largest sum of rates of the fitted curves, over the peak, in steps.
    """

    laws: dict[str, Judgement]
    profile: Profile | None
    warm_up: int
    reach: float

    def law(self, name: str = DEFAULT) -> Judgement:
        """Return one of the laws.

        Raises:
            UsageError: If it was not fitted, naming the nearest that was.
        """
        if name not in self.laws:
            raise unknown_name("law", name, self.laws)
        return self.laws[name]

    def write(self, folder: Path) -> Path:
        """Write `law.json` into a folder, and return its path."""
        write_record(folder / NAME, self, schema=SCHEMA)
        return folder / NAME

    @classmethod
    def read(cls, path: Path) -> "LawRecord":
        """Read what `write` wrote: a folder, or the file in it.

        Raises:
            NotFoundError: If there is none.
            CheckpointError: If it is damaged.
        """
        file = path / NAME if path.is_dir() else path
        if not file.exists():
            raise NotFoundError(
                f"no law at {path}{offer_nearest(path)}; fit one: diffprobe law fit CURVE …"
            )
        found: LawRecord = read_record(file, cls, schema=SCHEMA)
        return found


def judge(
    curves: Sequence[Curve], held_out: Sequence[Curve] = (), *, progress: Progress = silent
) -> LawRecord:
    """Fit every law to curves and tell its errors on others.

    Where no rate falls, only the law without a drop is fitted.

    Args:
        curves: To fit.
        held_out: To judge by, which are not fitted.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there are no curves.
        UnfittedLawError: If a law does not converge.
    """
    found = {}
    for law in LAWS.values() if any_falls(curves) else (NoDrop(),):
        fitted = fit(law, curves, progress=progress)
        found[law.name] = Judgement(
            fitted,
            uncertainty_of(fitted, curves).widened(fitted, held_out),
            {curve.name: errors_of(fitted, curve) for curve in curves},
            {curve.name: errors_of(fitted, curve) for curve in held_out},
        )
    ours = found.get(DEFAULT)
    return LawRecord(
        laws=found,
        profile=profile(ours.fit, curves, ours.uncertainty, progress=progress) if ours else None,
        warm_up=max(curve.warm_up for curve in curves),
        reach=max(curve.reach for curve in curves) / max(c.schedule.peak for c in curves),
    )
