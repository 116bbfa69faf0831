"""A linear probe: logistic regression from activations, its penalty chosen on a validation part.

On features z of mean 0 and variance 1 over the training part, and labels y in {-1, +1},

    min over w, b of  mean log(1 + exp(-y (<w, z> + b))) + penalty/2 ‖w‖²

Reference:
    Alain & Bengio, "Understanding intermediate layers using linear classifier probes",
    arXiv:1610.01644.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)
# Weaker penalties take ever longer; after so many in a row that did worse none is tried.
PATIENCE = 2


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier of F features.

    Attributes:
        mean, scale: (F,) float64 of the training part.
        weight: (F,) of the standardised features.
        bias: ().
        penalty: The one chosen.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    penalty: float

    def __call__(self, features: Tensor) -> Tensor:
        """Return the log-odds of the label being true, (N,), of `features (N, F)`."""
        log_odds: Tensor = (features.double() - self.mean) / self.scale @ self.weight + self.bias
        return log_odds


def fit(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    penalties: tuple[float, ...] = PENALTIES,
) -> LinearProbe:
    """Return the probe of the penalty with the least log-loss on the validation part.

    Args:
        train, validation: Features (N, F) float and labels (N,) bool.
        penalties: From the strongest to the weakest; the rest is not tried once `PATIENCE` in a
            row did worse than the best.
    """
    # Near the minimum the search divides by squares of differences that float32 cannot tell from 0.
    (features, labels), (unseen, answers) = ((x.double(), y) for x, y in (train, validation))
    mean, scale = features.mean(0), features.std(0)
    # A feature that never changes, such as a dead neuron, says nothing.
    scale = torch.where(scale > 1e-6 * scale.max(), scale, torch.inf)
    z = (features - mean) / scale
    parameters = z.new_zeros(z.shape[1] + 1)
    best, worse = None, 0
    for penalty in penalties:
        # Each solution is where the search for the next, weaker penalty starts.
        parameters = minimise(z, labels, penalty, parameters)
        probe = LinearProbe(mean, scale, parameters[:-1], parameters[-1], penalty)
        loss = float(log_loss(probe(unseen), answers))
        if best is None or loss < best[0]:
            best, worse = (loss, probe), 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    assert best is not None
    return best[1]


def minimise(z: Tensor, labels: Tensor, penalty: float, start: Tensor) -> Tensor:
    """Return the (F + 1,) weights and bias that minimise the penalised log-loss, from `start`."""
    parameters = start.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [parameters],
        max_iter=300,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        search.zero_grad()
        weight, bias = parameters[:-1], parameters[-1]
        loss = log_loss(z @ weight + bias, labels) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        search.step(closure)
    return parameters.detach()


def log_loss(log_odds: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of log(1 + exp(-y log_odds)), in nats."""
    return torch.nn.functional.binary_cross_entropy_with_logits(log_odds, labels.to(log_odds))
