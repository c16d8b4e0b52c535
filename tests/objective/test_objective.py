from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.errors import InvalidArgument
from thalweg.objective import Objective

from .zoo import ZOO, Case, mlp, normal, supervised

# Both sides add at most some hundred float64 products of numbers of order one, through at most ten layers: they
# differ by about 1e3 · eps = 2e-13 of the largest entry. A wrong weight of a batch of 11 samples shows at 1e-2.
RELATIVE = 1e-9


def assert_same(found: Tensor, wanted: Tensor, relative: float = RELATIVE) -> None:
    scale = max(float(wanted.abs().max()), 1e-3)
    torch.testing.assert_close(found, wanted, rtol=0, atol=relative * scale)


def has_outputs(case: Case) -> bool:
    return case.output_of_batch is not None


@pytest.fixture
def vectors(case: Case) -> Tensor:
    return normal(case.theta.numel(), 3, seed=11)


def test_every_quantity_equals_the_dense_derivative(case, dense, vectors):
    objective = Objective(case.model, **case.arguments)
    theta = case.theta
    assert objective.size == theta.numel()
    assert_same(objective.loss(theta), dense.loss)
    assert_same(objective.gradient(theta), dense.gradient)
    assert_same(objective.hvp(vectors, theta), dense.hessian @ vectors)
    assert_same(objective.hvp(vectors[:, 0], theta), dense.hessian @ vectors[:, 0])
    if has_outputs(case):
        wanted = dense.gauss_newton @ vectors
        assert_same(objective.ggnvp(vectors, theta), wanted)
        assert_same(objective.ggnvp(vectors[:, 1], theta), wanted[:, 1])
    else:
        with pytest.raises(InvalidArgument, match="outputs"):
            objective.ggnvp(vectors, theta)
    assert objective.notes == []


@pytest.mark.parametrize("memory_budget", [None, 0])
def test_one_point_gives_the_same_as_one_call_each(case, vectors, memory_budget):
    one_off = Objective(case.model, **case.arguments)
    vectors = vectors[:, :2]
    products = ("hvp", "ggnvp")[: 1 + has_outputs(case)]
    wanted = {name: getattr(one_off, name)(vectors, case.theta) for name in products}
    loss, gradient = one_off.loss(case.theta), one_off.gradient(case.theta)
    objective = Objective(case.model, memory_budget=memory_budget, **case.arguments)
    with objective.at(case.theta) as here:
        for _ in range(2):
            for name in products:
                assert_same(getattr(here, name)(vectors), wanted[name])
            assert_same(here.loss(), loss)
            assert_same(here.gradient(), gradient)
        assert here.strategy == "kept graph"
    here.close()
    assert_same(here.hvp(vectors[:, 1]), wanted["hvp"][:, 1])


def test_without_theta_the_point_is_the_models_own(case):
    objective = Objective(case.model, **case.arguments)
    point = objective.point
    v = normal(objective.size, seed=3)
    for name, arguments in (("loss", ()), ("gradient", ()), ("hvp", (v,))):
        torch.testing.assert_close(
            getattr(objective, name)(*arguments), getattr(objective, name)(*arguments, point), rtol=0, atol=0
        )
    point.add_(1)
    assert not torch.equal(point, objective.point)


def test_the_objective_follows_the_model_that_trains_on():
    case = ZOO["mlp"]()
    objective = Objective(case.model, **case.arguments)
    at_theta = objective.gradient(case.theta)
    objective.set_point(case.theta)
    assert torch.equal(objective.point, case.theta)
    assert torch.equal(torch.cat([p.detach().flatten() for p in case.model.parameters()]), case.theta)
    torch.testing.assert_close(objective.gradient(), at_theta, rtol=0, atol=0)


def test_a_point_does_not_move_with_the_callers_tensor():
    case = ZOO["mlp"]()
    objective = Objective(case.model, **case.arguments)
    theta, v = case.theta.clone(), normal(case.theta.numel())
    wanted = objective.hvp(v, theta), objective.gradient(theta)
    with objective.at(theta) as here:
        here.hvp(v)
        theta.add_(1)
        torch.testing.assert_close((here.hvp(v), here.gradient()), wanted, rtol=0, atol=0)


def test_results_are_the_callers_own():
    case = ZOO["mlp"]()
    with Objective(case.model, **case.arguments).at(case.theta) as here:
        loss, gradient = here.loss(), here.gradient()
        kept = loss.clone(), gradient.clone()
        loss.add_(1)
        gradient.zero_()
        assert torch.equal(here.loss(), kept[0])
        assert torch.equal(here.gradient(), kept[1])
        for result in (here.loss(), here.gradient(), here.hvp(case.theta), here.ggnvp(case.theta)):
            assert not result.requires_grad


def test_shapes_of_blocks_of_vectors():
    case = ZOO["mlp"]()
    objective = Objective(case.model, **case.arguments)
    n = objective.size
    assert objective.loss().shape == ()
    assert objective.gradient().shape == (n,)
    for product in (objective.hvp, objective.ggnvp):
        assert product(torch.zeros(n, 0, dtype=torch.float64)).shape == (n, 0)
        assert product(torch.zeros(n, 1, dtype=torch.float64)).shape == (n, 1)
        # A column is not contiguous, and kernels round it otherwise; one that asks for gradients is as good.
        v = normal(n, 2).requires_grad_()
        assert_same(product(v[:, 0]), product(v.detach()[:, 0].clone()))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_grad_mode_does_not_matter(mode):
    case = ZOO["mlp"]()
    objective = Objective(case.model, **case.arguments)
    v = normal(objective.size)
    wanted = objective.loss(), objective.gradient(), objective.hvp(v), objective.ggnvp(v)
    with mode():
        w = v * 1
        found = objective.loss(), objective.gradient(), objective.hvp(w), objective.ggnvp(w)
        moved = objective.hvp(w, objective.point)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    torch.testing.assert_close(moved, wanted[2], rtol=0, atol=0)


def test_an_open_autocast_does_not_matter():
    case = ZOO["mlp"]()
    model = case.model.float()
    objective = Objective(model, **{**case.arguments, "data": [(x.float(), y) for _, (x, y) in case.batches]})
    wanted = objective.gradient()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = objective.gradient()
    assert torch.equal(found, wanted)


def test_single_precision_agrees_with_double(case, dense, vectors):
    # eps of float32 is 1.2e-7; the same thousandfold room as above.
    model = case.model.float()

    def narrow(value):
        if isinstance(value, Tensor):
            return value.float() if value.is_floating_point() else value
        if isinstance(value, dict):
            return {key: narrow(entry) for key, entry in value.items()}
        return type(value)(narrow(entry) for entry in value) if isinstance(value, (tuple, list)) else value

    arguments = {**case.arguments, "data": narrow(case.arguments["data"])}
    objective = Objective(model, **arguments)
    theta = case.theta.float()
    with objective.at(theta) as here:
        assert_same(here.loss().double(), dense.loss, 1e-4)
        assert_same(here.gradient().double(), dense.gradient, 1e-4)
        assert_same(here.hvp(vectors.float()).double(), dense.hessian @ vectors, 1e-4)
        assert here.strategy == "kept graph"


def test_compiled_and_data_parallel_wrappers_are_seen_through():
    case = ZOO["mlp"]()
    wanted = Objective(case.model, **case.arguments).hvp(case.theta)
    for wrapped in (torch.compile(case.model), nn.DataParallel(case.model)):
        objective = Objective(wrapped, **case.arguments)
        assert objective.model is case.model
        assert torch.equal(objective.hvp(case.theta), wanted)


def test_blocks_name_the_parameters_in_the_order_of_theta():
    case = ZOO["tied embedding"]()
    objective = Objective(case.model, **case.arguments)
    named = dict(case.model.named_parameters())
    assert [block.name for block in objective.blocks] == list(named)
    for block in objective.blocks:
        assert torch.equal(objective.point[block.span], named[block.name].detach().flatten())
        assert block.size == named[block.name].numel()
    kinds = {block.name: block.kind for block in objective.blocks}
    assert kinds == {"embedding.weight": "embedding", "mix.weight": "filters", "mix.bias": "vector"}


def test_public_name_and_repeatability():
    case = supervised(mlp(), normal(9, 4), torch.arange(9) % 3)
    objective = tw.Objective(case.model, **case.arguments)
    v = normal(objective.size)
    assert torch.equal(objective.hvp(v), objective.hvp(v))
    assert objective.samples == 9
    assert (objective.dtype, objective.device) == (torch.float64, torch.device("cpu"))
    assert objective.name == "Sequential"
    assert tw.Objective(case.model, name="mine", **case.arguments).name == "mine"


def test_parameters_of_two_precisions_make_a_vector_of_the_wider():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow = nn.Linear(4, 3, dtype=torch.float32)
            self.wide = nn.Linear(3, 3, dtype=torch.float64)

        def forward(self, x):
            return self.wide(torch.tanh(self.narrow(x.float())).double())

    case = supervised(Mixed(), normal(5, 4), torch.arange(5) % 3)
    objective = Objective(case.model, **case.arguments)
    assert objective.dtype == torch.float64
    before = [p.detach().clone() for p in case.model.parameters()]
    objective.set_point(objective.point)
    assert all(torch.equal(a, b) for a, b in zip(before, case.model.parameters(), strict=True))
    assert [t.dtype for t in objective.state(objective.point).values()] == [torch.float32] * 2 + [
        torch.float64
    ] * 2
    x, y = case.arguments["data"]
    loss = nn.functional.cross_entropy(case.model(x), y)
    gradient = torch.cat(
        [g.double().flatten() for g in torch.autograd.grad(loss, list(case.model.parameters()))]
    )
    # float32 gradients of batches of 4 and 1 are rounded before they are added: a few eps of float32.
    torch.testing.assert_close(objective.gradient(), gradient, rtol=1e-5, atol=1e-6)


def test_state_and_flatten_are_inverse():
    case = ZOO["name patterns"]()
    objective = Objective(case.model, **case.arguments)
    state = objective.state(case.theta)
    assert list(state) == case.names
    assert {name: t.shape for name, t in state.items()} == {
        name: p.shape for name, p in case.model.named_parameters() if name in case.names
    }
    assert torch.equal(objective.flatten(state), case.theta)
    assert torch.equal(objective.flatten(case.model.state_dict()), objective.point)
