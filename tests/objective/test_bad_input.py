"""What cannot be used is refused in one line that names the argument and the value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg.errors import InvalidArgument, NotDifferentiable, ShapeMismatch, ThalwegError
from thalweg.objective import Objective

from .zoo import mlp, normal

X, Y = normal(6, 4), torch.arange(6) % 3


def frozen():
    return mlp().requires_grad_(False)


def complex_model():
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3, dtype=torch.complex64))


def with_entry(value):
    x = X.clone()
    x[2, 1] = value
    x[3, 0] = value
    return x


CONSTRUCTION = [
    ({"model": frozen}, r"model has no trainable parameters \(4 frozen\)"),
    ({"model": nn.ReLU}, r"model has no trainable parameters \(0 frozen\)"),
    ({"model": lambda: F.relu}, "model must be a torch.nn.Module, got function"),
    ({"model": lambda: None}, "model must be a torch.nn.Module, got NoneType"),
    ({"model": complex_model}, "parameter 1.weight is torch.complex64: only real floating-point ones"),
    (
        {"parameters": "layers.*"},
        r"parameters='layers.\*' selects none of the 4 trainable ones \(0.weight, 0.bias",
    ),
    ({"parameters": ["a", "b"]}, r"parameters=\['a', 'b'\] selects none"),
    ({"parameters": []}, r"parameters=\[\] selects none"),
    ({"parameters": lambda name, p: False}, "parameters=<function .* selects none"),
    ({"parameters": 3}, "parameters must be None, name patterns or a predicate, got int"),
    ({"parameters": [1]}, r"parameters must be None, name patterns or a predicate, got \[1\]"),
    ({"loss_fn": "mse"}, "loss_fn must be callable, got str"),
    ({"loss_fn": nn.MSELoss}, r"loss_fn must be a function or a module, got a class: MSELoss\(\)"),
    ({"batch_loss": 3, "loss_fn": None}, "batch_loss must be callable, got int"),
    ({"outputs": 3}, "outputs must be callable, got int"),
    ({"batch_loss": lambda model, batch: 0}, "give loss_fn or batch_loss, not both"),
    ({"data": None}, "data is missing: pass"),
    ({"data": 5}, "data must be a tuple of tensors .* got int"),
    ({"data": X}, "data must be a tuple of tensors .* got Tensor"),
    ({"data": (pair for pair in [(X, Y)])}, "data must be .* got generator"),
    ({"data": (X, Y[:4])}, r"data: \[\(6, 4\), \(4,\)\] must be tensors of one length"),
    ({"data": (X.numpy(), Y.numpy())}, r"data: \['ndarray', 'ndarray'\] must be tensors of one length"),
    ({"data": {"x": X, "y": Y[:4]}}, r"data: .* must be tensors of one length"),
    ({"data": [("a", "b")]}, "data: a batch must hold a tensor with a sample axis, got tuple"),
    ({"data": [X, torch.tensor(1.0)]}, "data: a batch must hold a tensor with a sample axis, got Tensor"),
    ({"data": ()}, "data is empty: it must yield at least one sample"),
    ({"data": []}, "data is empty: it must yield at least one sample"),
    ({"data": {}}, "data is empty: it must yield at least one sample"),
    ({"data": (X[:0], Y[:0])}, "data is empty: it must yield at least one sample"),
    ({"data": [(X[:0], Y[:0])]}, "data is empty: it must yield at least one sample"),
    ({"data": TensorDataset(X[:0], Y[:0])}, "data is empty: it must yield at least one sample"),
    ({"data": DataLoader(TensorDataset(X[:0], Y[:0]))}, "data is empty: it must yield at least one sample"),
    ({"data": (with_entry(math.nan), Y)}, "data: tensor 0 of batch 0 holds 2 NaN or infinite entries"),
    ({"data": (with_entry(math.inf), Y)}, "data: tensor 0 of batch 0 holds 2 NaN or infinite entries"),
    ({"data": [(X, Y), (X, with_entry(-math.inf))]}, "data: tensor 1 of batch 1 holds 2 NaN or infinite"),
    (
        {"model": lambda: mlp().float(), "data": (X, Y)},
        r"data is torch.float64 but the model is torch.float32: convert the data with .to\(torch.float32\)",
    ),
    (
        {"model": lambda: mlp().bfloat16(), "data": (X.half(), Y)},
        "data is torch.float16 but the model is torch.bfloat16",
    ),
    ({"batchnorm": "train"}, 'batchnorm must be "eval", "batch" or "recalibrate", got \'train\''),
    ({"batchnorm": "recalibrate"}, 'batchnorm="recalibrate" needs batch-norm layers with running statistics'),
    ({"microbatch": 0}, "microbatch must be an integer of at least 1, got 0"),
    ({"microbatch": 2.5}, "microbatch must be an integer of at least 1, got 2.5"),
    ({"microbatch": "8"}, "microbatch must be an integer of at least 1, got '8'"),
    ({"batch_size": -1}, "batch_size must be an integer of at least 1, got -1"),
    ({"memory_budget": -1}, "memory_budget must be a number of bytes, got -1"),
    ({"memory_budget": "2 GB"}, "memory_budget must be a number of bytes, got '2 GB'"),
]


@pytest.mark.parametrize(("options", "message"), CONSTRUCTION, ids=[message for _, message in CONSTRUCTION])
def test_refused_at_construction(options, message):
    options = {"model": mlp, "loss_fn": F.cross_entropy, "data": (X, Y), **options}
    model = options.pop("model")()
    with pytest.raises(InvalidArgument, match=message) as raised:
        Objective(model, **options)
    assert isinstance(raised.value, (ThalwegError, ValueError))
    assert "\n" not in str(raised.value)


N = mlp()[0].weight.numel() + 4 + 15
GOOD = torch.zeros(N, dtype=torch.float64)

VECTORS = [
    (GOOD[1:], rf"NAME must have shape \({N}(,|, k)\).*, got \({N - 1},\)"),
    (torch.zeros(3, N, dtype=torch.float64), rf"NAME must have shape .*, got \(3, {N}\)"),
    (torch.zeros(N, 2, 2, dtype=torch.float64), rf"NAME must have shape .*, got \({N}, 2, 2\)"),
    (torch.tensor(0.0, dtype=torch.float64), r"NAME must have shape .*, got \(\)"),
    (
        GOOD.float(),
        r"NAME must be torch.float64 like the objective, got torch.float32: pass NAME.to\(torch.float64\)",
    ),
    (GOOD.long(), "NAME must be torch.float64 like the objective, got torch.int64"),
    (GOOD.to("meta"), "NAME must be on cpu like the objective, got meta"),
    (GOOD.numpy(), "NAME must be a torch tensor, got ndarray"),
    (GOOD.tolist(), "NAME must be a torch tensor, got list"),
    (np.float64(0), "NAME must be a torch tensor, got float64"),
]


@pytest.mark.parametrize(("vector", "message"), VECTORS, ids=[message for _, message in VECTORS])
def test_wrong_vectors(vector, message):
    objective = Objective(mlp(), F.cross_entropy, (X, Y))
    calls = {
        "theta": [
            objective.loss,
            objective.gradient,
            objective.at,
            objective.set_point,
            objective.state,
            lambda theta: objective.hvp(GOOD, theta),
            lambda theta: objective.ggnvp(GOOD, theta),
        ],
        "v": [objective.hvp, objective.ggnvp],
    }
    for name, uses in calls.items():
        for use in uses:
            with pytest.raises(ShapeMismatch, match=message.replace("NAME", name)) as raised:
                use(vector)
            assert isinstance(raised.value, (InvalidArgument, ValueError))
            assert "\n" not in str(raised.value)
    before = objective.point
    with objective.evaluator() as values, pytest.raises(ShapeMismatch):
        values(vector)
    assert torch.equal(objective.point, before)


def test_a_block_of_points_is_no_point():
    objective = Objective(mlp(), F.cross_entropy, (X, Y))
    with pytest.raises(ShapeMismatch, match=rf"theta must have shape \({N},\), got \({N}, 2\)"):
        objective.loss(torch.zeros(N, 2, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_second_derivatives_in_half_precision_are_refused(dtype):
    objective = Objective(mlp().to(dtype), F.cross_entropy, (X.to(dtype), Y))
    v = objective.point
    for product, name in ((objective.hvp, "a Hessian product"), (objective.ggnvp, "a Gauss-Newton product")):
        message = rf"{name} needs float32 or float64 parameters, these are {dtype}: pass model.float\(\)"
        with pytest.raises(NotDifferentiable, match=message) as raised:
            product(v)
        assert isinstance(raised.value, (ThalwegError, RuntimeError))


def test_gauss_newton_of_a_written_loss_needs_outputs():
    objective = Objective(mlp(), data=[(X, Y)], batch_loss=lambda model, batch: F.cross_entropy(model(X), Y))
    with pytest.raises(
        InvalidArgument, match=r"with batch_loss pass outputs=g .* returns \(output, target\)"
    ):
        objective.ggnvp(objective.point)
    with pytest.raises(InvalidArgument, match="pass outputs=g"):
        objective.at().values(["accuracy"])


@pytest.mark.parametrize(
    ("model", "loss", "target"),
    [
        (nn.Linear(5, 3).double(), F.cross_entropy, Y),
        (mlp(), F.cross_entropy, Y + 3),
        (mlp(), F.cross_entropy, Y.double()),
    ],
)
@pytest.mark.parametrize("call", ["loss", "gradient"])
def test_a_model_that_does_not_take_the_data(model, loss, target, call):
    objective = Objective(model, loss, (X, target))
    for _ in range(2):
        with pytest.raises(InvalidArgument, match=r"do not fit: .* \(6, 4\) float64, \(6") as raised:
            getattr(objective, call)()
        assert "\n" not in str(raised.value)
        assert isinstance(raised.value.__cause__, (RuntimeError, IndexError))


def test_unknown_metrics():
    objective = Objective(mlp(), F.cross_entropy, (X, Y))
    for metrics, message in (
        (["loss", "auc"], "metrics: 'auc' is none of loss, accuracy"),
        ([], r"metrics: \[\]"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            objective.at().values(metrics)
        with pytest.raises(InvalidArgument, match=message), objective.evaluator(metrics):
            pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("0.bias"),
            r"checkpoint lacks 1 of 4 parameters \(0.bias\); it holds 0.weight, 2.weight",
        ),
        (lambda s: s.clear(), r"checkpoint lacks 4 of 4 parameters \(0.weight, 0.bias, 2.weight, 2.bias\)"),
        (
            lambda s: s.update({"2.bias": torch.zeros(7)}),
            r"checkpoint: 2.bias has shape \(7,\), the model's has \(3,\)",
        ),
    ],
)
def test_a_checkpoint_of_another_model(change, message):
    objective = Objective(mlp(), F.cross_entropy, (X, Y))
    state = mlp().state_dict()
    change(state)
    with pytest.raises(InvalidArgument, match=message):
        objective.flatten(state)


def test_complex_parameters_that_are_not_selected_do_no_harm():
    class Fourier(nn.Module):
        def __init__(self):
            super().__init__()
            self.phase = nn.Parameter(torch.ones(4, dtype=torch.complex128))
            self.head = nn.Linear(4, 3, dtype=torch.float64)

        def forward(self, x):
            return self.head((x * self.phase).real)

    model = Fourier()
    objective = Objective(model, F.cross_entropy, (X, Y), parameters="head.*")
    loss = F.cross_entropy(model.head(X), Y)
    torch.testing.assert_close(objective.loss(), loss.detach(), rtol=1e-14, atol=0)
    assert torch.isfinite(objective.hvp(objective.point)).all()


def test_an_infinite_loss_is_a_value():
    def loss(output, target):
        return F.cross_entropy(output, target) / 0.0

    objective = Objective(mlp(), loss, (X, Y))
    assert objective.loss() == math.inf
    assert objective.at().values(["loss"]) == {"loss": math.inf}
    with objective.evaluator() as values:
        assert values(objective.point) == {"loss": math.inf}
        assert math.isnan(values(torch.full_like(objective.point, math.nan))["loss"])
    assert torch.isfinite(objective.point).all()
