"""The shipped checkpoints: small, as their recipes say, opened without being written to."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from diffprobe import zoo
from diffprobe.cli import run
from diffprobe.config import TRAINED, Config, from_settings, to_toml
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import to_settings
from diffprobe.models import find_checkpoint, load_denoiser
from diffprobe.models.local_oracle import neighbourhoods
from diffprobe.probing import open_subject
from diffprobe.resolution import read_toml
from diffprobe.sharing.zoo_making import make
from diffprobe.training.run_folder import RunFolder

NAMES = zoo.names()
MB = 10**6


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def snapshot(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if "__pycache__" not in p.parts}


def test_the_zoo_is_small() -> None:
    sizes = {name: size(zoo.folder_of(name)) for name in NAMES}
    assert {"parity-transformer", "local-radius-1"} <= {*NAMES}
    assert 6 <= len(NAMES) <= 10
    assert max(sizes.values()) <= MB
    assert sum(sizes.values()) <= 8 * MB


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_what_its_recipe_makes(name: str) -> None:
    folder = zoo.folder_of(name)
    config, wanted = RunFolder(folder).config(), from_settings(read_toml(folder / zoo.RECIPE))
    assert {k: to_settings(config)[k] for k in TRAINED} == {
        k: to_settings(wanted)[k] for k in TRAINED
    }
    found = find_checkpoint(f"zoo:{name}")
    assert found.step == config.training.steps
    denoiser = load_denoiser(f"zoo:{name}", config.weights)
    assert denoiser.image_shape == config.dataset().image_shape
    card = zoo.card_of(name)
    assert f"{found.step:,} steps of {config.training.batch_size} images" in card
    assert zoo.summary_of(name) in card
    assert "95 % interval" in card
    assert "| excess LDR |" in card


def test_the_page_has_what_the_cards_say() -> None:
    page = (Path(__file__).parents[1] / "docs" / "zoo.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| .* \| (\S+% \| .*) \|$", page, re.M))
    found = {}
    for name in NAMES:
        card = zoo.card_of(name)
        told = dict(re.findall(r"^\| ([\w ,]+?) \| (\S+) \|", card, re.M))
        (chance,) = re.findall(r"By chance (\S+%) would be grammatical", card)
        found[name] = (
            f"{told['legible']} | {told['grammatical, of the legible']} ({chance}) | "
            f"{told['LDR']} ({told['LDR of the optimum']})"
        )
    assert rows == found


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("local-radius-")])
def test_what_is_local_by_construction_is(name: str) -> None:
    """A positive control: no cell beyond the radius changes an output, and within it some do."""
    denoiser, world = (
        load_denoiser(f"zoo:{name}"),
        RunFolder(zoo.folder_of(name)).config().dataset(),
    )
    near = neighbourhoods(world.cell_grid, int(name[-1]))
    random = torch.Generator().manual_seed(0)
    x_t = torch.randn(1, *world.image_shape, generator=random)
    t = torch.tensor([400])
    cells = world.cells(x_t)
    for cell in range(world.cell_grid.cells):
        other = cells.clone()
        other[0, cell] = torch.randn(other[0, cell].shape, generator=random)
        moved = world.cells(denoiser(world.image(other), t) - denoiser(x_t, t))[0].flatten(1)
        changed = moved.abs().amax(1) > 0
        assert torch.equal(changed, near[:, cell])


def test_what_is_probed_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = snapshot(zoo.FOLDER)
    place = Path("runs/zoo/local-radius-1")
    few = ["--set", "probe.images=2", "--set", "probe.levels=2", "--set", "probe.grammar_images=4"]
    assert run(["probe", "zoo:local-radius-1", "--probe", "locality", *few]) == 0
    assert run(["sample", "zoo:local-radius-1", "--n", "4", "--sampler-steps", "2"]) == 0
    assert run(["report", "zoo:local-radius-1"]) == 0
    assert {p.name for p in place.iterdir()} >= {"probes", "samples", "report", "README.md"}
    assert open_subject("zoo:local-radius-1", progress=False).run == RunFolder(place)
    assert snapshot(zoo.FOLDER) == before
    (place / "checkpoints/step-002500/SHA256SUMS").write_text("")
    with pytest.raises(UsageError, match="holds something else than zoo:local-radius-1"):
        open_subject("zoo:local-radius-1")


def test_a_dry_run_copies_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["sample", "zoo:parity-transformer", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["file"].startswith("runs/zoo/parity-transformer/")
    assert run(["probe", "zoo:parity-transformer", "--dry-run"]) == 0
    assert not any(tmp_path.iterdir())


def test_the_command_lists_and_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"zoo:{name}" for name in NAMES]
    assert run(["zoo", "zoo:parity-transformer"]) == 0
    assert capsys.readouterr().out == zoo.card_of("parity-transformer")
    assert run(["zoo", "parity-transformer", "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["folder"]).is_dir()


@pytest.mark.parametrize("command", ["probe", "sample", "report", "zoo", "push"])
def test_an_unknown_name_gets_the_nearest(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    rest = ["owner/name"] if command == "push" else []
    assert run([command, "zoo:parity-transfomer", *rest]) == 2
    assert "did you mean 'parity-transformer'" in capsys.readouterr().err


def test_one_is_made_from_its_recipe(tiny_config: Config, tiny_run: Path, tmp_path: Path) -> None:
    recipe, work = tmp_path / "config.toml", tmp_path / "work"
    recipe.write_text(f"# A tiny one\n\n{to_toml(tiny_config)}")
    shutil.copytree(tiny_run, work)
    target = tmp_path / "zoo" / "tiny"
    make(recipe, work, target, progress=False)
    assert (target / zoo.RECIPE).read_text() == recipe.read_text()
    card = (target / zoo.CARD).read_text()
    assert "A tiny one." in card
    assert "diffprobe probe zoo:tiny" in card
    x_t, t = torch.zeros(1, 1, 8, 32), torch.tensor([300])
    assert torch.equal(load_denoiser(target)(x_t, t), load_denoiser(tiny_run, "ema")(x_t, t))
    assert {path.name for path in (target / "checkpoints").glob("*/*")} == {
        "unet",
        "scheduler",
        "weights.json",
        "SHA256SUMS",
    }
