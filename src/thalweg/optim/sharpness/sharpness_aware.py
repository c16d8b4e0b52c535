"""An optimizer around another one: it steps with the gradient of a point uphill instead of the gradient here."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.errors import InvalidArgument
from thalweg.objective.preserved import batchnorms
from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.sharpness.ascent import sam_point, total_norm

Group: TypeAlias = dict[str, Any]
Found: TypeAlias = list[tuple[Group, Tensor, Tensor]]
"""The group, the parameter and the gradient of everything that has a gradient."""

_RECORD = "sharpness_aware"
_BOTH_WAYS = (
    "pass a closure that clears the gradients, calls backward() and returns the loss, "
    "or call backward(), ascend() and backward() again before step()"
)


class SharpnessAware(Optimizer):
    """What SAM and its variants share; see `SAM` for how they are used.

    Parameter groups and state are the base's own objects, so that schedulers may be given either optimizer.
    An option of a group is found under its own name, or with "sam_" before it where the base uses that name
    (`rho` of Adadelta).
    """

    # Read by GradScaler: it leaves unscaling and skipping to step(), which must put θ back in either case.
    _step_supports_amp_scaling = True

    base: Optimizer
    """The wrapped optimizer, which takes the step."""
    model: nn.Module | None
    """The model whose batch-norm layers keep their statistics during the second pass."""
    gradient_evaluations: int
    """Gradients used so far: two for each step."""

    def __init__(self, base: Optimizer, model: nn.Module | None, **options: float | None) -> None:
        if not isinstance(base, Optimizer) or isinstance(base, SharpnessAware):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass classes
            raise InvalidArgument(
                f"base must be an optimizer such as SGD(model.parameters(), lr=0.1), got {_named(base)}"
            )
        if _needs_closure(base):
            raise InvalidArgument(
                f"base must be able to step without a closure, {type(base).__name__} cannot"
            )
        if model is not None and not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument(f"model must be a torch.nn.Module, got {_named(model)}")
        self._options = options
        self._names = {name: f"sam_{name}" if name in base.defaults else name for name in options}
        own = {self._names[name]: value for name, value in options.items()}
        # Not Optimizer.__init__, which would begin groups and a state of its own; this adds what else it does.
        self.__setstate__(
            {
                "base": base,
                "model": model,
                "defaults": {**base.defaults, **own},
                "gradient_evaluations": 0,
                "_kept": [],
                "_frozen": [],
            }
        )
        # All are checked before the first is written.
        for group, values in [(group, self._values(group)) for group in self.param_groups]:
            group.update(values)

    @property
    def param_groups(self) -> list[Group]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The base's parameter groups, which also hold this optimizer's options."""
        return self.base.param_groups

    @property
    def state(self) -> defaultdict[Tensor, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The base's state."""
        return self.base.state

    @property
    def ascended(self) -> bool:
        """Whether the parameters are at the perturbed point."""
        return bool(self._kept)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step of the base from θ with the gradient at the perturbed point; return the loss at θ.

        `closure` clears the gradients, computes the loss, calls backward() and returns the loss; it is called
        twice, the second time at the perturbed point. Without it `ascend` must have been called and the
        gradient there computed. θ is put back, to the last bit, before the base steps, and also when the
        second call fails.

        Raises InvalidArgument with neither, with both, without gradients, or for a closure under a GradScaler.
        """
        if closure is None:
            if not self.ascended:
                raise InvalidArgument(f"step() needs the gradient at two points: {_BOTH_WAYS}")
            self._descend()
            return None
        self._refuse_scaler("a closure")
        self._refuse_ascended("step(closure)")
        with torch.enable_grad():
            loss = closure()
        self.ascend()
        try:
            with torch.enable_grad():
                closure()
        except BaseException:
            self.restore()
            raise
        self._descend()
        return loss

    def train(self) -> None:
        """Go to where the base wants gradients; nothing for most."""
        if callable(move := getattr(self.base, "train", None)):
            move()

    def eval(self) -> None:
        """Go to where the base wants the model evaluated; nothing for most."""
        if callable(move := getattr(self.base, "eval", None)):
            move()

    def ascend(self) -> None:
        """Move the parameters uphill along their gradients, which are then cleared for the second pass.

        Raises InvalidArgument where no parameter has a gradient or one has a sparse one, and when called twice.
        """
        self._refuse_ascended("ascend()")
        found = self._gradients("ascend() found no gradients: call backward() on the loss first")
        with torch.no_grad():
            norm = total_norm(self._weighed(p, g, group) for group, p, g in found)
            self._kept = [(p, p.detach().clone()) for _, p, _ in found]
            try:
                self._remember(found)
                for group, p, g in found:
                    # Where the base goes uphill, the worst case is downhill.
                    sign = -1 if group.get("maximize") else 1
                    p.copy_(self._point(p, g, norm, sign * self._radius(group), group))
            except BaseException:
                self.restore()
                raise
        self.gradient_evaluations += 1
        if self.model is not None:
            self._frozen = [(layer, layer.track_running_stats) for layer in batchnorms(self.model).values()]
            for layer, _ in self._frozen:
                layer.track_running_stats = False
        self.zero_grad()

    def restore(self) -> None:
        """Put the parameters back to where they were before `ascend`, without a step."""
        with torch.no_grad():
            for p, before in self._kept:
                p.copy_(before)
        for layer, tracked in self._frozen:
            layer.track_running_stats = tracked
        self._kept, self._frozen = [], []

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, as the base does."""
        self.base.zero_grad(set_to_none)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group to the base, with this optimizer's options where it does not set them."""
        param_group.update(self._values(param_group))
        self.base.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The base's state_dict, groups with their options included, and this optimizer's counts.

        Raises InvalidArgument between `ascend` and `step`: the parameters are not the model's then.
        """
        self._refuse_ascended("state_dict()")
        for before in self._optimizer_state_dict_pre_hooks.values():
            before(self)
        state = {**self.base.state_dict(), _RECORD: self._record()}
        for after in self._optimizer_state_dict_post_hooks.values():
            state = after(self, state) or state
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave; one of the base alone leaves this optimizer's options as they are."""
        self._refuse_ascended("load_state_dict()")
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = before(self, state_dict) or state_dict
        options = [{name: group[name] for name in self._names.values()} for group in self.param_groups]
        self.base.load_state_dict({key: value for key, value in state_dict.items() if key != _RECORD})
        for group, own in zip(self.param_groups, options, strict=True):
            group.update({name: value for name, value in own.items() if name not in group})
        # By name: a checkpoint sets counts and nothing else.
        for name, count in self._record().items():
            setattr(self, name, int(state_dict.get(_RECORD, {}).get(name, count)))
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    def __getstate__(self) -> dict[str, Any]:
        # As torch's: hooks, and a step() that a scheduler has wrapped, are not copied.
        self._refuse_ascended("copying")
        return {
            name: value
            for name, value in vars(self).items()
            if name != "step" and not name.startswith("_optimizer_")
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base!r})"

    def _weighed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        """What the norm in the ascent is taken of: g, or Tg."""
        return g

    def _point(self, p: Tensor, g: Tensor, norm: Tensor, rho: float, group: Group) -> Tensor:
        """The perturbed point of one parameter: SAM's, p + ρg/norm."""
        return sam_point(p, g, norm, rho)

    def _radius(self, group: Group) -> float:
        return self._option(group, "rho")

    def _remember(self, found: Found) -> None:
        """Keep what `_combine` needs of the first gradients."""

    def _combine(self, found: Found) -> None:
        """Turn the second gradients into those that the base is to step with."""

    def _record(self) -> dict[str, int]:
        return {"gradient_evaluations": self.gradient_evaluations}

    def _option(self, group: Group, name: str) -> Any:
        return group[self._names[name]]

    def _values(self, group: Group) -> Group:
        """This optimizer's options of a group, by the names they have there."""
        options = {name: group.get(self._names[name], value) for name, value in self._options.items()}
        return {self._names[name]: value for name, value in self._checked(options, group).items()}

    def _checked(self, options: Group, group: Group) -> Group:
        check.nonnegative(options["rho"], "rho")
        return options

    def _gradients(self, missing: str) -> Found:
        found: Found = [
            (group, p, p.grad) for group in self.param_groups for p in group["params"] if p.grad is not None
        ]
        if not found:
            raise InvalidArgument(missing)
        for _, p, g in found:
            if g.is_sparse:
                raise InvalidArgument(
                    f"gradients must be dense, that of a parameter of shape {tuple(p.shape)} is sparse: "
                    "build its layer with sparse=False"
                )
        return found

    def _descend(self) -> None:
        try:
            found = self._gradients("step() found no gradients at the perturbed point: call backward() there")
            with torch.no_grad():
                self._combine(found)
        finally:
            self.restore()
        self.gradient_evaluations += 1
        # Set by GradScaler for the length of this call; the scale is None where the user has unscaled already.
        if bool(getattr(self, "found_inf", False)):
            return
        scale: Tensor | None = getattr(self, "grad_scale", None)
        if scale is not None:
            for _, _, g in found:
                g.detach().mul_(scale.double().reciprocal().to(g))
        self.base.step()

    def _refuse_ascended(self, what: str) -> None:
        if self.ascended:
            raise InvalidArgument(
                f"{what} is not for the perturbed point: call step() first, or restore() to give the step up"
            )

    def _refuse_scaler(self, what: str) -> None:
        if hasattr(self, "found_inf"):
            raise InvalidArgument(
                f"GradScaler cannot step with {what}: scale, backward(), ascend(), scale, backward(), "
                "then scaler.step(optimizer)"
            )


def _needs_closure(base: Optimizer) -> bool:
    # The class's method: a scheduler may have wrapped the object's.
    _, *parameters = inspect.signature(type(base).step).parameters.values()
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _named(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__
