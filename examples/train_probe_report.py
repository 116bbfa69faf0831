"""Train a small denoiser, probe it beside the oracles, and judge its samples. About a minute."""

import diffprobe

config = diffprobe.resolve(preset="demo", assignments=["training.steps=600", "sampling.n=500"])
done = diffprobe.run_experiment(config, ["samples", "locality", "placement"], out="runs/example")
report = done.report("an example")

print("legible:    ", report.verdicts.legible_rate)
print("grammatical:", report.verdicts.grammatical_rate)
if done.probes is not None:
    print(*done.probes.lines(), sep="\n")
    print("figures:", done.probes.folder)
print("page:", report.page)
