"""LoRA adapters of other people's networks: W becomes W + scale · up down.

(Hu et al., arXiv:2106.09685.) They are merged into the weights, so that what is probed is a plain
network, and its fingerprint tells which.
"""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffprobe.foundations.errors import CheckpointError, UsageError, first_line, offer_nearest
from diffprobe.models.families.family import FamilyDenoiser

USUAL_FILE = "pytorch_lora_weights.safetensors"  # as diffusers saves it
NAME = "asked"  # of the adapter, while it is merged


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter.

    Attributes:
        path: A safetensors file, or a folder with one.
        scale: What it is multiplied by; 0 leaves the network as it is.
    """

    path: Path
    scale: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "Adapter":
        """Read `FOLDER_OR_FILE`, or with a scale behind it `FOLDER_OR_FILE:0.5`.

        Raises:
            UsageError: If nothing is there, or the scale is no number.
        """
        path, colon, scale = text.rpartition(":")
        if not colon or Path(text).exists():
            found = cls(Path(text))
        else:
            found = cls(Path(path), _number(scale))
        found.file()
        return found

    def __str__(self) -> str:
        return self.path.name + (f":{self.scale:g}" if self.scale != 1 else "")

    def file(self) -> Path:
        """Return the file of its weights.

        Raises:
            UsageError: If there is none, or several.
        """
        if not self.path.exists():
            raise UsageError(f"no adapter at {self.path}{offer_nearest(self.path)}")
        if self.path.is_file():
            found = [self.path] if self.path.suffix == ".safetensors" else []
        else:
            usual = self.path / USUAL_FILE
            found = [usual] if usual.exists() else sorted(self.path.glob("*.safetensors"))
        if len(found) == 1:
            return found[0]
        if not found:
            raise UsageError(
                f"{self.path} is no adapter: its weights must be a .safetensors file, which is "
                "read without unpickling anything"
            )
        raise UsageError(f"{self.path} holds {len(found)} .safetensors files: name one of them")


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(f"the scale of an adapter is a number, as in PATH:0.5; not {text!r}")
    return found


def merge_adapter(
    adapter: Adapter, pipeline: Any, family: type[FamilyDenoiser], network: Any
) -> None:
    """Merge an adapter into a network, and into the text encoders that are loaded.

    Args:
        adapter: What to merge.
        pipeline: Holds the network and perhaps text encoders; diffusers knows by it how adapters
            of other tools are called.
        family, network: Its.

    Raises:
        UsageError: If peft is not installed, there is no adapter, or diffusers has none for these.
        CheckpointError: If the adapter is of another network.
    """
    file = adapter.file()
    if not hasattr(pipeline, "lora_state_dict"):
        raise UsageError(f"diffusers loads no LoRA adapter into a {type(pipeline).__name__}")
    if importlib.util.find_spec("peft") is None:
        raise UsageError(
            "an adapter is merged by peft, which is not installed: pip install 'diffprobe[lora]'"
        )
    try:
        merged = _load(file, pipeline, family, network)
        pipeline.fuse_lora(components=merged, lora_scale=adapter.scale)
        pipeline.unload_lora_weights()
    # An adapter of another network may fail anywhere in diffusers and peft.
    except Exception as error:
        raise CheckpointError(
            f"{file} cannot be merged into a {family.network_class}: {first_line(error)}"
        ) from error


def _load(file: Path, pipeline: Any, family: type[FamilyDenoiser], network: Any) -> list[str]:
    """Load it beside the weights; return the components that it has something for."""
    weights, *rest = pipeline.lora_state_dict(
        str(file.parent),
        weight_name=file.name,
        use_safetensors=True,
        local_files_only=True,
        unet_config=network.config,
        return_alphas=True,
        return_lora_metadata=True,
    )
    metadata = rest[-1]
    alphas = rest[0] if len(rest) > 1 else None

    def holds(component: str) -> bool:
        return any(key.startswith(f"{component}.") for key in weights)

    if not holds(family.folder):
        raise ValueError(f"it holds nothing for the {family.folder}")
    network.load_lora_adapter(
        weights,
        prefix=family.folder,
        network_alphas=alphas,
        metadata=metadata,
        adapter_name=NAME,
    )
    merged = [family.folder]
    for name in ("text_encoder", "text_encoder_2"):
        encoder = getattr(pipeline, name, None)
        if encoder is not None and holds(name):
            pipeline.load_lora_into_text_encoder(
                weights,
                network_alphas=alphas,
                text_encoder=encoder,
                prefix=name,
                metadata=metadata,
                adapter_name=NAME,
                _pipeline=pipeline,
            )
            merged.append(name)
    return merged
