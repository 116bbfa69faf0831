"""What a tuning has done so far, in a file that the same command goes on from."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.records import plain, read_record, write_record

EVERY = 20.0  # seconds between two writes


@dataclass
class Unfinished:
    """A tuning's state on disk; gone when the tuning has ended.

    Attributes:
        path: Ends in .npz.
        asked: What is tuned to what, in plain terms; another tuning does not go on from it.
        every: Seconds between two writes.
    """

    path: Path
    asked: dict[str, Any]
    every: float = EVERY
    _last: float = field(default_factory=time.monotonic)

    def read(self) -> Any:
        """Return what was kept, or None where nothing was.

        Raises:
            UsageError: If it is that of another tuning.
            CheckpointError: If it is damaged.
        """
        if not self.path.exists():
            return None
        content = read_record(self.path)
        if content.get("asked") != plain(self.asked):
            raise UsageError(
                f"{self.path} is an unfinished tuning of other settings: repeat its command, or "
                "remove it"
            )
        return content["state"]

    def keep(self, state: Any) -> None:
        """Write the state, if the last time is long enough ago."""
        if time.monotonic() - self._last >= self.every:
            write_record(self.path, {"asked": self.asked, "state": state})
            self._last = time.monotonic()

    def done(self) -> None:
        """Remove the file: the result is written."""
        self.path.unlink(missing_ok=True)
