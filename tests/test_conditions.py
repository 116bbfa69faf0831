"""Conditions: what a network is told of a word, and the exact optimum on the same condition."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffprobe.cli import run
from diffprobe.config import Config, SamplingConfig
from diffprobe.datasets import Glyphs, Grammar, Mixture, SymbolImages, WordList
from diffprobe.datasets.condition import EMPTY, ClassConditions, Conditions, WordConditions
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation.assessment import assess
from diffprobe.foundations.errors import UsageError
from diffprobe.models import BayesDenoiser, NetworkDenoiser, load_denoiser, noise_scheduler
from diffprobe.models.modules.transformer import StripTransformer
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.told import tell
from diffprobe.resolution import resolve
from diffprobe.sampling import sample
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.training import train, train_replicas
from diffprobe.training.loop import Trainer, prepare

SCHEDULER = noise_scheduler(NoiseConfig())
COPY, PARITY = CopyConfig(length=4).build(), ParityConfig(4).build()
MIXTURE = Mixture([COPY, PARITY], [3, 1])
WORLD = SymbolImages(MIXTURE, Glyphs.font("01", (4, 4)), (1, 4))
TOLD = ["grammar.length=4", "images.grid=[1, 4]", "network.width=16", "network.depth=1"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def told_config(tiny_config: Config) -> Config:
    return resolve(base=_settings(tiny_config), assignments=["condition.name='word'"])


@pytest.fixture(scope="module")
def told_run(told_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(told_config, tmp_path_factory.mktemp("told") / "run", "cpu").path


def _settings(config: Config) -> dict[str, object]:
    from diffprobe.foundations.settings import to_settings

    return to_settings(config)


# ---- what is told -------------------------------------------------------------------------------


def test_a_word_is_of_a_class_as_often_as_it_is_drawn_from_it() -> None:
    """0000 has probability 1/4 in copy and 1/8 in parity; 0011 is in parity alone; 0111 in none."""
    words = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 1, 1]])
    shares = MIXTURE.components_of(words)
    assert torch.allclose(shares[:2], torch.tensor([[6 / 7, 1 / 7], [0.0, 1.0]]).double())
    told = ClassConditions(MIXTURE).of(words.repeat(2000, 1), seeded()).reshape(2000, 3)
    assert abs((told[:, 0] == 0).double().mean() - 6 / 7) < 0.04
    assert (told[:, 1] == 1).all()
    assert (told[:, 2] == EMPTY).all()


def test_classes_of_one_name_are_told_apart_by_their_number() -> None:
    twice = Mixture([COPY, PARITY, COPY], [1, 1, 1])
    assert ClassConditions(twice).token_names("01") == ["copy-0", "parity", "copy-2"]


def test_a_text_says_what_each_sample_is_told() -> None:
    words = WordConditions(MIXTURE)
    told = words.read("0110 1111", "01", 3)
    assert told.tolist() == [[0, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0]]
    drawn = words.read("all", "01", 50, seed=3)
    assert MIXTURE.contains(drawn).all()
    assert torch.equal(drawn, words.read("all", "01", 50, seed=3))
    assert not torch.equal(drawn, words.read("all", "01", 50, seed=4))
    classes = ClassConditions(MIXTURE)
    assert classes.read("parity copy", "01", 3).tolist() == [[1], [0], [1]]


@pytest.mark.parametrize(
    ("conditions", "text", "message"),
    [
        (ClassConditions(MIXTURE), "cpoy", "unknown class 'cpoy': did you mean 'copy'?"),
        (WordConditions(MIXTURE), "011", "'011' has 3 cells, and this network is told words of 4"),
        (WordConditions(MIXTURE, 2), "0", "'0' has 1 cells, .* told beginnings of 2"),
        (WordConditions(MIXTURE), "0x10", "'x' in '0x10' is not among the symbols 0 1"),
        (WordConditions(MIXTURE), "  ", "names no condition"),
        (WordConditions(DyckConfig(4).build(), 2), "1", "told beginnings of 2"),
        (WordConditions(DyckConfig(4).build(), 2), "10", "no valid word begins with 10"),
    ],
)
def test_a_condition_that_cannot_be_is_refused(
    conditions: Conditions, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        conditions.read(text, "01", 2)


def test_a_grammar_without_classes_has_none() -> None:
    with pytest.raises(UsageError, match="the grammar is parity: take the grammar 'mixture'"):
        ClassConditions(PARITY)
    with pytest.raises(UsageError, match=r"condition\.cells = 5, and words have 4"):
        WordConditions(PARITY, 5)


# ---- the exact optimum --------------------------------------------------------------------------


def by_listing(grammar: Grammar, x_t: Tensor, t: Tensor) -> Tensor:
    """E[x_0 | x_t] of one image, by a softmax over every word of a grammar."""
    words = grammar.words()
    pictures = WORLD.render(words).double()
    alpha, sigma = BayesDenoiser(WORLD, SCHEDULER).alpha_sigma(t, torch.float64)
    square = (x_t - alpha * pictures).square().flatten(1).sum(1)
    weight = (grammar.probability(words).log() - square / (2 * sigma.flatten() ** 2)).softmax(0)
    return torch.einsum("n,nchw->chw", weight, pictures)


@pytest.mark.parametrize("conditions", [ClassConditions(MIXTURE), WordConditions(MIXTURE, 2)])
def test_the_optimum_on_a_condition_is_that_of_the_words_left(conditions: Conditions) -> None:
    bayes = BayesDenoiser(WORLD, SCHEDULER).double()
    x_t = torch.randn(3, *WORLD.image_shape, generator=seeded(), dtype=torch.float64)
    t = torch.tensor([700, 400, 600])
    if isinstance(conditions, ClassConditions):
        told, left = torch.tensor([[0], [1], [EMPTY]]), [COPY, PARITY, MIXTURE]
    else:
        told = torch.tensor([[0, 1], [1, 1], [EMPTY, EMPTY]])
        every = MIXTURE.words()
        left = []
        for row in told[:2]:
            words = every[(every[:, :2] == row).all(1)]
            left.append(WordList(words, 2, MIXTURE.probability(words)))
        left.append(MIXTURE)
    found = tell(bayes, told, conditions)(x_t, t)
    for i, grammar in enumerate(left):
        assert torch.allclose(found[i], by_listing(grammar, x_t[i], t[i : i + 1]), atol=1e-9)


def test_a_word_that_is_told_whole_is_drawn_valid_or_not() -> None:
    words = torch.tensor([[0, 1, 0, 1], [0, 1, 1, 1]])
    told = tell(BayesDenoiser(WORLD, SCHEDULER), words, WordConditions(MIXTURE))
    x_t = torch.randn(2, *WORLD.image_shape, generator=seeded())
    assert torch.allclose(told(x_t, torch.tensor([999, 10])), WORLD.render(words), atol=1e-6)


def test_guidance_of_exact_denoisers_is_their_combination() -> None:
    conditions, bayes = ClassConditions(MIXTURE), BayesDenoiser(WORLD, SCHEDULER)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    asked = SamplingConfig(n=6, batch_size=4, steps=3, guidance=1.5, condition="copy parity")
    made = sample(
        bayes,
        WORLD.image_shape,
        DDIMConfig(),
        asked,
        False,
        lambda i, t, x_t, x0: seen.append((t, x_t, x0)),
        dataset=WORLD,
        conditions=conditions,
    )
    sizes = [len(x_t) for _, x_t, _ in seen]
    assert sizes == [4, 4, 4, 2, 2, 2]
    for t, x_t, x0_hat in seen:
        level, told = t.expand(len(x_t)), torch.arange(len(x_t))[:, None] % 2
        with_it = tell(bayes, told, conditions)(x_t, level)
        assert torch.allclose(x0_hat, 2.5 * with_it - 1.5 * bayes(x_t, level), atol=1e-4)
    assert made.sampler["evaluations"] == 6
    assert made.sampler["oracle_evaluations"] == 0


def test_samples_of_the_optimum_keep_their_condition() -> None:
    conditions = ClassConditions(MIXTURE)
    asked = SamplingConfig(n=60, steps=40, condition="copy")
    bayes = BayesDenoiser(WORLD, SCHEDULER)
    made = sample(
        bayes,
        WORLD.image_shape,
        DDIMConfig(),
        asked,
        False,
        dataset=WORLD,
        conditions=conditions,
    )
    found = assess(made, WORLD, conditions=conditions)
    assert found.kept is not None
    assert found.kept.value == 1
    assert found.distribution is None
    assert found.conditional
    # The same pictures under another condition: copies are four words of parity's eight.
    words = PARITY.sample(200, seeded())
    others = replace(made, images=WORLD.render(words), sampler={**made.sampler, "n": 200})
    kept = assess(others, WORLD, conditions=conditions).kept
    assert kept is not None
    assert kept.count == int(COPY.contains(words).sum())
    assert assess(made, WORLD).kept is None


# ---- networks -----------------------------------------------------------------------------------


def network(condition: tuple[int, int] | None = (4, 2)) -> StripTransformer:
    torch.manual_seed(0)
    made = StripTransformer((1, 4, 16), (4, 4), 16, 2, 2, None, condition)
    for parameter in made.parameters():  # what starts at zero would hide the condition
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def test_a_network_attends_to_what_it_is_told() -> None:
    made, x_t, t = network(), torch.randn(3, 1, 4, 16, generator=seeded()), torch.tensor([5, 5, 5])
    told = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 0], [EMPTY] * 4])
    found = made(x_t, t, told).sample
    assert torch.allclose(made(x_t, t, made.embedding(told)).sample, found)
    assert torch.allclose(made(x_t, t).sample[2], found[2], atol=1e-6)
    assert not torch.allclose(made(x_t[:1], t[:1], told[1:2]).sample, found[:1], atol=1e-3)
    # Of each image its own.
    assert torch.allclose(made(x_t[1:2], t[1:2], told[1:2]).sample, found[1:2], atol=1e-5)


def test_a_network_is_told_what_it_was_made_for() -> None:
    x_t, t = torch.zeros(2, 1, 4, 16), torch.zeros(2, dtype=torch.long)
    with pytest.raises(UsageError, match=r"is \(B, 4\) tokens, not \(2, 3\)"):
        network()(x_t, t, torch.zeros(2, 3, dtype=torch.long))
    plain = NetworkDenoiser(network(None), SCHEDULER, image_shape=(1, 4, 16))
    with pytest.raises(UsageError, match="made without conditions"):
        plain.network(x_t, t, torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(UsageError, match="NetworkDenoiser takes no condition"):
        tell(plain, torch.zeros(2, 4, dtype=torch.long))


# ---- training -----------------------------------------------------------------------------------


def test_a_step_is_told_of_the_images_it_sees(told_config: Config) -> None:
    trainer = prepare(told_config, "cpu")
    told, words = [], []
    for step in range(30):
        x_0, each, _ = trainer.batches.draw(step)
        assert each is not None
        told.append(each)
        words.append(trainer.dataset.read(x_0)[0])
    every, read = torch.cat(told), torch.cat(words)
    dropped = (every == EMPTY).all(1)
    assert torch.equal(every[~dropped], read[~dropped])
    assert 0.05 < dropped.double().mean() < 0.16  # of 480 a tenth
    again = prepare(told_config, "cpu").batches
    assert torch.equal(again.draw(7)[1], told[7])


def test_training_moves_what_listens(told_config: Config) -> None:
    trainer: Trainer = prepare(told_config, "cpu")
    before = {n: p.detach().clone() for n, p in trainer.state.network.named_parameters()}
    for step in range(5):  # gates and projections that start at zero move first
        trainer._step(step)
    after = dict(trainer.state.network.named_parameters())
    for name in ("embedding.symbols.weight", "embedding.positions", "blocks.0.listen.query.weight"):
        assert not torch.equal(before[name], after[name])


def test_replicas_are_told_as_one_alone_is(told_config: Config, tmp_path: Path) -> None:
    settings = replace(
        told_config.training, steps=3, checkpoints=1, replicas=1, validation_size=8, log_every=3
    )
    configs = [replace(told_config, training=replace(settings, seed=seed)) for seed in range(2)]
    together = train_replicas(configs, [tmp_path / "a", tmp_path / "b"], "cpu", False)
    alone = train(configs[1], tmp_path / "alone", "cpu", False)
    assert together[1].metrics()[-1]["loss"] == pytest.approx(alone.metrics()[-1]["loss"], rel=1e-4)
    assert together[1].metrics()[-1]["loss"] != together[0].metrics()[-1]["loss"]


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["network.name='mlp'", "condition.name='word'"], "network 'mlp' takes no condition"),
        (["condition.name='wrod'"], "unknown condition.name 'wrod': did you mean 'word'"),
        (["condition.name='word'", "condition.drop=2"], r"condition.drop must lie in \[0, 1\]"),
        (["condition.name='word'", "condition.cells=-1"], "condition.cells must be at least 0"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused(assignments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(assignments=assignments)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["sampling.condition='0110'"], "trained without conditions"),
        (
            [
                *("condition.name='word'", "condition.drop=0"),
                *("sampling.condition='all'", "sampling.guidance=1"),
            ],
            r"none was left out \(condition.drop = 0\): train with condition.drop=0.1",
        ),
        (
            [
                *("condition.name='word'", "condition.drop=0"),
                *("training.log_with=['tensorboard']", "training.probe_every=5"),
            ],
            "training.probe_every looks at the network without a condition",
        ),
    ],
)
def test_sampling_asks_for_what_the_network_knows(assignments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(assignments=assignments).check_own()


# ---- by command ---------------------------------------------------------------------------------


def test_a_run_is_sampled_on_a_condition(
    told_run: Path, told_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    denoiser = load_denoiser(told_run)
    assert tuple(denoiser.network.config["condition"]) == (4, 2)
    asked = ["sample", str(told_run), "--n", "8", "--sampler-steps", "2"]
    assert run([*asked, "--condition", "0110 all", "--guidance", "2"]) == 0
    told = capsys.readouterr().out
    assert "condition (0110 all), with classifier-free guidance of weight 2" in told
    (file,) = (told_run / "samples").glob("*condition*.npz")
    assert "_guidance-2_condition-0110+all_" in file.name
    assert run(["report", str(file), "--out", str(told_run / "page")]) == 0
    assert "chance" in capsys.readouterr().out
    assert run([*asked, "--condition", "01"]) == 2
    assert "'01' has 2 cells, and this network is told words of 4" in capsys.readouterr().err


def test_a_network_that_knows_conditions_alone_needs_one(
    told_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["sample", str(told_run), "--n", "4", "--set", "condition.drop=0"]
    assert run(asked) == 2
    assert "never trained without a condition" in capsys.readouterr().err


def test_probes_that_tell_nothing_do_not_apply_to_it(
    told_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", "locality", str(told_run), "--set", "condition.drop=0"]) == 2
    assert "does not apply: it tells no condition" in capsys.readouterr().err
