"""The gradients of some parameters, with their names and their common norm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn

from thalweg.clipping.record import ClipRecord
from thalweg.errors import InvalidArgument, NonfiniteGradient

Parameters: TypeAlias = nn.Module | Tensor | Iterable[Tensor] | Iterable[tuple[str, Tensor]]
"""Whose gradients: a module, its `parameters()`, its `named_parameters()`, or one tensor."""

NonFinite: TypeAlias = Literal["raise", "skip", "pass"]
"""When a gradient holds NaN or infinity: raise, drop all gradients so that the step does nothing, or leave them."""


class Gradient(NamedTuple):
    """One parameter's gradient; `entries` shares its memory, and holds only the stored ones where it is sparse."""

    name: str
    parameter: Tensor
    entries: Tensor


class Gradients:
    """All gradients of `params`, each parameter once; those without one are left out.

    Raises InvalidArgument for no parameters at all, something else than a parameter, and complex gradients or
    ones stored otherwise than dense or as sparse COO.
    """

    def __init__(self, params: Parameters) -> None:
        named: dict[int, tuple[str, Tensor]] = {}
        for name, parameter in _named(params):
            named.setdefault(id(parameter), (name, parameter))
        if not named:
            raise InvalidArgument(
                "params holds no parameters: an iterator such as model.parameters() can be used only once"
            )
        self._gradients = [
            Gradient(name, parameter, _entries(name, parameter, parameter.grad))
            for name, parameter in named.values()
            if parameter.grad is not None
        ]

    def __iter__(self) -> Iterator[Gradient]:
        return iter(self._gradients)

    @cached_property
    def norms(self) -> list[float]:
        """The Euclidean norm of each gradient."""
        return numbers([length(gradient.entries) for gradient in self])

    @cached_property
    def norm(self) -> float:
        """The Euclidean norm of all gradients together."""
        # hypot scales its arguments: squares of large norms do not overflow.
        return math.hypot(*self.norms)

    def refuse(self, nonfinite: NonFinite) -> ClipRecord:
        """What `nonfinite` asks for when the norm is not finite; NonfiniteGradient for "raise"."""
        bad = tuple(g.name for g, norm in zip(self, self.norms, strict=True) if not math.isfinite(norm))
        # Finite norms near the largest number can have an infinite sum.
        bad = bad or tuple(gradient.name for gradient in self)
        if nonfinite == "raise":
            some = ", ".join(bad[:4]) + (", ..." if len(bad) > 4 else "")
            raise NonfiniteGradient(
                f"the gradient norm is {self.norm}: NaN or infinity in the gradient of {len(bad)} parameters ({some}); "
                'lower the rate, or drop such steps with nonfinite="skip"'
            )
        if nonfinite == "skip":
            for gradient in self:
                gradient.parameter.grad = None
        return ClipRecord(self.norm, False, math.nan, 1.0, bad, nonfinite == "skip")


def check(c: float, nonfinite: str) -> float:
    """`c` as a float if it is above zero and `nonfinite` is known, or InvalidArgument; infinity only records."""
    try:
        limit = float(c)
    except (TypeError, ValueError):
        limit = math.nan
    if not limit > 0:
        raise InvalidArgument(f"c must be a number above 0, got {c!r}")
    if nonfinite not in get_args(NonFinite):
        raise InvalidArgument(f'nonfinite must be "raise", "skip" or "pass", got {nonfinite!r}')
    return limit


def numbers(scalars: Sequence[Tensor]) -> list[float]:
    """The values of `scalars` (), which may lie on several devices, with one transfer for each run of one device."""
    # A sharded tensor's scalar is a partial sum until it is gathered.
    whole = [s.full_tensor() if hasattr(s, "full_tensor") else s for s in cast("Sequence[Any]", scalars)]
    found: list[float] = []
    for _, run in groupby(whole, key=lambda scalar: (scalar.device, scalar.dtype)):
        found += torch.stack(list(run)).tolist()
    return found


def precise(entries: Tensor) -> torch.dtype:
    """The type to sum `entries` in: the squares of large float32 gradients overflow in float32."""
    return torch.float32 if entries.device.type == "mps" else torch.float64


def length(entries: Tensor) -> Tensor:
    """The Euclidean norm () of all entries, summed in a type in which their squares do not overflow."""
    if entries.dtype == torch.float64 and entries.numel():
        # There is no wider type: scaled by the largest entry, squares neither overflow nor vanish.
        largest = torch.linalg.vector_norm(entries, math.inf)
        safe = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
        return torch.linalg.vector_norm(entries / safe) * safe
    return torch.linalg.vector_norm(entries, dtype=precise(entries))


def _named(params: Parameters) -> Iterator[tuple[str, Tensor]]:
    if isinstance(params, nn.Module):
        yield from params.named_parameters()
        return
    given = [params] if isinstance(params, Tensor) else params
    for index, entry in enumerate(given):
        # Users may pass anything; the annotations promise what is checked here.
        value = cast("Any", entry)
        name, parameter = (
            value if isinstance(value, tuple) and len(value) == 2 else (f"params[{index}]", value)
        )
        if not isinstance(parameter, Tensor):
            raise InvalidArgument(
                f"params[{index}] must be a parameter or a (name, parameter) pair, got {type(value).__name__}"
            )
        yield str(name), parameter


def _entries(name: str, parameter: Tensor, gradient: Tensor) -> Tensor:
    if gradient.is_complex():
        raise InvalidArgument(f"the gradient of {name} is complex: clip real parameters (torch.view_as_real)")
    if gradient.layout == torch.sparse_coo:
        # Entries given twice add up: only their sums have a norm.
        gradient = parameter.grad = gradient.coalesce()
        return gradient.detach().values()
    if gradient.layout != torch.strided:
        raise InvalidArgument(f"the gradient of {name} is stored as {gradient.layout}: make it dense or COO")
    return gradient.detach()
