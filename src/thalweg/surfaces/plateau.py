"""A plateau: where sigmoids saturate, the gradient vanishes far from any minimum."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.surfaces.surface import Surface


def plateau() -> Surface:
    """½ mean (σ(wx + b) − y)² of a sigmoid neuron over nine inputs in [−2, 2], taught by w = 3, b = 1.

    Away from the teacher (3, 1), the global minimum of value 0, the neuron saturates and the surface is flat
    at several heights.
    Source: S. Hochreiter, Y. Bengio, P. Frasconi, J. Schmidhuber: Gradient flow in recurrent nets, 2001, for
    vanishing gradients of saturated units; the instance is this project's.
    """
    inputs = torch.linspace(-2, 2, 9, dtype=torch.float64)
    targets = torch.sigmoid(3 * inputs + 1)

    def residuals(p: Tensor) -> Tensor:
        column = (-1, *[1] * (p.dim() - 1))
        x, y = inputs.to(p).reshape(column), targets.to(p).reshape(column)
        return (torch.sigmoid(p[0] * x + p[1]) - y) / len(inputs) ** 0.5

    return Surface(
        "plateau",
        lambda p: 0.5 * (residuals(p) ** 2).sum(0),
        [-6.0, -6.0],
        domain=[(-10.0, 10.0), (-10.0, 10.0)],
        critical=[[3.0, 1.0]],
        global_minimum=0.0,
        residuals=residuals,
        equation=r"\tfrac12\,\mathrm{mean}_i \left(\sigma(w x_i + b) - y_i\right)^2",
        description="A saturated sigmoid neuron: nearly no gradient although the loss is high.",
        source="after S. Hochreiter, Y. Bengio, P. Frasconi, J. Schmidhuber, IEEE Press, 2001",
    )
