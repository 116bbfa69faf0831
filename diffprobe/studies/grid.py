"""A grid: a question, the runs that answer it, and what is claimed of them before they are made.

In TOML, as a user writes it:

    question = "Does a wider network leave local generation sooner?"
    base = "hypercube-mlp"            # a preset, or a file of settings
    seeds = 3                         # or the seeds themselves, [0, 1, 2]
    measures = ["excess_ldr", "gamma", "grammatical"]
    along = true                      # at every checkpoint

    [fixed]                           # settings that are the same in all runs
    "training.steps" = 1000

    [settings]                        # settings to vary: every value with every other
    "network.width" = [64, 256]

    [[together]]                      # settings that vary hand in hand
    "training.steps" = [500, 1000]
    "training.batch_size" = [128, 64]
    "label.batches" = ["large", "small"]    # a name for them, which changes no run

    [[claims]]
    text = "After training the wider network is the less local one."
    measure = "excess_ldr"
    between = { "network.width" = [256, 64] }
    expect = "less"

    [[figures]]
    y = "excess_ldr"
    colour = "network.width"
"""

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffprobe.config import SEVERAL, Config
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import build, check_seed, overlay, shown, to_settings
from diffprobe.resolution import (
    nested,
    plain_assignment,
    preset_names,
    read_preset,
    read_toml,
    resolve,
)
from diffprobe.studies.claims import Claim
from diffprobe.studies.computations import check_computed, computation
from diffprobe.studies.measures import Measure
from diffprobe.studies.places import (
    BASE,
    LOG_SNR,
    STEP,
    check_place,
    is_label,
    label,
    plain_name,
    told,
)
from diffprobe.studies.table import NUMBERS, StudyTable


@dataclass(frozen=True)
class FigureSpec:
    """What is drawn against what.

    Attributes:
        y: A measure.
        x: A setting that is varied, "step", or "log_snr" for a measure of all noise levels, at the
            last step; by default the step where measures are taken along training, else the first
            setting.
        colour, panel: Settings that tell curves and panels apart; what is left over tells curves
            apart too.
        title: Above the figure; by default the measure.
    """

    y: str
    x: str = ""
    colour: str = ""
    panel: str = ""
    title: str = ""


@dataclass(frozen=True)
class Grid:
    """A question and the runs that answer it.

    Attributes:
        question: In a sentence.
        base: The preset, or the file of settings, that all runs start from, where it is not varied.
        computation: What is computed instead of training; its settings are varied then.
        seeds: Of the runs at each setting; a number n stands for 0 … n - 1.
        measures: What is measured of each run; see `measures.Measure`.
        along: Whether it is measured at every checkpoint.
        fixed: Setting -> value in all runs.
        settings: Setting -> values; every value goes with every other. "base" may be varied too,
            and what begins with "label." is a name only.
        together: Settings whose values go hand in hand.
        claims: What is expected, said before the runs are made.
        figures: What to draw; by default each measure.
        title: What the question is called in short.
    """

    question: str
    seeds: tuple[int, ...]
    measures: tuple[str, ...]
    base: str = ""
    computation: str = ""
    along: bool = False
    fixed: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    together: tuple[dict[str, Any], ...] = ()
    claims: tuple[Claim, ...] = ()
    figures: tuple[FigureSpec, ...] = ()
    title: str = ""

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise UsageError("question is empty: say what the study asks")
        if not self.seeds:
            raise UsageError("seeds is empty: a grid needs one at least, and two for an interval")
        for seed in self.seeds:
            check_seed(seed)
        if len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"seeds has one twice: {list(self.seeds)}")
        if not self.measures:
            raise UsageError('measures is empty: ask for some, such as ["excess_ldr", "loss"]')
        self._check_values()
        for measure in self.measures:
            if Measure.parse(measure).passes and not self.along:
                raise UsageError(f"{measure} is told along training: add along = true")
        known = {name: None if name == STEP else self.values(name) for name in self.places()}
        for i, claim in enumerate(self.claims):
            claim.check(f"claims[{i}]", self.measures, known)
        for i, figure in enumerate(self.figures):
            where = f"figures[{i}]"
            Measure.one_of(figure.y, self.measures, f"{where}.y")
            for key in ("x", "colour", "panel"):
                name = getattr(figure, key)
                if name and not (key == "x" and name == LOG_SNR):
                    check_place(name, list(known), f"{where}.{key}")
            if (figure.x == LOG_SNR) != Measure.parse(figure.y).at_all_levels:
                raise UsageError(
                    f"{where}: a measure of all noise levels, such as excess_ldr@all, goes with "
                    f"x = '{LOG_SNR}', and {figure.y} with x = {figure.x!r} does not"
                )

    def _check_values(self) -> None:
        for key, values in self.settings.items():
            _check_list(values, f"settings.{key!r}")
        seen = {**self.settings}
        for i, group in enumerate(self.together):
            for key, values in group.items():
                _check_list(values, f"together[{i}].{key!r}", again=True)
                if key in seen:
                    raise UsageError(f"{key} is varied twice: in together[{i}] and before")
                seen[key] = values
            if len(sizes := {key: len(values) for key, values in group.items()}) == 0:
                raise UsageError(f"together[{i}] is empty")
            if len(set(sizes.values())) > 1:
                many = ", ".join(f"{key} has {n}" for key, n in sizes.items())
                raise UsageError(f"what varies together has as many values each, but {many}")
            labels = [values for key, values in group.items() if is_label(key)]
            for what in (labels, list(group.values())):
                rows = [tuple(map(label, row)) for row in zip(*what, strict=True)]
                if twice := next((row for row in rows if rows.count(row) > 1), None):
                    raise UsageError(f"together[{i}] has {', '.join(twice)} twice")
        if both := sorted(seen.keys() & {*self.fixed, *([BASE] if self.base else [])}):
            raise UsageError(f"{both[0]} is both fixed and varied")
        check_computed(self.computation, [*seen, *self.fixed], self.measures)
        if self.computation and self.base:
            raise UsageError(f"what {self.computation} computes starts from no base: {self.base!r}")
        if not (self.base or self.computation) and BASE not in seen:
            raise UsageError("a grid needs a 'base', a preset or a file of settings")
        if seeds := [key for key in (*seen, *self.fixed) if key.endswith(".seed")]:
            raise UsageError(f"{seeds[0]} cannot be set: `seeds` are those of everything random")

    def places(self) -> list[str]:
        """Return the settings that are varied, and "step" where measures go along training."""
        varied = [*self.settings, *(key for group in self.together for key in group)]
        return [*varied, STEP] if self.along else varied

    def values(self, name: str) -> list[Any]:
        """Return the values of a setting that is varied."""
        every = {**self.settings, **{k: v for group in self.together for k, v in group.items()}}
        return list(every[name])

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield the varied settings of each combination."""
        axes: list[list[dict[str, Any]]] = [
            [{key: value} for value in values] for key, values in self.settings.items()
        ]
        for group in self.together:
            rows = zip(*group.values(), strict=True)
            axes.append([dict(zip(group, row, strict=True)) for row in rows])
        for parts in itertools.product(*axes):
            yield {key: value for part in parts for key, value in part.items()}

    def in_words(self, varied: Mapping[str, Any], seed: int) -> str:
        """Return where in the grid a cell lies; by its labels, where its group has some."""
        names = told(varied, self.together)
        words = [f"{plain_name(name)} {called(name, varied[name])}" for name in names]
        return ", ".join([*words, f"seed {seed}"])

    def table(self, rows: Sequence[Mapping[str, Any]]) -> StudyTable:
        """Put the rows of the cells together.

        Args:
            rows: "cell", "seed", the cell's setting -> value as "varied", "step" and the number.
        """
        names = [name for name in self.places() if name != STEP]
        found = []
        for row in rows:
            varied = {name: called(name, row["varied"][name]) for name in names}
            one = {"cell": row["cell"], "seed": row["seed"], **varied, STEP: row[STEP]}
            found.append({**one, **{key: row[key] for key in NUMBERS}})
        return StudyTable(
            found,
            {
                name: list(dict.fromkeys(called(name, v) for v in self.values(name)))
                for name in names
            },
            tuple(tuple(group) for group in self.together),
        )

    def bases(self) -> list[str]:
        """Return the presets and files that runs start from."""
        if self.base or self.computation:
            return [self.base] if self.base else []
        found = self.values(BASE)
        for name in found:
            if not isinstance(name, str):
                raise UsageError(f"base must name presets or files, not {shown(name)}")
        return found

    def beside(self, folder: Path) -> "Grid":
        """Return the same with the files that runs start from in a folder."""

        def there(key: str, value: Any) -> Any:
            if key != BASE:
                return value
            return [str(folder / name) if name.endswith(".toml") else name for name in value]

        return replace(
            self,
            base=there(BASE, [self.base])[0],
            settings={key: there(key, value) for key, value in self.settings.items()},
            together=tuple(
                {key: there(key, value) for key, value in group.items()} for group in self.together
            ),
        )

    def size(self) -> int:
        """Return how many cells the grid has, without making them."""
        found = len(self.seeds)
        for values in self.settings.values():
            found *= len(values)
        for group in self.together:
            found *= len(next(iter(group.values())))
        return found

    def takes(self, key: str) -> bool:
        """Whether a setting may be its own: those of computations alone are in no section."""
        return bool(self.computation) == ("." not in key and key.strip() not in SEVERAL)

    def plain(
        self, varied: Mapping[str, Any], seed: int, assignments: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return the settings of one cell in plain terms; see `config`.

        What is computed has "computation" and "seed". Of the assignments those count that the grid
        `takes`: a study may train for one question and compute for another.
        """
        taken = [each for each in assignments if self.takes(each.partition("=")[0])]
        if not self.computation:
            found: dict[str, Any] = to_settings(self.config(varied, seed, taken))
            return found
        given = {k: v for k, v in varied.items() if not is_label(k)}
        assigned = dict(plain_assignment(each) for each in taken)
        computed = computation(self.computation, {**self.fixed, **assigned, **given})
        return {"computation": to_settings(computed), "seed": seed}

    def config(
        self, varied: Mapping[str, Any], seed: int, assignments: Sequence[str] = ()
    ) -> Config:
        """Return the resolved configuration of one cell.

        Args:
            varied: Setting -> value.
            seed: Of everything random.
            assignments: `section.key=value` each, over what is fixed.

        Raises:
            UsageError: If there is no such setting, or its value does not fit.
        """
        name = varied.get(BASE, self.base)
        base = read_toml(Path(name)) if name.endswith(".toml") else read_preset(name)
        varied = {k: v for k, v in varied.items() if k != BASE and not is_label(k)}
        for key, value in _kinds_first(self.fixed).items():
            base = overlay(base, nested(key.split("."), value))
        config = resolve(base=base, assignments=assignments, flags=_kinds_first(varied))
        config = config.with_seed(seed)
        config.check_own()
        return config


def read_grid(path: Path) -> Grid:
    """Read a grid from a TOML file.

    Raises:
        UsageError: If it is not there, is no TOML, or holds what a grid does not know.
    """
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no grid at {path}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        grid = grid_of(settings, path.parent)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    for base in grid.bases():
        if base.endswith(".toml") and not Path(base).exists():
            raise UsageError(f"{path}: base names {base}, and there is no such file")
    return grid


def grid_of(settings: Mapping[str, Any], beside: Path = Path()) -> Grid:
    """Build a grid from settings as its TOML file has them.

    Args:
        settings: Nested.
        beside: The folder that a `base` file is looked for in.

    Raises:
        UsageError: At an unknown key, naming the nearest, or a value that does not fit.
    """
    settings = dict(settings)
    missing = [key for key in ("question", "measures") if key not in settings]
    if missing and not settings.keys() - Grid.__dataclass_fields__.keys():
        raise UsageError(f"a grid needs {', '.join(map(repr, missing))}; see docs/studies.md")
    seeds = settings.setdefault("seeds", 3)
    if type(seeds) is int:
        if not 1 <= seeds <= 1000:
            raise UsageError(f"seeds must be a number from 1 to 1000, or a list, not {seeds}")
        settings["seeds"] = list(range(seeds))
    grid = build(Grid, settings)
    for base in grid.bases():
        if not base.endswith(".toml") and base not in preset_names():
            read_preset(base)  # which says what there is
    return grid.beside(beside)


def called(name: str, value: Any) -> str:
    """Return what a value of a setting is called; a file by its name.

    >>> called("base", "worlds/strip.toml"), called("network.width", 64)
    ('strip', '64')
    """
    return Path(value).stem if name == BASE and value.endswith(".toml") else label(value)


def _kinds_first(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Put first what chooses a kind: it takes the settings of another kind away."""
    return dict(sorted(settings.items(), key=lambda each: not each[0].endswith(".name")))


def _check_list(values: Any, where: str, *, again: bool = False) -> None:
    if not isinstance(values, list | tuple):
        raise UsageError(f"{where} must be a list of values to vary, not {shown(values)}")
    if not values:
        raise UsageError(f"{where} is an empty list")
    if not again and len({label(value) for value in values}) < len(values):
        raise UsageError(f"{where} has a value twice: {shown(list(values))}")
