"""Denoisers: networks of three architectures behind one contract, and their checkpoints."""

from diffprobe.models.build import build_network, parameter_count
from diffprobe.models.checkpoint import find_checkpoint, list_checkpoints, load_denoiser
from diffprobe.models.denoiser import (
    Denoiser,
    FunctionDenoiser,
    NetworkDenoiser,
    noise_scheduler,
)
from diffprobe.models.foreign import Condition
from diffprobe.models.mlp import MLP, ResidualMLP
from diffprobe.models.oracles import (
    BayesDenoiser,
    EmpiricalDenoiser,
    LocalPatchDenoiser,
    ProductDenoiser,
    WienerDenoiser,
)
from diffprobe.models.transformer import StripTransformer
from diffprobe.models.unet import build_unet

__all__ = [
    "MLP",
    "BayesDenoiser",
    "Condition",
    "Denoiser",
    "EmpiricalDenoiser",
    "FunctionDenoiser",
    "LocalPatchDenoiser",
    "NetworkDenoiser",
    "ProductDenoiser",
    "ResidualMLP",
    "StripTransformer",
    "WienerDenoiser",
    "build_network",
    "build_unet",
    "find_checkpoint",
    "list_checkpoints",
    "load_denoiser",
    "noise_scheduler",
    "parameter_count",
]
