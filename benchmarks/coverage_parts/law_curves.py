"""Loss curves of a law that is known, with noise whose neighbours agree."""

import numpy as np

from diffprobe.laws.curves import Curve
from diffprobe.laws.law import LAWS
from diffprobe.laws.schedule_pieces import Floats, Pieces

PEAK, WARM_UP = 2e-3, 20
# Of rates over the peak.
TRUE = {"L0": 0.8, "A": 2.0, "alpha": 0.5, "B": 0.3, "C": 0.15, "beta": 0.5, "gamma": 0.5}


def rates(name: str, steps: int = 600) -> Floats:
    """A schedule that warms up and is constant, a cosine, drops once, or decays at the end."""
    step = np.arange(steps)
    along = np.clip((step - WARM_UP) / (steps - WARM_UP), 0, 1)
    after = {
        "constant": np.ones(steps),
        "cosine": 0.1 + 0.9 * (1 + np.cos(np.pi * along)) / 2,
        "two-stage": np.where(step < steps // 2, 1.0, 0.3),
        "wsd": np.clip((1 - along) / 0.2, 1e-3, 1),
        "lower": np.where(step < steps // 2, 1.0, 0.1),
    }[name]
    found: Floats = PEAK * np.minimum(1.0, step / WARM_UP) * after
    return found


def noise(steps: Floats, sigma: float, length: float, random: np.random.Generator) -> Floats:
    """Noise in log loss whose correlation falls by a factor e over `length` steps."""
    found = np.empty(len(steps))
    found[0] = random.normal()
    for i, kept in enumerate(np.exp(-np.diff(steps) / length), 1):
        found[i] = kept * found[i - 1] + np.sqrt(1 - kept**2) * random.normal()
    return sigma * found


def curve(
    name: str, sigma: float = 0.0, length: float = 30.0, seed: int = 0, every: int = 6
) -> Curve:
    """The curve of a schedule, a row in every `every` steps, and the last one."""
    schedule = Pieces.of_rates(rates(name))
    steps = np.arange(WARM_UP, 600, every)
    law = LAWS["multi-power"]
    losses = law.loss(law.fitted(TRUE), schedule.scaled(PEAK), steps)[0]
    random = np.random.default_rng(seed)
    losses = losses * np.exp(noise(steps.astype(float), sigma, length, random))
    return Curve(name, schedule, steps, losses)
