"""What a denoiser says, in other words: its estimate of the noise, or of the score.

epsilon   eps_hat = (x_t - alpha x0_hat) / sigma
score     -eps_hat / sigma
"""

from torch import Tensor

from diffprobe.models.denoiser import Denoiser


class _InNoise(Denoiser):
    """A denoiser whose output is its estimate of the noise, or of the score."""

    def __init__(self, denoiser: Denoiser, space: str) -> None:
        super().__init__(denoiser.scheduler)
        self.denoiser = denoiser
        self.target = space
        self.to(denoiser.device)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return eps_hat or the score: (B, C, H, W)."""
        alpha, sigma = self.alpha_sigma(t, x_t.dtype)
        eps_hat = (x_t - alpha * self.denoiser(x_t, t)) / sigma
        result: Tensor = eps_hat if self.target == "epsilon" else -eps_hat / sigma
        return result


def in_space(denoiser: Denoiser, space: str) -> Denoiser:
    """Return `denoiser` with its output in the space "x0", "epsilon" or "score"."""
    return denoiser if space == "x0" else _InNoise(denoiser, space)
