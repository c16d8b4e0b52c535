"""Nesterov's accelerated gradient in the lecture's form, with the gradient at the look-ahead point."""

from __future__ import annotations

from torch import Tensor

from thalweg.optim.driver.rule import Group, Rule, Scalar, rate
from thalweg.optim.momentum import Momentum, update


def evaluation_point(theta: Tensor, v: Tensor, alpha: Scalar) -> Tensor:
    """The look-ahead point θ + αv (Nesterov 1983; Sutskever et al. 2013)."""
    return theta + alpha * v


def iterate(y: Tensor, v: Tensor, alpha: Scalar) -> Tensor:
    """θ from the look-ahead point."""
    return y - alpha * v


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """η, the α with which this gradient looked ahead, and λ; the group's α is how far the next one looks.

    So θ ← y − ηg holds when α changes from step to step, as in the method that attains O(1/t²). Before the first step
    nothing has looked ahead, and a velocity taken over from elsewhere counts with the group's α.
    """
    looked = memory["mixing"] if memory["begun"] else group["momentum"]
    return (rate(group), looked, group["weight_decay"]), {"mixing": group["momentum"], "begun": 1.0}


class Nesterov(Momentum):
    """Nesterov's accelerated gradient: v ← αv − ηg(θ + αv); θ ← θ + v.

    In training mode the parameters hold the look-ahead point θ + αv, where the loss and its gradient are to be
    computed; without weight decay that sequence is what torch's SGD with `nesterov=True` calls its parameters. `eval()`
    puts θ itself into the parameters, `train()` the look-ahead point again; `step()` in evaluation mode is an error.

    `lr` η, `momentum` α, `weight_decay` λ (coupled, at θ). On a quadratic it is stable for
    η < (2+2α)/((1+2α)λmax). State: one tensor per parameter. Raises InvalidArgument as `Momentum` does.
    """

    rule = Rule(
        "nesterov",
        update,
        scalars,
        state=("velocity",),
        memory={"mixing": 0.0, "begun": 0.0},
        evaluation_point=evaluation_point,
        iterate=iterate,
    )
