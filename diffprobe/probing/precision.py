"""How many inputs a number needs: a first block tells, by Stein's two stages.

The number depends on the spread of a first sample alone, and not on how the mean turns out, as it
would if inputs were added until the error looked small.

Where no grammar is known nothing else is at stake than the network's own number, and a small block
does to start with. Beside the optimum it does not: of what depends on the grammar a few inputs
decide, which need not be among a dozen, and differences are smaller than what they are of.

Reference:
    Stein, "A two-sample test for a linear hypothesis whose power is independent of the variance",
    1945.
"""

import math
from dataclasses import replace

from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.foundations import intervals

# Without a grammar: the standard error that is enough if none is asked for, and the first block.
PRECISION = 0.01
FIRST = 12
# Noise levels if none are asked for: curves beside an optimum, and a network's alone.
LEVELS, FEW_LEVELS = 15, 8


def stated(common: ProbeConfig, *, grammar_known: bool) -> ProbeConfig:
    """Return settings that say how many inputs to take: `images` first, then as `precision` says.

    As they are where a precision is asked for, or a grammar is known. Else `FIRST` inputs, and as
    many as `PRECISION` needs, `images` at most.

    >>> stated(ProbeConfig(images=100), grammar_known=False).images
    12
    """
    if common.precision or grammar_known:
        return common
    first = min(FIRST, common.images)
    return replace(common, images=first, precision=PRECISION, precision_images=common.images)


def levels_wanted(common: ProbeConfig, *, grammar_known: bool) -> int:
    """Return how many noise levels to visit: `levels`, or where that is -1 fewer without a grammar.

    >>> levels_wanted(ProbeConfig(), grammar_known=False)
    8
    """
    if common.levels != -1:
        return common.levels
    return LEVELS if grammar_known else FEW_LEVELS


def inputs_needed(values: Tensor, common: ProbeConfig) -> int:
    """Return how many inputs make the standard error of a mean as small as `common.precision`.

    In whole blocks of `common.images`, one at least, `precision_images` at most.

    Args:
        values: (N,) of the first block; NaN where an input says nothing.
        common: See `stated`; its precision is not zero.
    """
    known = values[values.isfinite()]
    error = known.std().item() / len(known) ** 0.5 if len(known) > 1 else 0.0
    wanted = max((error / common.precision) ** 2 * len(values), intervals.FEWEST)
    blocks = math.ceil(wanted / common.images)
    return max(1, min(blocks, common.precision_images // common.images)) * common.images
