import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffprobe.config import Config, TrainingConfig, from_settings, to_toml
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import differences, to_settings
from diffprobe.models import parameter_count
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.resolution import preset_names, preset_summary, read_preset, resolve


def test_command_line_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[training]\nsteps = 2\nbatch_size = 2\nlog_every = 2\n")
    environment = {"DIFFPROBE_TRAINING_STEPS": "3", "DIFFPROBE_TRAINING_BATCH_SIZE": "3"}
    assignments = ["training.steps=4"]
    config = resolve(
        preset="demo", file=file, environment=environment, assignments=assignments
    ).training
    assert (config.steps, config.batch_size, config.log_every) == (4, 3, 2)
    assert config.log_every == 2
    assert config.save_every == TrainingConfig().save_every


def test_another_kind_does_not_inherit_the_former_ones_keys() -> None:
    assignments = ["grammar.name=digit-sum", "images.grid=[2, 2]", "network.name=mlp"]
    config = resolve(preset="demo", assignments=assignments)
    assert config.grammar == DigitSumConfig()
    assert config.network == MLPConfig()


def test_another_kind_keeps_what_it_has_of_a_section_without_a_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[learning_rate]\npeak = 0.5\nwarmup_steps = 7\n")
    wsd = resolve(file=file, assignments=["learning_rate.name=wsd"]).learning_rate
    assert (wsd.peak, wsd.warmup_steps) == (0.5, 7)
    rates = ["learning_rate.name=csv", "learning_rate.rates='lr\n" + "0.1\n" * 2000 + "'"]
    assert resolve(file=file, assignments=rates).learning_rate.name == "csv"
    file.write_text("[learning_rate]\nname = 'csv'\npeak = 0.5\n")
    with pytest.raises(UsageError, match=r"unknown key 'learning_rate\.peak'"):
        resolve(file=file)


@pytest.mark.parametrize("name", preset_names())
def test_presets_survive_the_way_to_toml_and_back(name: str) -> None:
    config = resolve(preset=name)
    assert from_settings(tomllib.loads(to_toml(config))) == config
    assert from_settings(to_settings(config)) == config
    assert preset_summary(name)
    assert not preset_summary(name).startswith("#")
    # A preset says nothing twice and nothing that does not exist.
    assert set(read_preset(name)) <= {f.name for f in dataclasses.fields(Config)}


@pytest.mark.parametrize("world", ["parity", "digit-sum", "hypercube"])
def test_presets_of_a_world_have_matched_parameter_counts(world: str) -> None:
    counts = {}
    for name in preset_names():
        if name.startswith(world):
            config = resolve(preset=name)
            network = config.network.build(config.dataset().image_shape)
            counts[name] = parameter_count(network)
    assert len(counts) >= 3
    assert max(counts.values()) < 1.06 * min(counts.values()), counts


@given(st.integers(1, 10**6), st.floats(1e-9, 1.0), st.booleans())
def test_any_values_survive_toml(steps: int, rate: float, cosine: bool) -> None:
    config = resolve(
        assignments=[
            f"training.steps={steps}",
            f"learning_rate.peak={rate!r}",
            f"learning_rate.name={'cosine' if cosine else 'constant'}",
        ]
    )
    assert from_settings(tomllib.loads(to_toml(config))) == config


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.step=3", "unknown key 'training.step': did you mean 'training.steps'"),
        ("trianing.steps=3", "unknown key 'trianing': did you mean 'training'"),
        ("grammar.name=partiy", "unknown grammar.name 'partiy': did you mean 'parity'"),
        ("noise.prediction_type=eps", "unknown value of noise.prediction_type 'eps'"),
        ("training.steps=many", "training.steps must be of type int, not 'many'"),
        ("training.steps=true", "training.steps must be of type int, not True"),
        ("training.steps=1.5", "training.steps must be of type int, not 1.5"),
        ("images.grid=[1]", "images.grid must have 2 entries, not 1"),
        ("images.grid=3", "images.grid must be a list"),
        ("training=3", "not of the form section.key=value"),
        ("training.steps", "not of the form section.key=value"),
        ("network.depht=3", "did you mean 'network.depth'"),
    ],
)
def test_bad_assignments_are_refused_with_the_nearest_name(assignment: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve(assignments=[assignment])
    assert message in str(error.value)


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown preset 'demmo': did you mean 'demo'"):
        resolve(preset="demmo")
    with pytest.raises(UsageError, match="no configuration file"):
        resolve(file=tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[training\nsteps = 3")
    with pytest.raises(UsageError, match=r"not valid TOML: .*line 1"):
        resolve(file=broken)
    with pytest.raises(UsageError, match="cannot read"):
        resolve(file=tmp_path)
    scalar = tmp_path / "scalar.toml"
    scalar.write_text("training = 3")
    with pytest.raises(UsageError, match="training must be a section"):
        resolve(file=scalar)
    with pytest.raises(UsageError, match="environment variable 'DIFFPROBE_TRIANING_STEPS'"):
        resolve(environment={"DIFFPROBE_TRIANING_STEPS": "3"})


def test_the_options_variables_are_not_settings() -> None:
    assert resolve(environment={"DIFFPROBE_DEVICE": "cpu", "DIFFPROBE_SEED": "3"}) == Config()


def test_assignments_are_settings_of_the_kind_that_a_flag_names() -> None:
    flags = {"sampler.name": "resampling", "sampling.steps": 5}
    config = resolve(assignments=["sampler.repeats=3", "sampling.steps=4"], flags=flags)
    assert to_settings(config.sampler)["repeats"] == 3
    assert config.sampling.steps == 5
    with pytest.raises(UsageError, match=r"unknown key 'sampler.repeat'"):
        resolve(assignments=["sampler.repeat=3"], flags=flags)


def test_differences_name_the_keys() -> None:
    ours = to_settings(resolve(assignments=["training.steps=3"]))
    theirs = to_settings(resolve(assignments=["training.steps=4", "sampling.seed=1"]))
    assert differences(ours, theirs) == ["sampling.seed: 0, not 1", "training.steps: 3, not 4"]
    (told,) = differences({"rates": "0.1\n" * 999 + "1"}, {"rates": "0.1\n" * 999 + "2"})
    assert len(told) < 200
