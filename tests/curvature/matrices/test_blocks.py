"""Diagonal blocks against the rows and columns of the dense matrix."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.curvature.matrices.cases import MASKED, WORDS, X, Y, mlp
from tests.objective.zoo import Tied, normal, seeded, token_cross_entropy
from torch import nn

from curvature.models import case
from thalweg import surfaces
from thalweg.curvature import SymmetricOperator, ggn, hessian
from thalweg.curvature.matrices.blocks import blocks
from thalweg.curvature.matrices.fisher import fisher
from thalweg.errors import InvalidArgument
from thalweg.objective import Objective

EPS = torch.finfo(torch.float64).eps


def indices(objective, names):
    chosen = [block for block in objective.blocks if block.name in names]
    return torch.cat([torch.arange(block.offset, block.offset + block.size) for block in chosen])


def test_blocks_of_the_hessian_are_cut_from_it():
    exact, objective = case("convolutional").hessian, case("convolutional").objective
    expected = {
        "layer": {f"{n}": [f"{n}.weight", f"{n}.bias"] for n in (1, 2, 4, 5, 8)},
        "parameter": {f"{n}.{kind}": [f"{n}.{kind}"] for n in (1, 2, 4, 5, 8) for kind in ("weight", "bias")},
    }
    for by, names in expected.items():
        found = blocks(objective, by)
        assert list(found) == list(names)
        for name, operator in found.items():
            index = indices(objective, names[name])
            wanted = exact[index][:, index]
            assert operator.shape == tuple(wanted.shape)
            v = normal(len(index), 2, seed=1)
            scale = case("convolutional").norm * float(v.norm())
            assert float((operator @ v - wanted @ v).abs().max()) <= 100 * EPS * scale
            assert operator.products == 2
            assert operator.name == f"Hessian in {name}"
    assert sum(operator.shape[0] for operator in found.values()) == objective.size


def test_patterns_take_what_earlier_ones_left():
    objective = case("attention").objective
    exact = case("attention").hessian
    found = blocks(objective, ["*.bias", "attention", "norm.*"])
    names = {
        "*.bias": [b.name for b in objective.blocks if b.name.endswith(".bias")],
        "attention": ["attention.in_proj_weight", "attention.in_proj_bias", "attention.out_proj.weight"],
        "norm.*": ["norm.weight"],
    }
    assert list(found) == list(names)
    for name, operator in found.items():
        index = indices(objective, names[name])
        wanted = exact[index][:, index]
        assert float((operator.dense() - wanted).abs().max()) <= 100 * EPS * case("attention").norm
    only = blocks(objective, "head")
    assert list(only) == ["head"]
    assert only["head"].shape[0] == 110


@pytest.mark.parametrize("matrix", [ggn, fisher, lambda obj: fisher(obj, kind="sampled", samples=2)])
def test_blocks_of_other_matrices(matrix):
    objective = Objective(mlp(), F.cross_entropy, (X, Y), batch_size=3)
    whole = matrix(objective).dense()
    for operator in (
        matrix(objective),
        2 * matrix(objective) - matrix(objective),
        matrix(objective).shifted(0.0),
    ):
        for name, block in blocks(operator).items():
            index = indices(objective, [f"{name}.weight", f"{name}.bias"])
            torch.testing.assert_close(block.dense(), whole[index][:, index], rtol=1e-12, atol=1e-14)


def test_the_rest_of_the_model_may_be_frozen_or_tied():
    objective = Objective(
        seeded(Tied()), token_cross_entropy, (WORDS, MASKED), count=lambda b: float((b[1] != -100).sum())
    )
    assert list(blocks(objective)) == ["embedding", "mix"]
    some = Objective(mlp(), F.cross_entropy, (X, Y), parameters="*.weight")
    assert {name: op.shape[0] for name, op in blocks(some).items()} == {"0": 12, "2": 9}


def test_parameters_of_the_model_itself():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, dtype=torch.float64))
            self.line = nn.Linear(4, 3).double()

        def forward(self, x):
            return self.scale * self.line(x)

    assert list(blocks(Objective(Scaled(), F.cross_entropy, (X, Y)))) == ["own parameters", "line"]


def test_at_another_point():
    surface = surfaces.rosenbrock()
    theta = torch.tensor([-0.4, 1.7], dtype=torch.float64)
    found = blocks(surface, "parameter", theta)
    torch.testing.assert_close(found["x"].dense(), hessian(surface, theta).dense())


def test_bad_arguments():
    objective = Objective(mlp(), F.cross_entropy, (X, Y))
    for by, message in (
        ("3", r'by: no parameter matches \'3\', "layer" or "parameter"; there are 0.weight, 0.bias'),
        (["0", "0.weight"], r"by: all that '0.weight' matches is taken by '0': write '0.weight' before"),
        ([], 'by must be "layer", "parameter" or name patterns, got none'),
    ):
        with pytest.raises(InvalidArgument, match=message) as raised:
            blocks(objective, by)
        assert "\n" not in str(raised.value)
    with pytest.raises(InvalidArgument, match="theta: Hessian is at a point already"):
        blocks(hessian(objective), theta=objective.point)
    with pytest.raises(InvalidArgument, match="matrix does not know which parameters it is of"):
        blocks(SymmetricOperator.of(torch.eye(3)))
