"""Scaled directions against filter normalization by hand, and the invariance that it is for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from landscape.models import cancer, classifier, mixed, relu_network
from thalweg import surfaces
from thalweg.errors import InvalidArgument
from thalweg.landscape import evaluate, normalized, random_line, random_plane, treatments
from thalweg.objective import Objective

EPS = torch.finfo(torch.float64).eps


def random_like(theta, seed=3):
    return torch.randn(theta.shape, dtype=theta.dtype, generator=torch.Generator().manual_seed(seed))


def named(objective, vector):
    """The vector as named tensors, split here by the model's own parameters in their order."""
    parameters = dict(objective.model.named_parameters())
    pieces = vector.split([p.numel() for p in parameters.values()])
    return {name: piece.reshape(p.shape) for (name, p), piece in zip(parameters.items(), pieces, strict=True)}


def test_filters_by_hand():
    """Li et al. (2018), section 4: dᵢⱼ ← dᵢⱼ ‖θᵢⱼ‖ / ‖dᵢⱼ‖, j the filter of layer i; biases and batch-norm fixed."""
    objective = mixed()
    theta, drawn = objective.point, random_like(objective.point)
    found = named(objective, normalized(drawn, theta, objective.blocks, "filter"))
    weights, direction = named(objective, theta), named(objective, drawn)
    expected = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    filters = [("convolution.weight", 3), ("tokens.weight", 6), ("head.weight", 4)]
    for name, count in filters:
        for j in range(count):
            length = direction[name][j].square().sum().sqrt()
            expected[name][j] = direction[name][j] * weights[name][j].square().sum().sqrt() / length
    assert set(found) == set(expected) > {"convolution.bias", "norm.weight", "norm.bias", "head.bias"}
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=20 * EPS, atol=0)
    # The direction itself is as it was.
    assert torch.equal(drawn, random_like(theta))


def test_layers_by_hand():
    objective = mixed()
    theta, drawn = objective.point, random_like(objective.point)
    found = named(objective, normalized(drawn, theta, objective.blocks, "layer"))
    weights, direction = named(objective, theta), named(objective, drawn)
    for name, tensor in found.items():
        expected = direction[name] * (weights[name].norm() / direction[name].norm())
        torch.testing.assert_close(tensor, expected, rtol=50 * EPS, atol=0)


def test_whole_vectors():
    objective = mixed()
    theta, drawn = objective.point, random_like(objective.point)
    model = normalized(drawn, theta, objective.blocks, "model")
    torch.testing.assert_close(model, drawn * (theta.norm() / drawn.norm()), rtol=10 * EPS, atol=0)
    plain = normalized(drawn, theta, objective.blocks, "none")
    torch.testing.assert_close(plain, drawn / drawn.norm(), rtol=10 * EPS, atol=0)


@pytest.mark.parametrize("normalization", ["filter", "layer"])
def test_zero_filters_and_fresh_batch_norm_give_no_direction_and_no_nan(normalization):
    objective = mixed()
    with torch.no_grad():
        objective.model.convolution.weight[1] = 0
        objective.model.tokens.weight[2] = 0
        objective.model.head.bias.zero_()
    assert not objective.model.norm.bias.any()
    found = named(
        objective, normalized(random_like(objective.point), objective.point, objective.blocks, normalization)
    )
    assert all(bool(tensor.isfinite().all()) for tensor in found.values())
    assert not found["norm.bias"].any()
    assert not found["head.bias"].any()
    if normalization == "filter":
        assert not found["convolution.weight"][1].any()
        assert not found["tokens.weight"][2].any()
        assert found["convolution.weight"][0].any()


def test_a_zero_direction_in_a_filter_stays_zero():
    objective = mixed()
    drawn = random_like(objective.point)
    drawn[:18] = 0
    found = normalized(drawn, objective.point, objective.blocks, "filter")
    assert not found[:18].any()
    assert bool(found.isfinite().all())


def test_nothing_left_is_an_error():
    objective = mixed()
    zero = torch.zeros_like(objective.point)
    for normalization in ("filter", "layer", "model"):
        with pytest.raises(InvalidArgument, match=f'normalization="{normalization}" leaves nothing'):
            random_plane(objective, normalization, center=zero)
    with pytest.raises(InvalidArgument, match='use normalization="none"'):
        random_plane(surfaces.rosenbrock())
    assert random_plane(surfaces.rosenbrock(), "none").dim == 2


def test_unknown_normalizations():
    with pytest.raises(InvalidArgument, match="normalization"):
        random_plane(mixed(), "weights")


def rescaled(factor):
    """The same ReLU network with its first layer times `factor` and the next layer's weights divided by it."""
    network = relu_network()
    with torch.no_grad():
        network[0].weight *= factor
        network[0].bias *= factor
        network[2].weight /= factor
    return Objective(network, F.cross_entropy, cancer())


@pytest.mark.parametrize("factor", [0.03, 7.3])
def test_rescaled_relu_networks_give_the_same_slice(factor):
    """ReLU(cx) = c ReLU(x): the two compute one function, and the scaled direction must not tell them apart."""
    first, second = classifier(), rescaled(factor)
    assert float(first.loss()) == pytest.approx(float(second.loss()), rel=1e-13)
    for normalization, invariant in (("filter", True), ("layer", True), ("model", False), ("none", False)):
        one, other = (
            evaluate(objective, random_line(objective, normalization, seed=5), 9).values["loss"]
            for objective in (first, second)
        )
        # Rounding is some 1e-13, the bound is seven digits above; the others differ by more than a per cent.
        difference = float(abs(one / other - 1).max())
        assert difference < 1e-6 if invariant else difference > 0.01


def test_the_table_and_its_overrides():
    objective = mixed()
    kinds = {block.name: block.kind for block in objective.blocks}
    plain = treatments(objective.blocks, "filter")
    assert {name for name, treatment in plain.items() if treatment == "fixed"} == {
        name for name, kind in kinds.items() if kind == "vector"
    }
    assert set(treatments(objective.blocks, "layer").values()) == {"layer"}
    chosen = treatments(
        objective.blocks, "filter", {"*.bias": "layer", "norm.*": "fixed", "tokens.*": "fixed"}
    )
    assert chosen["head.bias"] == "layer"
    assert chosen["norm.bias"] == chosen["norm.weight"] == chosen["tokens.weight"] == "fixed"
    assert chosen["head.weight"] == "filter"
    drawn, theta = random_like(objective.point), objective.point
    found = named(objective, normalized(drawn, theta, objective.blocks, "filter", {"head.bias": "layer"}))
    before = named(objective, theta)
    assert float(found["head.bias"].norm()) == pytest.approx(float(before["head.bias"].norm()))
    assert not found["convolution.bias"].any()
    plane = random_plane(objective, overrides={"head.bias": "layer"})
    assert "head.bias" not in " ".join(plane.limits)
    assert "convolution.bias" in " ".join(plane.limits)


@pytest.mark.parametrize(
    ("normalization", "overrides", "told"),
    [
        ("filter", {"nothing": "fixed"}, "matches none"),
        ("filter", {"*.bias": "fix"}, "did you mean 'fixed'"),
        ("model", {"*.bias": "fixed"}, "not of normalization"),
    ],
)
def test_overrides_that_are_none(normalization, overrides, told):
    with pytest.raises(InvalidArgument, match=told):
        random_plane(mixed(), normalization, overrides=overrides)
