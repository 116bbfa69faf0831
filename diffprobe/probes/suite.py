"""All probes of a checkpoint at once: numbers as JSON and figures beside them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from diffprobe.atomic import write_text
from diffprobe.config import Config
from diffprobe.datasets import SymbolImages, build_dataset
from diffprobe.errors import CheckpointError
from diffprobe.figures import COLORS, figure
from diffprobe.models.checkpoint import find_checkpoint, load_denoiser
from diffprobe.probes import attribution, dynamics, locality
from diffprobe.probes.noise_levels import symbols_form_at
from diffprobe.progress import Progress, silent
from diffprobe.training.run_folder import run_of_checkpoint


@dataclass(frozen=True)
class ProbeResults:
    """What the probes found at one checkpoint, and where it is written.

    Attributes:
        folder: Holds a JSON file and figures for each probe.
        step: Training step of the checkpoint.
        forms_at: The noise level at which symbols form.
        locality: LDR and dependence over noise levels, that level among them.
        attribution: One cell's integrated gradients, at that level.
        dynamics: Along training, if asked for.
    """

    folder: Path
    step: int | None
    forms_at: int
    locality: locality.Locality
    attribution: attribution.Attribution
    dynamics: dynamics.Dynamics | None

    @property
    def ldr(self) -> tuple[float, float]:
        """LDR where symbols form, and its standard error."""
        index = self.locality.at(self.forms_at)
        return self.locality.ldr[index].item(), self.locality.ldr_error[index].item()

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers and the files."""
        ldr, error = self.ldr
        index = self.locality.at(self.forms_at)
        return {
            "folder": str(self.folder),
            "step": self.step,
            "symbols_form_at": {
                "t": self.forms_at,
                "log_snr": self.locality.log_snr[index].item(),
            },
            "ldr": {
                "variant": self.locality.settings["variant"],
                "value": ldr,
                "standard_error": error,
                "images": self.locality.settings["images"],
            },
            "attribution_local_share": self.attribution.local_share.mean().item(),
            "figures": [str(p) for p in sorted(self.folder.glob("*.png"))],
        }


def probe_checkpoint(
    checkpoint: str | Path,
    config: Config | None = None,
    *,
    steps: Literal["last", "all"] = "last",
    out: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> ProbeResults:
    """Measure LDR, dependence and attribution of a checkpoint, and draw them.

    Args:
        checkpoint: A run folder (its latest checkpoint) or a checkpoint folder in one.
        config: Settings of the probes and of the sampler; by default the run's own.
        steps: "all" also goes along all checkpoints of the run.
        out: Where to write; `probes/step-…/` in the run folder by default.
        device: Where to work.
        progress: Called as tqdm is.

    Raises:
        CheckpointError: If there is no such checkpoint, or it belongs to no run.
    """
    found = find_checkpoint(Path(checkpoint))
    run = run_of_checkpoint(found.path)
    if run is None:
        raise CheckpointError(
            f"{checkpoint} is not part of a run folder of diffprobe train: its dataset is unknown"
        )
    config = config or run.config()
    dataset = build_dataset(config)
    denoiser = load_denoiser(found.path, config.sampling.weights, device)
    forms_at = symbols_form_at(denoiser, dataset, seed=config.probe.seed)
    results = ProbeResults(
        folder=out or run.path / "probes" / found.path.name,
        step=found.step,
        forms_at=forms_at,
        locality=locality.measure(
            denoiser, dataset, config.probe, include=forms_at, progress=progress
        ),
        attribution=attribution.measure(denoiser, dataset, config.probe, t=forms_at),
        dynamics=dynamics.measure(
            run.path,
            dataset,
            config.probe,
            config.sampling,
            t=forms_at,
            device=device,
            progress=progress,
        )
        if steps == "all"
        else None,
    )
    _write(results, config, dataset)
    return results


def _write(results: ProbeResults, config: Config, dataset: SymbolImages) -> None:
    folder = results.folder
    _write_json(folder / "locality.json", results.locality.to_json())
    _write_json(folder / "attribution.json", results.attribution.to_json())
    color = COLORS[config.model.name]
    with figure(folder / "ldr") as canvas:
        ax = canvas.subplots()
        locality.plot(results.locality, ax, label=config.model.name, color=color)
        index = results.locality.at(results.forms_at)
        ax.axvline(
            results.locality.log_snr[index].item(),
            color="0.6",
            linewidth=1,
            linestyle="--",
            label="symbols form",
        )
        ax.legend(loc="lower left")
    with figure(folder / "dependence", 9.0, 3.0) as canvas:
        last = len(results.locality.t) - 1
        chosen = (last // 6, results.locality.at(results.forms_at), last - last // 6)
        for ax, level in zip(canvas.subplots(1, 3), chosen, strict=True):
            locality.plot_dependence(results.locality, ax, level)
    with figure(folder / "attribution", 6.0, _map_height(dataset)) as canvas:
        attribution.plot(results.attribution, canvas.subplots())
    if results.dynamics is not None:
        _write_json(folder / "dynamics.json", results.dynamics.to_json())
        with figure(folder / "dynamics") as canvas:
            dynamics.plot(results.dynamics, ax := canvas.subplots())
            ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    _write_json(folder / "summary.json", results.summary())


def _map_height(dataset: SymbolImages) -> float:
    _, height, width = dataset.image_shape
    return 0.8 + min(4.0, 4.8 * height / width)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")
