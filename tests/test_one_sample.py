"""Why a sample broke: the stored sample, what is believed of its cells, and what is said."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffprobe.cli import run
from diffprobe.config import Config, ProbeConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import kind
from diffprobe.models import load_denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.attribution import AttributionConfig
from diffprobe.probes.attribution.one_sample import Account, apart, beliefs
from diffprobe.probing.cache import Keep
from diffprobe.probing.noise_levels import nearest_level
from diffprobe.probing.opening import open_subject, subject_of
from diffprobe.probing.subject import Subject
from diffprobe.probing.suite import choose
from diffprobe.sampling import load_samples, sample
from diffprobe.sampling.samples import Samples
from diffprobe.sampling.stored import StoredSample, stored_sample
from diffprobe.training.run_folder import RunFolder

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 5)), (2, 2))
USAGE = 2


@pytest.fixture
def own_run(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy with samples of its last checkpoint."""
    folder = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    assert run(["sample", str(folder), "--set", "sampling.batch_size=10"]) == 0
    capsys.readouterr()
    return folder


def last_step(folder: Path) -> int:
    return RunFolder(folder).config().training.steps


# ---- the stored sample ---------------------------------------------------------------------------


def test_a_path_is_walked_again_to_where_the_sampler_was(own_run: Path) -> None:
    folder, denoiser = RunFolder(own_run), load_denoiser(own_run, "ema")
    config, visited = folder.config(), dict[int, list[tuple[int, Tensor]]]()

    def watch(batch: int, level: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
        visited.setdefault(batch, []).append((int(level), x_t))

    sampling = replace(config.sampling, batch_size=10)
    made = sample(denoiser, denoiser.image_shape, config.sampler, sampling, watch=watch)
    wanted = visited[1][1][0]
    found = stored_sample(folder, last_step(own_run), "ema", 17, denoiser, wanted + 3)
    assert found.on_path
    assert (found.t, found.index) == (wanted, 17)
    assert torch.equal(found.x_0[0], made.images[17])
    assert found.levels.tolist() == [t for t, _ in visited[1]]
    assert torch.equal(found.x_t[0], found.path[1])
    for ours, (_, theirs) in zip(found.path, visited[1], strict=True):
        assert torch.allclose(ours, theirs[7], atol=1e-4)


@pytest.mark.parametrize("sampler", [["--sampler", "ddpm"], ["--eta", "1"]])
def test_where_the_path_cannot_be_told_the_noise_is_fresh(
    own_run: Path, sampler: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sample", str(own_run), *sampler, "--seed", "3"]) == 0
    folder, denoiser = RunFolder(own_run), load_denoiser(own_run, "ema")
    found = stored_sample(folder, last_step(own_run), "ema", 2, denoiser, 400)
    assert not found.on_path
    assert found.t == 400
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([400]))
    noise = (found.x_t - alpha * found.x_0) / sigma
    assert abs(noise.std().item() - 1) < 0.15
    again = stored_sample(folder, last_step(own_run), "ema", 2, denoiser, 400, seed=1)
    assert not torch.allclose(found.x_t, again.x_t)


def test_a_path_of_levels_far_from_the_one_asked_for_is_not_used(own_run: Path) -> None:
    # Four steps visit t = 999, 749, 499, 249.
    denoiser = load_denoiser(own_run, "ema")
    found = stored_sample(RunFolder(own_run), last_step(own_run), "ema", 0, denoiser, 100)
    assert not found.on_path
    assert found.t == 100


def test_samples_of_other_steps_and_weights_are_not_taken(own_run: Path) -> None:
    denoiser = load_denoiser(own_run, "ema")
    step = last_step(own_run)
    file = next((own_run / "samples").glob("*.npz"))
    other = file.with_name(file.name.replace("_ema_", "_raw_"))
    shutil.copy(file, other)
    found = stored_sample(RunFolder(own_run), step, "ema", 0, denoiser, 400)
    assert found.file == file
    with pytest.raises(UsageError, match=rf"no samples of step 7 with weights ema .*{other.name}"):
        stored_sample(RunFolder(own_run), 7, "ema", 0, denoiser, 400)
    with pytest.raises(UsageError, match=r"sample 24 is outside 0 … 23"):
        stored_sample(RunFolder(own_run), step, "ema", 24, denoiser, 400)
    broken = load_samples(file)
    broken.images[3, 0, 0, 0] = torch.nan
    Samples(broken.images, broken.sampler).save(file)
    with pytest.raises(UsageError, match=r"sample 3 of .* holds values that are not finite"):
        stored_sample(RunFolder(own_run), step, "ema", 3, denoiser, 400)


# ---- what is believed ----------------------------------------------------------------------------


@pytest.mark.parametrize("variants", [1, 9])
def test_what_the_optimum_believes_is_the_posterior(variants: int) -> None:
    images = kind("images", "font", symbols="()[]", grid=[1, 4], variants=variants)
    world = images.build(DyckConfig(length=4, kinds=2).build())
    random = torch.Generator().manual_seed(0)
    for oracle in (BayesDenoiser(world, SCHEDULER), ProductDenoiser(world, SCHEDULER)):
        for t in (300, 600):
            x_0 = world.draw_images(3, random)
            level = torch.full((3,), t)
            x_t = oracle.noise(x_0, level, random)
            found, misfit = beliefs(world, oracle, x_t, level)
            exact = oracle.posterior(x_t, level).double()
            assert found.shape == (3, 4, 4)
            assert torch.allclose(found, exact, atol=2e-3)
            assert misfit.max() < 1e-3


def test_an_output_that_is_no_blend_of_glyphs_is_told_apart() -> None:
    class Grey(BayesDenoiser):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return torch.zeros_like(x_t)

    _, misfit = beliefs(
        WORLD, Grey(WORLD, SCHEDULER), torch.zeros(1, 1, 8, 10), torch.tensor([300])
    )
    assert misfit.min() > WORLD.glyphs.radius


def test_beliefs_contradict_each_other_where_they_name_different_symbols() -> None:
    ours = torch.tensor([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.4, 0.3, 0.3]]).double()
    best = torch.tensor([[0.2, 0.8, 0.0], [0.6, 0.2, 0.2], [0.3, 0.4, 0.3]]).double()
    assert torch.allclose(apart(ours, best), torch.tensor([0.7, 0.0, 0.1]).double())


# ---- why -----------------------------------------------------------------------------------------


def why(network: type[BayesDenoiser | ProductDenoiser], word: list[int], cell: int) -> list[str]:
    """What is said of a word whose third cell is blurred towards the other symbol."""
    denoiser, t = network(WORLD, SCHEDULER), 300
    x_0 = WORLD.render(torch.tensor([word]))
    cells = WORLD.cells(x_0).clone()
    zero, one = WORLD.glyphs.images[:, 0]
    cells[:, 2] = 0.55 * (one if word[2] else zero) + 0.45 * (zero if word[2] else one)
    alpha, _ = denoiser.alpha_sigma(torch.tensor([t]))
    config = Config(probe=ProbeConfig(level=t, region=cell)).with_probe(
        "attribution", integration_steps=8, shapley_samples=4
    )
    subject = subject_of(denoiser, WORLD, config)
    x_t = alpha * WORLD.image(cells)
    # Before it, noise that says nothing; behind it the end.
    path, levels = torch.cat([0 * x_t, x_t, x_0]), torch.tensor([990, t, 0])
    asked = StoredSample(Path("made.npz"), 5, x_0, x_t, t, path, levels)
    subject = replace(subject, sample=asked)
    probe = config.probe_settings("attribution")
    assert isinstance(probe, AttributionConfig)
    results = probe.measure(subject, Keep(None, "attribution", {}))
    assert isinstance(results["sample"], Account)
    return probe.lines(probe.summary(results), subject)


def test_a_local_network_goes_by_the_pixels_and_the_optimum_by_the_others() -> None:
    lines = why(ProductDenoiser, [0, 1, 1, 1], 2)
    text = "\n".join(lines)
    assert lines[0] == "sample 5 of made"
    assert "reads       0 1 1 1: invalid, odd parity" in text
    assert re.search(r"would be    [01 ]{7}, a nearest valid word: 1 change, among cells 0", text)
    assert "on its own sampling path" in text
    level = BayesDenoiser(WORLD, SCHEDULER).log_snr(torch.tensor([300])).item()
    at = f"from log-SNR {level:.2f} to {level:.2f} of the path; most at {level:.2f}, about cell 2"
    assert f"they part   network and optimum, about a cell, {at}" in text
    assert re.search(r"^  network     1 \(0\.\d+\), 0", text, re.M)
    assert re.search(r"^  optimum     0 \((1\.00|0\.9\d)\)", text, re.M)
    assert re.search(r"^  saliency +network cell 2 1\.00; optimum ", text, re.M)
    assert "its being 1 rather than 0" in text
    assert lines[-1].startswith(
        "why           here they part: the network goes by the cell's own pixels and takes cell 2 "
        "for 1; the optimum, which weighs the whole image, for 0 (saliency in the cell itself: "
        "network 100%, optimum "
    )


def test_another_cell_is_named_where_network_and_optimum_part() -> None:
    assert (
        "they part most about cell 2, which the network takes for 1 and the optimum for 0: try"
        in (why(ProductDenoiser, [0, 1, 1, 1], 1)[-1])
    )
    assert "do not contradict each other about any cell" in why(BayesDenoiser, [0, 1, 1, 1], 2)[-1]


def test_a_valid_sample_did_not_break() -> None:
    lines = why(ProductDenoiser, [0, 1, 1, 0], 2)
    assert "reads       0 1 1 0: valid" in lines[1]
    assert "nothing broke: the sample is valid" in lines[-1]


def test_an_illegible_sample_is_not_the_grammars() -> None:
    denoiser = ProductDenoiser(WORLD, SCHEDULER)
    subject: Subject = subject_of(denoiser, WORLD, Config(probe=ProbeConfig(level=300)))
    x_0 = WORLD.render(torch.tensor([[0, 1, 1, 0]]))
    x_0[..., 4:, 5:] = 0.0
    nothing = torch.empty(0, 1, 8, 10), torch.empty(0, dtype=torch.long)
    subject = replace(subject, sample=StoredSample(Path("made.npz"), 0, x_0, x_0, 300, *nothing))
    probe = AttributionConfig(methods=("saliency",))
    lines = probe.lines(probe.summary(probe.measure(subject, Keep(None, "a", {}))), subject)
    assert "reads       0 1 1 ?: illegible, cell 3 cannot be read" in lines[1]
    assert "under fresh noise (seed 0)" in lines[2]
    assert "cannot be read: what is wrong with it is not the grammar" in lines[-1]


# ---- the command line ----------------------------------------------------------------------------


def test_three_flags_say_why_a_sample_broke(
    own_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["probe", str(own_run), "--sample", "1", "--cell", "2", "--log-snr", "-1"]
    asked += ["--set", 'probes.attribution.methods=["saliency", "occlusion"]']
    assert run([*asked, "--probe", "attribution"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("sample 1 of step-000030_ema_ddim-4_n-24_seed-0\n")
    for part in ("  reads ", "  looked at ", "cell 2, read as", "  network ", "  optimum ", "why "):
        assert part in text
    assert text.splitlines()[-1] == f"next          diffprobe report {own_run}"
    assert run([*asked, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content["probes"]) == ["attribution"]
    told = content["probes"]["attribution"]
    assert (told["sample"]["index"], told["cell"], told["region"]) == (1, 2, "cell 2")
    shares = told["shares"]["network"]["saliency"]
    assert sum(shares) == pytest.approx(1)
    assert all(Path(f).exists() for f in content["figures"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--sample 99", "sample 99 is outside 0 … 23"),
        ("--sample -1", "-1 is not in the range x>=0"),
        ("--sample 1 --images pictures", "give --sample or --images, not both"),
        ("--sample 1 --probe locality", "the probe locality looks at many images; of one sample"),
        ("--sample 1 --steps all", "a sample is of one checkpoint"),
        ("--sample 1 --weights raw", "no samples of step 30 with weights raw (the newest it has"),
        ("--sample 1 --cell 4", "probe.region=4 is outside 0 … 3"),
        ("--cell -1", "probe.region must be at least 0, not -1"),
        ("--level 3 --log-snr 0", "give --level or --log-snr, not both"),
        ("--log-snr 30", "log-SNR 30 is outside the schedule's -10.12 … 9.21"),
        ("--log-snr nan", "log-SNR nan is outside the schedule's"),
        ("--level -7", "probe.level must be at least -1, not -7"),
    ],
)
def test_what_does_not_go_together_is_said(
    arguments: str, message: str, own_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", str(own_run), *arguments.split()]) == USAGE
    assert message in capsys.readouterr().err


def test_one_sample_is_chosen_for_the_probes_that_take_one(own_run: Path) -> None:
    config = RunFolder(own_run).config()
    config = replace(config, probe=replace(config.probe, sample=1))
    subject = open_subject(own_run, config, log_snr=-1)
    assert subject.level == subject.sample.t  # type: ignore[union-attr]
    chosen, skipped = choose(subject, None)
    assert list(chosen) == ["attribution"]
    assert skipped == {}
    assert list(choose(subject, ["all"])[0]) == ["attribution"]
    assert open_subject(own_run, log_snr=-1).level == nearest_level(subject.denoiser, -1)


def test_a_denoiser_without_a_run_has_no_samples() -> None:
    denoiser = BayesDenoiser(WORLD, SCHEDULER)
    with pytest.raises(UsageError, match="theirs is not part of a run: it has no stored samples"):
        subject_of(denoiser, WORLD, Config(probe=ProbeConfig(sample=0)), name="theirs")
