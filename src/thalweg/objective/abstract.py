"""What every tool of Thalweg looks at: a point, a loss, a gradient and Hessian products."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument, ShapeMismatch


@dataclass(frozen=True)
class Block:
    """One named parameter inside the flat vector θ.

    `name` is the parameter's name, `shape` its shape, `offset` its first index in θ; `kind` says how a
    direction in it is normalized: "filters" (each slice along axis 0 is a filter), "vector" (biases and the
    weights of normalization layers) or "embedding" (each row is a token's vector).
    """

    name: str
    shape: tuple[int, ...]
    offset: int
    kind: str = "vector"

    @property
    def size(self) -> int:
        """Number of entries."""
        return torch.Size(self.shape).numel()

    @property
    def span(self) -> slice:
        """Where the parameter sits in θ."""
        return slice(self.offset, self.offset + self.size)


def require_objective(obj: object) -> None:
    """Raise InvalidArgument, with the way to make one, for anything but an objective."""
    if not isinstance(obj, AbstractObjective):
        raise InvalidArgument(
            "obj must be an objective, such as tw.Objective(model, loss_fn, data) or a surface, got "
            f"{type(obj).__name__}"
        )


class Here(ABC):
    """An objective at one point θ, holding whatever makes further products there cheap.

    Use it as a context manager, or call `close()`; what it holds is freed then.
    """

    theta: Tensor
    difference_error = 0.0
    """Largest estimated relative error of a product so far, where products are finite differences."""

    @abstractmethod
    def loss(self) -> Tensor:
        """The loss at θ, shape ()."""

    @abstractmethod
    def gradient(self) -> Tensor:
        """The gradient at θ, shape (n,)."""

    @abstractmethod
    def hvp(self, v: Tensor) -> Tensor:
        """The Hessian at θ times v, for v of shape (n,) or (n, k)."""

    @abstractmethod
    def ggnvp(self, v: Tensor) -> Tensor:
        """The generalized Gauss-Newton matrix at θ times v, for v of shape (n,) or (n, k)."""

    def values(self, metrics: Sequence[str] = ("loss",)) -> dict[str, float]:
        """Each named metric at θ; every objective knows "loss" and "gradient_norm"."""
        known = {"loss": self.loss, "gradient_norm": lambda: self.gradient().norm()}
        for name in metrics:
            if name not in known:
                raise InvalidArgument(
                    f"metrics: {name!r} is none of {', '.join(known)}, which this objective has"
                )
        return {name: float(known[name]()) for name in metrics}

    def close(self) -> None:  # noqa: B027 - most points hold nothing
        """Free what the point holds; it can still be asked, at full price."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AbstractObjective(ABC):
    """A differentiable loss over ℝⁿ with a current point: a model on data, or an analytic surface."""

    name: str
    batched = False
    """Whether `losses` evaluates many points in about the time of one."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number n of parameters."""

    @property
    @abstractmethod
    def point(self) -> Tensor:
        """The current point θ, shape (n,); a copy."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Floating-point type of θ."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Device of θ."""

    @property
    @abstractmethod
    def blocks(self) -> tuple[Block, ...]:
        """The named parameters that θ is made of, in order."""

    @abstractmethod
    def at(self, theta: Tensor | None = None) -> Here:
        """The objective at θ (the current point when None), for several quantities at the same point."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hexadecimal digest of what the loss is: equal digests mean the same function of θ."""

    def loss(self, theta: Tensor | None = None) -> Tensor:
        """The loss at θ, shape ()."""
        with self.at(theta) as here:
            return here.loss()

    def losses(self, thetas: Tensor) -> Tensor:
        """The loss at each row of θ (b, n), shape (b,)."""
        return torch.stack([self.loss(theta) for theta in thetas])

    def gradient(self, theta: Tensor | None = None) -> Tensor:
        """The gradient at θ, shape (n,)."""
        with self.at(theta) as here:
            return here.gradient()

    def hvp(self, v: Tensor, theta: Tensor | None = None) -> Tensor:
        """The Hessian at θ times v, for v of shape (n,) or (n, k); the result has v's shape."""
        with self.at(theta) as here:
            return here.hvp(v)

    def ggnvp(self, v: Tensor, theta: Tensor | None = None) -> Tensor:
        """The generalized Gauss-Newton matrix at θ times v, for v of shape (n,) or (n, k)."""
        with self.at(theta) as here:
            return here.ggnvp(v)

    @contextmanager
    def evaluator(
        self, metrics: Sequence[str] = ("loss",), points: int = 1
    ) -> Generator[Callable[[Tensor], dict[str, float]]]:
        """A function from θ (n,) to its metrics, for `points` points to come."""

        def values(theta: Tensor) -> dict[str, float]:
            with self.at(theta) as here:
                return here.values(metrics)

        yield values

    def checked_point(self, theta: Tensor | None) -> Tensor:
        """θ as a detached vector of this objective's dtype and device, or a clear error."""
        if theta is None:
            return self.point
        return self._checked(theta, "theta", (1,))

    def checked_vectors(self, v: Tensor) -> Tensor:
        """v, of shape (n,) or (n, k), as a detached tensor of this objective's dtype, or a clear error."""
        return self._checked(v, "v", (1, 2))

    def _checked(self, tensor: Tensor, argument: str, dims: tuple[int, ...]) -> Tensor:
        if not isinstance(tensor, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass arrays
            raise ShapeMismatch(f"{argument} must be a torch tensor, got {type(tensor).__name__}")
        if tensor.dim() not in dims or tensor.shape[0] != self.size:
            wanted = " or ".join(f"({self.size}{', k' if d == 2 else ','})" for d in dims)
            raise ShapeMismatch(f"{argument} must have shape {wanted}, got {tuple(tensor.shape)}")
        if tensor.dtype != self.dtype:
            raise ShapeMismatch(
                f"{argument} must be {self.dtype} like the objective, got {tensor.dtype}: "
                f"pass {argument}.to({self.dtype})"
            )
        if tensor.device != self.device:
            raise ShapeMismatch(
                f"{argument} must be on {self.device} like the objective, got {tensor.device}: "
                f'pass {argument}.to("{self.device}")'
            )
        return tensor.detach()
