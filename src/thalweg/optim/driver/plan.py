"""How the parameters of a group are stepped: the small ones packed, the large ones each on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from thalweg.errors import ShapeMismatch
from thalweg.optim.driver.flat import Large
from thalweg.optim.driver.packed import Packed
from thalweg.optim.driver.rule import Rule

PACK_BELOW = 65_536
"""Parameters with fewer elements are updated together."""

StateOf: TypeAlias = Mapping[Tensor, dict[str, Any]]


class Part:
    """Parameters that have taken the same number of steps, and lie at the same mixing where the rule has one."""

    def __init__(self, rule: Rule, kept: Sequence[str], params: Sequence[Tensor], state: StateOf) -> None:
        self._entries = [state[p] for p in params]
        self.steps: int = self._entries[0]["step"]
        self.mixing: float | None = self._entries[0].get("mixing")
        self.kept = tuple(name in kept for name in rule.state)
        names = tuple(name if name in kept else None for name in rule.state)
        small: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        self.large: list[Large] = []
        for p in params:
            # A tensor that is sharded over processes has to_local, and is stepped shard by shard.
            dense = p.grad is not None and p.grad.layout == torch.strided and not hasattr(p, "to_local")
            if dense and p.numel() < PACK_BELOW:
                small.setdefault((p.dtype, p.device), []).append(p)
            else:
                self.large.append(Large(p, [None if name is None else state[p][name] for name in names]))
        self.packs = [Packed(members, names, state) for members in small.values()]
        self._seen = [(entries, name, entries[name]) for entries in self._entries for name in kept]

    def current(self) -> bool:
        """Whether the state of the parameters is still what this part left there."""
        steps, mixing = self.steps, self.mixing
        return all(e.get("step") == steps and e.get("mixing") == mixing for e in self._entries) and all(
            entries.get(name) is tensor for entries, name, tensor in self._seen
        )

    def count(self, mixing: float | None) -> None:
        """Count one more step, which left the parameters at `mixing`."""
        self.steps += 1
        self.mixing = mixing
        for entries in self._entries:
            entries["step"] = self.steps
            if mixing is not None:
                entries["mixing"] = mixing


class Plan:
    """All parameters of a group that have a gradient, in parts of equal step counts; begins missing state.

    It serves as long as the same parameters have gradients of the same layout and nobody replaces their memory or
    their state. Raises ShapeMismatch for state of another shape than its parameter's.
    """

    def __init__(
        self,
        rule: Rule,
        group: Mapping[str, Any],
        params: Sequence[Tensor],
        kept: Sequence[str],
        state: StateOf,
    ) -> None:
        alike: dict[tuple[int, float | None], list[Tensor]] = {}
        for p in params:
            entries = state[p]
            for name in kept:
                entries[name] = _fitting(name, entries.get(name), rule, p, group)
            entries["step"] = int(entries.get("step", 0))
            alike.setdefault((entries["step"], entries.get("mixing")), []).append(p)
        self.params = list(params)
        self.parts = [Part(rule, kept, members, state) for members in alike.values()]
        self._kept = tuple(kept)
        self._layouts = _layouts(params)
        self._entries = [state[p] for p in params]
        # Views of a parameter's memory keep it alive: no other tensor can come to lie there.
        self._places = [_place(p) for p in params]

    def serves(self, params: Sequence[Tensor], kept: Sequence[str], state: StateOf) -> bool:
        """Whether these parameters and their state are still those that were planned for."""
        return (
            len(params) == len(self.params)
            and all(map(is_, params, self.params))
            and self._kept == tuple(kept)
            and self._layouts == _layouts(params)
            and self._places == [_place(p) for p in params]
            and all(map(is_, map(state.get, params), self._entries))
            and all(part.current() for part in self.parts)
        )


def _layouts(params: Sequence[Tensor]) -> list[torch.layout]:
    return [cast(Tensor, p.grad).layout for p in params]


def _place(p: Tensor) -> Any:
    """Where a parameter's numbers lie; of a sharded one, which has no single place, the tensor that holds them."""
    return cast(Any, p)._local_tensor if hasattr(p, "to_local") else p.data_ptr()


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
