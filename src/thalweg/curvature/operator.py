"""Curvature matrices as symmetric linear operators: known by their products alone."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import InvalidArgument, NotDifferentiable, ShapeMismatch
from thalweg.objective import Here

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


class SymmetricOperator:
    """A symmetric n × n matrix A given by `product`, which maps v of shape (n,) or (n, k) to Av.

    `products` counts the matrix-vector products so far; a block of k vectors counts k.
    """

    def __init__(
        self,
        product: Callable[[Tensor], Tensor],
        size: int,
        *,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        name: str = "operator",
        here: Here | None = None,
    ) -> None:
        self._product = product
        self.shape = (size, size)
        self.dtype = dtype
        self.device = torch.device(device)
        self.name = name
        self.here = here
        self.products = 0

    @classmethod
    def of(cls, matrix: Tensor) -> SymmetricOperator:
        """The operator of a dense symmetric matrix (n, n)."""
        if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ShapeMismatch(f"matrix must be square, got shape {tuple(matrix.shape)}")
        return cls(
            lambda v: matrix @ v, matrix.shape[0], dtype=matrix.dtype, device=matrix.device, name="matrix"
        )

    def __matmul__(self, v: Tensor) -> Tensor:
        """The product with v of shape (n,) or (n, k)."""
        if v.dim() not in (1, 2) or v.shape[0] != self.shape[0]:
            raise ShapeMismatch(
                f"{self.name} is {self.shape}: cannot multiply a tensor of shape {tuple(v.shape)}"
            )
        self.products += 1 if v.dim() == 1 else v.shape[1]
        product = self._product(v)
        # The extremes are NaN or infinite where any entry is, and unlike isfinite(product) take no memory.
        if not bool(torch.isfinite(torch.stack(product.aminmax())).all()):
            raise NotDifferentiable(
                f"a product with the {self.name} is not finite: the loss or its derivatives overflow at this point"
            )
        return product

    @property
    def difference_error(self) -> float:
        """Largest estimated relative error of a product so far: 0 unless they are finite differences."""
        return 0.0 if self.here is None else self.here.difference_error

    def dense(self) -> Tensor:
        """The whole matrix (n, n), by n products; symmetrized, for rounding makes it slightly asymmetric."""
        size = self.shape[0]
        identity = torch.eye(size, dtype=self.dtype, device=self.device)
        columns = [self @ identity[:, i : i + 64] for i in range(0, size, 64)]
        matrix = torch.cat(columns, dim=1)
        asymmetry = float((matrix - matrix.T).abs().max())
        scale = float(matrix.abs().max())
        room = max(1e3 * torch.finfo(self.dtype).eps, 10 * self.difference_error * size**0.5)
        if asymmetry > room * scale:
            raise InvalidArgument(
                f"{self.name} is not symmetric: entries differ from their mirror by {asymmetry:.2e} "
                f"at scale {scale:.2e}"
            )
        return (matrix + matrix.T) / 2

    def to_scipy(self) -> LinearOperator:
        """The operator for scipy.sparse.linalg, on NumPy arrays."""
        from scipy.sparse.linalg import LinearOperator

        def product(v: object) -> object:
            # A copy where v runs backwards or is read-only, which torch has no tensors for.
            array = np.require(v, requirements=["C", "W"])
            vector = torch.as_tensor(array, dtype=self.dtype, device=self.device)
            return (self @ vector).cpu().numpy()

        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        # A column of shape (n, 1) comes back as one, which is what scipy expects of a matvec.
        return LinearOperator(  # pyright: ignore[reportCallIssue] - its __new__ picks a subclass that takes these
            self.shape,
            matvec=product,  # pyright: ignore[reportCallIssue]
            rmatvec=product,  # pyright: ignore[reportCallIssue]
            matmat=product,  # pyright: ignore[reportCallIssue]
            dtype=dtype,  # pyright: ignore[reportCallIssue]
        )

    def close(self) -> None:
        """Free what the point holds for further products."""
        if self.here is not None:
            self.here.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
