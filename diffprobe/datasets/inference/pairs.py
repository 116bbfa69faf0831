"""Words in which each cell of one half equals its partner in the other."""

from collections.abc import Sequence

import torch

from diffprobe.datasets.inference.automaton import Automaton


def equal_pairs(length: int, symbols: int, partners: Sequence[tuple[int, int]]) -> Automaton:
    """Return the words whose cells are equal in pairs; a middle cell without partner is free.

    Args:
        length: L.
        symbols: V.
        partners: Pairs of cells, all but the middle one of an odd length.
    """
    # Read pair by pair: state v remembers the symbol v, the last state that all is well.
    well = symbols
    remember = torch.full((symbols + 1, symbols), -1)
    remember[well] = torch.arange(symbols)
    compare = torch.full((symbols + 1, symbols), -1)
    compare[torch.arange(symbols), torch.arange(symbols)] = well
    steps = [remember, compare] * len(partners)
    order = [cell for pair in partners for cell in pair]
    if length % 2:
        steps.append(torch.full((symbols + 1, symbols), well))
        order.append(length // 2)
    return Automaton(torch.stack(steps), accept=[well], start=well, order=order)
