"""Options of all probes, and the settings they are short for."""

import click

from diffprobe.cli import options as opt

# Options of every probe, but for those that are called as a setting of its own is.
COMMON = (
    click.option("--checkpoint", metavar="RUN", help="The same as the argument RUN."),
    click.option(
        "--steps",
        type=click.Choice(["last", "all"]),
        default="last",
        show_default=True,
        help="One checkpoint, or also along all of the run.",
    ),
    click.option("--n", type=int, metavar="N", help="Noisy images per noise level."),
    click.option(
        "--levels",
        type=int,
        metavar="N",
        help="Noise levels.  [default: 15; without a grammar 8]",
    ),
    click.option(
        "--precision",
        type=float,
        metavar="X",
        help="As many noisy images as make the standard error of LDR, excess and local share so "
        "small.  [default: N; without a grammar up to N, 12 first, to an error of 0.01]",
    ),
    click.option(
        "--level",
        type=int,
        metavar="T",
        help="Timestep of the probes that look at one.  [default: where the grammar is worth most]",
    ),
    click.option(
        "--log-snr",
        type=float,
        metavar="X",
        help="The same by its log-SNR, as figures have it: the nearest timestep.",
    ),
    click.option(
        "--output",
        type=click.Choice(["x0", "epsilon", "score"]),
        help="Whose Jacobian: the estimate of the image, the noise or the score.",
    ),
    click.option(
        "--baseline-images",
        type=int,
        metavar="N",
        help="Also show the Wiener and local-patch denoisers of N training images.",
    ),
    click.option(
        "--regions",
        metavar="SPEC",
        help="A grid (4x4), boxes (top,left,height,width;…) in pixels, or a mask image.  "
        "[default: the dataset's cells]",
    ),
    click.option(
        "--region", "--cell", type=int, metavar="N", help="Region whose output is looked into."
    ),
    click.option(
        "--sample",
        type=click.IntRange(min=0),
        metavar="N",
        help="Look into one of the run's stored samples, from 0: why did it break?",
    ),
    click.option(
        "--dataset",
        metavar="PRESET_OR_FILE.toml",
        help="What a foreign denoiser was trained on: brings the oracles.",
    ),
    click.option(
        "--images",
        type=opt.PATH,
        metavar="FOLDER",
        help="Pictures to probe a foreign denoiser on.  [default: its own samples]",
    ),
    click.option("--prompt", metavar="TEXT", help="Prompt that a conditional model is held at."),
    click.option("--class-label", type=int, metavar="N", help="Class it is held at."),
    click.option(
        "--embeddings",
        type=opt.PATH,
        metavar="FILE.safetensors",
        help="Prompt embeddings it is held at.",
    ),
    click.option(
        "--guidance",
        type=float,
        default=1.0,
        metavar="X",
        help="Classifier-free guidance; 1 is none.",
    ),
    click.option(
        "--size",
        type=(int, int),
        metavar="H W",
        help="Pixels of a foreign model's images.  [default: the model's own]",
    ),
    click.option(
        "--lora",
        multiple=True,
        metavar="PATH[:SCALE]",
        help="LoRA adapter that is merged into a foreign model, a .safetensors file or a folder "
        "with one; may be repeated.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "float16", "bfloat16"]),
        default="float32",
        metavar="TYPE",
        help="What a foreign network computes in, whatever its weights are stored in: float32, "
        "float16 or bfloat16.  [default: float32]",
    ),
    click.option("--weights", metavar="NAME", help="Which weights: raw, or an average's name."),
    click.option(
        "--out",
        type=opt.PATH,
        metavar="FOLDER",
        help="Where to write.  [default: probes/ in the run folder; of a model without one, "
        "probes/NAME/ here]",
    ),
    opt.set_option,
    opt.device_option,
    opt.memory_option,
    opt.seed_option,
    opt.dry_run_option,
    opt.json_option,
)

# Common option -> the setting it is short for.
SHORT_FOR = {
    "n": "probe.images",
    "levels": "probe.levels",
    "precision": "probe.precision",
    "level": "probe.level",
    "output": "probe.output",
    "baseline_images": "probe.baseline_images",
    "region": "probe.region",
    "sample": "probe.sample",
    "seed": "probe.seed",
    "weights": "sampling.weights",
}

# What counts for all: where the probes look, at what, and which oracles stand beside it.
EVERYWHERE = ("probe.level", "probe.baseline_images", "sampling.weights")

# What a probe may have a number of its own of.
COUNTS = ("n", "levels")

# A number of images is --n, whether a probe has one of its own or takes that of all probes.
OPTION_OF = {"images": "n"}
