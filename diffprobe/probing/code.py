"""Which code measures, and which draws: hashes of the source, so that no version is forgotten.

What was measured by other code is measured again. All code below the command line, the
studies and the report counts, but for what draws and tells, which changes no number.
"""

import functools
import hashlib
import inspect
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import diffprobe

ROOT = Path(diffprobe.__file__).parent
ABOVE = ("cli", "report", "studies")
# Names of files, or their last word, that hold no measuring.
DRAWING = ("figures", "marks", "trends", "words")
LIBRARIES = ("torch", "diffusers", "captum")


@functools.cache
def measuring_code() -> str:
    """Return a hash of the code that numbers depend on."""
    files = [f for f in _below() if f.stem.rpartition("_")[2] not in DRAWING]
    libraries = [f"{name} {version(name).partition('+')[0]}" for name in LIBRARIES]
    return _hash(files, *libraries)


@functools.cache
def drawing_code() -> str:
    """Return a hash of the code that figures depend on."""
    return _hash(_below(), f"matplotlib {version('matplotlib')}")


def source_of(cls: type) -> str | None:
    """Return a hash of the package, or else the file, that a class from outside lies in.

    Returns:
        Nothing for what has a version or a hash already; None where there is no file, as of a class
        that was typed into a notebook.
    """
    if cls.__module__.partition(".")[0] in ("diffprobe", *LIBRARIES):
        return ""
    try:
        file = Path(inspect.getfile(cls))
    except (TypeError, OSError):
        return None
    return _hash_around(file) if file.is_file() else None


@functools.cache
def _hash_around(file: Path) -> str:
    is_package = (file.parent / "__init__.py").exists()
    return _hash(sorted(file.parent.rglob("*.py")) if is_package else [file])


def _below() -> list[Path]:
    return [
        file for file in sorted(ROOT.rglob("*.py")) if file.relative_to(ROOT).parts[0] not in ABOVE
    ]


def _hash(files: Iterable[Path], *texts: str) -> str:
    digest = hashlib.sha256("\n".join(texts).encode())
    for file in files:
        digest.update(f"\n{file.name} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
