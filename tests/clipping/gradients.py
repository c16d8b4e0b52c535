"""Parameters with given gradients, and plain reference computations on them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def parameters(*gradients: Tensor) -> list[nn.Parameter]:
    made = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.zeros_like(gradient))
        parameter.grad = gradient.clone()
        made.append(parameter)
    return made


def flat(params: Sequence[Tensor]) -> Tensor:
    return torch.cat([p.grad.detach().to_dense().double().reshape(-1) for p in params if p.grad is not None])


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))
