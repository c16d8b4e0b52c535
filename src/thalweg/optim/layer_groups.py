"""Parameter groups with a learning rate for each layer: small for a pretrained backbone, large for a new head."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.optim.driver import hyperparameters as check

Patterns: TypeAlias = str | Sequence[str]
"""One pattern or several, such as "backbone" (a module with all below it) or "*.bias"."""

Names: TypeAlias = Mapping[str, Sequence[str]]
"""All names of each parameter by its first one; tied weights have several."""

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def layer_groups(
    model: nn.Module,
    rates: Mapping[str, float] | None = None,
    *,
    lr: float | None = None,
    decay: float | None = None,
    frozen: Patterns = (),
    weight_decay: float | None = None,
    no_decay: Patterns | Literal["norm_and_bias"] = (),
) -> list[dict[str, Any]]:
    """Parameter groups of `model` with a rate for each name pattern, depth, or both, for any torch optimizer.

    Patterns are those of `fnmatch` and are compared with the names of parameters and of the modules that hold them:
    "backbone" and "backbone.*" both mean all of the backbone. The first pattern that matches gives the rate, so write
    special ones before general ones; one that finds nothing left is an error. A parameter with several names (tied
    weights) is matched by any of them and is in one group only.

    Frozen parameters are left out of the groups, and so are not updated; the model itself is not changed. Call
    `requires_grad_(False)` on them too to save their part of the backward pass. Parameters that do not require
    gradients are left out in any case.

    Parameters
    ----------
    rates: learning rate for each pattern, above 0; in order.
    lr: rate of what no pattern matches; None: everything must be matched.
    decay: factor in (0, 1] from each layer to the one before it: a layer of depth d of L gets its rate times
        decay^(L−1−d), the last one its full rate. Depths are counted in the order in which the model defines its
        modules: see `layer_depths`.
    frozen: patterns of what is not to be trained.
    weight_decay: weight decay of every group, at least 0; None: the optimizer's.
    no_decay: patterns of what gets weight decay 0, or "norm_and_bias": all vectors and scalars, and whatever
        belongs to a normalization layer.

    Returns
    -------
    list of dict: one for each combination that occurs, in the order of the model; with "params", "param_names",
    "lr", "name" and, where given, "weight_decay". `name` is made of the pattern ("rest" for none), with `decay` the
    layer, and "no decay".

    Raises
    ------
    InvalidArgument: neither `rates` nor `lr`; a rate, decay or weight decay out of its range; a pattern that matches
        nothing, or nothing that is left; parameters without a rate; nothing to train.

    Sources: Howard & Ruder (2018), section 3.2, discriminative fine-tuning; Clark et al. (2020), ELECTRA, layer-wise
    decay.
    """
    given: dict[str | None, float] = dict((rates or {}).items())
    _check_numbers(given, lr, decay, weight_decay)
    if no_decay and weight_decay is None:
        raise InvalidArgument(
            f"no_decay={no_decay!r} needs weight_decay, got None: give the decay of the others"
        )
    parameters = dict(model.named_parameters())
    names = _names(model)
    held = _matched(frozen, names, "frozen")
    left = {name: names[name] for name, p in parameters.items() if p.requires_grad and name not in held}
    if not left:
        raise InvalidArgument(
            f"no parameters of {len(parameters)} are left to train: {len(held)} are frozen by frozen={frozen!r}, "
            f"{sum(not p.requires_grad for p in parameters.values())} do not require gradients"
        )
    chosen = _chosen([pattern for pattern in given if pattern is not None], left, names)
    if lr is not None:
        given[None] = lr
    elif missing := [name for name in left if chosen[name] is None]:
        raise InvalidArgument(
            f"{len(missing)} parameters match no pattern ({_some(missing)}): add lr=, their rate, or a pattern"
        )
    plain = _without_decay(model, no_decay, names)
    depths = layer_depths(model) if decay is not None else {}
    last = max((depth for depth, _ in depths.values()), default=0)
    groups: dict[tuple[str | None, int, bool], dict[str, Any]] = {}
    for name in left:
        pattern = chosen[name]
        depth, layer = depths.get(name, (last, None))
        key = (pattern, depth, name in plain)
        if key not in groups:
            parts = ("rest" if pattern is None else pattern, layer, "no decay" if name in plain else None)
            rate = given[pattern] * (1.0 if decay is None else decay ** (last - depth))
            label = ", ".join(part for part in parts if part is not None)
            groups[key] = {"params": [], "param_names": [], "lr": rate, "name": label}
            if weight_decay is not None:
                groups[key]["weight_decay"] = 0.0 if name in plain else weight_decay
        groups[key]["params"].append(parameters[name])
        groups[key]["param_names"].append(name)
    return list(groups.values())


def layer_depths(model: nn.Module) -> dict[str, tuple[int, str]]:
    """The depth, from 0, and the layer that each parameter of `model` belongs to, by the parameter's name.

    Layers are found from the structure, in the order in which the model defines its modules:

    - a numbered block ("layers.3", "h.11", "layer1.0", "block2") is one layer, with all that is in it;
    - what comes before the first block (embeddings, a stem) is together the first layer, what comes after the last
      (a final normalization, the head) together the last;
    - elsewhere each module with parameters of its own is a layer; normalization belongs to the layer before it.

    A model that defines its modules in another order than it uses them gets wrong depths: give its rates by patterns.
    """
    units = list(_units(model, "", set(dict(model.named_parameters()))))
    blocks = [index for index, unit in enumerate(units) if unit.block]
    start, end = (blocks[0], blocks[-1]) if blocks else (0, len(units) - 1)
    layers: list[list[_Unit]] = [units[:start]] if start else []
    for unit in units[start : end + 1]:
        if unit.normalizes and layers:
            layers[-1].append(unit)
        else:
            layers.append([unit])
    if units[end + 1 :]:
        layers.append(units[end + 1 :])
    return {
        name: (depth, layer[0].path or "own parameters")
        for depth, layer in enumerate(layers)
        for unit in layer
        for name in unit.parameters
    }


@dataclass(frozen=True)
class _Unit:
    """What is never divided between layers: a module's own parameters, or all those of a numbered block."""

    path: str
    parameters: Sequence[str]
    block: bool
    normalizes: bool


def _units(module: nn.Module, path: str, names: Collection[str]) -> Iterator[_Unit]:
    """The units below `module`, in order; of tied weights only the first, whose name is in `names`."""
    prefix = f"{path}." if path else ""
    own = [f"{prefix}{name}" for name, _ in module.named_parameters(recurse=False)]
    if own := [name for name in own if name in names]:
        yield _Unit(path, own, False, _normalizes(module))
    for name, child in module.named_children():
        below = f"{prefix}{name}"
        if not _is_block(module, name, child):
            yield from _units(child, below, names)
        elif held := [n for inner, _ in child.named_parameters() if (n := f"{below}.{inner}") in names]:
            yield _Unit(below, held, True, _normalizes(child))


def _is_block(parent: nn.Module, name: str, child: nn.Module) -> bool:
    if not name[-1:].isdigit():
        return False
    if isinstance(parent, nn.ModuleList):
        return True
    if type(child) in _CONTAINERS:
        return False
    siblings = _with_parameters(parent)
    alike = len(siblings) > 1 and len({type(module) for module in siblings}) == 1
    # A whole network that was put beside others, as in Sequential(backbone, head), shows by the longer chain in it.
    longest = max(
        (len(_with_parameters(m)) for m in child.modules() if isinstance(m, _CONTAINERS)), default=0
    )
    return alike or longest < max(2, len(siblings))


def _with_parameters(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if next(child.parameters(), None) is not None]


def _normalizes(module: nn.Module) -> bool:
    """Whether all modules in it that have parameters are normalization layers."""
    owners = [m for m in module.modules() if next(m.parameters(recurse=False), None) is not None]
    # By name, for each library of models has its own; of torch: BatchNorm2d, LayerNorm, GroupNorm, RMSNorm.
    return bool(owners) and all("norm" in type(owner).__name__.lower() for owner in owners)


def _names(model: nn.Module) -> dict[str, list[str]]:
    every: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        every.setdefault(id(parameter), []).append(name)
    return {names[0]: names for names in every.values()}


def _matches(pattern: str, names: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for name in names)


def _matched(patterns: Patterns, names: Names, argument: str) -> set[str]:
    """First names of the parameters that any of the patterns matches; each must match some."""
    found: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matching = {first for first, every in names.items() if _matches(pattern, every)}
        if not matching:
            raise InvalidArgument(
                f"{argument}: no parameter matches {pattern!r}; nearest: {_nearest(pattern, names)}"
            )
        found |= matching
    return found


def _chosen(patterns: Sequence[str], left: Names, names: Names) -> dict[str, str | None]:
    """The first pattern that matches each parameter in `left`; every pattern must be the first for some."""
    chosen = {
        name: next((pattern for pattern in patterns if _matches(pattern, every)), None)
        for name, every in left.items()
    }
    for pattern in set(patterns) - set(chosen.values()):
        _matched(pattern, names, "rates")
        earlier = {chosen[name] for name, every in left.items() if _matches(pattern, every)}
        if not earlier:
            raise InvalidArgument(
                f"rates: {pattern!r} matches only parameters that are frozen or do not require gradients: leave it out"
            )
        shadows = ", ".join(repr(other) for other in patterns if other in earlier)
        raise InvalidArgument(
            f"rates: all that {pattern!r} matches is taken by {shadows}: write {pattern!r} before"
        )
    return chosen


def _without_decay(model: nn.Module, patterns: Patterns, names: Names) -> set[str]:
    if patterns != "norm_and_bias":
        return _matched(patterns, names, "no_decay")
    normalizing = {path for path, module in model.named_modules() if _normalizes(module)}
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() < 2 or name.rpartition(".")[0] in normalizing
    }


def _nearest(pattern: str, names: Names) -> str:
    known = [name for every in names.values() for name in every]
    modules = {path for name in known if (path := name.rpartition(".")[0])}
    near = get_close_matches(pattern, [*sorted(modules), *known], n=4, cutoff=0.4)
    return ", ".join(near) if near else _some(known)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _check_numbers(
    rates: Mapping[str | None, float], lr: float | None, decay: float | None, weight_decay: float | None
) -> None:
    if not rates and lr is None:
        raise InvalidArgument("give rates={pattern: rate}, or lr=, the rate of what no pattern matches")
    for name, rate in [("lr", lr), *((f"rates[{pattern!r}]", rate) for pattern, rate in rates.items())]:
        if rate is not None and not 0 < rate < math.inf:
            raise InvalidArgument(
                f"{name} must be finite and above 0, got {rate}: to hold layers still use frozen="
            )
    if decay is not None:
        check.share(decay, "decay")
    if weight_decay is not None:
        check.nonnegative(weight_decay, "weight_decay")
