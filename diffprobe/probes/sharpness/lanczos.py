"""The largest eigenvalues of a symmetric matrix from its products with vectors alone.

Lanczos with every vector made orthogonal to all before (Golub & Van Loan, "Matrix Computations",
section 10.3): the eigenvalues of the k × k tridiagonal matrix, and the norm of what is left over
bounds how far each is from an eigenvalue.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from diffprobe.foundations.devices import in_double

SMALL = 1e-6  # of the largest entry: nothing is left of a vector but rounding


def largest(
    product: Callable[[Tensor], Tensor], start: Tensor, values: int, steps: Iterable[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the algebraically largest eigenvalues.

    Args:
        product: From (P,) to (P,).
        start: (P,) a random vector.
        values: How many, K at most.
        steps: Iterations, at least as many.

    Returns:
        Values (K,) float64, largest first; residuals ‖A u - λ u‖ (K,); vectors u (K, P) of unit
        length. Fewer than K where the matrix has fewer different ones.
    """
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in steps:
        left = product(basis[-1])
        diagonal.append(float(in_double(left) @ in_double(basis[-1])))
        for _ in range(2):  # once leaves rounding errors of the size of what they were
            for known in basis:
                left = left - (left @ known) * known
        beside.append(float(left.norm()))
        scale = max(map(abs, diagonal)) + max(beside)
        if beside[-1] <= SMALL * scale or len(basis) == len(start):
            beside[-1] = 0.0
            break
        basis.append(left / left.norm())
    k = len(diagonal)
    off = torch.tensor(beside[: k - 1], dtype=torch.float64)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    found, turn = torch.linalg.eigh(matrix + torch.diag(off, 1) + torch.diag(off, -1))
    top = torch.arange(k - 1, max(-1, k - 1 - values), -1)
    vectors = turn[:, top].T.to(start) @ torch.stack(basis[:k])
    return found[top], (beside[-1] * turn[-1, top]).abs(), vectors
