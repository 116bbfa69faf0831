import math

import pytest
import torch
from enumeration import check_by_enumeration
from scipy.stats import chisquare

from diffprobe.datasets import Automaton, ContextFree, Grammar, WordList
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.palindrome import PalindromeConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError

GRAMMARS = [
    ParityConfig(5).build(),
    ModularSumConfig(3, 4, 3).build(),
    DigitSumConfig().build(),
    WordList(torch.tensor([[0, 2], [1, 1]])),
]


@pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda g: type(g).__name__)
def test_samples_are_uniform_on_the_language(grammar: Grammar) -> None:
    words = grammar.words()
    n = 40 * len(words)
    sample = grammar.sample(n, torch.Generator().manual_seed(0))
    assert grammar.contains(sample).all()
    index = {tuple(w): i for i, w in enumerate(words.tolist())}
    counts = torch.zeros(len(words))
    for word in sample.tolist():
        counts[index[tuple(word)]] += 1
    expected = n / len(words)
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    freedom = len(words) - 1
    # Five standard deviations of a chi-square variable.
    assert abs(chi_square - freedom) < 5 * math.sqrt(2 * freedom)


WEIGHTED = {
    "word-list": WordList(torch.tensor([[0, 0], [0, 2], [1, 1], [2, 0]]), 3, [1, 0.2, 7, 3]),
    "automaton": Automaton([[0, 1], [0, 1]], [0, 1], length=4, weights=[[1, 2], [0.3, 5]]),
    "context-free": ContextFree.parse('S -> 0.2 P S | ""\nP -> "(" S ")" | 3 "[" S "]"', 6),
}


@pytest.mark.parametrize("grammar", WEIGHTED.values(), ids=WEIGHTED)
def test_samples_follow_the_weights(grammar: Grammar) -> None:
    words = grammar.words()
    n = 20_000
    sample = grammar.sample(n, torch.Generator().manual_seed(1))
    index = (sample[:, None] == words).all(-1)
    assert index.any(1).all()
    expected = n * grammar.probability(words)
    often = expected > 5
    assert often.sum() > 3
    found = index.sum(0).double()
    assert (
        chisquare(
            [*found[often], found[~often].sum() + 1e-9],
            [*expected[often], expected[~often].sum() + 1e-9],
        ).pvalue
        > 1e-3
    )


def test_independent_biased_symbols_in_closed_form() -> None:
    biased = Automaton([[0, 0]], [0], length=64, weights=[[3, 1]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert biased.entropy() == pytest.approx(64 * entropy, rel=1e-12)
    assert biased.total_correlation() == pytest.approx(0, abs=1e-9)
    assert biased.product_rate() == pytest.approx(1)
    assert biased.count() == 2**64
    word = torch.zeros(1, 64, dtype=torch.long)
    assert biased.probability(word).log().item() == pytest.approx(64 * math.log(0.75))


def test_a_common_factor_changes_only_the_log_partition() -> None:
    tripled = Automaton([[0, 1], [1, 0]], [0], length=6, weights=[[3, 3], [3, 3]])
    check_by_enumeration(tripled, ParityConfig(6).build().words(), torch.full((32,), 3.0**6))


def test_posterior_samples_follow_the_marginals() -> None:
    grammar = ModularSumConfig(3, 4, 3).build()
    random = torch.Generator().manual_seed(1)
    scores = torch.randn(1, 3, 4, generator=random)
    n = 20_000
    words = grammar.sample(n, random, scores=scores.expand(n, -1, -1))
    share = torch.nn.functional.one_hot(words, 4).float().mean(0)
    expected = grammar.marginals(scores)[0]
    error = (expected * (1 - expected) / n).sqrt()
    assert ((share - expected).abs() <= 4.5 * error + 1e-9).all()


def test_counts_are_right_to_the_last_digit() -> None:
    assert ParityConfig(64).build().count() == 2**63
    assert ModularSumConfig(64, 10, 10).build().count() == 10**63
    assert ModularSumConfig(40, 7, 3).build().count() == round_trip_count(40, 7, 3)


def round_trip_count(length: int, base: int, modulus: int) -> int:
    """Count by adding one digit at a time, in Python's integers."""
    ways = [1] + [0] * (modulus - 1)
    for _ in range(length):
        ways = [sum(ways[(r - d) % modulus] for d in range(base)) for r in range(modulus)]
    return ways[0]


def test_float32_survives_the_evidence_of_little_noise() -> None:
    grammar = ParityConfig(6).build()
    random = torch.Generator().manual_seed(2)
    scores = 1e8 * torch.randn(8, 6, 2, generator=random)
    marginals = grammar.marginals(scores)
    exact = grammar.marginals(scores.double())
    assert torch.allclose(marginals.double(), exact, atol=1e-6)
    assert torch.allclose(
        grammar.log_partition(scores).double(), grammar.log_partition(scores.double()), rtol=1e-6
    )


def test_excluded_symbols() -> None:
    grammar = ParityConfig(3).build()
    scores = torch.zeros(2, 3, 2)
    scores[0, :, 0] = -math.inf  # only 111, which is odd
    scores[1, 0, 0] = -math.inf  # 101 and 110 are left
    result = grammar.log_partition(scores)
    assert result[0] == -math.inf
    assert result[1].item() == pytest.approx(math.log(2))
    assert grammar.marginals(scores)[1, 1].tolist() == pytest.approx([0.5, 0.5])


def test_marginals_are_differentiable_twice() -> None:
    grammar = ModularSumConfig(3, 3, 2).build()
    random = torch.Generator().manual_seed(3)
    scores = torch.randn(2, 3, 3, generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(grammar.log_partition, scores)
    assert torch.autograd.gradcheck(grammar.marginals, scores)


def test_information() -> None:
    assert ParityConfig(6).build().total_correlation() == pytest.approx(math.log(2))
    assert ParityConfig(6).build().entropy() == pytest.approx(5 * math.log(2))
    assert ParityConfig(6).build().product_rate() == pytest.approx(0.5)
    every = WordList(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))
    assert every.total_correlation() == pytest.approx(0, abs=1e-12)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    grammar = DigitSumConfig().build()
    random = torch.Generator().manual_seed(4)
    scores = torch.randn(7, 4, 10, generator=random)
    whole = grammar.marginals(scores)
    monkeypatch.setattr("diffprobe.foundations.memory.USUAL", 1)
    assert torch.allclose(grammar.marginals(scores), whole)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.zeros(2, 3, 3), r"needs \(B, 3, 2\)"),
        (torch.zeros(3, 2), r"needs \(B, 3, 2\)"),
        (torch.full((1, 3, 2), math.nan), "NaN"),
        (torch.full((1, 3, 2), math.inf), r"\+inf"),
    ],
)
def test_bad_scores_are_refused(scores: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ParityConfig(3).build().log_partition(scores)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (torch.tensor([[0, 1, 0, 1]]), r"needs \(N, 3\)"),
        (torch.tensor([0, 1, 0]), r"needs \(N, 3\)"),
        (torch.tensor([[0, 1, 2]]), "word 0, cell 2: symbol 2 is outside the alphabet of 2"),
        (torch.tensor([[0, -1, 0]]), "cell 1: symbol -1"),
        (torch.tensor([[0.0, 1.0, 0.0]]), "must be integers"),
    ],
)
def test_bad_words_are_refused(words: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ParityConfig(3).build().contains(words)


def test_a_language_too_large_to_list() -> None:
    with pytest.raises(UsageError, match="more than the limit"):
        ParityConfig(40).build().words()


NEAREST = [
    *GRAMMARS,
    *WEIGHTED.values(),
    CopyConfig(4, 3).build(),
    PalindromeConfig(5, 2).build(),
    DyckConfig(6, 2).build(),
]


@pytest.mark.parametrize("grammar", NEAREST, ids=lambda g: type(g).__name__)
def test_nearest_words_and_suspect_cells_are_those_found_by_looking_at_all(
    grammar: Grammar,
) -> None:
    random = torch.Generator().manual_seed(0)
    words = torch.randint(grammar.symbols, (300, grammar.length), generator=random)
    differs = words[:, None] != grammar.words()[None]
    distances = differs.sum(-1)
    fewest = distances.amin(1)
    nearest = grammar.nearest(words)
    assert nearest.shape == words.shape
    assert grammar.contains(nearest).all()
    assert torch.equal((nearest != words).sum(1), fewest)
    tied = distances == fewest[:, None]
    assert torch.equal(grammar.suspects(words), (differs & tied[..., None]).any(1))
    assert torch.equal(grammar.nearest(words), nearest)


@pytest.mark.parametrize("length", [16, 17, 24, 64, 300])
def test_suspect_cells_of_long_words_in_closed_form(length: int) -> None:
    """Any cell repairs an odd word or a sum that is off; of a broken pair either does."""
    random = torch.Generator().manual_seed(length)
    words = torch.randint(2, (20, length), generator=random)
    odd = words.sum(1) % 2 == 1
    assert torch.equal(
        ParityConfig(length).build().suspects(words), odd[:, None].expand(-1, length)
    )

    rule = ModularSumConfig(length, 10, 10).build()
    digits = torch.randint(10, (20, length), generator=random)
    wrong = digits.sum(1) % 10 != 0
    assert torch.equal(rule.suspects(digits), wrong[:, None].expand(-1, length))

    half = torch.randint(3, (20, (length + 1) // 2), generator=random)
    mirrored = torch.cat([half, half[:, : length // 2].flip(1)], 1)
    cell = torch.randint(length // 2, (20,), generator=random)
    mirrored[torch.arange(20), cell] = (mirrored[torch.arange(20), cell] + 1) % 3
    blamed = torch.zeros(20, length, dtype=torch.bool)
    blamed[torch.arange(20), cell] = blamed[torch.arange(20), length - 1 - cell] = True
    assert torch.equal(PalindromeConfig(length, 3).build().suspects(mirrored), blamed)


@pytest.mark.parametrize("length", [18, 24, 64])
def test_suspect_cells_of_long_brackets_in_closed_form(length: int) -> None:
    inner = [0, 1] * (length // 2 - 1)
    wrong_kind = torch.tensor([[0, *inner, 1], [0, *inner, 3]])
    ends = [True, *[False] * (length - 2), True]
    assert DyckConfig(length, 2).build().suspects(wrong_kind).tolist() == [[False] * length, ends]
    # All open before all close, one too many: any but the first may close instead.
    half = length // 2
    open_too_often = torch.tensor([[0] * (half + 1) + [1] * (half - 1)])
    blamed = [False, *[True] * half, *[False] * (half - 1)]
    assert DyckConfig(length, 1).build().suspects(open_too_often).tolist() == [blamed]


@pytest.mark.parametrize(
    "grammar",
    [ParityConfig(5).build(), DyckConfig(6, 2).build(), DigitSumConfig().build()],
    ids=["parity", "dyck", ""],
)
def test_each_nearest_word_is_drawn_where_several_are(grammar: Grammar) -> None:
    word = torch.zeros(1, grammar.length, dtype=torch.long)
    word[0, 0] = 1
    drawn = grammar.nearest(word.expand(6000, -1))
    valid = grammar.words()
    distances = (valid != word).sum(-1)
    tied = valid[distances == distances.min()]
    counts = (drawn[:, None] == tied).all(-1).sum(0)
    assert counts.sum() == 6000
    assert (counts > 0).all()
    if distances.min() == 1:  # evenly
        assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("grammar", NEAREST, ids=lambda g: type(g).__name__)
def test_signed_sums_are_those_over_all_words(grammar: Grammar) -> None:
    random = torch.Generator().manual_seed(1)
    shape = (3, grammar.length, grammar.symbols)
    factors = torch.randn(shape, generator=random, dtype=torch.float64)
    expected = factors[:, torch.arange(grammar.length), grammar.words()].prod(-1).sum(-1)
    assert torch.allclose(grammar.signed_sum(factors), expected)
