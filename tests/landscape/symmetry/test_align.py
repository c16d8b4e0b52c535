"""Alignment finds planted permutations, the nearest arrangement of small networks, and lowers barriers (K19, K50)."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.landscape.symmetry.models import ZOO, unlike
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thalweg import problems
from thalweg.errors import InvalidArgument
from thalweg.landscape import align, interpolate, permutations, permute
from thalweg.landscape.symmetry.align import Method
from thalweg.objective import Objective
from thalweg.problems.mlp import MLP
from thalweg.problems.resnet import ResNet


def _distance(a: nn.Module, b: nn.Module) -> float:
    squares = [(p - q).pow(2).sum().item() for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    return sum(squares) ** 0.5


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("name", ZOO)
def test_a_planted_permutation_is_found_exactly(name: str, method: Method) -> None:
    model, x, _, _ = ZOO[name]()
    planted = permute(model, 5, x)
    assert _distance(model, planted) > 0.1
    found = align(model, planted, method, x)
    assert found.distance_before == pytest.approx(_distance(model, planted), rel=1e-5)
    assert found.distance_after == 0
    state = found.model.state_dict()
    # Batch-norm's statistics come along.
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["mlp", "resnet", "gpt"])
def test_a_planted_permutation_is_found_under_noise(name: str) -> None:
    model, x, _, _ = ZOO[name]()
    noisy = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    found = align(model, permute(noisy, 1, x), x=x)
    assert _distance(found.model, noisy) == 0


def test_the_nearest_of_all_arrangements() -> None:
    """Against all 4!·3! arrangements, by enumeration."""
    for seed in range(5):
        a, b = (unlike(lambda: MLP((3, 4, 3, 2)), seed=2 * seed + k).double() for k in (0, 1))
        graph = permutations(b)
        distances: list[float] = []
        for p, q in itertools.product(itertools.permutations(range(4)), itertools.permutations(range(3))):
            arrangement = graph.identity(b)
            for group, order in zip(graph.groups, (p, q), strict=True):
                group.move(np.array(order), arrangement)
            moved = copy.deepcopy(b)
            with torch.no_grad():
                for (name, axis), order in arrangement.items():
                    tensor = moved.get_parameter(name)
                    tensor.copy_(tensor.index_select(axis, torch.from_numpy(order)))
            distances.append(_distance(a, moved))
        found = align(a, b, restarts=20)
        assert found.distance_after == pytest.approx(min(distances), rel=1e-12)
        assert found.distance_after == pytest.approx(_distance(a, found.model), rel=1e-12)


def test_heads_are_paired_as_wholes() -> None:
    """Against all arrangements of 2 heads of 2 + 2 dimensions, by enumeration: 2!·(2!·2!)² = 32."""
    from thalweg.landscape.symmetry.pairing import best_pairing, inner_products, present_value
    from thalweg.problems.character_gpt import CharacterGPT

    tokens = torch.randint(7, (2, 4), generator=torch.Generator().manual_seed(0))
    a, b = (
        unlike(lambda: CharacterGPT(7, layers=1, width=4, heads=2, context=4), seed=seed).double()
        for seed in (0, 1)
    )
    heads = next(group for group in permutations(a, tokens).groups if group.inner)
    assert heads.count == 32
    tensors = [dict(model.named_parameters()) for model in (a, b)]
    grams = inner_products(heads.places, *tensors)
    start = {place: np.arange(grams[place].shape[0]) for place in heads.places}
    values: list[float] = []
    swaps = [(0, 1), (1, 0)]
    for choice in itertools.product(swaps, repeat=5):
        arrangement = {place: order.copy() for place, order in start.items()}
        inner = [group for unit in heads.inner for group in unit]
        for group, order in zip([*inner, heads], choice, strict=True):
            group.move(np.array(order), arrangement)
        moved = {place: gram[:, arrangement[place]] for place, gram in grams.items()}
        values.append(present_value(heads, "places", moved))
    assert best_pairing(heads, heads, "places", grams).value == pytest.approx(max(values), rel=1e-12)


def test_the_copy_computes_what_model_b_computes() -> None:
    (a, x, _, _), (b, _, _, _) = ZOO["gpt"](), ZOO["gpt"]()
    b = permute(unlike(lambda: b, seed=3), 0, x)
    before = copy.deepcopy(a.state_dict()), copy.deepcopy(b.state_dict())
    for method in ("weights", "activations"):
        found = align(a, b, method, x)
        assert torch.allclose(found.model(x), b(x), atol=1e-5)
        assert found.distance_after < found.distance_before
    for model, state in zip((a, b), before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def _trained(build: Callable[[int], nn.Module], x: Tensor, y: Tensor, seed: int, steps: int) -> nn.Module:
    """Full-batch Adam."""
    model = build(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def _barrier(a: nn.Module, b: nn.Module, x: Tensor, y: Tensor) -> float:
    """The largest height of the loss over the straight line between the ends' losses, at 21 points."""
    between, shares = copy.deepcopy(a), torch.linspace(0, 1, 21)
    losses: list[float] = []
    with torch.no_grad():
        for share in shares:
            for p, q, r in zip(between.parameters(), a.parameters(), b.parameters(), strict=True):
                p.copy_((1 - share) * q + share * r)
            losses.append(cross_entropy(between(x), y).item())
    chord = losses[0] + shares * (losses[-1] - losses[0])
    return float((torch.tensor(losses) - chord).max())


def test_k19_alignment_takes_the_barrier_between_wide_networks_away() -> None:
    """Digits, MLP 64-256-256-10; measured 0.41 before, 0.010 after by weights and 0.015 by activations."""
    problem = problems.get("digits", hidden=(256, 256))
    x, y = problem.train
    a, b = (_trained(problem.make_model, x, y, seed, 40) for seed in (0, 1))
    raw = _barrier(a, b, x, y)
    assert raw > 0.05
    for method in ("weights", "activations"):
        aligned = align(a, b, method, x)
        assert _barrier(a, aligned.model, x, y) < 0.3 * raw
    path = interpolate(Objective(a, cross_entropy, (x, y)), a, aligned.model)
    assert path.barrier < 0.3 * raw


def test_k50_barriers_vanish_with_width() -> None:
    """ReLU 20-w-10 on ten Gaussian clusters, three pairs; measured for w = 8, 32, 128:
    0.62, 0.28, 0.15 before and 0.15, 0.013, 0.0015 after."""
    draw = torch.Generator().manual_seed(0)
    centres, y = torch.randn(10, 20, generator=draw), torch.randint(10, (500,), generator=draw)
    x = centres[y] + torch.randn(500, 20, generator=draw)
    raw, aligned = [], []
    for width in (8, 32, 128):

        def build(seed: int, width: int = width) -> nn.Module:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                return MLP((20, width, 10))

        pairs = [[_trained(build, x, y, 2 * pair + k, 200) for k in (0, 1)] for pair in range(3)]
        raw.append(sum(_barrier(a, b, x, y) for a, b in pairs) / 3)
        aligned.append(sum(_barrier(a, align(a, b, x=x).model, x, y) for a, b in pairs) / 3)
    assert raw[0] > raw[1] > raw[2]
    assert aligned[0] > aligned[1] > aligned[2]
    assert all(after < before / 5 for before, after in zip(raw[1:], aligned[1:], strict=True))


def test_result() -> None:
    model = unlike(lambda: MLP((4, 6, 2)))
    found = align(model, permute(model, 1))
    assert str(found).startswith("aligned by weights: 1 groups of units, distance ")
    assert found.method == "weights"
    assert found.iterations == 1
    assert sorted(found.permutations) == [("linear1.bias", 0), ("linear1.weight", 0), ("linear2.weight", 1)]
    assert sorted(found.permutations["linear1.bias", 0].tolist()) == list(range(6))
    again = align(model, permute(model, 1), seed=7)
    assert again.distance_after == found.distance_after


def test_declared_groups_can_be_aligned() -> None:
    model = unlike(lambda: MLP((4, 6, 2)))
    declared = {"hidden": [("linear1.weight", 0), ("linear1.bias", 0), ("linear2.weight", 1)]}
    assert align(model, permute(model, 1), declared=declared).distance_after == 0
    with pytest.raises(InvalidArgument, match="declared: activations are found by tracing"):
        align(model, model, "activations", torch.zeros(2, 4), declared=declared)


def test_models_without_symmetries() -> None:
    found = align(nn.Linear(3, 2), nn.Linear(3, 2))
    assert found.distance_after == found.distance_before
    assert found.permutations == {}


def test_bad_input() -> None:
    model = MLP((4, 6, 2))
    with pytest.raises(
        InvalidArgument,
        match=r"linear1.weight is of shape \(6, 4\) in model_a and of shape \(7, 4\) in model_b",
    ):
        align(model, MLP((4, 7, 2)))
    with pytest.raises(
        InvalidArgument, match=r"norm1.weight is absent in model_a and of shape \(6,\) in model_b"
    ):
        align(model, MLP((4, 6, 2), batchnorm=True))
    with pytest.raises(
        InvalidArgument, match="method must be 'weights' or 'activations', got 'weight': did you mean"
    ):
        align(model, model, "weight")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidArgument, match='x: method="activations" needs a batch of data, got None'):
        align(model, model, "activations")
    with pytest.raises(InvalidArgument, match="restarts must be an integer of at least 1, got 0"):
        align(model, model, restarts=0)
    with pytest.raises(InvalidArgument, match=r"model_b must be a torch.nn.Module, got NoneType"):
        align(model, None)  # pyright: ignore[reportArgumentType]


def test_equal_shapes_but_other_wiring() -> None:
    """With skip connections the stages share a permutation, without them each layer has its own."""
    plain, residual = ResNet(8, width=0.25, skip=False), ResNet(8, width=0.25)
    with pytest.raises(InvalidArgument, match="model_b computes differently"):
        align(plain, residual, x=torch.randn(2, 3, 16, 16))
