"""Train a small denoiser, probe it beside the oracles, and judge its samples. About a minute."""

from diffprobe.config import resolve
from diffprobe.models import load_denoiser
from diffprobe.probing import open_subject, run_probes
from diffprobe.report import report_samples
from diffprobe.sampling import sample
from diffprobe.training import train

config = resolve(preset="demo", assignments=["training.steps=600", "sampling.n=500"])
dataset = config.dataset()
run = train(config, "runs/example")

samples = sample(load_denoiser(run.path), dataset.image_shape, config.sampler, config.sampling)
report = report_samples(samples.images, dataset, run.path / "report")
results = run_probes(open_subject(run.path), ["locality", "placement"])

print("legible:    ", report.verdicts.legible_rate)
print("grammatical:", report.verdicts.grammatical_rate)
for line in results.lines():
    print(line)
print("figures:", results.folder)
