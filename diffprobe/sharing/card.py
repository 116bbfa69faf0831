"""A model card made from the records of a run: nothing in it is typed by hand.

Reference:
    Mitchell et al., "Model cards for model reporting", arXiv:1810.03993.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffprobe import __version__
from diffprobe.config import Config
from diffprobe.foundations.errors import CheckpointError
from diffprobe.foundations.records import read_json
from diffprobe.models.checkpoint_folder import Checkpoint
from diffprobe.report.story import Story, read_story
from diffprobe.training.run_folder import RunFolder

TEMPLATE = Path(__file__).with_name("card.md")
PAPER = "arxiv:2503.03595"
UNDEFINED = "undefined"


@dataclass(frozen=True)
class Row:
    """A number of a card, with its interval, in words."""

    name: str
    share: str
    interval: str
    count: str


@dataclass(frozen=True)
class Card:
    """What a card says of one checkpoint of a run.

    Attributes:
        name: What the model is called.
        about: What it is, in a sentence.
        config: Of the run.
        network: Name of its kind.
        parameters: Their number.
        shape: Of an image, in words.
        world, training, command, sampling, chance, probed: Sentences, and the command.
        report: What report.json of its samples holds; None where none were judged.
        story: What locality and placement told; None where they were not measured.
        licence: Identifier of the licence of the weights; empty where none is stated.
    """

    name: str
    about: str
    config: Config
    network: str
    parameters: int
    shape: str
    world: str
    training: str
    command: str
    report: dict[str, Any] | None
    story: Story | None
    licence: str
    version: str = __version__

    @classmethod
    def of(
        cls, run: RunFolder, checkpoint: Checkpoint, name: str, licence: str = "", about: str = ""
    ) -> "Card":
        """Read what the records of a run say of one of its checkpoints.

        Args:
            run: The run.
            checkpoint: One of its checkpoints.
            name: What the model is called.
            licence: Identifier of a licence, such as mit.
            about: What it is; by default which network was trained on what.

        Raises:
            CheckpointError: If the run, or a record in it, is damaged.
        """
        from diffprobe.models.networks import parameter_count

        config, step = run.config(), checkpoint.step or 0
        dataset = config.dataset()
        grid, cells = dataset.grid, dataset.cell_grid
        stream = config.stream.build(dataset.grammar)
        network = config.network.build(dataset.image_shape, config.training.seed, grid)
        return cls(
            name=name,
            about=about or f"A {config.network.name} trained on {dataset.grammar.title}.",
            config=config,
            network=config.network.name,
            parameters=parameter_count(network),
            shape="×".join(map(str, dataset.image_shape)),
            world=f"Words of `{config.grammar.name}`: {dataset.grammar.count():,} are valid, of "
            f"{grid[0] * grid[1]} symbols each. A symbol is drawn (`{config.images.name}`) in a "
            f"cell of {cells.height}×{cells.width} pixels, the cells on a grid of "
            f"{grid[0]}×{grid[1]}. Trained on {stream.description}.",
            training=_training(run, config, step),
            command="diffprobe train --config config.toml",
            report=_report(run, step, config.weights),
            story=read_story(run.path / "probes" / f"step-{step:06d}"),
            licence=licence,
        )

    @property
    def sampling(self) -> str:
        """How the samples were drawn."""
        how = (self.report or {}).get("details", {}).get("sampler", {})
        parts = [how.get("class", "an unknown sampler")]
        if "steps" in how:
            parts.append(f"{how['steps']} steps")
        parts += [f"{key} {how[key]}" for key in ("weights", "seed") if key in how]
        return f"Drawn by {', '.join(parts)}, read by a calibrated reader, judged by the grammar."

    @property
    def rates(self) -> list[Row]:
        """How many samples are legible, and how many of these obey the grammar."""
        if self.report is None:
            return []
        named = [("legible", "legible"), ("grammatical", "grammatical, of the legible")]
        violated = ((k, v) for k, v in self.report["violations"].items() if v["count"])
        return [
            *(_rate(label, self.report[key]) for key, label in named),
            *(_rate(f"… {kind}", rate) for kind, rate in violated),
        ]

    @property
    def chance(self) -> str:
        """The grammatical rate of symbols that know nothing of each other."""
        found = self.report["chance"]["product"] if self.report is not None else None
        return "" if found is None else f"By chance {found:.1%} would be grammatical."

    @property
    def probed(self) -> str:
        """Where locality was measured."""
        if self.story is None:
            return ""
        return (
            "LDR (local dependency ratio) is the share of a cell's output that depends on the same "
            f"cell of the input, at log-SNR {self.story.log_snr:z.2f}; the excess is over the "
            "optimum on the same inputs. gamma is the share of the grammar that is used: 0 local, "
            "1 optimal."
        )

    @property
    def locality(self) -> list[Row]:
        """LDR of network and optimum, the excess, and gamma."""
        story = self.story
        if story is None:
            return []
        found = {
            "LDR": story.ldr,
            "LDR of the optimum": story.optimum,
            "excess LDR": story.excess,
            "gamma": story.gamma,
        }
        return [_number(name, each) for name, each in found.items() if each is not None]

    @property
    def findings(self) -> list[str]:
        """What the probes say, in sentences."""
        return self.story.findings() if self.story is not None else []

    def render(self, address: str, figures: Sequence[tuple[str, str]] = ()) -> str:
        """Return the card as Markdown with metadata, as the Hub takes it.

        Args:
            address: What `diffprobe probe` calls it: `hub:owner/name`, or `zoo:NAME`.
            figures: Paths beside the card, and captions.
        """
        from huggingface_hub import EvalResult, ModelCard, ModelCardData

        results = [
            EvalResult(
                task_type="unconditional-image-generation",
                dataset_type=f"diffprobe/{self.config.grammar.name}",
                dataset_name=self.config.grammar.name,
                metric_type=row.name.replace(" ", "-"),
                metric_name=row.name,
                metric_value=value,
            )
            for row, value in self._told()
        ]
        metadata = ModelCardData(
            license=self.licence or None,
            library_name="diffprobe",
            pipeline_tag="unconditional-image-generation",
            tags=["diffusion", "interpretability", self.config.grammar.name, self.network, PAPER],
            model_name=self.name,
            eval_results=results or None,
        )
        card = ModelCard.from_template(
            metadata,
            template_path=str(TEMPLATE),
            metadata=metadata.to_yaml(),
            card=self,
            address=address,
            figures=figures,
        )
        return str(card).rstrip() + "\n"

    def _told(self) -> Iterable[tuple[Row, float]]:
        """The numbers that the Hub lists."""
        if self.report is not None:
            for key in ("legible", "grammatical"):
                if (value := self.report[key]["value"]) is not None:
                    yield _rate(key, self.report[key]), value
        for row in self.locality:
            if row.share != UNDEFINED:
                yield row, float(row.share)


def _training(run: RunFolder, config: Config, step: int) -> str:
    lines = [line for line in run.metrics() if line["step"] <= step]
    took = f" in {lines[-1]['seconds']:,.0f} s" if lines else ""
    about = run.description()
    return (
        f"{step:,} steps of {config.training.batch_size} images{took} on {about.get('device')}, "
        f"threads {about.get('threads')}, seed {config.training.seed}; the weights are "
        f"`{config.weights}`. It predicts `{config.noise.prediction_type}`."
    )


def _report(run: RunFolder, step: int, weights: str) -> dict[str, Any] | None:
    """The newest report on samples of a checkpoint's weights."""
    found = run.path.glob(f"report/step-{step:06d}_{weights}_*/report.json")
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return None
    content = read_json(newest)
    if not {"legible", "grammatical", "violations", "chance"} <= content.keys():
        raise CheckpointError(f"{newest} is damaged: make it again")
    return content


def _rate(name: str, rate: Mapping[str, Any]) -> Row:
    share = UNDEFINED if rate["value"] is None else f"{rate['value']:.1%}"
    interval = f"{rate['low']:.1%} to {rate['high']:.1%}"
    return Row(name, share, interval, f"{rate['count']:,} of {rate['n']:,}")


def _number(name: str, found: Mapping[str, Any]) -> Row:
    if found["value"] is None:
        return Row(name, UNDEFINED, "", f"{found['n']:,}")
    interval = "" if found["low"] is None else f"{found['low']:.3f} to {found['high']:.3f}"
    return Row(name, f"{found['value']:.3f}", interval, f"{found['n']:,}")
