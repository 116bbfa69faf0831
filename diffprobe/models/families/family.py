"""What a family of pipelines has in common: what its network is told, and how it is called."""

from typing import Any, ClassVar

from diffprobe.models.foreign import Arguments, ConditionedDenoiser


class FamilyDenoiser(ConditionedDenoiser):
    """A network of one family of pipelines.

    Attributes:
        network_class: Name of its class in diffusers, so that only that one need be imported.
        pipelines: Names of the pipelines' classes.
        folder: Where a pipeline's folder holds the network.
        packed: Pixels of x_t that its tokens merge in each direction before the network sees them.
        usual_size: Side of x_t where the configuration names none.
        told: What a prompt becomes: name of the tensor -> argument of the network.
    """

    network_class: ClassVar[str]
    pipelines: ClassVar[tuple[str, ...]]
    folder: ClassVar[str] = "transformer"
    packed: ClassVar[int] = 1
    usual_size: ClassVar[int | None] = None
    told: ClassVar[dict[str, str]] = {}

    @classmethod
    def matches(cls, config: Any) -> bool:
        """Whether it is of this family, and not of another one with the same class of network."""
        return True

    @classmethod
    def unknown_option(cls, config: Any) -> str | None:
        """Return a setting of the network that asks for more than is provided here."""
        return None

    @classmethod
    def widths(cls, config: Any) -> dict[str, int]:
        """Return the embeddings of a prompt that the network needs, and the width of each."""
        return {}

    @classmethod
    def classes(cls, config: Any) -> tuple[int, int | None]:
        """Return the number of classes, and the index that stands for none of them."""
        return 0, None

    @classmethod
    def encode_text(cls, pipeline: Any, prompt: str, negative: bool) -> Arguments:
        """Return what a pipeline makes of a prompt: tensors by the names in `told`.

        Args:
            pipeline: With its text encoders.
            prompt: What to encode.
            negative: Whether to add the same of no prompt, with `negative_` before the names.
        """
        return {}

    @classmethod
    def channels(cls, config: Any) -> int:
        """Return the number of channels of x_t."""
        return int(config.in_channels) // cls.packed**2

    @classmethod
    def cell(cls, config: Any) -> int:
        """Return the pixels of x_t to one token, in each direction."""
        patch = config.get("patch_size")
        return cls.packed * (patch if isinstance(patch, int) and patch > 0 else 1)


def with_negative(given: Arguments, empty: Arguments) -> Arguments:
    """Return what a prompt and what no prompt becomes in one dict."""
    return given | {f"negative_{name}": tensor for name, tensor in empty.items()}
