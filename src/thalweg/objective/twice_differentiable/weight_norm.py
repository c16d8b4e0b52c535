"""Weight normalization w = g v/‖v‖, of which PyTorch's fused form has a wrong second derivative (seen in 2.13)."""

from __future__ import annotations

import torch
from torch import Tensor


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """`torch._weight_norm`, from operations whose second derivatives are right."""
    return v * (g / torch.norm_except_dim(v, 2, dim))
