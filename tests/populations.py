"""Distributions on words, and what estimates of them are estimates of, by listing."""

import itertools

import torch
from torch import Tensor

from diffprobe.datasets import Grammar
from diffprobe.evaluation.words import walsh
from diffprobe.evaluation.words.distribution import Distribution
from diffprobe.evaluation.words.estimators import WordStatistic


def all_words(grammar: Grammar) -> Tensor:
    return torch.tensor(list(itertools.product(range(grammar.symbols), repeat=grammar.length)))


def truths(grammar: Grammar, words: Tensor, p: Tensor) -> dict[str, float]:
    """What each estimate is of, by listing: `p` is a distribution on all words."""
    q, symbols = grammar.probability(words), grammar.symbols
    one_hot = torch.nn.functional.one_hot(words, symbols).flatten(1).double()
    blocks = torch.block_diag(*[torch.ones(symbols, symbols)] * grammar.length)
    joint, true = (one_hot.T @ (w[:, None] * one_hot) for w in (p, q))
    other = blocks == 0
    covariance = [j - torch.outer(j.diagonal(), j.diagonal()) for j in (joint, true)]
    valid = p[q > 0] / p[q > 0].sum()
    found = {
        "shares": float((joint - true).diagonal().square().mean().sqrt()),
        "pairs": float((joint - true)[other].square().mean().sqrt()),
        "entropy": float(torch.special.entr(valid).sum()),
        "effective words": 1 / float(valid @ valid),
        "KL": float((valid * (valid / q[q > 0]).log()).nan_to_num().sum()),
    }
    energy = float(covariance[1][other].square().sum())
    if energy > 1e-9:
        found["captured"] = float((covariance[0] * covariance[1])[other].sum()) / energy
    if symbols == 2:
        coefficients = walsh.transform(p)
        order = words.sum(1)
        for k in range(1, grammar.length):
            found[f"energy {k}"] = float(coefficients[order == k].square().mean())
        found["parity"] = float(coefficients[-1])
    return found


def estimates(found: Distribution) -> dict[str, WordStatistic]:
    named = {
        "shares": found.shares.difference,
        "pairs": found.correlations.difference,
        "captured": found.correlations.captured,
        "entropy": found.entropy,
        "effective words": found.effective_words,
        "KL": found.language.kl,
    }
    if found.walsh:
        named |= {f"energy {k}": e for k, e in enumerate(found.walsh.energy, start=1)}
        named["parity"] = found.walsh.parity
    return named


def tilted(grammar: Grammar, words: Tensor) -> Tensor:
    """Between the language and the product of its marginals, every word at its own rate."""
    shares = grammar.symbol_marginals()
    product = shares[torch.arange(grammar.length), words].prod(1)
    noise = torch.randn(len(words), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    p = (grammar.probability(words) + 0.3 * product) * (0.4 * noise).exp()
    return p / p.sum()
