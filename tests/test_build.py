from pathlib import Path

import pytest
import torch

from diffprobe.config import from_settings
from diffprobe.datasets import Automaton, ContextFree, WordList
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import to_settings
from diffprobe.models import load_denoiser
from diffprobe.resolution import preset_names, resolve
from diffprobe.training import train


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"name": "copy", "length": 6, "symbols": 2}, 8),
        ({"name": "palindrome", "length": 5, "symbols": 2}, 8),
        ({"name": "dyck", "length": 8, "kinds": 2}, 224),
        ({"name": "modular-sum", "length": 3, "base": 4, "modulus": 4}, 16),
        ({"name": "word-list", "words": "ab\nba\nbb", "symbols": "ab"}, 3),
        ({"name": "automaton", "transitions": [[0, 1], [0, -1]], "accept": [0, 1]}, 21),
        ({"name": "context-free", "rules": 'S -> "a" S "b" | ""', "symbols": "ab"}, 1),
        ({"name": "context-free", "rules": 'S -> 2 "a" S | 3 ""', "symbols": "ab"}, 1),
    ],
    ids=lambda v: v["name"] if isinstance(v, dict) else None,
)
def test_grammars_from_settings(settings: dict, count: int) -> None:
    config = from_settings({"grammar": settings})
    assert config.grammar.build().count() == count
    assert from_settings(to_settings(config)) == config


def test_a_grammars_file_becomes_part_of_the_configuration(tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text('S -> "(" S ")" S | ""\n')
    config = resolve(
        assignments=["grammar.name=context-free", f"grammar.file={rules}", "images.symbols='()'"]
    )
    rules.unlink()
    dataset = from_settings(to_settings(config)).dataset()
    assert isinstance(dataset.grammar, ContextFree)
    assert dataset.grammar.count() == 5

    words = tmp_path / "words.txt"
    words.write_text("aab\nabb\n")
    config = resolve(assignments=["grammar.name=word-list", f"grammar.file={words}"])
    assert isinstance(config.grammar.build(), WordList)


def test_weights_from_settings(tmp_path: Path) -> None:
    sticky = {
        "name": "automaton",
        "transitions": [[0, 1], [0, 1]],
        "accept": [0, 1],
        "weights": [[1, 1], [1, 3]],
        "length": 2,
    }
    words = tmp_path / "words.txt"
    words.write_text("00\t1\n01\n10\n11\t3\n")
    rules = 'S -> "0" T | "1" U\nT -> "0" | "1"\nU -> "0" | 3 "1"'
    for config in (
        from_settings({"grammar": sticky}),
        resolve(assignments=["grammar.name=word-list", f"grammar.file={words}"]),
        from_settings({"grammar": {"name": "context-free", "rules": rules, "length": 2}}),
    ):
        grammar = from_settings(to_settings(config)).grammar.build()
        assert grammar.probability(grammar.words()).tolist() == pytest.approx([1 / 6] * 3 + [1 / 2])


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["grammar.name=context-free", "grammar.file=absent.txt"], "cannot read grammar.file"),
        (["grammar.name=context-free", "grammar.rules='S -> ('"], "line 1, column 6"),
        (["grammar.name=context-free"], "no rules in the text"),
        (["grammar.name=word-list"], "no words in the text"),
        (["grammar.name=automaton"], "transitions must be integers"),
        (["grammar.name=automaton", "grammar.transitions=[[0, 0], [0]]"], "same number of symbols"),
        (
            ["grammar.name=automaton", "grammar.transitions=[[0, 0]]", "grammar.weights=[[1, -1]]"],
            "weight 0, 1 is -1",
        ),
        (["grammar.name=dyck", "grammar.length=5"], "even length"),
    ],
)
def test_grammars_that_are_none_are_refused(assignments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve(assignments=assignments).grammar.build()
    assert message in str(error.value)


def test_rows_of_an_automaton_have_one_length() -> None:
    with pytest.raises(UsageError, match="same number of symbols"):
        Automaton([[0, 0], [0]], accept=[0], length=2)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_trains(name: str, tmp_path: Path) -> None:
    small = ["steps=2", "batch_size=4", "checkpoints=1", "validation_size=4", "log_every=1"]
    config = resolve(preset=name, assignments=[f"training.{s}" for s in small])
    run = train(config, tmp_path / "run", "cpu")
    assert [m["step"] for m in run.metrics()] == [1, 2]
    x = torch.randn(2, *config.dataset().image_shape)
    assert load_denoiser(run.path)(x, torch.tensor([3, 900])).shape == x.shape
