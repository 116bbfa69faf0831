"""A channel that says which symbol each cell holds: the network draws it, nobody else looks."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from diffprobe.cli import run
from diffprobe.config import Config
from diffprobe.datasets import SymbolImages
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.images.coloured import ColouredImagesConfig
from diffprobe.datasets.images.digits import DigitImagesConfig
from diffprobe.datasets.images.font import FontImagesConfig
from diffprobe.datasets.stored_images import StoredImages
from diffprobe.evaluation import assess, judge
from diffprobe.foundations.errors import UsageError
from diffprobe.models import noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.probes.attribution import AttributionConfig, figures, maps
from diffprobe.report import report_samples, sheet
from diffprobe.resolution import resolve
from diffprobe.sampling import as_pictures, load_samples
from diffprobe.training import train


def world_of(name: str, *, coded: bool = True) -> SymbolImages:
    if name == "digits":
        return DigitImagesConfig(symbol_channel=coded).build(DigitSumConfig().build())
    grammar = ModularSumConfig(4, 4, 4).build()
    if name == "font":
        return FontImagesConfig("abcd", (1, 4), variants=2, symbol_channel=coded).build(grammar)
    shown = ColouredImagesConfig("+o", ("red", "blue"), (2, 2), symbol_channel=coded)
    return shown.build(grammar)


def drawn(world: SymbolImages, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    words = world.grammar.sample(n, random)
    return words, world.draw(words, random)


@pytest.mark.parametrize("name", ["font", "digits", "coloured"])
def test_the_last_channel_is_a_code_and_the_others_are_the_picture(name: str) -> None:
    world, plain = world_of(name), world_of(name, coded=False)
    words, images = drawn(world)
    assert images.shape[1:] == world.image_shape
    assert torch.equal(world.pictures(images), drawn(plain)[1])
    assert torch.equal(plain.pictures(images[:, :-1]), images[:, :-1])
    codes = world.cells(images)[:, :, -1]
    symbols = world.grammar.symbols
    expected = words * 2 / (symbols - 1) - 1
    assert (codes - expected[..., None, None]).abs().max() < 1e-6
    assert world.plain.image_shape == plain.image_shape


@pytest.mark.parametrize("name", ["font", "digits", "coloured"])
def test_a_reader_looks_at_the_picture_alone(name: str) -> None:
    world = world_of(name)
    words, images = drawn(world)
    contradicting = images.clone()
    contradicting[:, -1] = images.roll(1, 0)[:, -1] * 3
    for shown in (images, contradicting, world.pictures(images)):
        read, legible = world.read(shown)
        assert torch.equal(read, words)
        assert legible.all()
    unreadable = images.clone()
    unreadable[:, :-1] = 0
    assert not world.read(unreadable)[1].any()
    wrong = torch.zeros(*images.shape[:1], 5, *images.shape[2:])
    with pytest.raises(UsageError, match="images have shape"):
        world.read(wrong)


def test_samples_are_judged_as_those_of_the_plain_world(tmp_path: Path) -> None:
    world, plain = world_of("font"), world_of("font", coded=False)
    _, images = drawn(world)
    images[3] = 0
    images[5, -1] = torch.nan
    stored = StoredImages((40, *world.image_shape), lambda first, last: images[first:last])
    expected = assess(world.pictures(images), plain).summary(plain.glyphs.names)
    for each in (images, stored, world.pictures(images)):
        assert str(assess(each, world).summary(world.glyphs.names)) == str(expected)
    assert judge(world, images).legible.sum() == 39
    assert torch.equal(as_pictures(stored, world).images[2:9], world.pictures(images)[2:9])
    report = report_samples(images, world, tmp_path)
    assert report.content["samples"] == 40
    verdicts = report.assessment.verdicts
    shown = sheet.plot(world.plain, world.pictures(images), verdicts, Figure().subplots())
    assert shown.images[0].get_array().ndim == 2


@pytest.mark.parametrize(
    "network",
    [
        {"name": "mlp", "width": 32},
        {"name": "residual-mlp", "width": 32, "depth": 1},
        {"name": "unet", "channels": [8, 8], "attention": [False, True], "layers_per_block": 1},
        {"name": "transformer", "width": 32, "depth": 1, "patch": [4, 4]},
    ],
    ids=lambda settings: settings["name"],
)
def test_every_network_denoises_it(network: dict[str, object]) -> None:
    config = resolve(
        assignments=[
            "grammar.length=4",
            "images.grid=[1, 4]",
            "images.symbol_channel=true",
            *(f"network.{key}={json.dumps(value)}" for key, value in network.items()),
        ]
    )
    dataset = config.dataset()
    built = config.network.build(dataset.image_shape, 0, dataset.grid)
    assert built(torch.zeros(2, 2, 8, 32), torch.tensor([3, 7])).sample.shape == (2, 2, 8, 32)


def test_maps_are_drawn_beside_the_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = world_of("font")
    bayes = BayesDenoiser(world, noise_scheduler(NoiseConfig()))
    result = maps.measure(bayes, world, AttributionConfig(images=2), t=500, methods=["saliency"])
    shown: list[torch.Tensor] = []
    show = figures._show

    def note(ax: Axes, picture: torch.Tensor, *scale: Any) -> AxesImage:
        shown.append(picture)
        return show(ax, picture, *scale)

    monkeypatch.setattr(figures, "_show", note)
    figures.draw_maps([result], ["optimum"], tmp_path / "maps", world)
    index = int(result.cell_sums[0].sum(-1).argmax())
    assert torch.equal(shown[0], result.x_t[index, 0])
    assert torch.equal(shown[1], result.x0_hat[index, 0])
    assert torch.equal(shown[2], result.maps[0, index].sum(0))


def test_commands_take_a_run_with_it(
    tiny_config: Config, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = FontImagesConfig("01", (1, 4), symbol_channel=True)
    coded = train(replace(tiny_config, images=images), tmp_path / "coded", "cpu").path
    plain = tmp_path / "plain"
    shutil.copytree(tiny_run, plain, ignore=shutil.ignore_patterns("samples", "probes", "report"))
    for folder in (plain, coded):
        assert run(["sample", str(folder)]) == 0
    (file,) = (coded / "samples").glob("*.npz")
    assert load_samples(file).images.shape == (24, 2, 8, 32)
    assert run(["report", str(coded)]) == 0
    both = [str(plain), str(coded), "--out", str(tmp_path / "both")]
    capsys.readouterr()
    assert run(["report", *both]) == 0
    captured = capsys.readouterr()
    assert "cannot be compared" not in captured.out  # they show the same pictures
    assert "same noise" not in captured.err
    assert run(["report", *both, "--paired"]) == 2
    assert "shape (2, 8, 32)" in capsys.readouterr().err


def test_a_pixel_has_none() -> None:
    with pytest.raises(UsageError, match=r"images\.symbol_channel"):
        resolve(assignments=["images.name=pixels", "images.symbol_channel=true"])
