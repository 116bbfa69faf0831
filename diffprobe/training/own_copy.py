"""One's own copy of a run that was trained elsewhere: of the zoo, or of the Hub.

Samples, probes and reports lie in the folder of their run. That of the zoo is part of the installed
package, that of the Hub part of a cache: a command that writes works on a copy.
"""

import shutil
from pathlib import Path

from diffprobe.foundations.atomic import atomic_folder
from diffprobe.foundations.checksums import MANIFEST
from diffprobe.foundations.errors import UsageError
from diffprobe.models.named import is_named, named_folder, own_place
from diffprobe.training.run_folder import run_of_checkpoint


def own_copy(checkpoint: str | Path) -> str | Path:
    """Return the path of a copy of a named run that may be written to; anything else as it is.

    Args:
        checkpoint: `zoo:NAME` is copied to runs/zoo/NAME, and `hub:owner/name`, if it is a run of
            diffprobe, to runs/hub/owner/name@commit. A copy that is there is taken.

    Raises:
        UsageError: If there is none of that name, or its place holds something else.
        CheckpointError: If it cannot be downloaded.
    """
    if not is_named(checkpoint):
        return checkpoint
    source = named_folder(checkpoint)
    if run_of_checkpoint(source) is None:
        return checkpoint
    place = own_place(checkpoint, source)
    if not place.exists():
        with atomic_folder(place) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
    elif _checksums(place) != _checksums(source):
        raise UsageError(f"{place} holds something else than {checkpoint}: move it away")
    return place


def _checksums(run: Path) -> dict[str, bytes]:
    found = run.glob(f"checkpoints/*/{MANIFEST}")
    return {path.parent.name: path.read_bytes() for path in found}
