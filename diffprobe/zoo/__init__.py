"""Small trained checkpoints that come with diffprobe: `zoo:NAME` wherever a run is asked for.

    NAME/config.toml    what it was trained as; the first line says what it is
    NAME/README.md      its card: data, command, rates with intervals, LDR
    NAME/config.json, metrics.jsonl, losses.f32, checkpoints/    a run folder, with one checkpoint

`make zoo` trains all of them again. Nothing is written here otherwise: a command that writes
beside a run works on a copy of it.
"""

from pathlib import Path

from diffprobe.foundations.errors import unknown_name

PREFIX = "zoo:"
RECIPE, CARD = "config.toml", "README.md"
FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the checkpoints."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{CARD}"))


def folder_of(name: str) -> Path:
    """Return the run folder of one, which is only read.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in names():
        raise unknown_name("checkpoint of the zoo", name, names())
    return FOLDER / name


def summary_of(name: str) -> str:
    """Return what one is, in a line."""
    text = (folder_of(name) / RECIPE).read_text("utf-8")
    return text.splitlines()[0].removeprefix("#").strip()


def card_of(name: str) -> str:
    """Return the card of one, in Markdown."""
    return (folder_of(name) / CARD).read_text("utf-8")
