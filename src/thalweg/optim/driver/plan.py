"""How the parameters of a group are stepped: the small ones packed, the large ones each on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from thalweg.errors import ShapeMismatch
from thalweg.optim.driver.packed import Packed
from thalweg.optim.driver.rule import Rule, State

PACK_BELOW = 65_536
"""Parameters with fewer elements are updated together."""

StateOf: TypeAlias = Mapping[Tensor, dict[str, Any]]


class Part:
    """Parameters that have taken the same number of steps, and lie at the same mixing where the rule has one."""

    def __init__(self, rule: Rule, kept: Sequence[str], params: Sequence[Tensor], state: StateOf) -> None:
        self.params = params
        self.steps: int = state[params[0]]["step"]
        self.mixing: float | None = state[params[0]].get("mixing")
        self.kept = tuple(name in kept for name in rule.state)
        self._names = tuple(name if name in kept else None for name in rule.state)
        small: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        self.large: list[Tensor] = []
        for p in params:
            # A tensor that is sharded over processes has to_local, and is stepped shard by shard.
            dense = p.grad is not None and p.grad.layout == torch.strided and not hasattr(p, "to_local")
            if dense and p.numel() < PACK_BELOW:
                small.setdefault((p.dtype, p.device), []).append(p)
            else:
                self.large.append(p)
        self.packs = [Packed(members, self._names, state) for members in small.values()]
        self._seen = [(p, [(name, state[p][name]) for name in kept]) for p in params]

    def current(self, state: StateOf) -> bool:
        """Whether the optimizer's state is still what this part left there."""
        for p, seen in self._seen:
            entries = state.get(p)
            if entries is None or entries.get("step") != self.steps or entries.get("mixing") != self.mixing:
                return False
            for name, tensor in seen:
                if entries.get(name) is not tensor:
                    return False
        return True

    def state_of(self, entries: Mapping[str, Any]) -> State:
        """A parameter's state in the rule's order."""
        return [None if name is None else entries[name] for name in self._names]

    def count(self, state: StateOf, mixing: float | None) -> None:
        """Count one more step, which left the parameters at `mixing`."""
        self.steps += 1
        self.mixing = mixing
        for p in self.params:
            state[p]["step"] = self.steps
            if mixing is not None:
                state[p]["mixing"] = mixing


class Plan:
    """All parameters of a group that have a gradient, in parts of equal step counts; begins missing state.

    It serves as long as the same parameters have gradients of the same layout and nobody replaces their state.
    Raises ShapeMismatch for state of another shape than its parameter's.
    """

    def __init__(
        self,
        signature: tuple[object, ...],
        rule: Rule,
        group: Mapping[str, Any],
        params: Sequence[Tensor],
        kept: Sequence[str],
        state: StateOf,
    ) -> None:
        self.signature = signature
        alike: dict[tuple[int, float | None], list[Tensor]] = {}
        for p in params:
            entries = state[p]
            for name in kept:
                entries[name] = _fitting(name, entries.get(name), rule, p, group)
            entries["step"] = int(entries.get("step", 0))
            alike.setdefault((entries["step"], entries.get("mixing")), []).append(p)
        self.parts = [Part(rule, kept, members, state) for members in alike.values()]

    def current(self, state: StateOf) -> bool:
        """Whether the optimizer's state is still what the plan left there."""
        return all(part.current(state) for part in self.parts)


def _fitting(name: str, held: Tensor | None, rule: Rule, p: Tensor, group: Mapping[str, Any]) -> Tensor:
    """A parameter's state tensor, begun if missing, in the parameter's type."""
    if held is None:
        return rule.begin(name, p.detach(), group)
    if held.shape != p.shape:
        raise ShapeMismatch(
            f"state {name!r} must have its parameter's shape {tuple(p.shape)}, got {tuple(held.shape)}: it was loaded "
            f"from another model"
        )
    return held if (held.dtype, held.device) == (p.dtype, p.device) else held.to(p)
