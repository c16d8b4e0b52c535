"""The driver that runs an update rule on a model: a torch optimizer, whatever the rule."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeAlias, TypedDict, Unpack, cast

import torch
from torch import Tensor
from torch.optim.optimizer import (
    _global_optimizer_post_hooks,  # pyright: ignore[reportPrivateUsage]
    _global_optimizer_pre_hooks,  # pyright: ignore[reportPrivateUsage]
)

from thalweg.errors import InvalidArgument, WrongMode
from thalweg.optim.driver.flat import Advance, by_blocks, rule_kernel
from thalweg.optim.driver.gradients import (
    Nonfinite,
    check_layouts,
    may_step,
    sparse_or_dense,
    update_entries,
)
from thalweg.optim.driver.kernel import Kernel
from thalweg.optim.driver.plan import Part, Plan
from thalweg.optim.driver.rule import Rule

Params: TypeAlias = Iterable[Any]
"""Parameters, (name, parameter) pairs, or parameter groups, as torch's optimizers take them."""
Closure: TypeAlias = Callable[[], Any]

HYPERPARAMETERS_ONLY: Any = object()
"""In the place of parameters: only `defaults` are wanted."""
COMPILE_FROM = 1_000_000
"""Parameters from which a rule is compiled: below, a step is made of call overhead that compiling hardly lowers."""


class Options(TypedDict, total=False):
    """What every optimizer of Thalweg takes beside the hyperparameters of its rule.

    maximize: climb instead of descend. nonfinite: what to do when a gradient has a NaN or an infinity: "pass" it
    on as torch does, "skip" the step, or "raise" an error naming the parameter; the last two read every gradient
    once more. compile: True or False to choose; by default from a million parameters on. foreach, fused: accepted
    from torch's signatures and without effect, there is one implementation. capturable, differentiable: must be
    False.
    """

    maximize: bool
    nonfinite: Nonfinite
    compile: bool | None
    foreach: bool | None
    fused: bool | None
    capturable: bool
    differentiable: bool


class RuleOptimizer(torch.optim.Optimizer):
    """A torch optimizer made of an update rule; subclasses give the rule and its hyperparameters.

    The contract of torch.optim.Optimizer holds: groups, state dictionaries, closures, hooks, schedulers, scalers,
    pickling. A step updates each large tensor in one compiled pass over memory, and all small ones together in one.
    Complex parameters are refused.
    """

    rule: ClassVar[Rule]
    columns: ClassVar[bool] = True
    """Whether the rule can run on many points at once, as `descend` does; False where it needs more than a gradient."""

    def __init__(self, params: Params, defaults: dict[str, Any], **options: Unpack[Options]) -> None:
        unknown = set(options) - set(Options.__annotations__)
        if unknown:
            known = ", ".join([*defaults, *Options.__annotations__])
            raise InvalidArgument(f"{type(self).__name__} takes {known}; got {', '.join(sorted(unknown))}")
        for name in ("capturable", "differentiable"):
            if options.get(name, False):
                raise InvalidArgument(
                    f"{name} must be False: Thalweg's optimizers do not support {name}=True"
                )
        policy = options.get("nonfinite", "pass")
        if policy not in ("pass", "skip", "raise"):
            raise InvalidArgument(f'nonfinite must be "pass", "skip" or "raise", got {policy!r}')
        self.nonfinite: Nonfinite = policy
        self.compile = options.get("compile")
        self._set_up()
        defaults = defaults | {"maximize": options.get("maximize", False)}
        if params is HYPERPARAMETERS_ONLY:
            self.check_group(defaults)
            self.defaults, self.param_groups = defaults, []
            return
        super().__init__(params, defaults)

    @classmethod
    def hyperparameters(cls, **given: Any) -> dict[str, Any]:
        """The hyperparameters of a group made with these arguments, checked; without any parameters.

        torch's own constructor imports its compiler, which takes more than a second.
        """
        made: Any = cls
        return made(HYPERPARAMETERS_ONLY, **given).defaults

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range; called for every group that is added."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch's optimizers do. Raises InvalidArgument for complex parameters."""
        if not isinstance(param_group, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"param_group must be a dict with 'params', got {type(param_group).__name__}")
        self.check_group(self.defaults | param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for place, p in enumerate(group["params"]):
            if p.is_complex():
                self.param_groups.pop()
                name = group["param_names"][place] if "param_names" in group else f"number {place}"
                raise InvalidArgument(
                    f"params must be real, parameter {name} is {p.dtype}: optimize torch.view_as_real of it"
                )
        self._complete(group)
        self._plans.clear()
        self._size = None

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update the parameters from their gradients; the loss, if a closure computes it.

        `closure` clears the gradients, computes loss and gradients, and returns the loss. Raises WrongMode in
        evaluation mode for a rule that takes its gradient elsewhere, InvalidArgument for sparse gradients that the
        rule cannot use, NonfiniteGradient with nonfinite="raise".
        """
        self._check_mode()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not may_step(self.param_groups, self.nonfinite):
            return loss
        check_layouts(self.param_groups, self.rule, type(self).__name__)
        for place, group in enumerate(self.param_groups):
            self._step_group(place, group)
        return loss

    def train(self) -> None:
        """Put the point where the rule wants its gradient into the parameters; nothing for most rules."""
        self._move(True)

    def eval(self) -> None:
        """Put the iterate θ into the parameters, for evaluating or saving the model; nothing for most rules."""
        self._move(False)

    def state_dict(self) -> dict[str, Any]:
        """State and groups as torch's optimizer of the same name writes them; tensors are copies."""
        held = self.state
        written: defaultdict[Tensor, Any] = defaultdict(dict)
        for p, entries in held.items():
            written[p] = {name: _written(name, value) for name, value in entries.items()}
        # Hooks on the state dictionary are to see it as it is written.
        self.state = written
        try:
            return super().state_dict()
        finally:
            if self.state is written:
                self.state = held

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over copies of state and groups, of this optimizer or of torch's of the same name.

        Raises InvalidArgument for hyperparameters out of their range.
        """
        for group in state_dict["param_groups"]:
            self.check_group(self.defaults | group)
        super().load_state_dict(state_dict)
        for entries in self.state.values():
            entries.update({k: v.clone() for k, v in entries.items() if isinstance(v, Tensor)})
        self._plans.clear()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore after loading, copying or unpickling; what torch's groups lack gets its default."""
        super().__setstate__(state)
        # torch's base class adds a default that Thalweg's optimizers do not have.
        self.defaults.pop("differentiable", None)
        if not hasattr(self, "_plans"):
            self._set_up()
            self.nonfinite = getattr(self, "nonfinite", "pass")
            self.compile = getattr(self, "compile", None)
        for group in self.param_groups:
            self._complete(group)
        for entries in self.state.values():
            # torch keeps the step as a tensor, and none at all for SGD.
            begun = any(isinstance(value, Tensor) for value in entries.values())
            entries["step"] = int(entries.get("step", begun))

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: the buffers of small parameters are built anew."""
        kept = super().__getstate__() | {"nonfinite": self.nonfinite, "compile": self.compile}
        # Each view would bring its whole buffer along.
        kept["state"] = defaultdict(
            dict,
            {
                p: {k: v.clone() if isinstance(v, Tensor) else v for k, v in entries.items()}
                for p, entries in self.state.items()
            },
        )
        return kept

    @staticmethod
    def profile_hook_step(func: Callable[..., Any]) -> Callable[..., Any]:
        """What torch wraps around `step`: hooks, and a mark for the profiler, which costs more than a small step.

        Both are left out where there is neither a hook nor a profiler.
        """
        hooked = torch.optim.Optimizer.profile_hook_step(func)

        @functools.wraps(func)
        def step(self: RuleOptimizer, *args: Any, **kwargs: Any) -> Any:
            watched = (
                self._optimizer_step_pre_hooks
                or self._optimizer_step_post_hooks
                or _global_optimizer_pre_hooks
                or _global_optimizer_post_hooks
                or torch.autograd._profiler_enabled()  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            )
            return hooked(self, *args, **kwargs) if watched else func(self, *args, **kwargs)

        return step

    def _complete(self, group: dict[str, Any]) -> None:
        """Give a group what it lacks."""
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        if self.rule.memory:
            group.setdefault("memory", dict(self.rule.memory))
        if self.rule.evaluation_point is not None:
            group.setdefault("train_mode", True)

    def _set_up(self) -> None:
        self._plans: dict[int, Plan] = {}
        self._size: int | None = None
        self._kernels: dict[tuple[Any, ...], Kernel | None] = {}

    def _check_mode(self) -> None:
        if self.rule.evaluation_point is not None and not all(g["train_mode"] for g in self.param_groups):
            raise WrongMode(
                f"{type(self).__name__}.step() was called in evaluation mode, where gradients are taken at the wrong "
                f"point: call train() before the forward pass"
            )

    def _move(self, training: bool) -> None:
        if self.rule.evaluation_point is None:
            return
        with torch.no_grad():
            for group in self.param_groups:
                if group["train_mode"] == training:
                    continue
                group["train_mode"] = training
                for p in group["params"]:
                    entries = self.state.get(p)
                    if entries and "mixing" in entries:
                        held = [entries.get(name) for name in self.rule.state]
                        p.copy_(self.rule.exchanged(p, held, entries["mixing"], to_iterate=not training))

    def _step_group(self, place: int, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        rule, kept = self.rule, self.rule.kept(group)
        plan = self._plans.get(place)
        if plan is None or not plan.serves(params, kept, self.state):
            plan = self._plans[place] = Plan(rule, group, params, kept, self.state)
        after = memory = group.get("memory", {})
        for part in plan.parts:
            # Parameters that waited lie where the mixing of their last step put them.
            before = memory if part.mixing is None else {**memory, "mixing": part.mixing}
            scalars, after = rule.step_scalars(part.steps + 1, group, before)
            self._update(group, part, scalars)
            part.count(after.get("mixing"))
        if rule.memory:
            group["memory"] = after
        torch.autograd.graph.increment_version(params)

    def _update(self, group: dict[str, Any], part: Part, scalars: tuple[float, ...]) -> None:
        """One step of the parameters of a group that have come to the same step."""
        made: dict[tuple[torch.dtype, torch.device], Advance] = {}

        def advance(like: Tensor) -> Advance:
            kind = (like.dtype, like.device)
            if kind not in made:
                made[kind] = self._advance(group, like, part, scalars)
            return made[kind]

        for large in part.large:
            p, g = large.p, cast(Tensor, large.p.grad)
            if g.layout != torch.strided:
                g = sparse_or_dense(g, self.rule, group, type(self).__name__)
            if g.layout != torch.strided:
                update_entries(self.rule, p, g, large.state, scalars, group["maximize"])
            else:
                large.step(g, advance(p))
        for pack in part.packs:
            pack.step([cast(Tensor, p.grad) for p in pack.params], advance(pack.params[0]))

    def _advance(
        self, group: dict[str, Any], like: Tensor, part: Part, scalars: tuple[float, ...]
    ) -> Advance:
        """What updates a flat point and its state in place: the compiled kernel, else the rule block by block."""
        rule, maximize = self.rule, group["maximize"]
        made = self._kernel(maximize, like, part.kept, len(scalars)) if self._compiles() else None
        if made is None:
            return lambda point, g, state: by_blocks(rule, point, g, state, scalars, maximize)
        vector = torch.tensor(scalars, dtype=torch.float64, device=like.device)
        return lambda point, g, state: made([point, g, *[s for s in state if s is not None], vector])

    def _kernel(self, maximize: bool, like: Tensor, kept: tuple[bool, ...], count: int) -> Kernel | None:
        key = (maximize, like.dtype, like.device, kept, count)
        if key not in self._kernels:
            self._kernels[key] = rule_kernel(self.rule, kept, like, count, maximize)
        return self._kernels[key]

    def _compiles(self) -> bool:
        if self.compile is not None:
            return self.compile
        if self._size is None:
            self._size = sum(p.numel() for group in self.param_groups for p in group["params"])
        return self._size >= COMPILE_FROM


def _written(name: str, value: Any) -> Any:
    """A state entry as torch writes it: the step as a tensor, tensors apart from the buffers they lie in."""
    if name == "step":
        return torch.tensor(float(value))
    return value.clone() if isinstance(value, Tensor) else value
