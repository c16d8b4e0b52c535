"""What a space shows of a matrix's eigenpairs: Ritz pairs at the ends, harmonic ones near zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Which: TypeAlias = Literal["largest", "smallest", "both", "magnitude", "zero"]


@dataclass(frozen=True)
class Extraction:
    """Approximate eigenpairs in the coordinates of V, where A V = V H + Q C.

    values: (k,) the wanted ones in their order; vectors: (m, k) orthonormal; residuals: (k,) ‖Av − λv‖.
    others, other_vectors, other_residuals: the m − k pairs on the orthogonal complement in V, the next best first.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    others: Tensor
    other_vectors: Tensor
    other_residuals: Tensor

    @property
    def norm(self) -> float:
        """The largest absolute value of all."""
        return float(torch.cat([self.values, self.others]).abs().max())


def extract(projected: Tensor, coupling: Tensor, k: int, which: Which, target: float) -> Extraction:
    """The k pairs wanted of H = `projected` (m, m) and C = `coupling` (w, m), m ≥ k.

    `target` is a distance from zero too small to matter: pairs near "zero" are sought there, so that a matrix with
    the eigenvalue 0 can be inverted.
    """
    if which != "zero":
        values, vectors = torch.linalg.eigh(projected)
        residuals = (coupling @ vectors).norm(dim=0)
        order = ranked(values, which)
        wanted, rest = order[:k], order[k:]
        wanted = wanted[values[wanted].argsort(descending=True)] if which == "both" else wanted
        return Extraction(
            *(values[wanted], vectors[:, wanted], residuals[wanted]),
            *(values[rest], vectors[:, rest], residuals[rest]),
        )
    basis = torch.linalg.qr(_harmonic(projected, coupling, k, target), mode="complete").Q
    return Extraction(
        *_rayleigh_ritz(projected, coupling, basis[:, :k]), *_rayleigh_ritz(projected, coupling, basis[:, k:])
    )


def remainder(
    projected: Tensor, coupling: Tensor, found: Extraction, keep: int, which: Which, target: float
) -> tuple[Tensor, Tensor]:
    """The `keep` ≥ k best directions of V and the waiting ones that belong to them, as `compress` takes them."""
    size, waiting = projected.shape[0], coupling.shape[0]
    k = found.values.numel()
    if which != "zero":
        space = torch.cat([found.vectors, found.other_vectors[:, : keep - k]], 1)
        return space, torch.eye(size + waiting, dtype=projected.dtype)[:, size:]
    space = found.vectors
    if keep > k:
        space = torch.linalg.qr(_harmonic(projected, coupling, keep, target)).Q
    return space, _outside(projected, coupling, space)


def _outside(projected: Tensor, coupling: Tensor, space: Tensor) -> Tensor:
    """An orthonormal basis (m + w, i) of what A V·space has outside V·space, in the coordinates of [V Q].

    Of harmonic vectors it has no more dimensions than wait: the residuals of all of them lie in one space of w
    dimensions (Morgan & Zeng 2006, A harmonic restarted Arnoldi algorithm).
    """
    size, waiting = projected.shape[0], coupling.shape[0]
    image = torch.cat([projected @ space, coupling @ space])
    image[:size] -= space @ (space.T @ image[:size])
    directions, sizes, _ = torch.linalg.svd(image, full_matrices=False)
    rounding = 1e-13 * float(torch.linalg.matrix_norm(projected, 2))
    directions = directions[:, : min(int((sizes > rounding).sum()), waiting)]
    # Directions of small size have rounding errors within `space`.
    padded = torch.cat([space, space.new_zeros(waiting, space.shape[1])])
    return torch.linalg.qr(torch.cat([padded, directions], 1)).Q[:, space.shape[1] :]


def ranked(values: Tensor, which: Which) -> Tensor:
    """Indices of `values` such that the first k are those wanted, for any k; "both" takes from the ends in turn."""
    if which == "zero":
        return values.abs().argsort()
    if which == "magnitude":
        return values.abs().argsort(descending=True)
    if which == "smallest":
        return values.argsort()
    descending = values.argsort(descending=True)
    if which == "largest":
        return descending
    top = (values.numel() + 1) // 2
    turns = torch.empty_like(descending)
    turns[::2] = descending[:top]
    turns[1::2] = descending[top:].flip(0)
    return turns


def _harmonic(projected: Tensor, coupling: Tensor, k: int, target: float) -> Tensor:
    """The k harmonic Ritz vectors (m, k) nearest the target σ: extreme pairs of (H − σ) y = ν [(H − σ)² + CᵀC] y.

    Unlike a Ritz value a harmonic one is not near σ by accident (Morgan 1991, Computing interior eigenvalues of large
    matrices).
    """
    shifted = projected - target * torch.eye(projected.shape[0], dtype=projected.dtype)
    _, sizes, vectors = torch.linalg.svd(torch.cat([shifted, coupling]), full_matrices=False)
    scaled = vectors.T / sizes.clamp_min(torch.finfo(sizes.dtype).eps * float(sizes[0]) or 1.0)
    inverse = scaled.T @ shifted @ scaled
    values, rotation = torch.linalg.eigh((inverse + inverse.T) / 2)
    found = scaled @ rotation[:, values.abs().argsort(descending=True)[:k]]
    return found / found.norm(dim=0)


def _rayleigh_ritz(projected: Tensor, coupling: Tensor, space: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values, nearest zero first, vectors and residuals of the Ritz pairs in V·space."""
    values, rotation = torch.linalg.eigh(space.T @ projected @ space)
    order = values.abs().argsort()
    values, vectors = values[order], space @ rotation[:, order]
    image = torch.cat([projected @ vectors - vectors * values, coupling @ vectors])
    return values, vectors, image.norm(dim=0)
