"""How rare minima are among random critical points: the chance that all eigenvalues are positive."""

from __future__ import annotations

import math
from typing import Any, Literal

from thalweg.checks import one_of, whole
from thalweg.errors import InvalidArgument


def probability_all_positive(dim: int, method: Literal["exact", "asymptotic"] = "exact") -> float:
    """The probability that a random symmetric matrix (Gaussian orthogonal ensemble) is positive definite.

    "exact": 1/2, (2 − √2)/4, (π − 2√2)/(4π) for dim 1, 2, 3, and so on, as a Pfaffian. "asymptotic": the leading
    order exp(−(ln 3) dim²/4), which says how fast it falls and not how large it is; both are far below the 2^−dim
    of eigenvalues with independent signs, for these repel each other. Smaller than 1e-308 comes back as 0.

    Raises InvalidArgument for dim < 1, above 200 with "exact", or an unknown method.

    Sources: de Bruijn (1955), On some multiple integrals involving determinants, section 4; Mehta (2004), Random
    Matrices, equation 17.6.7; Dean & Majumdar (2006), Large deviations of extreme eigenvalues.
    """
    whole("dim", dim)
    one_of("method", method, ("exact", "asymptotic"))
    if method == "asymptotic":
        return math.exp(-math.log(3) / 4 * dim**2)
    if dim > 200:
        raise InvalidArgument(
            f'dim must be at most 200 with method="exact", got {dim}: take method="asymptotic"'
        )
    return _exact(dim)


def _exact(dim: int) -> float:
    """∫ over λ > 0 of the density ∏|λᵢ − λⱼ| exp(−Σλ²/2), over the same over all λ.

    By de Bruijn the first is dim! times the Pfaffian of A, Aᵢⱼ = ∫∫ sign(y − x) xⁱ yʲ exp(−(x² + y²)/2) over x, y > 0,
    bordered by aᵢ = ∫ xⁱ exp(−x²/2) where dim is odd; the second is Mehta's integral.
    """
    import mpmath

    mp: Any = mpmath.mp
    # The moments grow like dim! and cancel.
    with mpmath.workdps(40 + 3 * dim):
        half = mp.mpf(1) / 2
        ordered: dict[tuple[int, int], Any] = {}
        single = [2 ** ((i - 1) * half) * mpmath.gamma((i + 1) * half) for i in range(dim)]
        both = [mpmath.gamma((k + 1) * half) / 2 for k in range(2 * dim)]
        for j in range(dim):
            # ∫∫ over x < y of xⁱyʲ, by parts in y for i = 0 and in x for the others.
            ordered[0, j] = (
                single[0] ** 2 / 2 if j == 0 else both[j - 1] + (j - 1) * ordered.get((0, j - 2), 0)
            )
            for i in range(1, dim):
                start = single[j] if i == 1 else (i - 1) * ordered[i - 2, j]
                ordered[i, j] = start - both[i - 1 + j]
        size = dim + dim % 2
        skew: Any = mpmath.matrix(size, size)
        for i in range(dim):
            for j in range(dim):
                skew[i, j] = ordered[i, j] - ordered[j, i]
            if dim % 2:
                skew[i, dim], skew[dim, i] = single[i], -single[i]
        positive = mpmath.factorial(dim) * mpmath.sqrt(mpmath.det(skew))
        everything = (2 * mp.pi) ** (dim * half)
        for j in range(1, dim + 1):
            everything *= mpmath.gamma(1 + j * half) / mpmath.gamma(3 * half)
        return float(positive / everything)
