"""Sampled images, how they were made, and the files they are kept in."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, is_zipfile

import numpy as np
import torch
from numpy.lib import format as array_format
from numpy.typing import ArrayLike
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.datasets.array_files import open_large
from diffprobe.datasets.image_arrays import as_images, check_shape, stored_images
from diffprobe.datasets.image_set import ENDINGS, list_pictures, read_exactly
from diffprobe.datasets.stored_images import Pictures, StoredImages, pieces
from diffprobe.foundations.atomic import atomic_file
from diffprobe.foundations.errors import UsageError, offer_nearest
from diffprobe.foundations.tables import html_table
from diffprobe.sampling.samplers import SamplerKind


@dataclass(frozen=True, repr=False)
class Samples:
    """Images, sampled by diffprobe or anybody's.

    Attributes:
        images: (N, C, H, W) float32, nominally in [-1, 1], a symbol channel among C; more than
            memory should hold are no tensor but stay in a file and are read by index.
        sampler: The resolved sampler: its settings, class and configuration, steps, seed, batch
            size, and what was sampled; empty where it is not known. `draws` counts the images
            drawn, refused ones among them; `evaluations` those of the denoiser for each image that
            is kept, and `oracle_evaluations` those of the oracles that guided.
        notes: How images that are not our own were read, in sentences.
        files: The pictures they were read from, one for each image, if they were.
    """

    images: Pictures
    sampler: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __repr__(self) -> str:
        n, *shape = self.images.shape
        how = f", {self.sampler['class']}" if "class" in self.sampler else ""
        return f"<Samples: {n:,} images of {' × '.join(map(str, shape))}{how}>"

    def _repr_html_(self) -> str:
        told = ("class", "steps", "seed", "weights")
        shown = {key: self.sampler[key] for key in told if key in self.sampler}
        settings = {k: v for k, v in self.sampler.get("sampler", {}).items() if k != "name"}
        return html_table([{**shown, **settings}], repr(self))

    @property
    def price(self) -> dict[str, float]:
        """What each image that is kept took; empty where it is not known."""
        names = ("evaluations", "oracle_evaluations")
        return {name: self.sampler[name] for name in names if name in self.sampler}

    def mended(self) -> list[str]:
        """Say in sentences what was given or told, and what guidance and rejection did."""
        how, lines = self.sampler, []
        if given := how.get("given"):
            lines.append(
                f"Cells were given ({given}), and the others sampled on this condition: rates by "
                "chance, which are of whole words, do not stand beside them."
            )
        guidance = how.get("guidance")
        if condition := how.get("condition"):
            by = f", with classifier-free guidance of weight {guidance:g}" if guidance else ""
            lines.append(
                f"The network was told a condition ({condition}){by}: rates by chance, which are "
                "of words without one, do not stand beside its samples."
            )
        elif guidance:
            lines.append(
                f"The samples were guided by the exact posterior with weight {guidance:g}, which "
                f"took {how['oracle_evaluations']:,.1f} evaluations of the oracles for each: what "
                "they obey of the grammar is not the network's alone."
            )
        if rejection := how.get("rejection"):
            lines.append(
                "What was illegible or ungrammatical was drawn again, "
                f"{rejection:,} times at most: {how['draws'] / how['n']:,.2f} draws and "
                f"{how['evaluations']:,.1f} evaluations of the network for each sample kept."
            )
        return lines

    def save(self, path: Path) -> None:
        """Write an `.npz` with `images`, and `sampler` as JSON text."""
        described = np.array(json.dumps(dict(self.sampler)))
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(self.images.shape)}
        with atomic_file(path) as partial, ZipFile(partial, "w", ZIP_DEFLATED) as archive:
            with archive.open("images.npy", "w", force_zip64=True) as file:
                array_format.write_array_header_1_0(file, header)
                for piece in pieces(self.images):
                    file.write(piece.cpu().numpy().astype("<f4").tobytes())
            with archive.open("sampler.npy", "w") as file:
                array_format.write_array(file, described, allow_pickle=False)


# Whatever images are taken from: see `as_samples`.
Images = Samples | Pictures | ArrayLike | str | Path


def as_samples(images: Images, image_shape: tuple[int, int, int] | None = None) -> Samples:
    """Return images as samples, whatever holds them.

    Args:
        images: Samples, which are taken as they are; a path, as `load_samples` takes it; or a
            tensor or array, as `image_arrays.as_images` reads it.
        image_shape: C, H, W that they must have; by default what they have.

    Raises:
        UsageError: If they cannot be read, or have another shape.
    """
    if isinstance(images, str | Path):
        return load_samples(images, image_shape)
    if isinstance(images, Samples):
        if image_shape is not None:
            check_shape(images.images, image_shape)
        return images
    if isinstance(images, StoredImages):
        return as_samples(Samples(images, {}), image_shape)
    values, notes = as_images(images, image_shape)
    return Samples(values, {}, notes)


def as_pictures(images: Images, dataset: SymbolImages) -> Samples:
    """Return samples of a world as pictures of it: without a symbol channel, where they have one.

    Raises:
        UsageError: If they cannot be read, or have another shape.
    """
    shape = dataset.plain.image_shape
    if dataset.image_shape != shape:
        samples = as_samples(images)
        drawn = samples.images
        if tuple(drawn.shape[1:]) == dataset.image_shape:
            if isinstance(drawn, Tensor):
                return replace(samples, images=dataset.pictures(drawn))
            read = StoredImages(
                (len(drawn), *shape), lambda first, last: dataset.pictures(drawn[first:last])
            )
            return replace(samples, images=read)
    return as_samples(images, shape)


def load_samples(path: str | Path, image_shape: tuple[int, int, int] | None = None) -> Samples:
    """Read images: our samples, anybody's `.npz` or `.npy`, a picture, or a folder of pictures.

    Whether it is an `.npz` or `.npy` is told by its content. Of an `.npz` the array `images` is
    taken, or the only one. Nothing is unpickled.

    Args:
        path: A file, or a folder.
        image_shape: C, H, W that the images must have; by default what they have.

    Raises:
        UsageError: If it is missing, damaged, or holds no such images.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"no file of samples, and no run, at {path}{offer_nearest(path)}")
    if path.is_dir():
        pictures = list_pictures(path)
        if not pictures:
            raise UsageError(f"{path} holds no pictures ({' '.join(ENDINGS)})")
        return _pictures(pictures, image_shape)
    if path.suffix.lower() in ENDINGS:
        return _pictures([path], image_shape)
    if (array := open_large(path)) is not None:
        sampler = _sampler_in(path)
        ours = bool(sampler) and array.dtype.kind == "f"
        stored, notes = stored_images(array, image_shape, str(path), as_they_are=ours)
        return Samples(stored, sampler if ours else {}, notes)
    images, sampler = _read_arrays(path)
    if sampler and np.issubdtype(images.dtype, np.floating):
        floats = torch.from_numpy(images).float()
        if image_shape is not None:
            check_shape(floats, image_shape, f"{path}: ")
        return Samples(floats, sampler)
    values, notes = as_images(images, image_shape, str(path))
    return Samples(values, {}, notes)


def _pictures(paths: list[Path], image_shape: tuple[int, int, int] | None) -> Samples:
    values, notes = as_images(read_exactly(paths, image_shape))
    return Samples(values, {}, notes, tuple(path.name for path in paths))


def _read_arrays(path: Path) -> tuple[Any, dict[str, Any]]:
    """The array of images in a file, and the sampler if it is of ours."""
    try:
        # numpy leaves a file that it opened itself open when it turns out to be damaged.
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content, {}
            names = [n for n in content.files if n != "sampler"]
            if any(name.endswith("data.pkl") for name in content.files):
                raise UsageError(
                    f"{path} is pickled by PyTorch: save the tensor's .numpy() as .npy"
                )
            if "images" not in names and len(names) != 1:
                raise UsageError(f"{path} has no array named 'images' (it has {names})")
            images = content["images" if "images" in names else names[0]]
            if not isinstance(images, np.ndarray):
                raise UsageError(f"{path} holds no array of numpy but {names}")
            return images, _sampler(content)
    except UsageError:
        raise
    # On damage numpy fails in a dozen ways, a SyntaxError among them.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if "pickle" in reason.lower():
            reason = "it holds pickled objects, and nothing is unpickled; save an array of numbers"
        raise UsageError(f"{path} cannot be read as an .npz or .npy of images: {reason}") from error


def _sampler_in(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = np.load(file, allow_pickle=False, mmap_mode=None) if is_zipfile(file) else None
        return {} if content is None else _sampler(content)


def _sampler(archive: Any) -> dict[str, Any]:
    if "sampler" not in archive.files or archive["sampler"].dtype.kind != "U":
        return {}
    found = json.loads(str(archive["sampler"]))
    return found if isinstance(found, dict) else {}


def samples_name(
    step: int | None, sampler: SamplerKind, sampling: SamplingConfig, weights: str
) -> str:
    """Return the file name of samples, one for each way to make them."""
    how = f"{sampler.name}-{sampling.steps}{sampler.label}"
    if sampling.guidance:
        how += f"_guidance-{sampling.guidance:g}"
    if sampling.rejection:
        how += f"_rejection-{sampling.rejection}"
    if sampling.condition:
        how += f"_condition-{_as_name(sampling.condition)}"
    if sampling.given:
        how += f"_given-{_as_name(sampling.given)}"
    return f"{samples_prefix(step, weights)}{how}_n-{sampling.n}_seed-{sampling.seed}.npz"


def _as_name(given: str) -> str:
    """A file name has no room for many words, nor for any symbol."""
    if re.fullmatch(r"[\w -]{1,40}", given, re.ASCII):
        return "+".join(given.split())
    return hashlib.sha256(given.encode()).hexdigest()[:8]


def samples_prefix(step: int | None, weights: str) -> str:
    """Return how the names of all samples of a checkpoint's weights begin."""
    at = "checkpoint" if step is None else f"step-{step:06d}"
    return f"{at}_{weights}_"


def samples_of(run: Path) -> list[Path]:
    """Return a run's files of samples: by the step in their names, and of one step by age."""

    def order(path: Path) -> tuple[int, float]:
        return step_in_name(path) or 0, path.stat().st_mtime

    return sorted((run / "samples").glob("[!.]*.npz"), key=order)


def step_in_name(path: Path) -> int | None:
    """Return the training step that a file of samples or a folder is named by, if it is.

    >>> step_in_name(Path("step-1000000_ema_ddim-50_n-8_seed-0.npz"))
    1000000
    """
    match = re.match(r"step-(\d+)", path.name)
    return int(match[1]) if match else None
