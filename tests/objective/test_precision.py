"""Half precision, and other devices where there are any."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.objective import Objective

from .test_objective import assert_same
from .zoo import mlp, normal

X, Y = normal(11, 4), torch.arange(11) % 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_and_gradient_in_half_precision(dtype):
    model = mlp()
    wanted = Objective(model.to(dtype).double(), F.cross_entropy, (X.to(dtype).double(), Y))
    half = Objective(mlp().to(dtype), F.cross_entropy, (X.to(dtype), Y), batch_size=4)
    # Each of some ten roundings is by half of eps (2^-8 for bfloat16), of numbers of order one.
    tolerance = 10 * torch.finfo(dtype).eps
    loss, gradient = half.loss(), half.gradient()
    assert loss.dtype == gradient.dtype == half.point.dtype == dtype
    torch.testing.assert_close(loss.double(), wanted.loss(), rtol=tolerance, atol=0)
    torch.testing.assert_close(gradient.double(), wanted.gradient(), rtol=0, atol=tolerance)
    with half.evaluator(["loss", "accuracy"]) as values:
        assert values(half.point)["loss"] == pytest.approx(float(wanted.loss()), rel=tolerance)


def test_half_precision_inside_the_model_is_the_models_own_matter():
    class Mixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp().float()

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.body(x)

    model = Mixed()
    objective = Objective(model, F.cross_entropy, (X.float(), Y))
    wanted = Objective(model.body, F.cross_entropy, (X.float(), Y))
    tolerance = 10 * torch.finfo(torch.bfloat16).eps
    assert_same(objective.loss(), wanted.loss(), tolerance)
    assert_same(objective.gradient(), wanted.gradient(), tolerance)
    assert objective.hvp(objective.point).isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(case, dense):
    # float64 on both sides, other kernels: the room of the dense comparison.
    def moved(value):
        if isinstance(value, torch.Tensor):
            return value.cuda()
        if isinstance(value, dict):
            return {key: moved(entry) for key, entry in value.items()}
        return type(value)(moved(entry) for entry in value) if isinstance(value, (tuple, list)) else value

    v = normal(case.theta.numel(), 2)
    model = case.model.cuda()
    for data in (case.arguments["data"], moved(case.arguments["data"])):
        objective = Objective(model, **{**case.arguments, "data": data})
        generator = torch.cuda.get_rng_state()
        with objective.at(case.theta.cuda()) as here:
            assert_same(here.loss().cpu(), dense.loss)
            assert_same(here.gradient().cpu(), dense.gradient)
            assert_same(here.hvp(v.cuda()).cpu(), dense.hessian @ v)
            assert here.strategy == "kept graph"
            if case.output_of_batch:
                assert_same(here.ggnvp(v.cuda()).cpu(), dense.gauss_newton @ v)
        assert torch.equal(generator, torch.cuda.get_rng_state())
    with pytest.raises(ShapeMismatch, match="theta must be on cuda:0 like the objective, got cpu"):
        objective.loss(case.theta)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_that_runs_out_on_the_device():
    class Wide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 3, dtype=torch.float64)

        def forward(self, x):
            # A quarter of the device's memory for each sample.
            torch.empty(len(x), torch.cuda.mem_get_info()[1] // 4, dtype=torch.uint8, device="cuda")
            return self.linear(x)

    model = Wide().cuda()
    objective = Objective(model, F.cross_entropy, (X, Y))
    wanted = F.cross_entropy(model.linear(X.cuda()), Y.cuda())
    torch.testing.assert_close(objective.loss(), wanted.detach(), rtol=1e-12, atol=0)
    assert 1 <= objective.batches.largest <= 3
    assert objective.notes


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_parameters_on_two_devices_are_refused():
    model = mlp()
    model[2].to("cuda:1")
    model[0].to("cuda:0")
    with pytest.raises(InvalidArgument, match="parameters are on 2 devices"):
        Objective(model, F.cross_entropy, (X, Y))


def test_parameters_on_two_kinds_of_devices_are_refused():
    model = mlp()
    model[2].to("meta")
    with pytest.raises(InvalidArgument, match="parameters are on 2 devices"):
        Objective(model, F.cross_entropy, (X, Y))
