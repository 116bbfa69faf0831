"""Somebody else's model: a U-Net trained with diffusers alone, saved as a pipeline folder.

    python examples/foreign_pipeline.py theirs
    diffprobe probe theirs --probe all --regions 4x4

Nothing of diffprobe is used here, and nothing about the data is told to `diffprobe probe`: it finds
the folder as it would find any other. The pictures are scikit-learn's handwritten digits.
"""

import sys

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from sklearn.datasets import load_digits

torch.manual_seed(0)
digits = torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1
digits = torch.nn.functional.interpolate(digits, size=16, mode="bilinear")

unet = UNet2DModel(
    sample_size=16,
    in_channels=1,
    out_channels=1,
    block_out_channels=(32, 64),
    layers_per_block=1,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    norm_num_groups=8,
)
scheduler = DDPMScheduler()
optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3)
for step in range(600):
    images = digits[torch.randint(len(digits), (64,))]
    noise, t = torch.randn_like(images), torch.randint(1000, (64,))
    loss = torch.nn.functional.mse_loss(
        unet(scheduler.add_noise(images, noise, t), t).sample, noise
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        print(f"step {step + 1}, loss {loss.item():.3f}", file=sys.stderr)
DDPMPipeline(unet, scheduler).save_pretrained(sys.argv[1] if len(sys.argv) > 1 else "theirs")
