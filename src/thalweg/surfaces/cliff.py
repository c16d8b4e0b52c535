"""A cliff: a recurrence multiplies its weight many times, and the loss rises like a wall."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.surfaces.arguments import number, whole
from thalweg.surfaces.surface import Surface


def cliff(steps: int = 50, *, initial: float = 0.5, target: float = 0.7) -> Surface:
    """½(h_T − target)² of the linear recurrence hₜ = w hₜ₋₁ + b from h₀ = `initial`, over T = `steps` steps.

    For |w| < 1 the floor is gentle, for |w| > 1 the loss grows as w²ᵀ: a step onto that wall throws the
    parameters away. The minima form curves, h_T(w, b) = target; (0, target) is the one listed, where T ≥ 2.

    Raises InvalidArgument for steps < 2.
    Source: R. Pascanu, T. Mikolov, Y. Bengio: On the difficulty of training recurrent neural networks, ICML
    2013, figure 6, here without the nonlinearity.
    """
    whole("steps", steps, 2)
    h0, goal = number("initial", initial), number("target", target)

    def residuals(p: Tensor) -> Tensor:
        w, b = p[0], p[1]
        h = torch.full_like(w, h0)
        for _ in range(steps):
            h = w * h + b
        return (h - goal)[None]

    return Surface(
        "cliff",
        lambda p: 0.5 * (residuals(p) ** 2).sum(0),
        [0.5, 0.0],
        domain=[(0.0, 1.2), (-0.5, 1.0)],
        critical=[[0.0, goal]],
        global_minimum=0.0,
        residuals=residuals,
        parameters={"steps": steps, "initial": h0, "target": goal},
        equation=r"\tfrac12 (h_T - y)^2,\quad h_t = w h_{t-1} + b",
        description="A recurrent unit's loss: a gentle floor that ends at a wall, where gradients explode.",
        source="R. Pascanu, T. Mikolov, Y. Bengio, ICML 2013, figure 6",
    )
