"""How the parameters of a group are stepped: the small ones packed, the large ones each on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from thalweg.optim.packed import Packed
from thalweg.optim.rule import Rule, State

PACK_BELOW = 65_536
"""Parameters with fewer elements are updated together."""


class Part:
    """Parameters that have taken the same number of steps."""

    def __init__(
        self,
        rule: Rule,
        kept: Sequence[str],
        params: Sequence[Tensor],
        state: Mapping[Tensor, dict[str, Any]],
    ) -> None:
        self.params = params
        self.steps: int = state[params[0]]["step"]
        self.kept = tuple(name in kept for name in rule.state)
        self._names = tuple(name if name in kept else None for name in rule.state)
        small: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        self.large: list[Tensor] = []
        for p in params:
            dense = p.grad is not None and p.grad.layout == torch.strided
            if dense and p.numel() < PACK_BELOW:
                small.setdefault((p.dtype, p.device), []).append(p)
            else:
                self.large.append(p)
        self.packs = [Packed(members, self._names, state) for members in small.values()]

    def current(self) -> bool:
        """Whether packs still hold the state, and gradients are still dense where they are packed."""
        return all(pack.current() for pack in self.packs)

    def state_of(self, held: Mapping[str, Any]) -> State:
        """A parameter's state in the rule's order."""
        return [None if name is None else held[name] for name in self._names]

    def count(self, state: Mapping[Tensor, dict[str, Any]]) -> None:
        """Count one more step."""
        self.steps += 1
        for p in self.params:
            state[p]["step"] = self.steps


class Plan:
    """All parameters of a group that have a gradient, in parts of equal step counts; begins missing state.

    It serves as long as the same parameters have gradients and nobody replaces their state.
    """

    def __init__(
        self,
        signature: tuple[object, ...],
        rule: Rule,
        group: Mapping[str, Any],
        params: Sequence[Tensor],
        kept: Sequence[str],
        state: Mapping[Tensor, dict[str, Any]],
    ) -> None:
        self.signature = signature
        by_step: dict[int, list[Tensor]] = {}
        for p in params:
            held = state[p]
            for name in kept:
                if held.get(name) is None:
                    held[name] = rule.begin(name, p.detach(), group)
            by_step.setdefault(held.setdefault("step", 0), []).append(p)
        self.parts = [Part(rule, kept, members, state) for members in by_step.values()]

    def current(self) -> bool:
        """Whether the optimizer's state is still what the plan's packs hold."""
        return all(part.current() for part in self.parts)
