"""Attribution of noisy images that somebody has, and pictures as people hold them."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

import diffprobe
from diffprobe.config import ProbeConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.batches import as_batch
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.probes.attribution import AttributionConfig, maps, measure
from diffprobe.probing.noise_levels import noisy_inputs
from diffprobe.probing.opening import subject_of
from diffprobe.probing.regions import Regions

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 5)), (2, 2))
BAYES = BayesDenoiser(WORLD, SCHEDULER)


class Linear(Denoiser):
    """x0_hat = A x_t."""

    def __init__(self) -> None:
        super().__init__(SCHEDULER)
        self.matrix = torch.randn(80, 80, generator=torch.Generator().manual_seed(0))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (x_t.flatten(1) @ self.matrix.T).reshape(x_t.shape)


def test_given_images_are_attributed_as_drawn_ones_are() -> None:
    settings = AttributionConfig(images=3, integration_steps=4, shapley_samples=4, metric_images=0)
    drawn = maps.measure(BAYES, WORLD, settings, ProbeConfig(region=1), t=400)
    given = measure(BAYES, drawn.x_t, t=400, region=1, dataset=WORLD, settings=settings)
    for name in ("methods", "cells", "region", "t"):
        assert getattr(given, name) == getattr(drawn, name)
    for name in ("maps", "cell_sums", "delta", "x0_hat", "size"):
        assert torch.equal(
            getattr(given, name).nan_to_num(7), getattr(drawn, name).nan_to_num(7)
        ), name


def test_without_a_dataset_a_linear_map_is_attributed_in_closed_form() -> None:
    linear = Linear()
    x_t = torch.randn(2, 8, 10, generator=torch.Generator().manual_seed(1))
    level = linear.log_snr(torch.tensor([500])).item()
    for images in (x_t, x_t[:, None], x_t.numpy(), x_t.double().numpy()):
        found = measure(linear, images, log_snr=level, region=3, regions="2x2")
        assert found.t == 500
        assert found.x_t.shape == (2, 1, 8, 10)
        mask = Regions.grid((1, 8, 10), 2, 2).masks[3].flatten().float()
        gradient = (mask @ linear.matrix).reshape(1, 1, 8, 10)
        by_method = dict(zip(found.methods, found.maps, strict=True))
        assert set(by_method) == {
            "saliency",
            "input-x-gradient",
            "integrated-gradients-zeros",
            "occlusion",
            "feature-ablation",
            "shapley",
        }
        assert torch.allclose(by_method["saliency"], gradient.abs().expand(2, 1, 8, 10), atol=1e-5)
        product = gradient * x_t[:, None]
        assert torch.allclose(by_method["integrated-gradients-zeros"], product, atol=1e-3)


def test_a_grid_stands_in_for_cells_that_are_not_known() -> None:
    found = measure(Linear(), torch.zeros(1, 1, 8, 10), t=3, methods=["saliency"])
    assert len(found.cells) == 16


def test_what_was_found_is_a_table_and_draws_itself() -> None:
    x_t = noisy_inputs(BAYES, WORLD, 2, 400, 0)
    found = measure(BAYES, x_t, t=400, region=1, dataset=WORLD, methods=["saliency", "occlusion"])
    frame = found.to_frame()
    assert list(frame) == ["image", "method", "cell", "sum", "share"]
    assert len(frame) == 2 * 2 * 4
    one = frame[(frame["image"] == 1) & (frame["method"] == "occlusion")]
    assert one["share"].sum() == pytest.approx(1)
    assert one["sum"].to_list() == pytest.approx(found.cell_sums[1, 1].tolist())
    assert repr(found) == "<Attribution of cell 1 in 2 images, log-SNR -1.43: saliency, occlusion>"
    assert found._repr_html_().startswith("<table>")
    ax = found.plot(Figure().subplots(), "occlusion", index=1)
    assert torch.allclose(torch.tensor(np.array(ax.images[0].get_array())), found.maps[1, 1, 0])
    assert found.plot(Figure().subplots()).get_title().startswith("saliency")
    with pytest.raises(UsageError, match="image 2 is outside 0 … 1"):
        found.plot(Figure().subplots(), index=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "say the noise level of x_t: t or log_snr"),
        ({"t": 3, "log_snr": 0.0}, "say the noise level of x_t: t or log_snr"),
        ({"t": 1000}, "t=1000 is outside 0 … 999"),
        ({"log_snr": 40}, "log-SNR 40 is outside the schedule's -10.12 … 9.21"),
        ({"t": 3, "region": 16}, "region=16 is outside 0 … 15"),
        ({"t": 3, "methods": ["shaply"]}, "did you mean 'shapley'"),
        ({"t": 3, "methods": ["shapley-noisy-image"]}, "there is no dataset to draw them from"),
        ({"t": 3, "x_t": torch.zeros(1, 1, 8, 9)}, r"\(1, 8, 9\) .* the denoiser takes \(1, 8, 10"),
        ({"t": 3, "x_t": torch.zeros(0, 1, 8, 10)}, "x_t holds no images"),
        ({"t": 3, "x_t": torch.full((1, 1, 8, 10), torch.nan)}, "not finite"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure(BAYES, **{"x_t": torch.zeros(1, 1, 8, 10), **options})  # type: ignore[arg-type]


# ---- pictures as people hold them ----------------------------------------------------------------


def test_tensors_and_arrays_are_taken_with_and_without_a_channel() -> None:
    words = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1]])
    images = WORLD.render(words)
    for given in (images, images[:, 0], images.numpy(), images[:, 0].double().numpy()):
        read, legible = WORLD.read(given)
        assert torch.equal(read, words)
        assert legible.all()
        subject = subject_of(BAYES, given)
        assert subject.images.image_shape == (1, 8, 10)
        assert subject.dataset is None
    assert as_batch(images) is images  # neither copied nor converted
    assert as_batch(images.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[0.0]], "images must be a tensor or a numpy array, not of type list"),
        ("samples.npz", "images must be a tensor or a numpy array, not of type str"),
        (torch.zeros(8, 10), r"images have shape \(8, 10\); a batch is \(B, C, H, W\)"),
        (torch.zeros(1, 1, 1, 8, 10), r"images have shape \(1, 1, 1, 8, 10\)"),
        (torch.zeros(2, 8, 10, dtype=torch.uint8), r"images are torch.uint8; .* x / 127.5 - 1"),
        (np.zeros((2, 8, 10), np.uint8), r"images are uint8; .* x / 127.5 - 1"),
        (np.array([{}]), "images are object; they must be floats"),
    ],
)
def test_what_are_no_pictures_is_said(images: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        as_batch(images)
    with pytest.raises(UsageError):
        subject_of(BAYES, images)  # type: ignore[arg-type]


# ---- the public face -----------------------------------------------------------------------------


def test_the_public_face_is_listed_and_each_name_is_there() -> None:
    assert {"attribution", "assess", "judge", "train", "run_probes"} <= set(dir(diffprobe))
    for name in dir(diffprobe):
        assert getattr(diffprobe, name) is not None
    assert diffprobe.attribution.measure is measure
    assert {"attribution", "locality", "two_layer"} <= set(dir(diffprobe.probes))


def test_worlds_and_subjects_say_what_they_are() -> None:
    assert repr(WORLD) == "<SymbolImages of parity over 0 1: 2×2 cells, images 1 × 8 × 10>"
    assert repr(WORLD.grammar) == "<Automaton parity: words of 4 cells over 2 symbols>"
    assert repr(WORLD.glyphs) == "<Glyphs 0 1: 4×5, 1 variant>"
    assert repr(Regions.cells(WORLD)) == "<Regions of images 1 × 8 × 10: cell 0 … cell 3>"
    assert "<SymbolImages of parity" in repr(BAYES)
    subject = subject_of(BAYES, WORLD)
    assert repr(subject).startswith(
        "<Subject network, network, beside bayes, product, empirical: words"
    )
    assert repr(subject.weight).startswith("<GrammarWeight at ")
