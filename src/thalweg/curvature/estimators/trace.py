"""The trace of a matrix that is known by its products alone, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.random_vectors import generator, random_vectors
from thalweg.errors import InvalidArgument

Method: TypeAlias = Literal["hutch++", "hutchinson"]


@dataclass(frozen=True)
class Trace:
    """An estimated trace: `value` ± `stderr` from `products` products; `converged` if the error asked for was met."""

    value: float
    stderr: float
    products: int
    converged: bool
    method: Method


def trace(
    operator: SymmetricOperator,
    method: Method = "hutch++",
    rtol: float = 0.05,
    atol: float = 0.0,
    *,
    max_products: int = 400,
    min_probes: int = 20,
    sketch: int = 12,
    seed: int = 0,
) -> Trace:
    """Estimate tr A until the standard error is at most max(rtol·abs(value), atol) or products run out.

    "hutchinson": the mean of vᵀAv over random signs v. "hutch++": exact on the range Q of a sketch AS with
    `sketch` columns, Hutchinson on the rest, whose variance is smaller the faster the spectrum decays. A matrix
    of no more columns than the fewest products of the method is summed exactly.

    Stopping as soon as the spread is small favours samples that happen to have a small one: value ± 2·stderr
    covers the trace in about 92 % of cases rather than 95 %, in about 88 % where one eigenvalue is all of it.

    Parameters
    ----------
    atol: absolute error that is good enough; the trace of an indefinite matrix can be near 0.
    max_products: products that may be spent, at least min_probes and, for "hutch++", 2·sketch more.
    min_probes: random vectors drawn before the spread is believed.

    Raises
    ------
    InvalidArgument: an unknown method, a negative tolerance, or a count that is too small.

    Sources: Hutchinson (1989); Meyer et al. (2021), Hutch++, algorithm 1.
    """
    fewest = min_probes + (2 * sketch if method == "hutch++" else 0)
    _check(method, rtol, atol, max_products, min_probes, sketch, fewest)
    size = operator.shape[0]
    if size <= fewest:
        value = float(operator.dense().diagonal().double().sum())
        return Trace(value, 0.0, size, True, method)
    draw = generator(seed)
    begun = operator.products
    exact, basis = 0.0, None
    if method == "hutch++":
        image = operator @ random_vectors(operator, sketch, draw, "rademacher")
        basis = torch.linalg.qr(image).Q
        exact = float((basis * (operator @ basis)).double().sum())

    def sample() -> float:
        v = random_vectors(operator, 1, draw, "rademacher")[:, 0]
        if basis is not None:
            v = v - basis @ (basis.T @ v)
        return float((v * (operator @ v)).double().sum())

    samples = _until(sample, exact, rtol, atol, min_probes, begun + max_products, operator)
    value, stderr = exact + float(samples.mean()), float(samples.std() / math.sqrt(samples.numel()))
    met = stderr <= max(rtol * abs(value), atol)
    return Trace(value, stderr, operator.products - begun, met, method)


def _until(
    sample: Callable[[], float],
    exact: float,
    rtol: float,
    atol: float,
    least: int,
    limit: int,
    operator: SymmetricOperator,
) -> Tensor:
    samples: list[float] = []
    while len(samples) < least or operator.products < limit:
        samples.append(sample())
        if len(samples) < least:
            continue
        values = torch.tensor(samples, dtype=torch.float64)
        if float(values.std()) / math.sqrt(len(samples)) <= max(
            rtol * abs(exact + float(values.mean())), atol
        ):
            break
    return torch.tensor(samples, dtype=torch.float64)


def _check(
    method: str, rtol: float, atol: float, max_products: int, min_probes: int, sketch: int, fewest: int
) -> None:
    if method not in get_args(Method):
        raise InvalidArgument(f'method must be "hutch++" or "hutchinson", got {method!r}')
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0:
            raise InvalidArgument(f"{name} must not be negative, got {value}")
    for name, count, least in (
        ("min_probes", min_probes, 2),
        ("sketch", sketch, 1),
        (f"max_products for {method} with these counts", max_products, fewest),
    ):
        if count < least:
            raise InvalidArgument(f"{name} must be at least {least}, got {count}")
