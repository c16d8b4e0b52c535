"""Curvature matrices as symmetric linear operators: known by their products alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from thalweg import checks
from thalweg.errors import InvalidArgument, NotDifferentiable, NotSymmetric, ShapeMismatch
from thalweg.objective import Block, Here
from thalweg.objective.linearization import require_full_precision

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

Where: TypeAlias = slice | Tensor | Sequence[int] | Block | Sequence[Block]
"""Rows and columns to keep: a slice, indices, a mask (n,), or blocks of parameters."""

_CANCELLED = 0.1
"""Asymmetry relative to the matrix that is taken for rounding of derivatives: of a loss all but zero they have few
digits left."""
_MIRRORED = "entries differ from their mirror"


class SymmetricOperator:
    """A symmetric n × n matrix A given by `product`, which maps v of shape (n,) or (n, k) to Av.

    `products` counts the matrix-vector products so far; a block of k vectors counts k. What is made of other
    operators (A + B, 2·A, `shifted`, `restricted`, `deflated`) counts its own products, and each of these counts
    theirs. `blocks` says which parameters θ is made of, where that is known.

    Raises NotDifferentiable for half precision: numbers of two or three digits say little of a curvature.
    """

    # NumPy's numbers leave c·A to this class.
    __array_ufunc__ = None

    def __init__(
        self,
        product: Callable[[Tensor], Tensor],
        size: int,
        *,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        name: str = "operator",
        here: Here | None = None,
        parts: Sequence[SymmetricOperator] = (),
        blocks: Sequence[Block] = (),
    ) -> None:
        require_full_precision(dtype, f"the {name}")
        self._product = product
        self._parts = tuple(parts)
        self.shape = (size, size)
        self.dtype = dtype
        self.device = torch.device(device)
        self.name = name
        self.here = here
        self.blocks = tuple(blocks)
        self.products = 0
        self._asymmetry = 0.0

    @classmethod
    def of(cls, matrix: Tensor) -> SymmetricOperator:
        """The operator of a dense symmetric matrix (n, n)."""
        if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ShapeMismatch(f"matrix must be square, got shape {tuple(matrix.shape)}")
        return SymmetricOperator(
            lambda v: matrix @ v, matrix.shape[0], dtype=matrix.dtype, device=matrix.device, name="matrix"
        )

    def __repr__(self) -> str:
        return (
            f"SymmetricOperator({self.name}: {self.shape[0]} × {self.shape[1]}, {self.dtype}, {self.device})"
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
        if product.numel() and not bool(torch.isfinite(torch.stack(product.aminmax())).all()):
            raise NotDifferentiable(
                f"a product with the {self.name} is not finite: the loss or its derivatives overflow at this point"
            )
        return product

    def __add__(self, other: SymmetricOperator) -> SymmetricOperator:
        """A + B."""
        if not isinstance(other, SymmetricOperator):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        return self._combined(other, 1.0, f"{self.name} + {other.name}")

    def __sub__(self, other: SymmetricOperator) -> SymmetricOperator:
        """A − B."""
        if not isinstance(other, SymmetricOperator):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        right = f"({other.name})" if " + " in other.name or " − " in other.name else other.name
        return self._combined(other, -1.0, f"{self.name} − {right}")

    def __mul__(self, factor: float) -> SymmetricOperator:
        """c·A for a number c."""
        if not isinstance(factor, Real):
            return NotImplemented
        c = _finite("factor", factor)
        return self._made(lambda v: self @ v * c, f"{c:g} · ({self.name})")

    __rmul__ = __mul__

    def __neg__(self) -> SymmetricOperator:
        """−A."""
        return self._made(lambda v: -(self @ v), f"−({self.name})")

    def shifted(self, sigma: float) -> SymmetricOperator:
        """A + σI, whose eigenvalues are those of A plus σ."""
        s = _finite("sigma", sigma)
        return self._made(lambda v: torch.add(self @ v, v, alpha=s), f"{self.name} + {s:g} · I")

    def restricted(self, where: Where, name: str | None = None) -> SymmetricOperator:
        """The diagonal block of the rows and columns `where`; each product costs one with all of A.

        `where` is a slice, indices, a boolean mask (n,), a block of parameters (`obj.blocks`), or several.
        Raises InvalidArgument for an index that is outside, comes twice, or when nothing is chosen.
        """
        size = self.shape[0]
        index = _indices(where, size).to(self.device)
        run = slice(int(index[0]), int(index[0]) + len(index))
        # A run of rows is a view, and takes no indices.
        chosen = run if torch.equal(index, torch.arange(run.start, run.stop, device=self.device)) else index

        def product(v: Tensor) -> Tensor:
            whole = v.new_zeros(size, *v.shape[1:])
            whole[chosen] = v
            return (self @ whole)[chosen].clone()

        return SymmetricOperator(
            product,
            len(index),
            dtype=self.dtype,
            device=self.device,
            name=name or f"{self.name} in {_called(where, len(index), size)}",
            parts=(self,),
        )

    def deflated(self, vectors: Tensor) -> SymmetricOperator:
        """PAP with P = I − QQᵀ: A without the eigenvectors, or other orthonormal vectors, Q of shape (n, k) or (n,).

        Raises InvalidArgument when the columns are not orthonormal to a thousand roundings.
        """
        q = vectors[:, None] if vectors.dim() == 1 else vectors
        if q.dim() != 2 or q.shape[0] != self.shape[0]:
            raise ShapeMismatch(
                f"vectors must have shape ({self.shape[0]}, k), got {tuple(vectors.shape)}: one column each"
            )
        q = q.detach().to(self.device, self.dtype)
        identity = torch.eye(q.shape[1], dtype=q.dtype, device=q.device)
        off = float((q.T @ q - identity).abs().max()) if q.shape[1] else 0.0
        if not off <= 1e3 * torch.finfo(q.dtype).eps:
            raise InvalidArgument(
                f"vectors must be orthonormal, QᵀQ differs from the identity by {off:.2g}: "
                "pass torch.linalg.qr(vectors).Q"
            )

        def projected(v: Tensor) -> Tensor:
            return v - q @ (q.T @ v)

        return self._made(
            lambda v: projected(self @ projected(v)), f"{self.name} without {q.shape[1]} vectors"
        )

    @property
    def difference_error(self) -> float:
        """Largest estimated relative error of a product so far: 0 unless they are finite differences."""
        own = 0.0 if self.here is None else self.here.difference_error
        return max(own, *(part.difference_error for part in self._parts), 0.0)

    @property
    def product_error(self) -> float:
        """Relative error of products as far as it showed: of finite differences, or as asymmetry where it was seen."""
        return max(self.difference_error, self._asymmetry)

    def dense(self) -> Tensor:
        """The whole matrix (n, n), by n products; symmetrized, for rounding makes it slightly asymmetric.

        Raises InvalidArgument when it is not symmetric beyond rounding.
        """
        matrix = torch.cat([self @ columns for columns in self._unit_vectors()], dim=1)
        skew = matrix - matrix.T
        self._notice(float(skew.norm()), float(matrix.norm()))
        room = self._room(1e3 * torch.finfo(self.dtype).eps, self.shape[0] ** 0.5)
        self._refuse(_MIRRORED, float(skew.abs().max()), float(matrix.abs().max()), room)
        return (matrix + matrix.T) / 2

    def diagonal(self) -> Tensor:
        """The diagonal (n,), exactly, by n products, 64 at a time: for small matrices."""
        pieces = [
            (self @ columns)[64 * block : 64 * block + columns.shape[1]].diagonal().clone()
            for block, columns in enumerate(self._unit_vectors())
        ]
        return torch.cat(pieces)

    def check_symmetry(self, probes: int = 2, *, seed: int = 0) -> None:
        """Raise InvalidArgument when wᵀAv and vᵀAw differ beyond rounding for any two of `probes` random vectors.

        It takes as many products. A matrix that is off by a part r of its norm is found when r is above some
        thousand roundings, or ten times the error of products that are finite differences. So is a Hessian in which
        large terms cancel to less than that, such as a classifier's in float32 where its loss is all but zero.
        """
        checks.whole("probes", probes, 2)
        draw = torch.Generator().manual_seed(seed)
        v = torch.randn(self.shape[0], probes, generator=draw, dtype=self.dtype).to(self.device)
        image = self @ v
        forms = v.T @ image
        # Independent of v, w sees of an error in Av about the error's norm.
        room = max(1e3 * torch.finfo(self.dtype).eps, 10 * self.difference_error)
        self._refuse(_MIRRORED, float((forms - forms.T).abs().max()), float(image.norm(dim=0).max()), room)

    def require_symmetry(self, asymmetry: float, scale: float) -> None:
        """Raise InvalidArgument when numbers wᵀAv and vᵀAw of size `scale` differ by more than half their digits.

        For searches, whose own products show both: it takes none. Derivatives of a loss, in which large terms may
        cancel, are refused only where they differ by a tenth; what they differ by is in `product_error`.
        """
        self._notice(asymmetry, scale)
        self._refuse(
            "vᵀAw and wᵀAv differ", asymmetry, scale, self._room(torch.finfo(self.dtype).eps ** 0.5, 1.0)
        )

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
        """Free what the points that it looks at hold for further products."""
        if self.here is not None:
            self.here.close()
        for part in self._parts:
            part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _combined(self, other: SymmetricOperator, sign: float, name: str) -> SymmetricOperator:
        for what, mine, theirs in (
            ("size", self.shape, other.shape),
            ("dtype", self.dtype, other.dtype),
            ("device", self.device, other.device),
        ):
            if mine != theirs:
                raise ShapeMismatch(
                    f"cannot combine {self.name} and {other.name}: their {what} is {mine} and {theirs}"
                )
        return self._made(lambda v: torch.add(self @ v, other @ v, alpha=sign), name, other)

    def _made(
        self, product: Callable[[Tensor], Tensor], name: str, *others: SymmetricOperator
    ) -> SymmetricOperator:
        return SymmetricOperator(
            product,
            self.shape[0],
            dtype=self.dtype,
            device=self.device,
            name=name,
            parts=(self, *others),
            blocks=self.blocks,
        )

    def _unit_vectors(self) -> Iterator[Tensor]:
        """The columns of the identity, 64 at a time."""
        for start in range(0, self.shape[0], 64):
            columns = torch.zeros(
                self.shape[0], min(64, self.shape[0] - start), dtype=self.dtype, device=self.device
            )
            columns[start:].fill_diagonal_(1)
            yield columns

    @property
    def _of_derivatives(self) -> bool:
        return self.here is not None or any(part._of_derivatives for part in self._parts)

    def _room(self, rounding: float, spread: float) -> float:
        """The relative asymmetry up to which the matrix passes for symmetric."""
        return max(_CANCELLED if self._of_derivatives else rounding, 10 * self.difference_error * spread)

    def _notice(self, asymmetry: float, scale: float) -> None:
        if scale:
            self._asymmetry = max(self._asymmetry, asymmetry / scale)

    def _refuse(self, what: str, asymmetry: float, scale: float, room: float) -> None:
        if asymmetry > room * scale:
            why = ": a backward pass is wrong, or all is rounding here (try float64)"
            raise NotSymmetric(
                f"{self.name} is not symmetric: {what} by {asymmetry:.2e} at scale {scale:.2e}"
                + (why if self._of_derivatives else "")
            )


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise InvalidArgument(f"{name} must be finite, got {value}")
    return float(value)


def _indices(where: Where, size: int) -> Tensor:
    """The chosen indices, each once, in the order given."""
    if isinstance(where, (slice, Block)):
        span = where.span if isinstance(where, Block) else where
        found = torch.arange(size)[span] if span.step is None or span.step > 0 else torch.arange(0)
    elif isinstance(where, Tensor):
        if where.dtype == torch.bool and where.shape != (size,):
            raise ShapeMismatch(f"where: a mask must have shape ({size},), got {tuple(where.shape)}")
        found = where.nonzero()[:, 0] if where.dtype == torch.bool else where.reshape(-1)
    else:
        pieces = [
            torch.arange(size)[one.span] if isinstance(one, Block) else torch.tensor([one]) for one in where
        ]
        found = torch.cat(pieces) if pieces else torch.arange(0)
    if not len(found):
        given = "a tensor without indices" if isinstance(where, Tensor) else repr(where)
        raise InvalidArgument(f"where chooses nothing of {size} rows: got {given}")
    if found.is_floating_point() or int(found.min()) < 0 or int(found.max()) >= size:
        raise InvalidArgument(
            f"where must hold integers from 0 to {size - 1}, got {found.min()} to {found.max()}"
        )
    if len(found.unique()) < len(found):
        raise InvalidArgument(f"where must name each row once, got {len(found)} of which some repeat")
    return found.long()


def _called(where: Where, count: int, size: int) -> str:
    if isinstance(where, Block):
        return where.name
    if isinstance(where, Sequence):
        names = [one.name for one in where if isinstance(one, Block)]
        if names:
            return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{count} of {size} rows"


def require_operator(operator: object) -> None:
    """Raise InvalidArgument, with the way to make one, for anything but an operator."""
    if not isinstance(operator, SymmetricOperator):
        raise InvalidArgument(
            "operator must be a matrix known by its products, such as tw.curvature.hessian(obj) or ggn(obj), got "
            f"{type(operator).__name__}"
        )
