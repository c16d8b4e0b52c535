"""The driver that runs an update rule on a model: a torch optimizer, whatever the rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeAlias, TypedDict, Unpack, cast

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.optim.flat import Advance, by_blocks, in_place, rule_kernel
from thalweg.optim.gradients import Nonfinite, may_step, sparse_or_dense, update_entries
from thalweg.optim.kernel import Kernel
from thalweg.optim.packed import Packed
from thalweg.optim.rule import Rule

Params: TypeAlias = Iterable[Any]
"""Parameters, (name, parameter) pairs, or parameter groups, as torch's optimizers take them."""
Closure: TypeAlias = Callable[[], Any]

COMPILE_FROM = 1_000_000
"""Parameters from which a rule is compiled: below, a step is made of call overhead that compiling hardly lowers."""
PACK_BELOW = 65_536
"""Parameters with fewer elements are updated together."""


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
        super().__init__(params, defaults | {"maximize": options.get("maximize", False)})

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range; called for every group that is added."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch's optimizers do. Raises InvalidArgument for complex parameters."""
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
        if self.rule.memory:
            group.setdefault("memory", dict(self.rule.memory))
        if self.rule.evaluation_point is not None:
            group.setdefault("train_mode", True)
        self._packs.clear()

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update the parameters from their gradients; the loss, if a closure computes it.

        `closure` clears the gradients, computes loss and gradients, and returns the loss. Raises RuntimeError in
        evaluation mode for a rule that takes its gradient elsewhere, InvalidArgument for sparse gradients that the
        rule cannot use, FloatingPointError with nonfinite="raise".
        """
        self._check_mode()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not may_step(self.param_groups, self.nonfinite):
            return loss
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def train(self) -> None:
        """Put the point where the rule wants its gradient into the parameters; nothing for most rules."""
        self._move(True)

    def eval(self) -> None:
        """Put the iterate θ into the parameters, for evaluating or saving the model; nothing for most rules."""
        self._move(False)

    def state_dict(self) -> dict[str, Any]:
        """State and groups as torch's optimizer of the same name writes them; tensors are copies."""
        state = super().state_dict()
        state["state"] = {
            key: {name: _written(name, value) for name, value in held.items()}
            for key, held in state["state"].items()
        }
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over state and groups, of this optimizer or of torch's of the same name."""
        super().load_state_dict(state_dict)
        self._packs.clear()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore after loading, copying or unpickling; what torch's groups lack gets its default."""
        super().__setstate__(state)
        if not hasattr(self, "_packs"):
            self._set_up()
            self.nonfinite = getattr(self, "nonfinite", "pass")
            self.compile = getattr(self, "compile", None)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
            if self.rule.memory:
                group.setdefault("memory", dict(self.rule.memory))
            if self.rule.evaluation_point is not None:
                group.setdefault("train_mode", True)
        for held in self.state.values():
            # torch keeps the step as a tensor, and none at all for SGD.
            held["step"] = int(held.get("step", 1))

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: the buffers of small parameters are built anew."""
        kept = {"nonfinite": self.nonfinite, "compile": self.compile}
        return super().__getstate__() | kept

    def _set_up(self) -> None:
        self._packs: dict[tuple[str | int, ...], Packed] = {}
        self._kernels: dict[tuple[Any, ...], Kernel | None] = {}

    def _check_mode(self) -> None:
        if any(not group.get("train_mode", True) for group in self.param_groups):
            raise RuntimeError(
                f"{type(self).__name__}.step() was called in evaluation mode, where gradients are taken at the wrong "
                f"point: call train() before the forward pass"
            )

    def _move(self, training: bool) -> None:
        rule = self.rule
        if rule.evaluation_point is None or rule.iterate is None:
            return
        move = rule.evaluation_point if training else rule.iterate
        with torch.no_grad():
            for group in self.param_groups:
                if group["train_mode"] == training:
                    continue
                group["train_mode"] = training
                for p in group["params"]:
                    if p in self.state:
                        held = [self.state[p].get(name) for name in rule.state]
                        p.copy_(move(p, *held, group["memory"]["mixing"]))

    def _step_group(self, group: dict[str, Any]) -> None:
        rule = self.rule
        names = rule.kept(group)
        by_step: dict[int, list[Tensor]] = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            held = self.state[p]
            for name in names:
                if held.get(name) is None:
                    held[name] = rule.begin(name, p.detach(), group)
            held["step"] = t = held.get("step", 0) + 1
            by_step.setdefault(t, []).append(p)
        after = memory = group.get("memory", {})
        for t, params in by_step.items():
            scalars, after = rule.step_scalars(t, group, memory)
            self._update(group, params, names, scalars)
        if rule.memory:
            group["memory"] = after

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        names: tuple[str, ...],
        scalars: tuple[float, ...],
    ) -> None:
        """One step of the parameters of a group that have come to the same step."""
        small: dict[tuple[torch.dtype, torch.device], list[tuple[Tensor, Tensor]]] = {}
        for p in params:
            g = cast(Tensor, p.grad)
            if g.layout != torch.strided:
                g = sparse_or_dense(g, self.rule, group)
            if g.layout != torch.strided:
                state = {name: self.state[p][name] for name in names}
                update_entries(self.rule, p, g, state, scalars, group["maximize"])
            elif p.numel() < PACK_BELOW:
                small.setdefault((p.dtype, p.device), []).append((p, g))
            else:
                state = {name: self.state[p][name] for name in names}
                in_place(p.detach(), g, state, self._advance(group, p, names, scalars))
        for pairs in small.values():
            members = [p for p, _ in pairs]
            pack = self._pack(members, names)
            pack.step([g for _, g in pairs], self._advance(group, members[0], names, scalars))
        torch.autograd.graph.increment_version(params)

    def _pack(self, params: list[Tensor], names: tuple[str, ...]) -> Packed:
        key = (*names, *map(id, params))
        pack = self._packs.get(key)
        if pack is None or not pack.current():
            # A parameter's state lies in one pack: a new set of parameters makes older ones stale.
            self._packs = {old: held for old, held in self._packs.items() if held.current()}
            pack = self._packs[key] = Packed(params, names, self.state)
        return pack

    def _advance(
        self, group: dict[str, Any], like: Tensor, names: tuple[str, ...], scalars: tuple[float, ...]
    ) -> Advance:
        """What updates a flat point and its state in place: the compiled kernel, else the rule block by block."""
        if self._compiles():
            made = self._kernel(group["maximize"], like, names, len(scalars))
            if made is not None:
                vector = torch.tensor(scalars, dtype=torch.float64, device=like.device)
                return lambda point, g, state: made([point, g, *state.values(), vector])
        return lambda point, g, state: by_blocks(self.rule, point, g, state, scalars, group["maximize"])

    def _kernel(self, maximize: bool, like: Tensor, names: tuple[str, ...], count: int) -> Kernel | None:
        key = (maximize, like.dtype, like.device, names, count)
        if key not in self._kernels:
            self._kernels[key] = rule_kernel(self.rule, names, like, count, maximize)
        return self._kernels[key]

    def _compiles(self) -> bool:
        if self.compile is not None:
            return self.compile
        return sum(p.numel() for group in self.param_groups for p in group["params"]) >= COMPILE_FROM


def _written(name: str, value: Any) -> Any:
    """A state entry as torch writes it: the step as a tensor, tensors apart from the buffers they lie in."""
    if name == "step":
        return torch.tensor(float(value))
    return value.clone() if isinstance(value, Tensor) else value
