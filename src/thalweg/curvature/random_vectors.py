"""Random vectors that are the same on every device."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator

Distribution: TypeAlias = Literal["rademacher", "gaussian"]


def generator(seed: int) -> torch.Generator:
    """A generator of its own, so that the global random state is left alone."""
    return torch.Generator().manual_seed(seed)


def random_vectors(
    operator: SymmetricOperator, count: int, draw: torch.Generator, distribution: Distribution = "gaussian"
) -> Tensor:
    """`count` independent vectors (n, count) with identity covariance: signs ±1, or standard normal."""
    shape = (operator.shape[0], count)
    if distribution == "rademacher":
        vectors = torch.randint(0, 2, shape, generator=draw, dtype=torch.int8).mul_(2).sub_(1)
    else:
        vectors = torch.randn(shape, generator=draw, dtype=operator.dtype)
    return vectors.to(operator.device, operator.dtype)
