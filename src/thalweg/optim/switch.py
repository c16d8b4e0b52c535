"""One optimizer first, another one then: Adam to warm up, SGD with momentum to finish."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from thalweg.errors import InvalidArgument
from thalweg.optim.adam import Adam
from thalweg.optim.adamw import AdamW
from thalweg.optim.lion import Lion
from thalweg.optim.momentum import Momentum
from thalweg.optim.nesterov import Nesterov
from thalweg.optim.sgd import SGD

Group: TypeAlias = dict[str, Any]
Criterion: TypeAlias = "Callable[[Switch], bool]"
"""Called after every step of the first optimizer with the Switch; True switches."""

_RECORD = "switch"


class Switch(Optimizer):
    """Step with `first` until `at`, then with `second`, over the same parameters, as one torch optimizer.

    `param_groups` and `state` are those of the optimizer that is active. So a scheduler belongs to `switch.first`
    or to `switch.second`, and is stepped after that one's steps (see `switched`): on the Switch, it would give the
    second rates computed from those of the first, and is refused. ReduceLROnPlateau, which only
    multiplies the rates it finds, may be given the Switch itself. Hooks on the Switch see the steps of both.

    The momentum is carried over where both keep one: Adam, AdamW, Lion and SGD, Thalweg's or torch's, RAdam, Momentum
    and Nesterov, also as the base of SAM. These keep sums or averages of past gradients, so the buffer is rescaled:
    if w(t) is its value after t steps under a gradient of constant 1, then new = old · w_new(t)/w_old(t), with

        Adam, RAdam  1 − β₁ᵗ       Lion  1 − β₂ᵗ       SGD  (1 − μᵗ)/(1 − μ) without dampening
        Momentum, Nesterov  −η(1 − αᵗ)/(1 − α), with η the rate of its group at the switch

    Under a constant gradient this is the buffer that the second would have had from the start; for equal decay,
    β₁ = μ, it is so whatever the gradients (but for dampening): exp_avg/(1 − β₁) for Adam to SGD. Second moments are
    carried likewise, between the Adams; without one to carry, as from SGD to Adam, the second starts afresh. Then the
    state of the first is let go. An optimizer with `eval()`, such as ScheduleFree, first puts its iterate into the
    parameters.

    Attributes
    ----------
    first, second: the two optimizers.
    steps: steps taken with either.
    switched: whether the second is active.

    Parameters
    ----------
    at: the number of steps for the first, at least 1; or a criterion, a function that gets this Switch after each of
        them and returns True to switch: see `Plateau`. If it has a `state_dict`, that is saved too.
    carry: whether the momentum is carried over.

    Raises
    ------
    InvalidArgument: optimizers that are not two, are over different parameters, or of which one maximizes and one
        minimizes; `at` below 1; a scheduler attached to the Switch, at the first step.

    Source: the lecture, "When Adam is not enough"; Keskar & Socher (2017), Improving generalization performance by
    switching from Adam to SGD, who choose the step and the rate from the run.
    """

    first: Optimizer
    second: Optimizer
    steps: int
    switched: bool
    _at: int | Criterion
    _carries: bool
    _loss: Tensor | float | None

    def __init__(
        self, first: Optimizer, second: Optimizer, at: int | Criterion, *, carry: bool = True
    ) -> None:
        _check_pair(first, second)
        if not callable(at) and (isinstance(at, bool) or not isinstance(at, int) or at < 1):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument(f"at must be a number of steps of at least 1, or a criterion, got {at!r}")
        # Not Optimizer.__init__, which would begin groups and a state of its own; this adds what else it does.
        self.__setstate__(
            {
                "first": first,
                "second": second,
                "defaults": dict(first.defaults),
                "steps": 0,
                "switched": False,
                "_loss": None,
                "_at": at,
                "_carries": carry,
            }
        )

    @property
    def active(self) -> Optimizer:
        """The optimizer whose turn it is."""
        return self.second if self.switched else self.first

    @property
    def loss(self) -> float | None:
        """The loss of the last step, from the closure or from `step(loss=...)`; None if there was neither."""
        # A number only when asked for: reading a tensor waits for its device.
        return None if self._loss is None else float(self._loss)

    @property
    def param_groups(self) -> list[Group]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The parameter groups of the active optimizer."""
        return self.active.param_groups

    @property
    def state(self) -> defaultdict[Tensor, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The state of the active optimizer."""
        return self.active.state

    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take a step of the active optimizer, and switch if it is time; the loss, if a closure computes it.

        `closure` is passed on. `loss` is for criteria that want one, where there is no closure.
        """
        if getattr(self.step, "_wrapped_by_lr_sched", False):
            raise InvalidArgument(
                "a scheduler is attached to the Switch, and would give the second optimizer the rates of the first: "
                "attach one to switch.first, and another one to switch.second if it needs one"
            )
        # Some optimizers need a closure, some take none.
        found = self.active.step() if closure is None else self.active.step(closure)
        self.steps += 1
        known = loss if found is None else found
        self._loss = known.detach() if isinstance(known, Tensor) else known
        if not self.switched and self._due():
            self.switch()
        return found

    def switch(self) -> None:
        """Switch now; nothing if the second is active already."""
        if self.switched:
            return
        if callable(put_iterate := getattr(self.first, "eval", None)):
            put_iterate()
        if self._carries:
            _carry(self.first, self.second, self.steps)
        # By loading rather than clearing: optimizers may hold more than what is in their `state`.
        self.first.load_state_dict({**self.first.state_dict(), "state": {}})
        self.switched = True
        self.defaults = dict(self.second.defaults)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, as the active optimizer does."""
        self.active.zero_grad(set_to_none)

    def train(self) -> None:
        """Go to where the active optimizer wants gradients; nothing for most."""
        if callable(move := getattr(self.active, "train", None)):
            move()

    def eval(self) -> None:
        """Go to where the active optimizer wants the model evaluated; nothing for most."""
        if callable(move := getattr(self.active, "eval", None)):
            move()

    def add_param_group(self, param_group: Group) -> None:
        """Refused with InvalidArgument: the two optimizers need groups of their own."""
        raise InvalidArgument(
            "a Switch takes no parameter groups: add them to switch.first and to switch.second"
        )

    def state_dict(self) -> dict[str, Any]:
        """That of the active optimizer, and under "switch" the rest: counts, the other one, the criterion's state."""
        for before in self._optimizer_state_dict_pre_hooks.values():
            before(self)
        other = self.first if self.switched else self.second
        record = {"steps": self.steps, "switched": self.switched, "other": other.state_dict()}
        if hasattr(self._at, "state_dict"):
            record["criterion"] = cast("Any", self._at).state_dict()
        state = {**self.active.state_dict(), _RECORD: record}
        for after in self._optimizer_state_dict_post_hooks.values():
            state = after(self, state) or state
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, on either side of the switch; `at` and `carry` stay this object's.

        Raises InvalidArgument for the state of another optimizer.
        """
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = before(self, state_dict) or state_dict
        if _RECORD not in state_dict:
            raise InvalidArgument(
                "state_dict is not of a Switch: load it into switch.first or switch.second instead"
            )
        record = state_dict[_RECORD]
        self.steps, self.switched, self._loss = record["steps"], record["switched"], None
        other = self.first if self.switched else self.second
        other.load_state_dict(record["other"])
        self.active.load_state_dict({key: value for key, value in state_dict.items() if key != _RECORD})
        self.defaults = dict(self.active.defaults)
        if hasattr(self._at, "load_state_dict") and "criterion" in record:
            cast("Any", self._at).load_state_dict(record["criterion"])
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    def __getstate__(self) -> dict[str, Any]:
        # As torch's: hooks, and a step() that something has wrapped, are not copied.
        return {
            name: value
            for name, value in vars(self).items()
            if name != "step" and not name.startswith("_optimizer_")
        }

    def __repr__(self) -> str:
        turn = "second" if self.switched else "first"
        return f"Switch(first={self.first!r}, second={self.second!r}, at={self._at!r}, active={turn!r})"

    def _due(self) -> bool:
        return bool(self._at(self)) if callable(self._at) else self.steps >= self._at


class Plateau:
    """A criterion for `Switch`: True once the mean loss of `window` steps is not below that of the `window` before.

    "Not below" means by less than the fraction `rtol`. Means over many steps, as losses of minibatches scatter; never
    before 2·window steps. Give the loss by `step(closure)` or `step(loss=loss)`. Raises InvalidArgument for a window
    below 1, an `rtol` outside [0, 1), and, when called, for a Switch that was given no loss.
    """

    def __init__(self, window: int = 100, rtol: float = 0.01) -> None:
        if window < 1:
            raise InvalidArgument(f"window must be at least 1, got {window}")
        if not 0 <= rtol < 1:
            raise InvalidArgument(f"rtol must be in [0, 1), got {rtol}")
        self.window = window
        self.rtol = rtol
        self._losses: deque[float] = deque(maxlen=2 * window)

    def __call__(self, switch: Switch) -> bool:
        """Record the loss of the last step, and say whether the losses fall no more."""
        if switch.loss is None:
            raise InvalidArgument("Plateau needs the loss: call step(closure), or step(loss=loss)")
        self._losses.append(switch.loss)
        if len(self._losses) < 2 * self.window:
            return False
        losses = list(self._losses)
        before, now = (sum(part) / self.window for part in (losses[: self.window], losses[self.window :]))
        return now > before - self.rtol * abs(before)

    def state_dict(self) -> dict[str, list[float]]:
        """The losses that it remembers."""
        return {"losses": list(self._losses)}

    def load_state_dict(self, state_dict: Mapping[str, list[float]]) -> None:
        """Go on from what `state_dict` gave."""
        self._losses = deque(state_dict["losses"], maxlen=2 * self.window)

    def __repr__(self) -> str:
        return f"Plateau(window={self.window}, rtol={self.rtol})"


def _carry(first: Optimizer, second: Optimizer, steps: int) -> None:
    """Put the moments of `first` into `second`, rescaled; through state dictionaries, which all optimizers honour."""
    held, begun = first.state_dict()["state"], second.state_dict()
    places = _members(first)
    carried: dict[int, dict[str, Any]] = {}
    for parameter, (place, group) in _members(second).items():
        from_place, from_group = places[parameter]
        if entry := held.get(from_place):
            t = float(entry.get("step", steps))
            moments = _converted(entry, _moments(first, from_group, t), _moments(second, group, t))
            if moments:
                carried[place] = moments
    if carried:
        second.load_state_dict({**begun, "state": begun["state"] | carried})


def _converted(
    entry: Mapping[str, Any], old: dict[str, tuple[str, float]], new: dict[str, tuple[str, float]]
) -> dict[str, Any]:
    """State of the second optimizer for one parameter; empty if it needs a moment that the first does not keep."""
    if not set(new) <= set(old):
        return {}
    state: dict[str, Any] = {}
    for moment, (name, weight) in new.items():
        old_name, old_weight = old[moment]
        if old_weight == 0 or entry.get(old_name) is None:
            return {}
        state[name] = entry[old_name] * (weight / old_weight)
    if "square" in new:
        state["step"] = torch.as_tensor(entry["step"], dtype=torch.float32).clone()
    return state


def _moments(optimizer: Optimizer, group: Group, t: float) -> dict[str, tuple[str, float]]:
    """Which moments an optimizer keeps, under which name, and their value after t steps of a gradient of 1."""
    if isinstance(base := getattr(optimizer, "base", None), Optimizer):
        optimizer = base
    if isinstance(optimizer, (Momentum, Nesterov)):
        return {"mean": ("velocity", -float(group["lr"]) * _sum(group["momentum"], t))}
    if isinstance(optimizer, (SGD, torch.optim.SGD)) and group["momentum"] != 0:
        # The first gradient enters the buffer undamped.
        mu, fresh = group["momentum"], 1 - group["dampening"]
        return {"mean": ("momentum_buffer", mu ** (t - 1) + fresh * _sum(mu, t - 1))}
    if isinstance(optimizer, Lion):
        return {"mean": ("exp_avg", 1 - float(group["betas"][1]) ** t)}
    if isinstance(optimizer, (Adam, AdamW, torch.optim.Adam, torch.optim.AdamW, torch.optim.RAdam)):
        mean, square = (1 - float(beta) ** t for beta in group["betas"])
        largest = {"largest": ("max_exp_avg_sq", square)} if group.get("amsgrad") else {}
        return {"mean": ("exp_avg", mean), "square": ("exp_avg_sq", square), **largest}
    return {}


def _sum(decay: float, t: float) -> float:
    """1 + decay + ... + decayᵗ⁻¹."""
    return t if decay == 1 else (1 - decay**t) / (1 - decay)


def _members(optimizer: Optimizer) -> dict[Tensor, tuple[int, Group]]:
    """Each parameter's place in the state dictionary, and its group."""
    pairs = [(p, group) for group in optimizer.param_groups for p in group["params"]]
    return {p: (place, group) for place, (p, group) in enumerate(pairs)}


def _check_pair(first: Any, second: Any) -> None:
    for name, optimizer in (("first", first), ("second", second)):
        if not isinstance(optimizer, Optimizer):
            raise InvalidArgument(f"{name} must be a torch optimizer, got {type(optimizer).__name__}")
    if first is second:
        raise InvalidArgument("first and second must be two optimizers, got the same one twice")
    ours, theirs = set(_members(first)), set(_members(second))
    if ours != theirs:
        raise InvalidArgument(
            f"first and second must be over the same parameters: {len(ours - theirs)} are only in first, "
            f"{len(theirs - ours)} only in second, {len(ours & theirs)} in both"
        )
    if len({bool(group.get("maximize")) for o in (first, second) for group in o.param_groups}) > 1:
        raise InvalidArgument("first and second must both minimize or both maximize, got one of each")
