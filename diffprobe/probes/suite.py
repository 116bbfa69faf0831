"""All probes of a checkpoint at once, beside the oracles: numbers as JSON and figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from diffprobe.config import Config
from diffprobe.datasets import build_dataset
from diffprobe.errors import CheckpointError
from diffprobe.models.checkpoint import find_checkpoint, load_denoiser
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import (
    BayesDenoiser,
    ProductDenoiser,
    image_baselines,
    training_oracle,
)
from diffprobe.probes import attribution, dynamics, locality, placement
from diffprobe.probes.drawings import draw
from diffprobe.probes.noise_levels import symbols_form_at
from diffprobe.progress import Progress, silent
from diffprobe.records import estimate, write_record
from diffprobe.training.run_folder import run_of_checkpoint


@dataclass(frozen=True)
class ProbeResults:
    """What the probes found at one checkpoint, and where it is written.

    Attributes:
        folder: Holds a JSON file and figures for each probe.
        architecture: Name of the network's architecture.
        step: Training step of the checkpoint.
        forms_at: The noise level at which symbols form.
        grammar_at: The noise level at which the grammar is worth most.
        locality: LDR and dependence of "network", "bayes" and "product", of "empirical" where the
            training set is finite, and of "wiener" and "local-patch" if asked for, on the same
            inputs, those two levels among them.
        placement: Where the network stands among the oracles.
        attribution: One cell's integrated gradients, of "network" and "bayes", at `grammar_at`.
        dynamics: Along training, if asked for.
    """

    folder: Path
    architecture: str
    step: int | None
    forms_at: int
    grammar_at: int
    locality: dict[str, locality.Locality]
    placement: placement.Placement
    attribution: dict[str, attribution.Attribution]
    dynamics: dynamics.Dynamics | None

    @property
    def ldr(self) -> tuple[float, float]:
        """The network's LDR where symbols form, and its standard error."""
        network = self.locality["network"]
        index = network.at(self.forms_at)
        return network.ldr[index].item(), network.ldr_error[index].item()

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers and the files."""
        network, bayes = self.locality["network"], self.locality["bayes"]
        excess, excess_error = locality.excess(network, bayes)
        levels = {}
        for name, t in (("symbols_form", self.forms_at), ("grammar", self.grammar_at)):
            index = network.at(t)
            levels[name] = {
                "t": t,
                "log_snr": network.log_snr[index].item(),
                "ldr": {
                    who: estimate(result.ldr[index], result.ldr_error[index])
                    for who, result in self.locality.items()
                },
                "excess_ldr": estimate(excess[index], excess_error[index]),
            }
        return {
            "folder": str(self.folder),
            "architecture": self.architecture,
            "step": self.step,
            "variant": network.settings["variant"],
            "images": network.settings["images"],
            "levels": levels,
            **self.placement.summary(),
            "attribution_local_share": {
                who: estimate(*result.mean_local_share) for who, result in self.attribution.items()
            },
            "dynamics": self.dynamics.rows() if self.dynamics is not None else None,
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
    """Measure locality, placement and attribution of a checkpoint beside the oracles; draw them.

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
    dataset, settings = build_dataset(config), config.probe
    network = load_denoiser(found.path, config.sampling.weights, device)
    oracles: dict[str, Denoiser] = {
        "bayes": BayesDenoiser(dataset, network.scheduler).to(device),
        "product": ProductDenoiser(dataset, network.scheduler).to(device),
    }
    empirical = training_oracle(dataset, network.scheduler, config.data)
    if empirical is not None:
        oracles["empirical"] = empirical.to(device)
    if settings.baseline_images:
        baselines = image_baselines(
            dataset, network.scheduler, config.data, settings.baseline_images, settings.seed
        )
        oracles |= {name: baseline.to(device) for name, baseline in baselines.items()}

    placed = placement.measure(network, dataset, settings, empirical=empirical, progress=progress)
    forms_at = symbols_form_at(network, dataset, seed=settings.seed)
    grammar_at = int(placed.t[placed.weight.argmax()])
    measured = {
        name: locality.measure(
            denoiser,
            dataset,
            settings,
            include=(forms_at, grammar_at),
            description=f"locality, {name}",
            progress=progress,
        )
        for name, denoiser in {"network": network, **oracles}.items()
    }
    results = ProbeResults(
        folder=out or run.path / "probes" / found.path.name,
        architecture=config.model.name,
        step=found.step,
        forms_at=forms_at,
        grammar_at=grammar_at,
        locality=measured,
        placement=placed,
        attribution={
            name: attribution.measure(denoiser, dataset, settings, t=grammar_at)
            for name, denoiser in (("network", network), ("bayes", oracles["bayes"]))
        },
        dynamics=dynamics.measure(
            run.path, dataset, config, t=grammar_at, device=device, progress=progress
        )
        if steps == "all"
        else None,
    )
    _write(results)
    draw(results, dataset)
    write_record(results.folder / "summary.json", results.summary())
    return results


def _write(results: ProbeResults) -> None:
    excess = locality.excess(results.locality["network"], results.locality["bayes"])
    folder = results.folder
    write_record(
        folder / "locality.json",
        {
            **{name: _without_influence(result) for name, result in results.locality.items()},
            "excess_ldr": {"value": excess[0], "standard_error": excess[1]},
        },
    )
    write_record(folder / "placement.json", results.placement)
    for name, result in results.attribution.items():
        attribution.write(result, folder / f"attribution-{name}")
    if results.dynamics is not None:
        write_record(folder / "dynamics.json", results.dynamics)


def _without_influence(result: locality.Locality) -> dict[str, Any]:
    # One number an input and level: what errors are made of, not a result.
    return {key: value for key, value in result.__dict__.items() if key != "influence"}
