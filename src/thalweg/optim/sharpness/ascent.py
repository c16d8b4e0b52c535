"""The uphill step of sharpness-aware minimization: the point at which it wants its second gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def sam_ascent(thetas: Sequence[Tensor], gradients: Sequence[Tensor], rho: float) -> list[Tensor]:
    """θ + ρg/‖g‖, the norm over all tensors together; each result has the shape and type of its θ.

    Where the norm is zero or not finite, θ itself. Source: Foret et al. (2021), equation 2.
    """
    norm = total_norm(gradients)
    return [sam_point(p, g, norm, rho) for p, g in zip(thetas, gradients, strict=True)]


def asam_ascent(
    thetas: Sequence[Tensor], gradients: Sequence[Tensor], rho: float, eta: float = 0.01
) -> list[Tensor]:
    """θ + ρT²g/‖Tg‖ with T = |θ| + η elementwise, the norm over all tensors together.

    Where the norm is zero or not finite, θ itself. Source: Kwon et al. (2021), algorithm 1.
    """
    norm = total_norm(scaled(p, g, eta) for p, g in zip(thetas, gradients, strict=True))
    return [asam_point(p, g, norm, rho, eta) for p, g in zip(thetas, gradients, strict=True)]


def sam_ascent_columns(theta: Tensor, gradient: Tensor, rho: float | Tensor) -> Tensor:
    """`sam_ascent` of every column of θ (n, ...) on its own; ρ is a number or one for each column (...)."""
    return sam_point(theta, gradient, column_norm(gradient), rho)


def asam_ascent_columns(theta: Tensor, gradient: Tensor, rho: float | Tensor, eta: float = 0.01) -> Tensor:
    """`asam_ascent` of every column of θ (n, ...) on its own; ρ is a number or one for each column (...)."""
    return asam_point(theta, gradient, column_norm(scaled(theta, gradient, eta)), rho, eta)


def sam_point(p: Tensor, g: Tensor, norm: Tensor, rho: float | Tensor) -> Tensor:
    """p + ρg/norm, in p's type; `norm`, broadcast against p, is that of the whole vector p is a part of."""
    g = precise(g)
    return _moved(p, g / norm.to(g), norm, rho)


def asam_point(p: Tensor, g: Tensor, norm: Tensor, rho: float | Tensor, eta: float = 0.01) -> Tensor:
    """p + ρT²g/norm with T = |p| + η, in p's type; `norm` is ‖Tg‖ of the whole vector p is a part of."""
    once = scaled(p, g, eta)
    return _moved(p, scaled(p, once / norm.to(once), eta), norm, rho)


def scaled(p: Tensor, g: Tensor, eta: float) -> Tensor:
    """Tg with T = |p| + η elementwise; at least in single precision."""
    return (precise(p).abs() + eta) * precise(g)


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm, shape (), of all entries of all tensors, which may be of several types and devices."""
    # In pieces, for the conversion to double would hold a copy of a whole tensor.
    pieces = (piece for t in tensors for piece in t.reshape(-1).split(2**20))
    norms = [torch.linalg.vector_norm(piece, dtype=accumulator(piece)) for piece in pieces]
    return torch.linalg.vector_norm(torch.stack([norm.to(norms[0]) for norm in norms]))


def column_norm(t: Tensor) -> Tensor:
    """The Euclidean norm over the leading axis: (n, ...) gives (...)."""
    return torch.linalg.vector_norm(t, dim=0, dtype=accumulator(t))


def precise(t: Tensor) -> Tensor:
    """t in single precision where its type is shorter."""
    # ρ/‖g‖ overflows half precision, and bfloat16 would be rounded once for each factor.
    return t.float() if t.dtype in (torch.float16, torch.bfloat16) else t


def accumulator(t: Tensor) -> torch.dtype:
    """The type to sum entries of t in: double, for squares of small or scaled gradients leave single's range."""
    single = t.device.type == "mps"  # which has no double
    if t.is_complex():
        return torch.complex64 if single else torch.complex128
    return torch.float32 if single else torch.float64


def _moved(p: Tensor, direction: Tensor, norm: Tensor, rho: float | Tensor) -> Tensor:
    usable = ((norm > 0) & norm.isfinite()).to(p.device)
    return torch.where(usable, (p + rho * direction).to(p.dtype), p)
