"""The denoising loss at some noisy inputs, and its first and second derivatives in the weights.

The loss of N inputs of d pixels is what training minimises, L = mean of (f - y)² over inputs and
pixels, f being what the network predicts, of noise, image or velocity, and y what it should. With
J = ∂f/∂weights,

    H = G + R,    G = 2/(N d) Jᵀ J,    R = 2/(N d) sum of (f - y) ∂²f/∂weights²

G is the Gauss–Newton part, never negative. Given x_t, y enters R alone, and linearly: so its
expectation is that of the same with the mean of y given x_t, which the Bayes oracle knows. With it
R has less noise, and at the optimum none is left.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffprobe.foundations.devices import in_double
from diffprobe.foundations.errors import UsageError
from diffprobe.models.denoiser import Denoiser, PredictionDenoiser
from diffprobe.models.noise_schedule import training_target


class Weights:
    """The weights of a denoiser as one vector of P numbers, layer after layer.

    Attributes:
        tensors: Those of the denoiser.
        layers: Names of its modules that have weights of their own.
        sizes: How many weights each of them has.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        named = [(n, p) for n, p in denoiser.named_parameters() if p.is_floating_point()]
        of_layer: dict[str, list[Tensor]] = {}
        for name, weight in named:
            of_layer.setdefault(_layer(name), []).append(weight)
        self.layers = tuple(of_layer)
        self.tensors = [weight for weights in of_layer.values() for weight in weights]
        self.sizes = [sum(w.numel() for w in weights) for weights in of_layer.values()]

    def __len__(self) -> int:
        return sum(self.sizes)

    def by_layer(self, values: Tensor) -> Tensor:
        """Return the sums over each layer's weights: (…, L) float64 of `values (…, P)`."""
        return torch.stack([in_double(part).sum(-1) for part in values.split(self.sizes, -1)], -1)

    @contextlib.contextmanager
    def differentiable(self) -> Iterator[None]:
        """Take derivatives in the weights within, also where they were frozen."""
        before = [weight.requires_grad for weight in self.tensors]
        try:
            for weight in self.tensors:
                weight.requires_grad_()
            yield
        finally:
            for weight, needed in zip(self.tensors, before, strict=True):
                weight.requires_grad_(needed)


class LossCurvature:
    """The loss at N inputs; its derivatives are taken within `Weights.differentiable`.

    Args:
        denoiser: Twice differentiable in its weights, inputs independent of each other.
        weights: Its own.
        x_0, eps: (N, C, H, W) clean images and noise.
        t: (N,) long.
        bayes: The Bayes oracle, where it is known.

    Attributes:
        loss: (), mean squared error of what is predicted, against the images themselves.

    Raises:
        UsageError: If the loss is not finite.
    """

    def __init__(
        self,
        denoiser: PredictionDenoiser,
        weights: Weights,
        x_0: Tensor,
        eps: Tensor,
        t: Tensor,
        bayes: Denoiser | None = None,
    ) -> None:
        self.weights = weights
        schedule, kind = denoiser.schedule, denoiser.prediction_type
        alpha, sigma = schedule.alpha_sigma(t, x_0.dtype)
        x_t = alpha * x_0 + sigma * eps
        # The fused attention kernels have no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            self.output: Tensor = denoiser.predict(x_t, schedule.timestep(t, x_t.dtype))
        wanted = training_target(kind, x_0, eps, alpha, sigma)
        self.loss = (self.output - wanted).detach().square().mean()
        if not self.loss.isfinite():
            raise UsageError("the denoising loss of the network is not finite")
        if bayes is not None:
            with torch.no_grad():
                mean = bayes(x_t, t)
                wanted = training_target(
                    kind, mean, eps + alpha / sigma * (x_0 - mean), alpha, sigma
                )
        self._error = self.output - wanted

    def gauss_newton_diagonal(self, u: Tensor) -> Tensor:
        """Return an unbiased estimate of Diag(G), never negative: (P,).

        Args:
            u: Like the output, independent random signs: E (Jᵀ u)_i² = (Jᵀ J)_ii, since what
                different pixels and inputs give has mean zero. Its error is 1.4 times itself.
        """
        pulled = self._gradient(self.output, u)
        return 2 / self.output.numel() * pulled.square()

    def rest_products(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Return R v of vectors v (P,): (P,) each."""
        fixed = 2 / self.output.numel() * self._error.detach()
        return self._products((fixed * self.output).sum(), vectors)

    def products(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Return H v of vectors v (P,): (P,) each."""
        return self._products(self._error.square().mean(), vectors)

    def _products(self, scalar: Tensor, vectors: Sequence[Tensor]) -> list[Tensor]:
        slope = self._gradient(scalar, None, create_graph=True)
        if not slope.requires_grad:  # it is linear in the weights
            return [torch.zeros_like(v) for v in vectors]
        return [self._gradient(slope @ v.to(slope), None) for v in vectors]

    def _gradient(self, of: Tensor, u: Tensor | None, *, create_graph: bool = False) -> Tensor:
        found = torch.autograd.grad(
            of,
            self.weights.tensors,
            u,
            retain_graph=True,
            create_graph=create_graph,
            materialize_grads=True,
        )
        flat = torch.cat([each.flatten() for each in found])
        # Those of PyTorch 2.6 may carry a graph.
        return flat if create_graph else flat.detach()


def _layer(name: str) -> str:
    """The module of a weight, without what the denoiser calls the whole."""
    parts = [part for part in name.split(".") if part not in ("network", "function")]
    return ".".join(parts[:-1] or parts)
