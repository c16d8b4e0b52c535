"""Who takes part in a race: optimizers by name, with their hyperparameters, alone or inside a sharpness-aware one."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer

from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.optim.sharpness.asam import ASAM
from thalweg.optim.sharpness.gsam import GSAM
from thalweg.optim.sharpness.sam import SAM
from thalweg.optim.sharpness.sharpness_aware import SharpnessAware
from thalweg.surveys.optimizers import construct, default_rate, hyperparameters

_WRAPPERS: dict[str, type[SharpnessAware]] = {"sam": SAM, "asam": ASAM, "gsam": GSAM}

# What an estimate of curvature costs in gradients: another gradient, or a Hessian-vector product at two of them.
_ESTIMATES = {"sophia_g": 1, "sophia_h": 2}


@dataclass(frozen=True)
class Contender:
    """An optimizer as it was written ("adamw", "sgd(momentum=0.9)", "sam(momentum)"), to be made at any rate.

    `default_rate` is the optimizer's own learning rate; `averages` says whether it averages its iterates in place of
    a schedule, so that none is applied to it.
    """

    name: str
    base: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    wrapper: str | None = None
    wrapper_options: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def default_rate(self) -> float:
        """The learning rate of the optimizer by default."""
        return default_rate(self.base)

    @property
    def averages(self) -> bool:
        """Whether averaging takes the place of a schedule."""
        return self.base.startswith("schedule_free")

    @property
    def slug(self) -> str:
        """The name in letters, digits and dashes."""
        return re.sub(r"[^A-Za-z0-9_.]+", "-", self.name).strip("-.")

    def cost(self, step: int) -> int:
        """Gradient evaluations that step number `step`, from 0 on, takes with all that belongs to it."""
        return (1 if self.wrapper is None else 2) + self.estimate(step)

    def estimate(self, step: int) -> int:
        """Of these, what an estimate of curvature is worth that is due at the step; it is not seen in the loss."""
        if self.base not in _ESTIMATES:
            return 0
        period = self.options.get("update_period", hyperparameters(self.base)["update_period"])
        return 0 if step % period else _ESTIMATES[self.base]

    def steps(self, budget: int) -> int:
        """How many steps a budget of gradient evaluations allows."""
        steps = 0
        while budget >= self.cost(steps):
            budget -= self.cost(steps)
            steps += 1
        return steps

    def make(self, model: nn.Module, rate: float, objective: Objective) -> Optimizer:
        """The optimizer over the trainable parameters of `model`, whose loss is `objective`."""
        base = construct(self.base, model, objective, lr=rate, **self.options)
        if self.wrapper is None:
            return base
        wrap: Any = _WRAPPERS[self.wrapper]
        return wrap(base, model=model, **self.wrapper_options)


def contenders(written: str | Sequence[str]) -> list[Contender]:
    """The contenders in a list of names, or in one text of names with commas between them.

    Raises InvalidArgument for what cannot be read, for one that comes twice, for a hyperparameter that is not
    taken, and for an optimizer that needs more than parameters; UnknownName, with the nearest, for an unknown name.
    """
    text = written if isinstance(written, str) else ", ".join(written)
    try:
        parsed = ast.parse(f"({text},)", mode="eval").body if text.strip() else ast.Tuple([])
    except SyntaxError:
        parsed = None
    if not isinstance(parsed, ast.Tuple):
        raise InvalidArgument(f"optimizers must be names such as adamw or sam(momentum), got {text!r}")
    found = [_contender(element) for element in parsed.elts]
    if len(found) < 2:
        raise InvalidArgument(f"optimizers must name at least two to be compared, got {text!r}")
    for i, contender in enumerate(found):
        if contender in found[:i]:
            raise InvalidArgument(f"optimizers must differ from each other, {contender.name} comes twice")
    return found


def contender(written: str) -> Contender:
    """One contender; raises what `contenders` raises."""
    try:
        return _contender(ast.parse(written.strip(), mode="eval").body)
    except SyntaxError:
        raise InvalidArgument(f"optimizer must be a name such as adamw, got {written!r}") from None


def _contender(expression: ast.expr) -> Contender:
    name = ast.unparse(expression)
    base, arguments, options = _call(expression, name)
    if base in _WRAPPERS:
        if len(arguments) != 1:
            raise InvalidArgument(
                f"{base} goes around another optimizer, as in {base}(momentum), got {name!r}"
            )
        inner = _contender(arguments[0])
        if inner.wrapper is not None:
            raise InvalidArgument(f"{name!r}: {base} cannot go around {inner.wrapper}")
        _check(base, options, set(inspect.signature(_WRAPPERS[base]).parameters) - {"base", "model"})
        return Contender(name, inner.base, inner.options, base, options)
    if arguments:
        raise InvalidArgument(f"{name!r}: {base} takes hyperparameters by name only")
    default_rate(base)
    _check(base, options, set(hyperparameters(base)) - {"lr"})
    return Contender(name, base, options)


def _check(name: str, options: dict[str, Any], taken: set[str]) -> None:
    if "lr" in options:
        raise InvalidArgument(f"{name}: lr cannot be given, it is what is tuned")
    unknown = sorted(set(options) - taken)
    if unknown:
        raise InvalidArgument(f"{name} has no {', '.join(unknown)}; it takes {', '.join(sorted(taken))}")


def _call(expression: ast.expr, name: str) -> tuple[str, list[ast.expr], dict[str, Any]]:
    """Name, positional and keyword arguments of a name that may be called."""
    arguments: list[ast.expr] = []
    options: dict[str, Any] = {}
    if isinstance(expression, ast.Call):
        arguments = expression.args
        for keyword in expression.keywords:
            try:
                options[str(keyword.arg)] = ast.literal_eval(keyword.value)
            except ValueError:
                raise InvalidArgument(
                    f"{name!r}: {keyword.arg} must be a number or another literal"
                ) from None
        expression = expression.func
    if not isinstance(expression, ast.Name):
        raise InvalidArgument(f"optimizers must be names such as adamw or sam(momentum), got {name!r}")
    return expression.id, arguments, options
