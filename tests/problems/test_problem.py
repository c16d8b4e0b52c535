from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from thalweg import problems
from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.problems import Problem, Training

SMALL = {
    "breast_cancer": {},
    "character_gpt": {
        "layers": 1,
        "width": 8,
        "heads": 2,
        "context": 8,
        "text": "the thalweg of a valley " * 40,
    },
    "deep_linear": {"samples": 30, "test_samples": 10},
    "digits": {"batchnorm": True, "dropout": 0.2},
    "digits_conv": {"width": 4},
    "recurrent": {"cell": "gru", "steps": 5, "samples": 30, "test_samples": 10},
    "wine": {},
}


@pytest.fixture(params=SMALL)
def small(request) -> Problem:
    return problems.get(request.param, **SMALL[request.param])


def numbers(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def test_same_seed_same_model(small):
    assert torch.equal(numbers(small.make_model(3)), numbers(small.make_model(3)))
    assert not torch.equal(numbers(small.make_model(3)), numbers(small.make_model(4)))


def test_same_parameters_same_data(small):
    again = problems.get(small.name, **SMALL[small.name])
    for one, other in zip(small.train + small.test, again.train + again.test, strict=True):
        assert torch.equal(one, other)


def test_global_random_states_stay():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    for name, parameters in SMALL.items():
        problems.get(name, **parameters).make_model(1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()


def test_data_is_single_precision_and_described(small):
    for x, y in (small.train, small.test):
        assert x.dtype in (torch.float32, torch.int64)
        assert y.dtype in (torch.float32, torch.int64)
        assert len(x) == len(y) > 0
    assert small.description
    assert small.source
    assert small.metrics in (("loss", "accuracy"), ("loss",))


def test_objective_is_the_mean_loss_of_each_split(small):
    model = small.make_model().eval()
    for objective, (x, y) in (
        (small.train_objective(model), small.train),
        (small.test_objective(model), small.test),
    ):
        with torch.no_grad():
            expected = small.loss_fn(model(x), y)
        # Both are means of the same terms in single precision, added in another order: a few units of 2⁻²⁴
        # per term, and their errors average out.
        assert objective.loss().item() == pytest.approx(expected.item(), rel=1e-5)


def test_hessian_products_are_symmetric(small):
    # Holds only where the model can be differentiated twice, which fused layers sometimes cannot.
    objective = small.train_objective(small.make_model().double())
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, objective.size, generator=generator, dtype=torch.float64)
    # Double precision: 1e-16 relative per operation, some 1e5 operations deep at most.
    assert (u @ objective.hvp(v)).item() == pytest.approx((v @ objective.hvp(u)).item(), rel=1e-8, abs=1e-8)


def test_objective_takes_options_and_names_itself():
    wine = problems.wine()
    assert wine.objective().name == "wine"
    assert wine.objective(split="test").name == "wine (test)"
    assert wine.objective(name="mine").name == "mine"
    assert wine.objective(parameters="linear2.*").size == 32 * 3 + 3
    assert torch.equal(wine.objective(seed=5).point, numbers(wine.make_model(5)))


def test_batches_of_another_shape_go_through():
    def batch_loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return mse_loss(model(batch["in"]), batch["out"])

    batches = [{"in": torch.ones(2, 1), "out": torch.zeros(2, 1)}]
    problem = Problem("dicts", lambda: nn.Linear(1, 1), None, batches, batch_loss=batch_loss)
    objective = problem.objective()
    assert isinstance(objective, Objective)
    assert objective.loss().item() == pytest.approx(objective.point.sum().item() ** 2)


def test_a_split_that_is_not_there():
    wine = problems.wine()
    with pytest.raises(InvalidArgument, match='split must be "train" or "test", got \'validation\''):
        wine.objective(split="validation")
    with pytest.raises(InvalidArgument, match="problem 'wine' has no test data"):
        replace(wine, test=None).test_objective()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"optimizer": ""}, "optimizer must be a name such as \"adam\", got ''"),
        ({"optimizer": torch.optim.SGD}, 'optimizer must be a name such as "adam", got <class'),
        ({"lr": 0.0}, "lr must be positive and finite, got 0.0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and finite, got -1.0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"epochs": -1}, "epochs must be at least 0, got -1"),
    ],
)
def test_training_refuses_values_out_of_range(setting, message):
    with pytest.raises(InvalidArgument, match=message):
        Training(**setting)


def test_import_does_not_load_scikit_learn():
    code = "import sys, thalweg.problems; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
