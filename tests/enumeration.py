"""What follows from a distribution on words, by listing them."""

import itertools

import torch
from torch import Tensor

from diffprobe.datasets import Grammar


def check_by_enumeration(
    grammar: Grammar, words: Tensor, weights: Tensor | None = None, seed: int = 0
) -> None:
    """Assert that a grammar is the distribution in proportion to `weights (M,)` on `words (M, L)`.

    Words are in lexicographic order; without weights all are equally likely.
    """
    weights = torch.ones(len(words)) if weights is None else weights
    log_weights = weights.double().log()
    every = torch.tensor(list(itertools.product(range(grammar.symbols), repeat=grammar.length)))
    distances = (every[:, None] != words[None]).sum(-1)

    # The set.
    assert grammar.count() == len(words)
    assert torch.equal(grammar.words(), words)
    assert torch.equal(grammar.distance(every), distances.amin(1))
    assert torch.equal(grammar.contains(every), distances.amin(1) == 0)
    assert abs(grammar.uniform_rate() - len(words) / len(every)) < 1e-9

    # The distribution, given evidence.
    random = torch.Generator().manual_seed(seed)
    shape = (3, grammar.length, grammar.symbols)
    scores = 3 * torch.randn(shape, generator=random, dtype=torch.float64)
    totals = log_weights + scores[:, torch.arange(grammar.length), words].sum(-1)
    one_hot = torch.nn.functional.one_hot(words, grammar.symbols).double()
    assert close(grammar.log_partition(scores), totals.logsumexp(1))
    posterior = torch.einsum("bw,wlv->blv", totals.softmax(1), one_hot)
    assert close(grammar.marginals(scores), posterior)

    # The distribution itself.
    p = log_weights.softmax(0)
    marginals = torch.einsum("w,wlv->lv", p, one_hot)
    entropy = torch.special.entr(p).sum()
    assert close(grammar.symbol_marginals(), marginals)
    assert close(grammar.entropy(), entropy)
    assert close(grammar.total_correlation(), torch.special.entr(marginals).sum() - entropy)
    independent = marginals[torch.arange(grammar.length), words].prod(1)
    assert close(grammar.product_rate(), independent.sum())
    assert close(grammar.probability(every), (distances == 0).double() @ p)
    assert grammar.contains(grammar.sample(20, random)).all()


def close(found: Tensor | float, expected: Tensor) -> bool:
    return bool((torch.as_tensor(found, dtype=torch.float64) - expected).abs().max() < 1e-9)
