"""The models, losses and identities that other libraries of curvature test themselves on, restated.

Of curvlinops: classifiers and regressions of two layers in two batches of unequal size, by mean and by sum, with
further axes, and inputs in dictionaries; Hessian (whole and by blocks), Gauss-Newton, Fisher of drawn and of true
labels; operators that give the same twice. Of hessian-eigenthings: closed forms of linear and logistic regression, a
tanh network against dense matrices, batches that average, selected parameters, matrices without negative values.
Their sums over the data are means here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.curvature.matrices.expectations import gauss_newton, slope
from tests.objective.zoo import classes, generator, normal
from torch import Tensor, nn

from thalweg.curvature import ggn, hessian
from thalweg.curvature.matrices.blocks import blocks
from thalweg.curvature.matrices.fisher import fisher
from thalweg.curvature.matrices.gradient_covariance import gradient_covariance
from thalweg.errors import ShapeMismatch
from thalweg.objective import Objective

# Sums of some hundred float64 products of numbers of order one: about 1e3 · eps of the largest.
RELATIVE = 1e-9


def assert_close(found: Tensor, wanted: Tensor, relative: float = RELATIVE) -> None:
    assert float((found - wanted).abs().max()) <= relative * float(wanted.abs().max())


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=generator(seed), dtype=torch.float64)


def two_layers(inputs: int, outputs: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(inputs, 5), nn.ReLU(), nn.Linear(5, outputs)).double()


def flattened(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy of scores whose classes are last."""
    return lambda z, y: loss(z.flatten(0, -2), y.flatten())


X10, X8 = uniform(7, 10, seed=1), uniform(8, 8, seed=2)
LONG10, LONG8 = uniform(7, 5, 10, seed=3), uniform(8, 5, 8, seed=4)


def bits(*shape: int) -> Tensor:
    return classes(*shape, of=2, seed=5).double()


# name: inputs, sizes of the layers, target, loss of a batch by mean, or by sum over the data
CASES: dict[str, tuple[Tensor, int, Tensor, Any, str]] = {
    "classes, mean": (X10, 3, classes(7, of=3), nn.CrossEntropyLoss(), "mean"),
    "classes, sum": (X10, 3, classes(7, of=3), nn.CrossEntropyLoss(reduction="sum"), "sum"),
    "a bit, mean": (X10, 1, bits(7, 1), nn.BCEWithLogitsLoss(), "mean"),
    "bits, mean": (X10, 2, bits(7, 2), nn.BCEWithLogitsLoss(), "mean"),
    "bits, sum": (X10, 2, bits(7, 2), nn.BCEWithLogitsLoss(reduction="sum"), "sum"),
    "numbers, mean": (X8, 3, uniform(8, 3, seed=6), nn.MSELoss(), "mean"),
    "numbers, sum": (X8, 3, uniform(8, 3, seed=6), nn.MSELoss(reduction="sum"), "sum"),
    "sequences of classes, mean": (LONG10, 3, classes(7, 5, of=3), flattened(nn.CrossEntropyLoss()), "mean"),
    "sequences of bits, mean": (LONG10, 2, bits(7, 5, 2), nn.BCEWithLogitsLoss(), "mean"),
    "sequences of bits, sum": (LONG10, 2, bits(7, 5, 2), nn.BCEWithLogitsLoss(reduction="sum"), "sum"),
    "sequences of numbers, mean": (LONG8, 3, uniform(8, 5, 3, seed=7), nn.MSELoss(), "mean"),
    "sequences of numbers, sum": (LONG8, 3, uniform(8, 5, 3, seed=7), nn.MSELoss(reduction="sum"), "sum"),
}


@pytest.fixture(params=CASES)
def peer(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor, Tensor, Any, str]:
    x, outputs, y, loss, reduction = CASES[request.param]
    return two_layers(x.shape[-1], outputs), x, y, loss, reduction


def made(peer: Any) -> Objective:
    model, x, y, loss, _ = peer
    return Objective(model, loss, [(x[:3], y[:3]), (x[3:], y[3:])])


def whole_loss(peer: Any) -> Callable[[Tensor], Tensor]:
    _, x, y, loss, reduction = peer
    return lambda z: loss(z, y) / (len(x) if reduction == "sum" else 1)


def dense_hessian(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> Tensor:
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(loss(model), parameters, create_graph=True)
    return torch.stack([slope(model, entry) for entry in torch.cat([s.flatten() for s in slopes])])


def test_hessian_whole_and_in_blocks(peer):
    model, x, *_ = peer
    loss = whole_loss(peer)
    exact = dense_hessian(model, lambda model: loss(model(x)))
    assert_close(hessian(made(peer)).dense(), exact)
    objective = made(peer)
    for by, names in (
        ("parameter", ["0.weight", "0.bias", "2.weight", "2.bias"]),
        (["0.*", "2.*"], ["0.*", "2.*"]),
    ):
        found = blocks(objective, by)
        assert list(found) == names
        start = 0
        for operator in found.values():
            stop = start + operator.shape[0]
            wanted = exact[start:stop, start:stop]
            assert float((operator.dense() - wanted).abs().max()) <= RELATIVE * float(exact.abs().max())
            start = stop
        assert start == objective.size


def test_gauss_newton_and_the_fisher_of_drawn_labels(peer):
    """For these losses Gauss-Newton is the expectation of the Fisher of drawn labels."""
    model, x, *_ = peer
    exact = gauss_newton(model, x, whole_loss(peer))
    v = normal(len(exact), 3, seed=9)
    for operator in (ggn(made(peer)), fisher(made(peer))):
        first = operator @ v
        assert torch.equal(operator @ v, first)
        assert_close(first, exact @ v)
        assert_close(operator @ v[:, 1], exact @ v[:, 1])
        assert bool(((v * first).sum(0) >= -1e-12).all())
    drawn = fisher(made(peer), kind="sampled", samples=1500)
    first = drawn @ v
    assert torch.equal(drawn @ v, first)
    # Of 1500 draws of each of 7 data and more: 1/√1500 = 0.026 times a spread of order one.
    assert float((first - exact @ v).norm()) <= 0.1 * float((exact @ v).norm())


def test_the_fisher_of_true_labels(peer):
    """Σ (Jᵀu)(Jᵀu)ᵀ over the rows of the output, u the slope of a row's own loss."""
    model, x, y, _, reduction = peer
    output = model(x)
    rows, targets = output.flatten(0, -2), y.flatten() if y.dim() < output.dim() else y.flatten(0, -2)
    if not y.is_floating_point():
        terms, factor = F.cross_entropy(rows, targets, reduction="none"), 1.0
    elif bool(((y == 0) | (y == 1)).all()):
        terms = F.binary_cross_entropy_with_logits(rows, targets, reduction="none").sum(1)
        factor = 1.0 if reduction == "sum" else 1 / rows.shape[1]
    else:
        terms, factor = (rows - targets).square().sum(1), 1.0
        # Where a Gaussian's variance is ½ whatever the reduction, this is as many times more as a row has entries.
        terms = terms if reduction == "sum" else terms / rows.shape[1]
    gradients = torch.stack([slope(model, term) for term in terms])
    wanted = factor * gradients.T @ gradients / (len(x) if reduction == "sum" else len(rows))
    operator = fisher(made(peer), kind="empirical")
    assert_close(operator.dense(), wanted)


def test_inputs_in_dictionaries():
    class Keyed(nn.Module):
        def __init__(self, outputs: int) -> None:
            super().__init__()
            self.net = two_layers(10, outputs)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    for outputs, y, loss in (
        (2, classes(7, of=2), nn.CrossEntropyLoss()),
        (1, bits(7, 1), nn.BCEWithLogitsLoss()),
        (2, uniform(7, 2, seed=8), nn.MSELoss()),
    ):
        model = Keyed(outputs)
        objective = Objective(model, loss, [({"x": X10[:3]}, y[:3]), ({"x": X10[3:]}, y[3:])])
        exact = gauss_newton(model, X10, lambda z, y=y, loss=loss: loss(z, y))
        assert_close(ggn(objective).dense(), exact)
        assert_close(fisher(objective).dense(), exact)
        tuples = Objective(model.net, loss, (X10, y))
        for kind in ("sampled", "empirical"):
            assert_close(fisher(objective, kind=kind).dense(), fisher(tuples, kind=kind).dense())


def test_a_convolutional_classifier():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 2, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2)
        )
        model = nn.Sequential(*model, nn.Flatten(), nn.Linear(27, 10)).double()
    x, y = uniform(10, 1, 20, 20, seed=1), classes(10, of=10)
    objective = Objective(model, nn.CrossEntropyLoss(), [(x[:5], y[:5]), (x[5:], y[5:])])
    exact = gauss_newton(model, x, lambda z: F.cross_entropy(z, y))
    v = normal(objective.size, 2, seed=3)
    assert_close(ggn(objective) @ v, exact @ v)
    assert_close(fisher(objective) @ v, exact @ v)


def line(inputs: int, outputs: int, seed: int) -> nn.Module:
    layer = nn.Linear(inputs, outputs, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(normal(outputs, inputs, seed=seed))
    return layer


def closed_forms() -> dict[str, tuple[nn.Module, Tensor, Tensor, Any, Tensor]]:
    x, y = normal(16, 5, seed=1), normal(16, 1, seed=2)
    regression = (line(5, 1, 0), x, y, F.mse_loss, 2 / 16 * x.T @ x)
    bit = (normal(16, 1, seed=3) > 0).double()
    model = line(5, 1, 2)
    p = torch.sigmoid(model(x)).detach()
    logistic = (model, x, bit, F.binary_cross_entropy_with_logits, (x * p * (1 - p)).T @ x / 16)
    x = normal(12, 4, seed=4)
    model = line(4, 3, 4)
    p = model(x).softmax(1).detach()
    middles = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    softmax = sum(torch.kron(m, torch.outer(row, row)) for m, row in zip(middles, x, strict=True)) / 12
    return {
        "linear regression": regression,
        "logistic regression": logistic,
        "softmax regression": (model, x, classes(12, of=3), F.cross_entropy, softmax),
    }


@pytest.mark.parametrize("name", closed_forms())
def test_closed_forms_of_models_that_are_linear_in_their_parameters(name):
    model, x, y, loss, exact = closed_forms()[name]
    for data in ((x, y), [(x[:7], y[:7]), (x[7:], y[7:])]):
        objective = Objective(model, loss, data)
        for matrix in (hessian, ggn, fisher):
            assert_close(matrix(objective).dense(), exact)


def tanh_network(outputs: int) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, outputs)).double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=number))
    return model


@pytest.mark.parametrize("loss", [F.cross_entropy, F.mse_loss])
def test_a_tanh_network_and_batches_that_average(loss):
    model, x = tanh_network(4), normal(8, 3, seed=11)
    y = classes(8, of=4) if loss is F.cross_entropy else normal(8, 4, seed=12)
    halves = [Objective(model, loss, (x[i], y[i])) for i in (slice(4), slice(4, 8))]
    whole = Objective(model, loss, [(x[:4], y[:4]), (x[4:], y[4:])])
    exact = {
        hessian: dense_hessian(model, lambda model: loss(model(x), y)),
        ggn: gauss_newton(model, x, lambda z: loss(z, y)),
    }
    exact[fisher] = exact[ggn]
    for matrix, wanted in exact.items():
        assert_close(matrix(whole).dense(), wanted)
        assert_close((0.5 * (matrix(halves[0]) + matrix(halves[1]))).dense(), wanted)
        with pytest.raises(ShapeMismatch, match="cannot multiply"):
            matrix(whole) @ torch.zeros(whole.size + 1, dtype=torch.float64)
    gradients = torch.stack([slope(model, loss(model(a), b)) for a, b in zip(x, y, strict=True)])
    of_samples = gradients.T @ gradients / 8
    for operator in (gradient_covariance(whole), fisher(whole, kind="empirical")):
        assert_close(operator.dense(), of_samples)
        v = normal(whole.size, 20, seed=13)
        assert bool(((v * (operator @ v)).sum(0) >= -1e-12).all())


def test_selected_parameters_are_a_block():
    model, x, y = tanh_network(2), normal(8, 3, seed=11), normal(8, 2, seed=12)
    whole = Objective(model, F.mse_loss, (x, y))
    some = Objective(model, F.mse_loss, (x, y), parameters="2.*")
    for matrix in (
        hessian,
        ggn,
        fisher,
        gradient_covariance,
        lambda obj: fisher(obj, kind="empirical"),
        lambda obj: fisher(obj, kind="sampled", samples=2),
    ):
        assert_close(matrix(some).dense(), blocks(matrix(whole))["2"].dense())
        assert_close(matrix(some).dense(), matrix(whole).dense()[20:, 20:])
