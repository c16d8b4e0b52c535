"""The stability of an optimizer object read off its groups and its state, torch's or Thalweg's alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from thalweg.curvature.stability.edges import ADAPTIVE, RULES, decays
from thalweg.curvature.stability.recipe import Recipe, estimated
from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective, Objective


class TorchOptimizer(Protocol):
    """What is read of an optimizer: torch's contract."""

    param_groups: list[dict[str, Any]]
    state: Any


@dataclass(frozen=True)
class _Moved:
    """A parameter that the optimizer updates: where it is in θ, its group, its state and its rate now."""

    span: slice
    group: Mapping[str, Any]
    state: Mapping[str, Any]
    rate: float


_CLASSES = {rule.replace("_", ""): rule for rule in RULES}


def recipe_of_optimizer(
    obj: AbstractObjective, optimizer: TorchOptimizer, theta: Tensor, batch_size: int | None
) -> Recipe:
    """The recipe of `optimizer`, whose parameters are found in θ (n,) by identity.

    Without state, or for parameters that have none yet, v̂ is estimated at θ; see `largest_stable_rate`.

    Raises
    ------
    InvalidArgument: an optimizer whose edge is not known, one of other parameters than the objective's, or one whose
        groups differ in momentum or direction, for which there is no single edge.
    """
    name = _rule_of(optimizer)
    if not isinstance(obj, Objective):
        raise InvalidArgument(
            f"optimizer: {obj.name} is a surface, of which no optimizer holds parameters: name the rule"
        )
    moved = _moved(obj, optimizer, name)
    rule, momentum, dampening, maximize = _common(name, moved)
    if rule not in ADAPTIVE and batch_size is not None:
        raise InvalidArgument(f"batch_size is for adaptive optimizers, {rule} is none")
    used = moved[0].rate
    share, coupled, direct = (torch.zeros_like(theta) for _ in range(3))
    for part in moved:
        share[part.span] = part.rate / used if used else 1.0
        decay = float(part.group.get("weight_decay", 0.0))
        # torch's form of Nesterov's momentum decays the point that is looked ahead to.
        coupled[part.span], direct[part.span] = (
            (decay, 0.0) if name == "sgd" else decays(rule, decay, momentum)
        )
    recipe = Recipe(
        rule,
        momentum,
        dampening,
        share=None if bool((share == 1).all()) else share,
        coupled=_number(coupled),
        direct=_number(direct),
        maximize=maximize,
        used=used,
        note=_note(obj, optimizer, moved),
    )
    if rule not in ADAPTIVE:
        return recipe
    denominators = [_denominator(rule, part) for part in moved]
    source, guess = "v̂ of the optimizer's state", theta
    if missing := sum(found is None for found in denominators):
        if rule == "adagrad" or any(part.group.get("centered") for part in moved):
            raise InvalidArgument(
                f"optimizer: {type(optimizer).__name__} has no state yet and none can be guessed: let it step before"
            )
        guess, source = estimated(obj, theta, batch_size)
        if missing < len(moved):
            source = f"{source}, for {missing} of {len(moved)} parameters, which have no state"
    preconditioner = torch.ones_like(theta)
    for part, found in zip(moved, denominators, strict=True):
        instead = guess[part.span].sqrt() + float(part.group["eps"])
        preconditioner[part.span] = instead if found is None else found.to(theta)
    return replace(recipe, preconditioner=preconditioner, source=source)


def _rule_of(optimizer: TorchOptimizer) -> str:
    for ancestor in type(optimizer).__mro__:
        if (rule := _CLASSES.get(ancestor.__name__.lower())) is not None:
            return rule
    raise InvalidArgument(
        f"optimizer must be one of {', '.join(RULES)}, or an instance of one, got {type(optimizer).__name__}: "
        "no edge of stability is known for it"
    )


def _moved(obj: Objective, optimizer: TorchOptimizer, rule: str) -> list[_Moved]:
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    parameters = dict(obj.model.named_parameters())
    held: list[_Moved] = []
    for block in obj.blocks:
        parameter = parameters[block.name]
        if (group := groups.get(id(parameter))) is not None:
            state = optimizer.state.get(parameter, {})
            held.append(_Moved(block.span, group, state, _rate(rule, group, state)))
    if not held:
        raise InvalidArgument(
            "optimizer holds none of the objective's parameters: both must be made from the same model object"
        )
    # At the start of a warm-up all rates may be 0.
    return [part for part in held if part.rate] or held


def _rate(rule: str, group: Mapping[str, Any], state: Mapping[str, Any]) -> float:
    lr = float(group["lr"])
    return lr / (1 + float(state.get("step", 0)) * group["lr_decay"]) if rule == "adagrad" else lr


def _common(name: str, moved: list[_Moved]) -> tuple[str, float, float, bool]:
    """Rule, momentum, dampening and direction, which all parameters must share."""
    kinds: set[tuple[str, float, float, bool]] = set()
    for group in (part.group for part in moved):
        rule, climbs = name, bool(group.get("maximize", False))
        momentum = float(group["betas"][0] if "betas" in group else group.get("momentum", 0.0))
        if name == "sgd" and momentum:
            rule = "nesterov" if group["nesterov"] else "momentum"
        if name == "adam" and group.get("decoupled_weight_decay"):
            rule = "adamw"
        kinds.add((rule, momentum, float(group.get("dampening", 0.0)) if momentum else 0.0, climbs))
    if len(kinds) > 1:
        told = " and ".join(f"{rule} with {momentum:g}" for rule, momentum, _, _ in sorted(kinds))
        raise InvalidArgument(
            f"optimizer: groups that differ in momentum, dampening or direction have no single edge, got {told}"
        )
    return kinds.pop()


def _denominator(rule: str, part: _Moved) -> Tensor | None:
    """√v̂ + ε of a parameter, flat; None before its first step."""
    group, state = part.group, part.state
    steps = float(state.get("step", 0))
    if not steps:
        return None
    if rule in ("adam", "adamw"):
        largest = "max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"
        second = state[largest].detach() / (1 - float(group["betas"][1]) ** steps)
    elif rule == "rmsprop":
        second = state["square_avg"].detach()
        if group.get("centered"):
            second = (second - state["grad_avg"].detach().square()).clamp(min=0)
    else:
        second = state["sum"].detach()
    return (second.sqrt() + float(group["eps"])).reshape(-1)


def _number(values: Tensor) -> float | Tensor:
    return float(values[0]) if bool((values == values[0]).all()) else values


def _note(obj: Objective, optimizer: TorchOptimizer, moved: list[_Moved]) -> str:
    notes: list[str] = []
    if fixed := len(obj.blocks) - len(moved):
        notes.append(f"{fixed} of the objective's {len(obj.blocks)} parameters do not move")
    known = {id(p) for p in obj.model.parameters()}
    if other := sum(id(p) not in known for group in optimizer.param_groups for p in group["params"]):
        notes.append(f"{other} parameters of the optimizer are not the objective's")
    rates = sorted({part.rate for part in moved})
    if len(rates) > 1 and math.isfinite(moved[0].rate):
        notes.append("the rate is that of the first group; others keep their proportion to it")
    return "; ".join(notes)
