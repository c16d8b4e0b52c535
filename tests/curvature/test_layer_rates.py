"""Rates per layer against eigenvalues of dense blocks, and against runs that they are to keep stable."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from curvature.models import case, trained
from thalweg.curvature.layer_rates import layer_rates
from thalweg.errors import InvalidArgument, NotDifferentiable
from thalweg.objective import Objective
from thalweg.optim import SGD, layer_groups


def dense_top(matrix, spans):
    indices = torch.cat([torch.arange(span.start, span.stop) for span in spans])
    return float(torch.linalg.eigvalsh(matrix[indices][:, indices])[-1])


def scaling(objective, found):
    """√rate of every parameter (n,)."""
    rates = {name: layer.rate for layer in found.layers for name in layer.parameters}
    return torch.cat(
        [torch.full((b.size,), rates[b.name], dtype=torch.float64) for b in objective.blocks]
    ).sqrt()


@pytest.mark.parametrize("name", ["mlp", "convolutional"])
def test_blocks_and_coupling_against_the_dense_hessian(name):
    model = case(name)
    objective = model.objective
    found = layer_rates(objective, tol=1e-6)
    assert found.converged
    spans = {block.name: block.span for block in objective.blocks}
    for layer in found.layers:
        exact = dense_top(model.hessian, [spans[part] for part in layer.parameters])
        assert layer.lambda_max == pytest.approx(exact, rel=1e-5)
        assert layer.bounded
    assert sum(layer.size for layer in found.layers) == objective.size
    # Half the edge: twice these rates are where D^(1/2) H D^(1/2) has the eigenvalue 2.
    scale = scaling(objective, found)
    top = float(torch.linalg.eigvalsh(2 * scale * model.hessian * scale[:, None])[-1])
    assert top == pytest.approx(2, rel=1e-4)
    assert found.uniform == pytest.approx(1 / float(model.eigenvalues[0]), rel=1e-4)
    products = {layer.rate * layer.lambda_max for layer in found.layers}
    assert max(products) == pytest.approx(min(products), rel=1e-9)
    slope = objective.gradient()
    step = scale**2 * slope
    assert found.decrease == pytest.approx(float(slope @ step - step @ model.hessian @ step / 2), rel=1e-6)


def test_the_rates_keep_their_fraction_of_the_edge_on_a_quadratic():
    """Two layers of curvatures 100 and 1 with a coupling: stable at 0.97 of the edge, not at 1.03."""
    model = nn.Module()
    model.stiff, model.soft = nn.Linear(3, 1, bias=False).double(), nn.Linear(4, 1, bias=False).double()
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(7, 7, generator=draw, dtype=torch.float64)
    scale = torch.tensor([10.0] * 3 + [1.0] * 4, dtype=torch.float64)
    matrix = root @ root.T * scale * scale[:, None]

    def loss(model, batch):
        theta = torch.cat([model.stiff.weight[0], model.soft.weight[0]])
        return theta @ matrix @ theta / 2

    objective = Objective(model, data=[torch.zeros(1)], batch_loss=loss)
    for rule, momentum in (("sgd", 0.0), ("momentum", 0.8), ("nesterov", 0.8)):
        edge = layer_rates(objective, optimizer=rule, momentum=momentum, fraction=1.0, tol=1e-9)
        for part, stable in ((0.97, True), (1.03, False)):
            rates = {name: part * rate for name, rate in edge.rates.items()}
            with torch.no_grad():
                for p in model.parameters():
                    p.fill_(1.0)
            optimizer = SGD(
                layer_groups(model, rates), lr=1.0, momentum=momentum, nesterov=rule == "nesterov"
            )
            for _ in range(200):
                optimizer.zero_grad()
                loss(model, None).backward()
                optimizer.step()
            norm = float(torch.cat([p.detach().flatten() for p in model.parameters()]).norm())
            assert (norm < 7**0.5) if stable else (norm > 1e3), (rule, part, norm)
    # Curvatures differ a hundredfold, and so do the rates, but for the random blocks.
    assert edge.rates["soft"] > 20 * edge.rates["stiff"]
    assert edge.decrease > edge.uniform_decrease


class Nested(nn.Module):
    """A layer inside a module with parameters of its own, and an output tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.out = nn.Sequential(nn.Linear(6, 7))
        # Its name is the embedding's, and an inner module's pattern matches it as well.
        self.out[0].weight = self.embed.weight
        self.body = nn.Linear(6, 6)
        self.body.inner = nn.Linear(6, 6)
        self.shift = nn.Parameter(torch.zeros(6))

    def forward(self, tokens):
        x = self.body.inner(self.embed(tokens) + self.shift)
        return self.out(torch.tanh(self.body(torch.tanh(x))))


def test_the_patterns_give_each_parameter_the_rate_of_its_layer():
    torch.manual_seed(0)
    model = Nested().double()
    tokens = torch.randint(7, (30,), generator=torch.Generator().manual_seed(0))
    found = layer_rates(Objective(model, F.cross_entropy, (tokens, (tokens + 1) % 7)))
    assert {layer.name for layer in found.layers} == {
        "embed",
        "out.0",
        "body",
        "body.inner",
        "own parameters",
    }
    wanted = {name: layer.rate for layer in found.layers for name in layer.parameters}
    given = {name: group["lr"] for group in layer_groups(model, found.rates) for name in group["param_names"]}
    assert given == wanted
    assert len(set(wanted.values())) == 5


def test_patterns_and_single_parameters():
    objective = case("mlp").objective
    found = layer_rates(objective, ["0", "*.bias", "*"])
    assert list(found.rates) == ["0", "*.bias", "*"]
    assert [layer.parameters for layer in found.layers] == [
        ("0.weight", "0.bias"),
        ("2.bias", "4.bias"),
        ("2.weight", "4.weight"),
    ]
    assert len(layer_groups(objective.model, found.rates)) == 3
    assert len(layer_rates(objective, "parameter").rates) == 6
    for patterns, message in [
        (
            ["nothing", "*"],
            'by: no parameter matches \'nothing\', "layer" or "parameter"; there are 0.weight',
        ),
        (["*", "0"], "by: all that '0' matches is taken by '*': write '0' before"),
        (["0", "2"], "by: no pattern matches 4.weight, 4.bias: add '*' for all the rest"),
        ("depth", 'by: no parameter matches \'depth\', "layer" or "parameter"; there are 0.weight'),
    ]:
        with pytest.raises(InvalidArgument) as caught:
            layer_rates(objective, patterns)
        assert message in str(caught.value)


def test_gauss_newton_and_the_error_bars_that_are_shown():
    model, data = trained("mlp", steps=5)
    objective = Objective(model, F.cross_entropy, data)
    found = layer_rates(objective, matrix="ggn")
    # Scaled blocks of a positive semi-definite matrix: between 1 and their number.
    assert found.coupling + found.coupling_error >= 1
    assert found.coupling <= 3
    assert "one rate for all" in str(found)


def test_a_layer_that_does_not_curve_upward_gets_the_rate_of_the_stiffest():
    model = nn.Module()
    model.up, model.down = nn.Linear(2, 1, bias=False).double(), nn.Linear(2, 1, bias=False).double()

    def loss(model, batch):
        return 2 * model.up.weight.square().sum() - 3 * model.down.weight.square().sum()

    objective = Objective(model, data=[torch.zeros(1)], batch_loss=loss)
    found = layer_rates(objective)
    assert [layer.bounded for layer in found.layers] == [True, False]
    assert found.rates["up"] == found.rates["down"] == pytest.approx(1 / 4)
    with pytest.raises(NotDifferentiable, match="no layer curves upward here"):
        layer_rates(Objective(model, data=[torch.zeros(1)], batch_loss=lambda m, b: -loss(m, b) * 0))


def test_bad_arguments():
    objective = case("mlp").objective
    for options, message in [
        ({"fraction": 0.0}, "fraction must be in (0, 1], got 0.0"),
        ({"optimizer": "adam"}, "optimizer must be 'sgd' or 'momentum' or 'nesterov', got 'adam'"),
        ({"momentum": 1.0}, "momentum must be in [0, 1), got 1.0"),
        ({"matrix": "fisher"}, "matrix must be 'hessian' or 'ggn', got 'fisher'"),
    ]:
        with pytest.raises(InvalidArgument) as caught:
            layer_rates(objective, **options)
        assert message in str(caught.value)
