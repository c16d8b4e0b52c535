"""Units that start identical and that training therefore cannot tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.initialization.fans import TRANSPOSED
from thalweg.initialization.initialize import check_parameters
from thalweg.initialization.rehearsal import STEPS, Rehearsal, rehearse
from thalweg.initialization.sample import call, made_up_input, undisturbed

Start: TypeAlias = Literal["all zero", "all equal", "identical units"]


@dataclass(frozen=True)
class IdenticalUnits:
    """Units of one layer that start identical.

    layer: the module's name. parameter: its weight's. start: whether the whole weight is zero, the whole weight is one
    number, or only these units agree. groups: the units (outputs, counted from 0) of each group. moves: whether the
    weight changes at all when trained. reason: in words.
    """

    layer: str
    parameter: str
    start: Start
    groups: tuple[tuple[int, ...], ...]
    moves: bool
    reason: str


@dataclass(frozen=True)
class SymmetryAudit:
    """`symmetric`: layers with units that stay identical in training. `harmless`: those that part in the first steps.

    unreached: layers with identical units that x did not reach, of which nothing can be said. rehearsed: whether
    the model was run; if not, all layers with identical units are in `unreached`. how: on which input.
    """

    symmetric: tuple[IdenticalUnits, ...]
    harmless: tuple[IdenticalUnits, ...]
    unreached: tuple[IdenticalUnits, ...]
    rehearsed: bool
    how: str

    @property
    def verdict(self) -> Literal["broken", "symmetric", "undetermined"]:
        """ "symmetric" when some units stay identical, "broken" when none do."""
        if self.symmetric:
            return "symmetric"
        return "undetermined" if self.unreached else "broken"

    def __str__(self) -> str:
        words = {
            "symmetric": "units that start identical stay identical: give their layer random weights",
            "broken": "no units stay identical",
            "undetermined": "units that start identical, but whether they stay so was not seen",
        }
        found = [*self.symmetric, *self.unreached, *self.harmless]
        lines = [
            f"{entry.parameter}: {entry.start}; {_words(entry.groups)}; {entry.reason}" for entry in found
        ]
        return "\n".join([f"{self.verdict}: {words[self.verdict]}", *lines, f"({self.how})"])


def symmetry(model: nn.Module, x: Any = None, *, seed: int = 0) -> SymmetryAudit:
    """Find units whose incoming weights are identical and that gradient descent keeps identical.

    Two units of a layer with the same incoming weights and bias, and the same outgoing weights, get the same
    gradient: exchanging them changes nothing, so no gradient step tells them apart. Units that are all zero behind a
    ReLU get no gradient at all. With different outgoing weights they part at once: a head of zeros over distinct
    features and a zero last layer of a residual branch are harmless. Which case it is, is seen by a rehearsal:
    a few steps of gradient descent on a copy of the parameters, the gradient that of ⟨r, model(x)⟩ with r standard
    normal, the step of each tensor a tenth of its size.

    Parameters
    ----------
    x: a batch on which model(x) works (model(**x) for a dict), of two samples or more. When None, one is made up
        from the first layer; where the model does not take it nothing is rehearsed.
    seed: of r.

    The model, its gradients, buffers and mode, and the global random state are as before.

    Raises
    ------
    InvalidArgument: no parameters, or an x that the model refuses.

    Source: Goodfellow, Bengio & Courville (2016), Deep Learning, section 8.4.
    """
    check_parameters(model)
    candidates = _candidates(model)
    if x is None:
        made_up = made_up_input(model) if candidates else None
        if candidates and made_up is None:
            how = "no x was given and none could be made up: pass x, a batch on which model(x) works"
            unseen = tuple(_entry(c, c.groups, False, "not rehearsed") for c in candidates)
            return SymmetryAudit((), (), unseen, False, how)
        x = None if made_up is None else made_up[0]
        how = "" if made_up is None else f"rehearsed on a made-up input of shape {tuple(made_up[0].shape)}"
    else:
        how = "rehearsed on x"
        with undisturbed(model), torch.no_grad():
            call(model, x)
    if not candidates:
        return SymmetryAudit((), (), (), True, "no units start identical, so nothing was rehearsed")
    rehearsal = rehearse(model, x, seed)
    if rehearsal is None:
        raise InvalidArgument("x: the model's output on it does not depend on its parameters differentiably")
    return _sorted(candidates, rehearsal, how)


@dataclass(frozen=True)
class _Candidate:
    """A weight of which some rows, one per unit along `dimension`, are identical with their biases."""

    layer: str
    parameter: str
    bias: str | None
    dimension: int
    start: Start
    groups: tuple[tuple[int, ...], ...]


def _candidates(model: nn.Module) -> list[_Candidate]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, _Candidate] = {}
    for layer, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            name = names[id(parameter)]
            if (
                parameter.dim() < 2
                or not parameter.requires_grad
                or not parameter.is_floating_point()
                or name in found
            ):
                continue
            bias = _bias(module, attribute)
            dimension = 1 if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or _swapped(module) else 0
            groups = _identical(_rows(parameter, None if bias is None else bias[1], dimension))
            if groups:
                label = None if bias is None else names[id(bias[1])]
                owner = layer or type(module).__name__
                found[name] = _Candidate(owner, name, label, dimension, _start(parameter), groups)
    return list(found.values())


def _sorted(candidates: Sequence[_Candidate], rehearsal: Rehearsal, how: str) -> SymmetryAudit:
    symmetric: list[IdenticalUnits] = []
    harmless: list[IdenticalUnits] = []
    unreached: list[IdenticalUnits] = []
    for candidate in candidates:
        if candidate.parameter not in rehearsal.reached:
            unreached.append(_entry(candidate, candidate.groups, False, "x does not reach it"))
            continue
        before, after = (
            _rows(state[candidate.parameter], state.get(candidate.bias or ""), candidate.dimension)
            for state in (rehearsal.before, rehearsal.after)
        )
        moves = not torch.equal(before, after)
        kept = _staying(candidate.groups, before, after)
        if kept:
            reason = (
                f"identical still after {STEPS} steps" if moves else "no gradient arrives: they never change"
            )
            symmetric.append(_entry(candidate, kept, moves, reason))
        else:
            harmless.append(
                _entry(candidate, candidate.groups, moves, "harmless: they part in the first steps")
            )
    return SymmetryAudit(tuple(symmetric), tuple(harmless), tuple(unreached), True, how)


def _staying(groups: Sequence[tuple[int, ...]], before: Tensor, after: Tensor) -> tuple[tuple[int, ...], ...]:
    """The parts of the groups whose rows are equal after the rehearsal, up to rounding of how far they moved."""
    tolerance = max(1e-3, torch.finfo(before.dtype).eps ** 0.5)
    moved = float((after - before).abs().max())
    kept: list[tuple[int, ...]] = []
    for group in groups:
        rest = list(group)
        while rest:
            distance = (after[rest] - after[rest[0]]).abs().amax(dim=1)
            same = [unit for unit, d in zip(rest, distance.tolist(), strict=True) if d <= tolerance * moved]
            rest = [unit for unit in rest if unit not in set(same)]
            if len(same) > 1:
                kept.append(tuple(same))
    return tuple(kept)


def _identical(rows: Tensor) -> tuple[tuple[int, ...], ...]:
    _, group_of = torch.unique(rows, dim=0, return_inverse=True)
    members: dict[int, list[int]] = {}
    for unit, group in enumerate(group_of.tolist()):
        members.setdefault(group, []).append(unit)
    return tuple(tuple(units) for units in members.values() if len(units) > 1)


def _rows(weight: Tensor, bias: Tensor | None, dimension: int) -> Tensor:
    """(units, entries): what comes into each unit."""
    rows = weight.detach().movedim(dimension, 0).flatten(1)
    if bias is None or bias.shape != rows.shape[:1]:
        return rows
    return torch.cat([rows, bias.detach()[:, None].to(rows)], dim=1)


def _bias(module: nn.Module, attribute: str) -> tuple[str, nn.Parameter] | None:
    name = attribute.replace("weight", "bias")
    bias = getattr(module, name, None) if name != attribute else None
    return (name, bias) if isinstance(bias, nn.Parameter) else None


def _swapped(module: nn.Module) -> bool:
    return isinstance(module, TRANSPOSED) and module.groups == 1


def _start(parameter: Tensor) -> Start:
    if not bool(parameter.any()):
        return "all zero"
    return "all equal" if bool((parameter == parameter.flatten()[0]).all()) else "identical units"


def _entry(
    candidate: _Candidate, groups: tuple[tuple[int, ...], ...], moves: bool, reason: str
) -> IdenticalUnits:
    return IdenticalUnits(candidate.layer, candidate.parameter, candidate.start, groups, moves, reason)


def _words(groups: Sequence[tuple[int, ...]]) -> str:
    some = [_span(group) for group in groups[:4]]
    more = f" and {len(groups) - 4} more groups" if len(groups) > 4 else ""
    return f"units {', '.join(some)}{more}"


def _span(group: tuple[int, ...]) -> str:
    if group == tuple(range(group[0], group[-1] + 1)):
        return f"{group[0]}–{group[-1]}"
    return "=".join(str(unit) for unit in group[:6]) + ("=…" if len(group) > 6 else "")
