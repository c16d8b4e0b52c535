"""Random weights, drawn on the CPU so that a seed gives the same ones on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument


def generator(seed: int | torch.Generator) -> torch.Generator:
    """A CPU generator with this seed, or the given one; InvalidArgument for another device or type."""
    if isinstance(seed, torch.Generator):
        if seed.device.type != "cpu":
            raise InvalidArgument(f"seed must be a CPU generator, got one on {seed.device}")
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f"seed must be an integer or a torch.Generator, got {type(seed).__name__}")
    return torch.Generator().manual_seed(seed)


def normal(like: Tensor, std: float, draw: torch.Generator) -> Tensor:
    """Independent normal entries of deviation `std`, in the shape of `like`."""
    return torch.randn(like.shape, generator=draw, dtype=_precision(like)) * std


def block_shape(like: Tensor, blocks: int) -> tuple[int, int]:
    """Rows and columns of one of the `blocks` along dimension 0, all further dimensions flattened."""
    return like.shape[0] // blocks, like[0].numel()


def orthogonal(like: Tensor, gain: float, blocks: int, draw: torch.Generator) -> Tensor:
    """gain times a random matrix with orthonormal rows or columns, whichever are fewer, in each of `blocks`.

    A block is an equal part along dimension 0, with all further dimensions flattened. Uniform (Haar measure).

    Source: Saxe, McClelland & Ganguli (2014); signs as in Mezzadri (2007).
    """
    shape = block_shape(like, blocks)
    rows, columns = max(shape), min(shape)
    factor, triangle = torch.linalg.qr(
        torch.randn(blocks, rows, columns, generator=draw, dtype=_precision(like))
    )
    signs = torch.where(triangle.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    basis = factor * signs[:, None, :].to(factor.dtype)
    return gain * (basis if shape[0] == rows else basis.mT).reshape(like.shape)


def _precision(like: Tensor) -> torch.dtype:
    return torch.float64 if like.dtype == torch.float64 else torch.float32
