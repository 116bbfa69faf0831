"""What `diffprobe study show` and `run --dry-run` say of a study, in lines."""

from typing import TYPE_CHECKING

from diffprobe.foundations.progress import clock
from diffprobe.studies.grid import Grid, called
from diffprobe.studies.places import label

if TYPE_CHECKING:
    from diffprobe.studies.cost import Cost  # needs torch, and showing a study does not


def grid_lines(number: int, grid: Grid) -> list[str]:
    """Return a question: what is varied and measured, and what is claimed of it."""
    start = (
        f"computed  {grid.computation}"
        if grid.computation
        else f"base      {grid.base or 'varied'}"
    )
    lines = ["", f"{number}. {grid.question}", f"   {start}"]
    lines += [f"   fixed     {key} = {label(value)}" for key, value in grid.fixed.items()]
    for name in grid.settings:
        values = (called(name, value) for value in grid.values(name))
        lines.append(f"   varied    {name}: {', '.join(values)}")
    for group in grid.together:
        lines.append(f"   together  {', '.join(group)}:")
        rows = zip(*group.values(), strict=True)
        lines += ["             " + " | ".join(map(called, group, row)) for row in rows]
    lines.append(f"   seeds     {', '.join(map(str, grid.seeds))}")
    along = ", at every checkpoint" if grid.along else ""
    lines.append(f"   measures  {', '.join(grid.measures)}{along}")
    lines.append(f"   runs      {grid.size():,}")
    for claim in grid.claims:
        lines += [f"   claim     {claim.text}", f"             {claim.rule()}"]
    return lines


def cost_lines(found: "Cost", workers: int | None) -> list[str]:
    """Return the runs, how many are to do, and what they will take."""
    width = max(len(row["what"]) for row in found.rows)
    lines = [
        f"{row['question']}  {row['cell']}  {row['what']:{width}}  "
        f"{row['parameters']:>12,} parameters  {row['steps']:>8,} steps"
        + ("  done" if row["done"] else "")
        for row in found.rows
    ]
    todo = sum(not row["done"] for row in found.rows)
    lines.append(f"{len(found.rows):,} runs, {todo:,} to do")
    if found.seconds is None:
        lines.append(f"time   not known: {found.how}")
    elif todo:
        each = f", with --workers {workers} as many times less at best" if workers else ""
        lines.append(f"time   {clock(found.seconds)} one after another{each} ({found.how})")
    return lines
