"""The figures of a checkpoint's probes, network and oracles together."""

from typing import TYPE_CHECKING

from diffprobe.datasets import SymbolImages
from diffprobe.figures import COLORS, LINES, figure
from diffprobe.probes import attribution, dynamics, locality, placement

if TYPE_CHECKING:
    from diffprobe.probes.suite import ProbeResults

LABELS = {
    "bayes": "Bayes optimum",
    "product": "product (local) optimum",
    "empirical": "empirical optimum",
    "wiener": "Wiener (best linear)",
    "local-patch": "local patches of training images",
}


def draw(results: "ProbeResults", dataset: SymbolImages) -> None:
    """Store every figure of `results` in its folder, as PNG and SVG."""
    draw_locality(results)
    draw_dependence(results)
    draw_placement(results)
    draw_attribution(results, dataset)
    if results.dynamics is not None:
        draw_dynamics(results.dynamics, results)


def draw_locality(results: "ProbeResults") -> None:
    """LDR of network and oracles over noise levels; below it the excess over the Bayes oracle."""
    network = results.locality["network"]
    with figure(results.folder / "ldr", 6.0, 5.0) as canvas:
        above, below = canvas.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        for name, result in results.locality.items():
            color = COLORS[results.architecture if name == "network" else name]
            label = LABELS.get(name, results.architecture)
            # The network lies on the product oracle when it is local: in front, and thicker.
            front = {"zorder": 3, "linewidth": 2.5} if name == "network" else {}
            style = LINES.get(name, "-")
            locality.plot(result, above, label=label, color=color, linestyle=style, **front)
        length = network.dependence.shape[-1]
        above.axhline(1 / length, color="0.6", lw=1, ls=":", label=f"no locality (1/{length})")
        locality.plot_excess(
            network, results.locality["bayes"], below, color=COLORS[results.architecture]
        )
        for t, text, style in (
            (results.forms_at, "symbols form", "--"),
            (results.grammar_at, "grammar is worth most", "-."),
        ):
            x = network.log_snr[network.at(t)].item()
            above.axvline(x, color="0.5", linewidth=1, linestyle=style, label=text)
            below.axvline(x, color="0.5", linewidth=1, linestyle=style)
        above.set_xlabel("")
        above.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def draw_dependence(results: "ProbeResults") -> None:
    """Dependence matrices of the network (above) and the Bayes oracle, at three noise levels."""
    network = results.locality["network"]
    last = len(network.t) - 1
    levels = sorted({last // 6, network.at(results.grammar_at), last - last // 6})
    with figure(results.folder / "dependence", 7.5, 5.2) as canvas:
        axes = canvas.subplots(2, len(levels), squeeze=False, sharex=True, sharey=True)
        for row, name in zip(axes, ("network", "bayes"), strict=True):
            for ax, level in zip(row, levels, strict=True):
                image = locality.plot_dependence(results.locality[name], ax, level).images[0]
                ax.label_outer()
            row[0].set_ylabel(f"{LABELS.get(name, results.architecture)}\noutput cell")
        canvas.colorbar(image, ax=axes, label="share of ‖J‖² in its row", fraction=0.03)


def draw_placement(results: "ProbeResults") -> None:
    """Gamma and mu over the weight of the grammar."""
    with figure(results.folder / "placement") as canvas:
        ax = canvas.subplots()
        placement.plot(
            results.placement, ax, label=results.architecture, color=COLORS[results.architecture]
        )
        ax.legend(loc="center left", bbox_to_anchor=(1.2, 0.5))


def draw_attribution(results: "ProbeResults", dataset: SymbolImages) -> None:
    """One image's map for the network and the Bayes oracle, side by side or one above the other."""
    _, height, width = dataset.image_shape
    rows, columns = (2, 1) if width > 2 * height else (1, 2)
    inches = min(8.0, 7.5 / columns * rows * height / width + 0.5 * rows)
    with figure(results.folder / "attribution", 7.5, inches) as canvas:
        axes = canvas.subplots(rows, columns).flatten()
        for ax, (name, result) in zip(axes, results.attribution.items(), strict=True):
            attribution.plot(result, ax)
            ax.set_title(
                f"{LABELS.get(name, results.architecture)}: integrated gradients,\n"
                f"cell {result.cell}, log-SNR {result.log_snr:.1f}"
            )


def draw_dynamics(result: "dynamics.Dynamics", results: "ProbeResults") -> None:
    """LDR, gamma, legible and grammatical rates against training step, on shared axes."""
    bayes = results.locality["bayes"]
    with figure(results.folder / "dynamics", 6.5, 3.5) as canvas:
        ax = dynamics.plot(result, canvas.subplots())
        ax.axhline(
            bayes.ldr[bayes.at(result.t)].item(),
            color=COLORS["bayes"],
            lw=1,
            ls="--",
            label="LDR of the Bayes optimum",
        )
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
