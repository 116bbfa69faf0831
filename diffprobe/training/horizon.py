"""How far a training goes: which steps are stored, and whether a run may be extended."""

from diffprobe.config import Config
from diffprobe.foundations.errors import UsageError


def checkpoint_steps(steps: int, n: int) -> list[int]:
    """Return up to `n` log-spaced steps, the last one `steps`, the first near a hundredth of it.

    >>> checkpoint_steps(1600, 5)
    [16, 51, 160, 506, 1600]
    """
    if n == 1:
        return [steps]
    first = max(1, steps // 100)
    ratio = steps / first
    return sorted({round(first * ratio ** (i / (n - 1))) for i in range(n)})


def can_be_extended(config: Config) -> bool:
    """Whether a finished training may go on: its learning rates do not depend on its end.

    >>> from diffprobe.resolution import resolve
    >>> can_be_extended(resolve(assignments=["learning_rate.name=constant"]))
    True
    >>> can_be_extended(resolve(assignments=["learning_rate.name=cosine"]))
    False
    """
    steps = config.training.steps
    longer = config.learning_rate.array(2 * steps)[:steps]
    return bool((config.learning_rate.array(steps) == longer).all())


def check_extension(before: Config, now: Config, done: int) -> None:
    """Raise UsageError unless a training of `done` steps can go on with another horizon.

    The learning rates of the steps that were done must be those that the new horizon asks for.
    """
    if now.training.steps < done:
        raise UsageError(
            f"{done:,} steps are done, and training.steps={now.training.steps:,} asks for fewer; "
            "an earlier checkpoint is in checkpoints/"
        )
    was = before.learning_rate.array(before.training.steps)[:done]
    wanted = now.learning_rate.array(now.training.steps)[:done]
    if (different := (was != wanted).nonzero()[0]).size:
        first = int(different[0])
        raise UsageError(
            f"the learning rate of {now.learning_rate.name!r} depends on training.steps: at step "
            f"{first:,} it was {was[first]:.3g} on the way to {before.training.steps:,} steps, and "
            f"is {wanted[first]:.3g} on the way to {now.training.steps:,}. Train anew in another "
            "folder (--out), or branch off with a schedule of its own (--branch-from RUN@STEP)"
        )
