"""The parameters of an objective are those that its model has now."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.landscape import evaluate, line_through
from thalweg.objective import Objective

from .zoo import displaced, mlp, normal

X, Y = normal(6, 4), torch.arange(6) % 3


def assigned(model: nn.Module) -> None:
    """Load the weights of a model of the same shape by assignment, so that each parameter is another tensor."""
    other = mlp()
    nn.utils.vector_to_parameters(displaced(other), other.parameters())
    model.load_state_dict(other.state_dict(), assign=True)


def test_a_state_loaded_by_assignment_is_followed() -> None:
    model = mlp()
    objective = Objective(model, F.cross_entropy, (X, Y))
    before = objective.point
    assert float(objective.loss()) == pytest.approx(F.cross_entropy(model(X), Y).item(), rel=1e-12)
    assigned(model)
    now = nn.utils.parameters_to_vector(model.parameters()).detach()
    assert not torch.equal(before, now)
    assert torch.equal(objective.point, now)
    loss = F.cross_entropy(model(X), Y)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    assert float(objective.loss()) == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(objective.gradient(), gradient)


@pytest.mark.parametrize("rtol", [None, 0.01])
def test_a_line_of_a_model_whose_weights_were_assigned(rtol: float | None) -> None:
    model = mlp()
    objective = Objective(model, F.cross_entropy, (X, Y))
    start = objective.point
    assigned(model)
    found = evaluate(objective, line_through(start, objective.point), 7, rtol=rtol)
    fresh = Objective(model, F.cross_entropy, (X, Y))
    due = evaluate(fresh, line_through(start, fresh.point), 7, rtol=rtol)
    np.testing.assert_array_equal(found.values["loss"], due.values["loss"])
    losses = []
    for t in found.axes["alpha"]:
        other = mlp()
        nn.utils.vector_to_parameters(torch.lerp(start, fresh.point, float(t)), other.parameters())
        losses.append(F.cross_entropy(other(X), Y).item())
    np.testing.assert_allclose(found.values["loss"], losses, rtol=1e-12)
    # It was put back where it was.
    assert torch.equal(objective.point, fresh.point)


def test_layers_that_were_replaced_are_named() -> None:
    model = mlp()
    objective = Objective(model, F.cross_entropy, (X, Y))
    model[2] = nn.Linear(4, 5).double()
    with pytest.raises(
        InvalidArgument, match=r"parameter 2.weight was \(3, 4\), .* and is \(5, 4\)"
    ) as raised:
        _ = objective.point
    assert "\n" not in str(raised.value)
    model[2] = nn.Linear(4, 3)
    with pytest.raises(InvalidArgument, match=r"2.weight was .* torch.float64 .* and is .* torch.float32"):
        _ = objective.point
    model[2] = nn.Linear(4, 3).double()
    assert torch.equal(objective.point, nn.utils.parameters_to_vector(model.parameters()))


@pytest.mark.parametrize("gone", ["layer", "bias"])
def test_parameters_that_are_gone_are_named(gone: str) -> None:
    model = mlp()
    objective = Objective(model, F.cross_entropy, (X, Y))
    if gone == "layer":
        del model[2]
    else:
        model[2].bias = None
    name = {"layer": "2.weight", "bias": "2.bias"}[gone]
    with pytest.raises(InvalidArgument, match=f"the model has no parameter {name} any more") as raised:
        _ = objective.point
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["None", "model"])
def test_what_is_no_state_is_refused(kind: str) -> None:
    model = mlp()
    objective = Objective(model, F.cross_entropy, (X, Y))
    state, name = {"None": (None, "NoneType"), "model": (model, "Sequential")}[kind]
    with pytest.raises(
        InvalidArgument, match=rf"state must be .* model.state_dict\(\) gives it, got {name}$"
    ):
        objective.flatten(state)  # type: ignore[arg-type]
