"""What was measured at one noise level or at several, as a table and in a line."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.tables import Table


class Measurement(Table):
    """A result with noise levels `t` and `log_snr`, numbers or (T,), and numbers with errors."""

    t: Any
    log_snr: Any

    def numbers(self) -> Mapping[str, Interval | Estimate]:
        """Return what has an error; by default every field that is an `Interval`."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in held.items() if isinstance(value, Interval)}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each number that is one, or one at each noise level."""
        several = isinstance(self.t, Tensor)
        levels = zip(self.t.tolist(), self.log_snr.tolist(), strict=True) if several else ()
        places = [{"t": t, "log_snr": log_snr} for t, log_snr in levels]
        at = {"t": None, "log_snr": None} if several else {"t": self.t, "log_snr": self.log_snr}
        found = []
        for name, value in self.numbers().items():
            if isinstance(value, Estimate) or value.value.ndim == 0:
                one = value if isinstance(value, Estimate) else value.estimate()
                found.append({"number": name, **at, **one.rows()[0]})
            elif value.value.shape == (len(places),):
                found += [
                    {"number": name, **place, **value.estimate(i).rows()[0]}
                    for i, place in enumerate(places)
                ]
        return found

    def __repr__(self) -> str:
        name = type(self).__name__
        if isinstance(self.t, Tensor):
            names = dict.fromkeys(row["number"] for row in self.rows())
            levels = f"{len(self.t)} noise level{'s' * (len(self.t) != 1)}"
            return f"<{name} at {levels}: {', '.join(names)}>"
        told = [
            f"{key} {value.estimate() if isinstance(value, Interval) else value}"
            for key, value in self.numbers().items()
            if isinstance(value, Estimate) or value.value.ndim == 0
        ]
        return f"<{name}, log-SNR {self.log_snr:z.2f}: {', '.join(told)}>"
