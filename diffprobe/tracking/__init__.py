"""Trackers of accelerate's, told how a training goes: TensorBoard, trackio, wandb and others.

What they are told is measured beside the training, which they do not change: its weights are the
same bits with and without them, and where one of them fails it goes on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
