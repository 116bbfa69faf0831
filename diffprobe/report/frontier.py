"""The frontier of a pool, as tables to paste and as a figure."""

from pathlib import Path

from matplotlib.axes import Axes

from diffprobe.foundations.figures import COLORS, SERIES, figure
from diffprobe.frontier import Frontier
from diffprobe.report.comparison import rate_cell


def markdown(result: Frontier) -> str:
    """Return three tables to paste: the pool with its gaps, its points, and the envelope."""
    rows = ["| member | REG [95 % interval], rate × octaves | mean difference |", "|---|---|---|"]
    told = [*result.gaps, *([result.to_optimum] if result.to_optimum else [])]
    rows += [f"| {gap.name} | {gap.reg} | {gap.mean} |" for gap in told]
    rows += ["", "| member | evaluations | valid |", "|---|---|---|"]
    for curve in result.pool:
        for spent, rate in zip(curve.evaluations, curve.rates(), strict=True):
            rows.append(f"| {curve.name} | {spent:.4g} | {rate_cell(rate)} |")
    rows += ["", "| budget | envelope | chosen | optimum |", "|---|---|---|---|"]
    for index, budget in enumerate(result.budgets):
        best = rate_cell(result.optimum[index]) if result.optimum else "left out"
        rows.append(
            f"| {budget:g} | {rate_cell(result.envelope[index])} | {result.best[index]} | {best} |"
        )
    return "\n".join(rows) + "\n"


def draw(result: Frontier, path: Path) -> None:
    """Store the pool, its envelope and the optimum's by budget, as `path`.png and .svg."""
    height = max(3.2, 0.8 + 0.18 * (len(result.pool) + 2))
    with figure(path, 7.0, height) as canvas:
        ax = plot(result, canvas.subplots())
        handles, labels = ax.get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside right center")


def plot(result: Frontier, ax: Axes) -> Axes:
    """Draw each member's rate of valid samples by budget, the envelope as steps, the optimum.

    The band is the 95 % interval of the envelope's rate; the legend has each member's REG.
    """
    for index, (curve, gap) in enumerate(zip(result.pool, result.gaps, strict=True)):
        ax.plot(
            curve.evaluations,
            [rate.value or 0.0 for rate in curve.rates()],
            color=SERIES[index % len(SERIES)],
            marker="osD^vP*X"[index % 8],
            markersize=4,
            linewidth=1.2,
            label=f"{curve.name}: REG {gap.reg.value:.2f}",
        )
    budgets = list(result.budgets)
    values = [rate.value or 0.0 for rate in result.envelope]
    color = COLORS["grammatical"]
    ax.fill_between(
        budgets,
        [rate.low for rate in result.envelope],
        [rate.high for rate in result.envelope],
        color=color,
        alpha=0.15,
        linewidth=0,
    )
    ax.plot(budgets, values, color=color, linewidth=3, alpha=0.6, label="envelope of the pool")
    if result.optimum is not None:
        best = [rate.value or 0.0 for rate in result.optimum]
        ax.plot(budgets, best, color=COLORS["bayes"], linestyle="--", label="Bayes optimum")
    ax.set(
        xscale="log",
        xlabel="function evaluations",
        ylabel="valid: legible and grammatical",
        ylim=(-0.03, 1.03),
    )
    ax.set_xticks(budgets, [f"{budget:g}" for budget in budgets])
    ax.minorticks_off()
    return ax
