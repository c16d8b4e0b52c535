"""Metrics at many points in one context, compiled or not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from thalweg.objective import Objective, evaluator

from .zoo import mlp, normal

X, Y = normal(11, 4), torch.arange(11) % 3


@pytest.fixture
def objective():
    return Objective(mlp(), F.cross_entropy, (X, Y), batch_size=4)


def test_many_points(objective):
    points = objective.point + normal(5, objective.size)
    wanted = [objective.at(theta).values(["loss", "accuracy"]) for theta in points]
    with objective.evaluator(["loss", "accuracy"], points=5) as values:
        found = [values(theta) for theta in points]
    # The parameters are the model's own here and pieces of a vector there: the same numbers in the same order.
    for a, b in zip(found, wanted, strict=True):
        assert a == pytest.approx(b, rel=1e-14)


def test_the_gradient_norm_takes_the_longer_way(objective):
    theta = objective.point + 0.1
    with objective.evaluator(["gradient_norm", "loss"]) as values:
        found = values(theta)
    assert found["gradient_norm"] == pytest.approx(float(objective.gradient(theta).norm()), rel=1e-14)


class Compiler:
    """Stands for torch.compile, which would take longer than all other tests."""

    def __init__(self, error=None):
        self.error, self.calls = error, 0

    def __call__(self, function):
        def compiled(batch):
            self.calls += 1
            if self.error:
                raise self.error
            return function(batch)

        return compiled


def test_compiling_when_many_points_are_to_come(objective, monkeypatch):
    theta = objective.point + 0.1
    wanted = objective.at(theta).values(["loss"])
    compiler = Compiler()
    monkeypatch.setattr(torch, "compile", compiler)
    # Two layers of 4·4 and 4·3 products for 11 samples are 308 multiplications and as many additions.
    monkeypatch.setitem(evaluator.COMPILE_FROM, "cpu", 616 * 10.5)
    with objective.evaluator(points=10) as values:
        assert values(theta) == wanted
        assert not values.compiled
    assert compiler.calls == 0
    with objective.evaluator(points=11) as values:
        assert values.compiled
        assert values(theta) == wanted
    assert compiler.calls == 1 + 3
    with objective.evaluator(points=10**9, compile=False) as values:
        assert not values.compiled
    assert objective.notes == []


def test_a_compiler_that_fails_is_noted_and_done_without(objective, monkeypatch):
    theta = objective.point + 0.1
    wanted = objective.at(theta).values(["loss"])
    monkeypatch.setattr(torch, "compile", Compiler(RuntimeError("no C++ compiler\nwas found")))
    with objective.evaluator(compile=True) as values:
        assert values(theta) == wanted
        assert not values.compiled
    assert objective.notes == ["compiling the forward pass failed (no C++ compiler): evaluated uncompiled"]


def test_an_interrupt_while_compiling_leaves_the_model_alone(objective, monkeypatch):
    objective.model.train()
    before = objective.point
    monkeypatch.setattr(torch, "compile", Compiler(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt), objective.evaluator(compile=True):
        pass
    assert objective.model.training
    assert torch.equal(objective.point, before)
    assert torch.is_grad_enabled()
