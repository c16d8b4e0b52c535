"""Alignment: the equivalent of one network that is nearest to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.checks import one_of, whole
from thalweg.errors import InvalidArgument
from thalweg.initialization.sample import made_up_input
from thalweg.landscape.symmetry.activation_matching import match_activations
from thalweg.landscape.symmetry.graph import PermutationGraph, arranged, permutations
from thalweg.landscape.symmetry.group import Arrangement
from thalweg.landscape.symmetry.seen import state
from thalweg.landscape.symmetry.verification import changes_output
from thalweg.landscape.symmetry.weight_matching import WeightMatching

Method = Literal["weights", "activations"]


@dataclass(frozen=True)
class Alignment:
    """A permuted copy of model_b that is near model_a.

    model: computes what model_b computes. permutations: for each axis (parameter or buffer, number) the old
    position of what is now at each position. distance_before, distance_after: ‖θ_a − θ_b‖ over all parameters.
    iterations: sweeps over all groups in the run that was kept, 1 for activations. graph: what could be permuted.
    """

    model: nn.Module = field(repr=False)
    permutations: Mapping[tuple[str, int], Any] = field(repr=False)
    distance_before: float
    distance_after: float
    iterations: int
    method: Method
    graph: PermutationGraph = field(repr=False)

    def __str__(self) -> str:
        return (
            f"aligned by {self.method}: {len(self.graph.groups)} groups of units, distance "
            f"{self.distance_before:.4g} → {self.distance_after:.4g} in {self.iterations} sweeps"
        )


def align(
    model_a: nn.Module,
    model_b: nn.Module,
    method: Method = "weights",
    x: Any = None,
    seed: int = 0,
    *,
    restarts: int = 4,
    max_sweeps: int = 100,
    declared: Mapping[str, Sequence[tuple[str, int]]] | None = None,
) -> Alignment:
    """Permute the units of model_b so that it resembles model_a; what it computes stays the same.

    "weights" minimizes the distance of the parameters by coordinate descent, each group of units by a linear
    assignment: once after arranging the groups one by one from those whose other sides are known, then from the
    order that came, then in random orders of the groups; the nearest is kept. "activations" pairs units by the
    correlations of their activations on x. Batch-norm's statistics move along; after averaging two models they must
    be estimated anew.

    Parameters
    ----------
    x: a batch on which the models work, as in `permutations`; "activations" needs one.
    seed: of the random orders. restarts: the number of descents. max_sweeps: the most sweeps of each.
    declared: as in `permutations`, for "weights" only.

    The models do not change.

    Raises
    ------
    InvalidArgument: another method, models of different shapes (named is the first difference), that compute
        differently or are not finite, "activations" without x, and what `permutations` raises.

    Source: S. Ainsworth, J. Hayase, S. Srinivasa: Git Re-Basin: Merging Models modulo Permutation Symmetries,
    ICLR 2023, algorithm 1.
    """
    one_of("method", method, ("weights", "activations"))
    whole("seed", seed, 0)
    whole("restarts", restarts)
    whole("max_sweeps", max_sweeps)
    if method == "activations" and x is None:
        raise InvalidArgument('x: method="activations" needs a batch of data, got None')
    if method == "activations" and declared is not None:
        raise InvalidArgument(
            'declared: activations are found by tracing; declared groups need method="weights"'
        )
    _check_alike(model_a, model_b)
    _check_finite(model_a, "model_a")
    _check_finite(model_b, "model_b")
    graph = permutations(model_a, x, declared)
    _check_permutable(model_b, x, graph)
    if method == "weights":
        arrangement, iterations = _by_weights(graph, model_a, model_b, seed, restarts, max_sweeps)
    else:
        arrangement = match_activations(graph.groups, model_a, model_b, x, graph.identity(model_b))
        iterations = 1
    aligned = arranged(model_b, arrangement)
    before, after = (_distance(model_a, other) for other in (model_b, aligned))
    return Alignment(aligned, arrangement, before, after, iterations, method, graph)


def _by_weights(
    graph: PermutationGraph, model_a: nn.Module, model_b: nn.Module, seed: int, restarts: int, max_sweeps: int
) -> tuple[Arrangement, int]:
    draw = np.random.default_rng(seed)
    a, b = (dict(model.named_parameters()) for model in (model_a, model_b))
    start = graph.identity(model_b)
    matching = WeightMatching(graph.groups, a, b)
    best, best_value, iterations = start, -np.inf, 0
    for number in range(restarts):
        matching.start({place: len(order) for place, order in start.items()})
        if number == 0:
            matching.propagate()
        order = np.arange(len(graph.groups)) if number < 2 else draw.permutation(len(graph.groups))
        sweeps = matching.descend(order.tolist(), max_sweeps)
        if matching.value() > best_value:
            best, best_value, iterations = matching.arrangement, matching.value(), sweeps
    return best, iterations


@torch.no_grad()
def _distance(model_a: nn.Module, model_b: nn.Module) -> float:
    b = dict(model_b.named_parameters())
    squares = [
        float((p.double() - b[name].double().to(p.device)).pow(2).sum())
        for name, p in model_a.named_parameters()
    ]
    return float(np.sqrt(sum(squares)))


def _check_alike(model_a: nn.Module, model_b: nn.Module) -> None:
    for name, model in (("model_a", model_a), ("model_b", model_b)):
        if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass other things
            raise InvalidArgument(f"{name} must be a torch.nn.Module, got {type(model).__name__}")
    a, b = state(model_a), state(model_b)
    for name in [*a, *(name for name in b if name not in a)]:
        shapes = [_shape(tensors, name) for tensors in (a, b)]
        if shapes[0] != shapes[1]:
            raise InvalidArgument(
                f"the models differ: {name} is {shapes[0]} in model_a and {shapes[1]} in model_b"
            )


def _check_finite(model: nn.Module, argument: str) -> None:
    for name, parameter in model.named_parameters():
        if not bool(parameter.detach().isfinite().all()):
            raise InvalidArgument(f"{argument} must be finite, got NaN or infinite entries in {name}")


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return f"of shape {tuple(tensors[name].shape)}" if name in tensors else "absent"


def _check_permutable(model_b: nn.Module, x: Any, graph: PermutationGraph) -> None:
    if x is None:
        made_up = made_up_input(model_b)
        x = None if made_up is None else made_up[0]
    if x is not None and graph.groups and changes_output(model_b, x, graph.groups):
        raise InvalidArgument(
            "model_b computes differently: permuting the units that model_a allows to permute changes its output"
        )
