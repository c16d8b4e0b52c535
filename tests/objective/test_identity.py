"""Fingerprints: the same for the same function of θ, another for another."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg.objective import Objective

from .zoo import ZOO, convolutional, mlp, normal, seeded

X, Y = normal(11, 4), torch.arange(11) % 3


def print_of(model=None, loss=F.cross_entropy, data=None, **options):
    return Objective(model or mlp(), loss, data or (X, Y), **options).fingerprint()


def smoothed(amount):
    def loss(z, y):
        return F.cross_entropy(z, y, label_smoothing=amount)

    return loss


def twice(z, y):
    return 2 * F.cross_entropy(z, y)


class Weighing:
    def __init__(self, factor):
        self.factor = factor

    def loss(self, z, y):
        return self.factor * F.cross_entropy(z, y)


def test_equal_objectives_have_equal_fingerprints(case):
    first = Objective(case.model, **case.arguments)
    again = Objective(case.model, **case.arguments)
    assert first.fingerprint() == first.fingerprint() == again.fingerprint()
    assert len(first.fingerprint()) == 64
    int(first.fingerprint(), 16)


def test_the_point_does_not_matter(case):
    objective = Objective(case.model, **case.arguments)
    before = objective.fingerprint()
    objective.set_point(case.theta)
    assert objective.fingerprint() == before


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(), twice, smoothed(0.1), functools.partial(F.cross_entropy)]
)
def test_how_the_data_are_given_does_not_matter(loss):
    shuffled = DataLoader(TensorDataset(X, Y), batch_size=2, shuffle=True)
    forms = [(X, Y), [(X[:4], Y[:4]), (X[4:], Y[4:])], TensorDataset(X, Y), shuffled]
    prints = {print_of(loss=loss, data=data) for data in forms}
    prints |= {
        print_of(loss=loss, batch_size=3),
        print_of(loss=loss, microbatch=2),
        print_of(loss=loss, memory_budget=0),
    }
    assert len(prints) == 1


def test_how_the_data_are_cut_matters_for_batch_statistics():
    x = normal(11, 1, 4, 4)
    options = {"model": convolutional(), "data": (x, Y), "batchnorm": "batch"}
    assert print_of(batch_size=4, **options) != print_of(batch_size=5, **options)
    assert print_of(batch_size=4, **options) == print_of(batch_size=4, **options)


OTHERS = {
    "samples": lambda: print_of(data=(X[1:], Y[1:])),
    "order of classes": lambda: print_of(data=(X, Y.flip(0))),
    "one entry": lambda: print_of(data=(X + torch.eye(11, 4, dtype=torch.float64) * 1e-15, Y)),
    "dtype of the data": lambda: print_of(data=(X.float(), Y)),
    "architecture": lambda: print_of(seeded(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)))),
    "precision": lambda: print_of(mlp().float(), data=(X.float(), Y)),
    "selection": lambda: print_of(parameters="2.*"),
    "loss function": lambda: print_of(loss=F.multi_margin_loss),
    "loss module": lambda: print_of(loss=nn.CrossEntropyLoss()),
    "smoothing": lambda: print_of(loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
    "reduction": lambda: print_of(loss=nn.CrossEntropyLoss(reduction="sum")),
    "ignore_index": lambda: print_of(loss=nn.CrossEntropyLoss(ignore_index=1)),
    "class weights": lambda: print_of(
        loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]).double())
    ),
    "other class weights": lambda: print_of(
        loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 4.0]).double())
    ),
    "lambda": lambda: print_of(loss=lambda z, y: F.cross_entropy(z, y)),
    "other lambda": lambda: print_of(loss=lambda z, y: 2 * F.cross_entropy(z, y)),
    "third lambda": lambda: print_of(loss=lambda z, y: 3 * F.cross_entropy(z, y)),
    "closure": lambda: print_of(loss=smoothed(0.1)),
    "other closure": lambda: print_of(loss=smoothed(0.2)),
    "partial": lambda: print_of(loss=functools.partial(F.cross_entropy, label_smoothing=0.1)),
    "other partial": lambda: print_of(loss=functools.partial(F.cross_entropy, label_smoothing=0.2)),
    "default argument": lambda: print_of(loss=lambda z, y, k=2: k * F.cross_entropy(z, y)),
    "other default argument": lambda: print_of(loss=lambda z, y, k=3: k * F.cross_entropy(z, y)),
    "method": lambda: print_of(loss=Weighing(2.0).loss),
    "other method": lambda: print_of(loss=Weighing(3.0).loss),
    "function": lambda: print_of(loss=twice),
}


def test_what_differs_has_another_fingerprint():
    prints = {"itself": print_of()} | {name: make() for name, make in OTHERS.items()}
    again = {"itself": print_of()} | {name: make() for name, make in OTHERS.items()}
    assert prints == again
    by_print = {}
    for name, digest in prints.items():
        by_print.setdefault(digest, []).append(name)
    assert [names for names in by_print.values() if len(names) > 1] == []


def test_written_losses_differ_by_their_code():
    def print_with(factor):
        return Objective(
            mlp(),
            data=[(X, Y)],
            batch_loss=lambda model, batch: factor * F.cross_entropy(model(batch[0]), batch[1]),
        ).fingerprint()

    assert print_with(1.0) == print_with(1.0) != print_with(2.0)


def test_frozen_parameters_and_buffers_count_and_moving_ones_do_not():
    model = convolutional()
    model[0].requires_grad_(False)
    x = normal(11, 1, 4, 4)
    before = print_of(model, data=(x, Y))
    with torch.no_grad():
        model[7].weight.add_(1)
    assert print_of(model, data=(x, Y)) == before
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] += 1
    frozen = print_of(model, data=(x, Y))
    assert frozen != before
    model[1].running_mean[1] += 1
    assert print_of(model, data=(x, Y)) not in (before, frozen)
    assert print_of(model, data=(x, Y), parameters="7.*") != print_of(model, data=(x, Y))


def test_a_loss_that_holds_the_model_does_not_fix_its_point():
    model = mlp()

    class Penalized(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, z, y):
            return F.cross_entropy(z, y) + self.model[0].weight.square().sum()

    def closure(z, y):
        return F.cross_entropy(z, y) + model[0].weight.square().sum()

    for loss in (Penalized(), closure):
        objective = Objective(model, loss, (X, Y))
        before = objective.fingerprint()
        objective.set_point(objective.point + 1)
        assert objective.fingerprint() == before


def test_a_loss_that_calls_itself():
    def loss(z, y, depth=2):
        return F.cross_entropy(z, y) if not depth else loss(z, y, depth - 1)

    assert print_of(loss=loss) == print_of(loss=loss)


def test_models_with_a_state_that_is_no_tensor():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"version": 3}

        def set_extra_state(self, state):
            pass

    assert print_of(Extra(4, 3).double()) != print_of(mlp())


def test_the_zoo_is_told_apart():
    # With outputs or without, the model's own loss is the same function of θ.
    others = {name: make for name, make in ZOO.items() if name != "own loss, outputs"}
    prints = {
        name: Objective(make().model, **make().arguments).fingerprint() for name, make in others.items()
    }
    assert len(set(prints.values())) == len(prints)
