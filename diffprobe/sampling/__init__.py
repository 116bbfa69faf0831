"""Sampling from any denoiser: what a sampler is, its path from noise to images, and the samples."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
