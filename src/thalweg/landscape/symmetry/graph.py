"""Which axes of a model's parameters and buffers share a permutation."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.initialization.sample import made_up_input
from thalweg.landscape.symmetry.declared import declared_groups
from thalweg.landscape.symmetry.group import Arrangement, Group
from thalweg.landscape.symmetry.seen import Followed, state
from thalweg.landscape.symmetry.structure import groups_of
from thalweg.landscape.symmetry.trace import follow
from thalweg.landscape.symmetry.verification import changes_output


@dataclass(frozen=True)
class PermutationGraph:
    """Groups of units that can be permuted among themselves, each independently of the others.

    groups: attention heads contain groups. pinned: why, for each axis (name, number) that no group moves, or only
    in part. verified: whether a random arrangement was seen to leave the output as it was.
    """

    groups: tuple[Group, ...]
    pinned: Mapping[tuple[str, int], str] = field(repr=False)
    verified: bool

    @property
    def count(self) -> int:
        """The number of arrangements."""
        return math.prod(group.count for group in self.groups)

    @property
    def log10(self) -> float:
        """log₁₀ of `count`."""
        return math.fsum(group.log10 for group in self.groups)

    def identity(self, model: nn.Module) -> Arrangement:
        """Every axis of the groups in its order."""
        tensors = state(model)
        places = dict.fromkeys(place for group in self.groups for place in group.places)
        return {(name, axis): np.arange(tensors[name].shape[axis]) for name, axis in places}

    def random(self, model: nn.Module, generator: np.random.Generator) -> Arrangement:
        """A uniformly drawn arrangement."""
        found = self.identity(model)
        for group in self.groups:
            for inside in group.walk():
                inside.move(generator.permutation(inside.size), found)
        return found


def permutations(
    model: nn.Module, x: Any = None, declared: Mapping[str, Sequence[tuple[str, int]]] | None = None
) -> PermutationGraph:
    """The units of `model` that can be permuted without changing its output.

    They are found by following the axes of all parameters and buffers through model(x), in evaluation mode: units of
    hidden layers, channels, residual streams with all that write to them and read from them, the units of recurrent
    layers, attention heads and, inside each, the dimensions of query and key and those of value. Inputs and outputs
    stay; so does every axis that an operation touches of which it is not known what it does to it. There may thus be
    more symmetries than are found, not fewer. At last a random arrangement is tried on a copy with other weights, and
    groups that change its output are dropped.

    Parameters
    ----------
    x: a batch on which model(x) works (model(**x) for a dict). When None, one is made up from the first layer.
    declared: groups by name, each a list of (parameter or buffer, axis): the axes have equal lengths n, or multiples
        n·k of the shortest, k consecutive positions for each unit. Nothing is traced then.

    The model, its mode, buffers and the global random state are as before.

    Raises
    ------
    InvalidArgument: no x is given and none can be made up, an x the model refuses, a declared axis that does not
        exist or does not fit, or a declared group that changes the output.

    Source: S. Ainsworth, J. Hayase, S. Srinivasa: Git Re-Basin, ICLR 2023, section 3 and appendix A.
    """
    x = _input(model, x, needed=declared is None)
    if declared is not None:
        groups = declared_groups(state(model), declared)
        if x is not None:
            for group in groups:
                if changes_output(model, x, (group,)):
                    raise InvalidArgument(f"declared: permuting {group.name!r} changes the model's output")
        return PermutationGraph(groups, {}, x is not None)
    traced = copy.deepcopy(model)
    followed = follow(traced, x)
    groups = groups_of(followed)
    reasons = _pinned(traced, followed, groups)
    if groups and changes_output(model, x, groups):
        for group in groups:
            if changes_output(model, x, (group,)):
                reasons |= dict.fromkeys(group.places, "permuting it changed the output when it was tried")
                groups = tuple(kept for kept in groups if kept is not group)
    return PermutationGraph(groups, reasons, True)


def _input(model: nn.Module, x: Any, *, needed: bool) -> Any:
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass other things
        raise InvalidArgument(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if x is not None:
        return x
    made_up = made_up_input(model)
    if made_up is None and needed:
        raise InvalidArgument(
            "x: none was given and none could be made up: pass a batch on which model(x) works"
        )
    return None if made_up is None else made_up[0]


def _pinned(model: nn.Module, followed: Followed, groups: tuple[Group, ...]) -> dict[tuple[str, int], str]:
    moved: dict[tuple[str, int], set[int]] = {}
    for group in (inside for outer in groups for inside in outer.walk()):
        for place, positions in group.places.items():
            moved.setdefault(place, set()).update(positions.ravel().tolist())
    found: dict[tuple[str, int], str] = {}
    for event in followed.events:
        if event.name is None:
            continue
        tensor = state(model)[event.name]
        for axis, size in enumerate(tensor.shape):
            if size > 1 and len(moved.get((event.name, axis), ())) < size:
                found[event.name, axis] = (
                    _reason(followed, event.labels[axis].ravel().tolist())
                    if event.name in followed.reached
                    else "x does not reach it"
                )
    return found


def _reason(followed: Followed, atoms: list[int]) -> str:
    reasons = (followed.atoms.reason(atom) for atom in atoms)
    return next((reason for reason in reasons if reason), "its units are treated differently")


def arranged(model: nn.Module, arrangement: Arrangement) -> nn.Module:
    """A deep copy of `model` whose axes are in the given arrangement."""
    changed = copy.deepcopy(model)
    tensors = state(changed)
    with torch.no_grad():
        for (name, axis), order in arrangement.items():
            tensor = tensors[name]
            tensor.copy_(tensor.index_select(axis, torch.from_numpy(order).to(tensor.device)))
    return changed
