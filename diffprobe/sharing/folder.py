"""The folder of a run that is handed on: a run folder with one checkpoint, the records, a card.

README.md           the card
config.toml         every setting, to train it again
config.json, metrics.jsonl, losses.f32    as in the run
checkpoints/step-…/ the checkpoint
probes/step-…/      the headline numbers and some figures
report/…/           the verdicts on its samples and a picture of some

Whoever gets it has a run: sample, probe and report take it as it is.
"""

import json
import re
import shutil
from pathlib import Path

from diffprobe.config import to_toml
from diffprobe.foundations.atomic import remove, scratch_folder
from diffprobe.foundations.errors import UsageError
from diffprobe.models.checkpoint_folder import Checkpoint
from diffprobe.report.story import PRECISION
from diffprobe.sharing.card import Card
from diffprobe.training.run_folder import RunFolder

CARD, SETTINGS = "README.md", "config.toml"
# Of the run itself, where they are there.
DESCRIBING = ("config.json", "metrics.jsonl", "losses.f32")
# Beside which record a figure is taken, and what it shows.
FIGURES = {
    "probes": {
        "ldr": "Local dependency ratio along the noise, of the network and of the oracles",
        "dependence": "Which cell listens to which",
        "placement": "Where the network stands among the oracles",
    },
    "report": {"samples": "Samples; those that are wrong are marked"},
}
# Behind the name of a figure of more or fewer inputs than the run's own settings say.
ANY_PRECISION = f"(_({'|'.join(PRECISION).replace('_', '-')})-[^_]+)*"
RECORDS = {"probes": "summary.json", "report": "report.json"}


def lay_out(run: RunFolder, checkpoint: Checkpoint, card: Card, address: str, folder: Path) -> None:
    """Write what is handed on of a run.

    Args:
        run: The run.
        checkpoint: The one that is handed on.
        card: Made of them.
        address: What `diffprobe probe` will call it, such as `hub:owner/name`.
        folder: Where to; one that an earlier call wrote is written anew.

    Raises:
        UsageError: If there is something else.
    """
    if folder.exists() and not _is_ours(folder, run):
        raise UsageError(f"{folder} holds something else: choose another --out")
    with scratch_folder(folder.parent) as scratch:
        made = scratch / folder.name
        shutil.copytree(checkpoint.path, made / "checkpoints" / checkpoint.path.name)
        for name in DESCRIBING:
            if (run.path / name).exists():
                shutil.copy(run.path / name, made)
        (made / SETTINGS).write_text(f"# {card.about}\n\n{to_toml(card.config)}", "utf-8")
        figures = _take_records(run, checkpoint, card.config.weights, made)
        (made / CARD).write_text(card.render(address, figures), "utf-8")
        if folder.exists():
            remove(folder)
        made.rename(folder)


def _is_ours(folder: Path, run: RunFolder) -> bool:
    """Whether a folder is empty, or nothing but what an earlier call wrote."""
    if not folder.is_dir() or folder.resolve() == run.path.resolve():
        return False
    inside = {path.name for path in folder.iterdir()}
    return not inside or CARD in inside <= {CARD, SETTINGS, *DESCRIBING, *RECORDS, "checkpoints"}


def _take_records(
    run: RunFolder, checkpoint: Checkpoint, weights: str, made: Path
) -> list[tuple[str, str]]:
    """Copy the records of a checkpoint; return the figures beside them, and what they show."""
    step = checkpoint.path.name
    reports = sorted(run.path.glob(f"report/{step}_{weights}_*/"), key=_written)
    sources = {"report": reports[-1:], "probes": [run.path / "probes" / step]}
    figures = []
    for kind, folders in sources.items():
        for source in folders:
            if not (source / RECORDS[kind]).exists():
                continue
            target = made / kind / source.name
            target.mkdir(parents=True)
            text = (source / RECORDS[kind]).read_text("utf-8")
            # Paths begin at the run, wherever it lies here.
            there = json.dumps(f"{run.path}/", ensure_ascii=True)[1:-1]
            (target / RECORDS[kind]).write_text(text.replace(there, ""), "utf-8")
            for name, caption in FIGURES[kind].items():
                called = re.compile(f"{name}{ANY_PRECISION}\\.png")
                drawn = [path for path in source.glob("*.png") if called.fullmatch(path.name)]
                for figure in sorted(drawn, key=lambda path: path.stat().st_mtime)[-1:]:
                    shutil.copy(figure, target)
                    figures.append((f"{kind}/{source.name}/{figure.name}", caption))
    return figures


def _written(report: Path) -> float:
    record = report / RECORDS["report"]
    return record.stat().st_mtime if record.exists() else 0.0
