"""A run goes to the Hub and comes back as a run, through a stand-in of the Hub's interface."""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from hub import Hub, in_place_of_the_hub, point_to
from huggingface_hub import ModelCard, constants
from pipelines import KINDS

from diffprobe import zoo
from diffprobe.cli import run
from diffprobe.foundations.errors import CheckpointError
from diffprobe.models import find_checkpoint, list_checkpoints, load_denoiser
from diffprobe.probing import open_subject, run_probes
from diffprobe.training.run_folder import RunFolder

# huggingface_hub says so to its own HTTP library.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run that was sampled, judged and probed; tests must not change it."""
    source = zoo.folder_of("parity-transformer")
    place = Path(shutil.copytree(source, tmp_path_factory.mktemp("measured") / "tiny"))
    described = json.loads((place / "config.json").read_text())
    few = {"images": 8, "levels": 1, "grammar_images": 64, "level": 351}
    described["config"]["probe"] |= few
    (place / "config.json").write_text(json.dumps(described))
    assert run(["sample", str(place), "--n", "60", "--sampler-steps", "10"]) == 0
    assert run(["probe", str(place), "--probe", "locality"]) == 0
    assert run(["report", str(place)]) == 0
    return place


@pytest.fixture
def ours(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "tiny"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    with in_place_of_the_hub(monkeypatch, tmp_path) as hub:
        yield hub


def push(path: Path, *options: str) -> int:
    return run(["push", str(path), "owner/tiny", *options])


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_run_comes_back_as_a_run(ours: Path, hub: Hub) -> None:
    assert push(ours, "--licence", "mit") == 0
    back, here = load_denoiser("hub:owner/tiny"), load_denoiser(ours)
    x_t = torch.randn(2, *here.image_shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([100, 500])
    assert torch.equal(back(x_t, t), here(x_t, t))
    cached = find_checkpoint("hub:owner/tiny").path.parents[1]
    before = sorted(cached.rglob("*"))
    subject = open_subject("hub:owner/tiny", progress=False)
    assert {"bayes", "product"} <= subject.oracles.keys()
    assert subject.run is not None
    place = Path("runs/hub/owner") / f"tiny@{cached.name[:8]}"
    assert subject.run.path == place
    assert subject.run.config() == RunFolder(ours).config()
    found = run_probes(subject, ["sensitivity"], figures=False)
    assert found.folder.is_relative_to(place)
    assert sorted(cached.rglob("*")) == before
    for words in (["sample", "hub:owner/tiny", "--n", "8"], ["report", "hub:owner/tiny"]):
        assert run(words) == 0
    assert (place / "samples").is_dir()


def test_the_card_says_what_the_records_say(ours: Path, hub: Hub) -> None:
    assert push(ours, "--licence", "apache-2.0", "--out", "laid", "--dry-run") == 0
    assert not hub.repositories
    card = ModelCard.load(Path("laid/README.md"))
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "diffprobe"
    (report,) = (json.loads(path.read_text()) for path in ours.glob("report/*/report.json"))
    results = {each.metric_type: each.metric_value for each in card.data.eval_results}
    assert results["legible"] == report["legible"]["value"]
    legible = report["legible"]
    row = f"{legible['low']:.1%} to {legible['high']:.1%} | {legible['count']} of {legible['n']} |"
    assert row in card.text
    summary = json.loads(next(ours.glob("probes/*/summary.json")).read_text())
    at = summary["level"]["t"]
    level = next(each for each in summary["probes"]["locality"]["levels"] if each["t"] == at)
    assert results["LDR"] == pytest.approx(level["ldr"]["network"]["value"], abs=5e-4)
    assert f"| excess LDR | {level['excess_ldr']['value']:.3f} |" in card.text
    for path in re.findall(r"!\[.*?\]\((.*?)\)", card.text):
        assert Path("laid", path).is_file()
    assert "samples.png" in card.text
    # What is laid out is a run, and says nothing of where it was.
    assert RunFolder(Path("laid")).config() == RunFolder(ours).config()
    for record in Path("laid").rglob("*.json"):
        assert str(ours) not in record.read_text()
    assert push(ours, "--out", "laid", "--dry-run") == 0
    assert ModelCard.load(Path("laid/README.md")).data.license is None


def test_an_interrupted_push_is_repeated(
    ours: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refuse_uploads = 1
    assert push(ours) == 1
    assert "owner/tiny was refused: try later" in told(capsys)
    sent, known = hub.requests["PUT"], len(hub.objects)
    assert push(ours) == 0
    assert hub.requests["PUT"] - sent == len(hub.objects) - known
    pushed = hub.repositories["owner/tiny"][hub.heads["owner/tiny", "main"]]
    assert "checkpoints/step-004000/SHA256SUMS" in pushed


def test_an_interrupted_download_goes_on(
    ours: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert push(ours) == 0
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 250)
    hub.cut = 1000
    # Older versions of huggingface_hub end here, and go on where they are asked again.
    with contextlib.suppress(CheckpointError):
        load_denoiser("hub:owner/tiny")
    load_denoiser("hub:owner/tiny")
    assert "bytes=1000-" in hub.ranges


def test_half_precision_is_read_where_there_is_nothing_else(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model in both, the full; of one in two halves, the first; whole or in shards."""
    pipe = tmp_path / "pipe"
    KINDS["stable-diffusion"].build(pipe)
    unet = UNet2DConditionModel.from_pretrained(pipe / "unet")
    (pipe / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    for variant in ("fp16", "bf16"):
        unet.save_pretrained(pipe / "unet", variant=variant, max_shard_size="20KB")
    vae = AutoencoderKL.from_pretrained(pipe / "vae")
    vae.save_pretrained(pipe / "vae", variant="fp16")
    files = {f.relative_to(pipe).as_posix(): f.read_bytes() for f in pipe.rglob("*") if f.is_file()}
    hub.repositories["owner/halves"] = {}
    hub.commit("owner/halves", "main", files)
    condition = KINDS["stable-diffusion"].condition(tmp_path)
    back = load_denoiser("hub:owner/halves", condition=condition)
    assert back.network.state_dict().keys() == unet.state_dict().keys()
    (cached,) = tmp_path.glob("cache/*/snapshots/*")
    weights = {f.relative_to(cached).as_posix() for f in cached.rglob("*.safetensors")}
    shards = {name for name in weights if name.startswith("unet/")}
    assert len(shards) > 1
    assert all(".fp16-" in name for name in shards)
    assert weights - shards == {"vae/diffusion_pytorch_model.safetensors"}
    point_to(monkeypatch, "http://127.0.0.1:9")
    assert find_checkpoint("hub:owner/halves").path == cached


def test_revisions_and_later_pushes(
    tiny_run: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_, last = list_checkpoints(Path(shutil.copytree(tiny_run, tmp_path / "tiny")))
    assert push(first.path, "--private") == 0
    assert hub.private == {"owner/tiny"}
    assert push(last.path, "--revision", "longer") == 0
    assert find_checkpoint("hub:owner/tiny").step == first.step
    assert find_checkpoint("hub:owner/tiny@longer").step == last.step
    assert find_checkpoint(f"hub:owner/tiny@{hub.heads['owner/tiny', 'main']}").step == first.step
    assert push(last.path) == 0
    found = find_checkpoint("hub:owner/tiny")
    assert [each.step for each in list_checkpoints(found.path.parents[1])] == [last.step]
    assert run(["probe", "hub:owner/tiny@shorter"]) == 1
    assert told(capsys) == "diffprobe: error: hub:owner/tiny has no revision 'shorter'"


@pytest.mark.parametrize(
    ("words", "token", "code", "message"),
    [
        (["tiny", "tiny"], "hf_ours", 2, "'tiny' is no name of a repository; write owner/name"),
        (["tiny", "a/b/c"], "hf_ours", 2, "'a/b/c' is no name of a repository"),
        (["tiny", "owner/-x-"], "hf_ours", 2, "the Hub takes no such name"),
        (["tiny", "owner/tiny"], "", 2, "there is no token for the Hub: hf auth login"),
        (["tiny", "owner/tiny"], "hf_old", 1, "owner/tiny was refused: the Hub does not know this"),
        (["tiny", "owner/tiny"], "hf_theirs", 1, "this token may not write there"),
        (["tinny", "owner/tiny"], "hf_ours", 2, "at tinny: did you mean 'tiny'?"),
        (["empty", "owner/tiny"], "hf_ours", 2, "empty is neither a run folder"),
        (["tiny", "owner/tiny", "--out", "full"], "hf_ours", 2, "full holds something else"),
    ],
)
def test_what_cannot_be_pushed(
    words: list[str],
    token: str,
    code: int,
    message: str,
    ours: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/README.md").write_text("mine")
    Path("full/thesis.txt").write_text("mine")
    assert run(["push", *words]) == code
    assert message in told(capsys)
    assert Path("full/thesis.txt").exists()
    assert not hub.repositories


def test_what_is_there_is_its_owners(
    ours: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(ours) == 0
    heads = dict(hub.heads)
    monkeypatch.setenv("HF_TOKEN", "hf_theirs")
    assert push(ours, "--licence", "mit") == 1
    assert "owner/tiny was refused: this token may not write there" in told(capsys)
    assert hub.heads == heads


def test_without_a_network(
    ours: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(ours) == 0
    step = find_checkpoint("hub:owner/tiny").step
    point_to(monkeypatch, "http://127.0.0.1:9")
    assert push(ours) == 1
    assert "the Hub cannot be reached" in told(capsys)
    assert find_checkpoint("hub:owner/tiny").step == step
    assert run(["probe", "hub:owner/other"]) == 1
    assert "the Hub cannot be reached, and hub:owner/other was not downloaded" in told(capsys)


def test_what_nobody_may_read(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sample", "hub:owner/absent"]) == 1
    assert "there is no hub:owner/absent that you may read" in told(capsys)
    assert run(["sample", "hub:owner"]) == 2
    assert "write hub:owner/name or hub:owner/name@revision" in told(capsys)
