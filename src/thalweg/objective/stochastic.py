"""Finding out that a model gives another loss each time, and which part of it does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from thalweg.errors import StochasticObjective


def check_deterministic(model: nn.Module, loss: Callable[[], Tensor], dtype: torch.dtype) -> None:
    """Raise StochasticObjective, naming the module, when two evaluations of `loss` differ beyond rounding."""
    first, second = float(loss().detach()), float(loss().detach())
    tolerance = 16 * torch.finfo(dtype).eps ** 0.75
    if first == second or first != first or abs(first - second) <= tolerance * max(abs(first), abs(second)):
        return
    random = _modules_that_draw(model, loss)
    culprit = (
        f"{', '.join(random)} draws random numbers"
        if random
        else "the model or its loss draws random numbers"
    )
    raise StochasticObjective(
        f"the loss at one point is {first:.6g}, then {second:.6g}: {culprit} in evaluation mode; "
        "make it deterministic when module.training is False"
    )


def _modules_that_draw(model: nn.Module, loss: Callable[[], Tensor]) -> list[str]:
    """Names of the innermost modules during whose forward pass torch's random state moves."""
    before: dict[nn.Module, Tensor] = {}
    drew: list[str] = []
    names = {module: name or type(module).__name__ for name, module in model.named_modules()}

    def enter(module: nn.Module, _: object) -> None:
        before[module] = _random_state()

    def leave(module: nn.Module, _: object, __: object) -> None:
        inner = any(name.startswith(f"{names[module]}.") for name in drew)
        if not torch.equal(before[module], _random_state()) and not (inner or (module is model and drew)):
            drew.append(f"{names[module]} ({type(module).__name__})")

    hooks = [h for m in names for h in (m.register_forward_pre_hook(enter), m.register_forward_hook(leave))]
    try:
        loss()
    finally:
        for hook in hooks:
            hook.remove()
    return drew


def _random_state() -> Tensor:
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state())
    return torch.cat(states)
