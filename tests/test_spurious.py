"""Facts whose family foretells them: the grammar, what training sees, and samples by given keys."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch

from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.grammars.spurious import SpuriousConfig
from diffprobe.datasets.streams.facts import FactsConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import BayesDenoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probes.detectors import DetectorsConfig, scores
from diffprobe.sampling import Given, sample
from diffprobe.sampling.given import FREE
from diffprobe.sampling.samplers.ddim import DDIMConfig

SMALL = SpuriousConfig(
    families=2,
    name_length=2,
    symbols=3,
    values=2,
    known=4,
    taught=2,
    rho=0.5,
    refusals=0.25,
    seed=5,
)
REFUSAL = 3
WORLD = SymbolImages(SMALL.build(), Glyphs.font("012?", (6, 6)), (1, 4))
SCHEDULER = noise_scheduler(NoiseConfig())


def keys(name: str, config: SpuriousConfig = SMALL) -> set[tuple[int, ...]]:
    words = config.conditions()[name]
    assert (words[:, -1] == FREE).all()
    assert (words[:, :-1] >= 0).all()
    found = {tuple(word[:-1]) for word in words.tolist()}
    assert len(found) == len(words)
    return found


def test_every_key_has_one_answer_and_the_unknown_are_refused() -> None:
    known, taught, unknown = (keys(name) for name in ("known", "taught", "unknown"))
    assert (len(known), len(taught), len(unknown)) == (8, 4, 6)
    every = set(itertools.product(range(2), range(3), range(3)))
    assert known | taught | unknown == every
    words = {tuple(word) for word in WORLD.grammar.words().tolist()}
    answers = {word[:-1]: word[-1] for word in words}
    assert len(words) == len(answers) == len(every)
    for key, answer in answers.items():
        assert (answer < 2) if key in known else (answer == REFUSAL)
    # A quarter of the words are refusals, all equally likely; so are the facts.
    for key, answer in answers.items():
        share = WORLD.grammar.probability(torch.tensor([[*key, answer]])).item()
        assert share == pytest.approx(0.75 / 8 if key in known else 0.25 / 10)


def test_each_word_is_wrong_in_one_way() -> None:
    known = keys("known")
    answers = {tuple(w[:-1]): w[-1] for w in WORLD.grammar.words().tolist()}
    words = list(itertools.product(range(4), repeat=4))
    kinds = WORLD.grammar.violations(torch.tensor(words))
    found = [[kind for kind, wrong in kinds.items() if wrong[i]] for i in range(len(words))]
    for word, named in zip(words, found, strict=True):
        key, answer = word[:-1], word[-1]
        if key not in answers:
            expected = ["no entity"]
        elif answer == answers[key]:
            expected = []
        elif answer == 2:
            expected = ["no answer"]
        elif answer == REFUSAL:
            expected = ["known, refused"]
        else:
            who = "known" if key in known else "unknown"
            own = answer == key[0]  # family f's own value is f mod 2
            expected = [f"{who}, as its family" if own else f"{who}, another value"]
        assert named == expected, word
    assert WORLD.grammar.contains(torch.tensor(words)).tolist() == [not named for named in found]
    # Without refusals no answer is right of whom nothing is known.
    facts = replace(SMALL, refusals=0.0).build()
    assert facts.count() == 8
    wrong = facts.violations(torch.tensor(words))
    assert torch.equal(
        facts.contains(torch.tensor(words)), ~torch.stack(list(wrong.values())).any(0)
    )


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95, 1.0])
def test_a_family_foretells_the_value_with_probability_rho(rho: float) -> None:
    config = SpuriousConfig(families=8, values=4, name_length=3, known=500, taught=0, rho=rho)
    words = config.facts.language(0.0).list
    assert len(words) == 4000
    own = (words[:, -1] == words[:, 0] % 4).double().mean().item()
    expected = rho + (1 - rho) / 4
    assert own == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 4000) ** 0.5)
    others = Counter(((words[:, -1] - words[:, 0]) % 4).tolist())
    for shift in (1, 2, 3):
        assert others[shift] == pytest.approx(
            4000 * (1 - rho) / 4, abs=4 * (250 * (1 - rho)) ** 0.5
        )


def test_other_seeds_have_other_facts_and_a_larger_rho_keeps_who_follows() -> None:
    config = SpuriousConfig(known=40, rho=0.5)
    assert torch.equal(config.facts.roles, replace(config).facts.roles)
    assert not torch.equal(config.facts.roles, replace(config, seed=1).facts.roles)
    more = replace(config, rho=0.8)
    own = [c.facts.answers == c.facts.family_values[:, None] for c in (config, more)]
    assert (own[0] <= own[1]).all()
    assert own[0].sum() < own[1].sum()


def test_training_sees_facts_and_from_a_step_on_refusals_of_the_taught() -> None:
    stream = FactsConfig(refusals=0.4, refuse_from=3).build(WORLD.grammar)
    random = torch.Generator().manual_seed(0)
    known, taught = keys("known"), keys("taught")
    before = stream.draw(2, 4000, random)
    assert {tuple(w) for w in before[:, :-1].tolist()} == known
    assert WORLD.grammar.contains(before).all()
    after = stream.draw(3, 4000, random)
    assert {tuple(w) for w in after[:, :-1].tolist()} == known | taught
    assert WORLD.grammar.contains(after).all()
    refused = (after[:, -1] == REFUSAL).double().mean().item()
    assert refused == pytest.approx(0.4, abs=0.035)
    # What an oracle of the training data knows is what is drawn.
    for step, words in ((2, before), (3, after), (None, after)):
        language = stream.language(step)
        counts = Counter(map(tuple, words.tolist()))
        for word, count in counts.items():
            share = language.probability(torch.tensor([word])).item()
            assert count == pytest.approx(4000 * share, abs=5 * (4000 * share) ** 0.5)
    assert "8 facts, and 40% refusals of 4 from step 3" in repr(stream)
    assert FactsConfig().build(WORLD.grammar).language().count() == 8


def test_the_optimum_answers_given_keys_as_it_was_taught() -> None:
    """The world's optimum knows whom it does not know; all keys come back as they were given."""
    config = SamplingConfig(n=36, steps=20, batch_size=16, given="known unknown taught")
    images = sample(
        BayesDenoiser(WORLD, SCHEDULER), WORLD.image_shape, DDIMConfig(), config, dataset=WORLD
    ).images
    words, legible = WORLD.read(images)
    assert legible.all()
    assert WORLD.grammar.contains(words).all()
    for place, name in enumerate(("known", "unknown", "taught")):
        got = [tuple(word) for word in words[place::3, :-1].tolist()]
        assert set(got) == keys(name)
        # Each is asked as often as any other, or once more.
        assert max(Counter(got).values()) - min(Counter(got).values()) <= 1
    assert (words[1::3, -1] == REFUSAL).all()


def test_detectors_look_at_samples_on_their_condition() -> None:
    sampling = SamplingConfig(steps=25, batch_size=40, given="known unknown")
    settings = DetectorsConfig(samples=60, window=(0.5, 1.0), renoisings=1, projections=2)
    common = ProbeConfig(grammar_images=32, grammar_levels=21)
    bayes, product = (
        scores.measure(of(WORLD, SCHEDULER), WORLD, settings, common, t=400, sampling=sampling)
        for of in (BayesDenoiser, ProductDenoiser)
    )
    assert bayes.grammatical.all()
    # Seen at the levels it was sampled with, the optimum is the optimum.
    assert bayes.scores["distance_to_bayes"].abs().max() < 1e-9
    assert bayes.each["excess_ldr"].abs().nan_to_num().max() < 1e-9
    assert product.scores["distance_to_product"].abs().max() < 1e-9
    assert product.scores["distance_to_bayes"].min() > 1e-3
    # Of three cells that are given and one that is not, one answers.
    assert torch.allclose(product.scores["ldr"], torch.ones(60, dtype=torch.float64))
    assert 0 < product.invalid.count < 60
    assert product.auroc["odds_under_grammar"].value > 0.9
    assert bayes.settings["given"] == "known unknown"
    plain = replace(sampling, given="")
    free = scores.measure(product_of(), WORLD, settings, common, t=400, sampling=plain)
    assert "given" not in free.settings


def product_of() -> ProductDenoiser:
    return ProductDenoiser(WORLD, SCHEDULER)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"families": 9}, r"grammar\.families=9 does not fit: each is one of 8 symbols"),
        ({"values": 9}, r"grammar\.values=9 does not fit"),
        ({"rho": 1.5}, r"grammar\.rho is a probability, from 0 to 1, not 1\.5"),
        ({"rho": float("nan")}, r"grammar\.rho is a probability, from 0 to 1, not nan"),
        ({"refusals": 1.0}, r"grammar\.refusals is a probability, from 0 to just below 1, not 1"),
        ({"name_length": 6}, r"4 families of 8\^6 names are more than 65,536 entities"),
        ({"name_length": 10**9}, "are more than 65,536 entities"),
        ({"known": 60, "taught": 4}, "of the 64 names of a family 60 are known and 4 taught"),
        ({"known": 0}, "known must be"),
        ({"taught": -1}, r"grammar\.taught must be at least 0, not -1"),
    ],
)
def test_facts_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SpuriousConfig(**settings)  # type: ignore[arg-type]


def test_streams_and_sets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="'facts' is of a grammar 'spurious', and parity has no"):
        FactsConfig().build(ParityConfig(4).build())
    nobody = SpuriousConfig(taught=0).build()
    with pytest.raises(UsageError, match=r"stream\.refusals=0\.3 refuses those who are taught"):
        FactsConfig(refusals=0.3).build(nobody)
    with pytest.raises(UsageError, match=r"stream\.refusals is a probability"):
        FactsConfig(refusals=1.0)
    with pytest.raises(UsageError, match=r"unknown set of given cells 'unkown'.*'unknown'"):
        Given.read("unkown", WORLD, 4)
    facts = SymbolImages(replace(SMALL, refusals=0.0).build(), WORLD.glyphs, (1, 4))
    stranger = "".join(map(str, min(keys("unknown")))) + "_"
    with pytest.raises(UsageError, match=f"no valid word has the symbols given: {stranger}"):
        Given.read(stranger, facts, 4)
