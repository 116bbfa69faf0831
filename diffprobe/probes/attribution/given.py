"""Attribution of noisy images that somebody has, such as one that broke."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.datasets.batches import as_batch
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.attribution import AttributionConfig, maps
from diffprobe.probes.attribution.maps import Attribution
from diffprobe.probes.attribution.methods import baseline_of
from diffprobe.probing.noise_levels import check_level, nearest_level
from diffprobe.probing.regions import Regions, default_regions, parse_regions


def measure(
    denoiser: Denoiser,
    x_t: Any,
    *,
    t: int | None = None,
    log_snr: float | None = None,
    region: int = 0,
    dataset: SymbolImages | ImageSet | None = None,
    regions: Regions | str | None = None,
    methods: Sequence[str] | None = None,
    settings: AttributionConfig | None = None,
    common: ProbeConfig | None = None,
    progress: Progress = silent,
) -> Attribution:
    """Attribute one region's output to the pixels of noisy images that are given.

    Args:
        denoiser: A network or an oracle.
        x_t: Noisy images, a tensor or array of floats: (B, C, H, W), or (B, H, W) of one channel.
        t: Their noise level, as a timestep.
        log_snr: The same as log(alpha²/sigma²): the nearest timestep. One of the two is given.
        region: Whose output: an index of `regions`.
        dataset: Where other images are drawn from, which cells are replaced by. Without it methods
            that compare with zeros, or with nothing, are left.
        regions: The dataset's cells, or a grid of 4×4, by default; as text, see `parse_regions`.
        methods: Names; by default those of `settings` that are left.
        settings: Of attribution.
        common: `seed`, and `batch_size` images are evaluated at once.
        progress: Called as tqdm is.

    Returns:
        Maps and sums over cells, as a table with `to_frame()`, and `plot(ax)`.

    Raises:
        UsageError: If images, noise level, region or methods do not fit the denoiser or each other.
    """
    images = as_batch(x_t, "x_t").to(denoiser.device)
    denoiser.check_shape(images)
    if len(images) == 0:
        raise UsageError("x_t holds no images")
    source = ImageSet(images, "x_t") if dataset is None else dataset
    if t is not None and log_snr is None:
        check_level(denoiser, t)
    elif t is None and log_snr is not None:
        t = nearest_level(denoiser, log_snr)
    else:
        raise UsageError("say the noise level of x_t: t or log_snr, one of the two")
    if isinstance(regions, str):
        regions = parse_regions(regions, source.image_shape, denoiser.pixel_scale)
    elif regions is None:
        regions = default_regions(source)
    if settings is None:
        settings = AttributionConfig(baseline="noisy-image" if dataset is not None else "zeros")
        settings = replace(settings, metric_images=0)
    if methods is None and dataset is None:
        methods = [m for m in settings.methods if baseline_of(m, "zeros") in (None, "zeros")]
    return maps.measure(
        denoiser,
        dataset,
        settings,
        replace(common or ProbeConfig(), region=region),
        t=t,
        x_t=images,
        regions=regions,
        methods=methods,
        progress=progress,
    )
