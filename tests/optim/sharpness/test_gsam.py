"""GSAM: its paper's decomposition and its radius that follows the rate."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import LinearLR

from thalweg.errors import InvalidArgument
from thalweg.optim.sharpness.gsam import GSAM, orthogonal_part, scheduled_rho
from thalweg.optim.sharpness.sam import SAM

SHAPES = [(3,), (2, 4), (1,)]


def drawn(seed, scale=1.0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    return [(scale * torch.randn(shape, generator=draw, dtype=torch.float64)).to(dtype) for shape in SHAPES]


def flat(tensors):
    return np.concatenate([t.detach().double().numpy().ravel() for t in tensors])


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
@settings(max_examples=40, deadline=None)
def test_the_part_is_orthogonal_to_the_perturbed_gradient_and_the_rest_is_along_it(seed, a, b):
    gradients, perturbed = drawn(seed, a), drawn(seed + 1, b)
    rest, g, h = flat(orthogonal_part(gradients, perturbed)), flat(gradients), flat(perturbed)
    # Twelve products, each rounded at 1.1e-16 of ‖g‖‖h‖ at most.
    assert abs(rest @ h) <= 1e-14 * np.linalg.norm(g) * np.linalg.norm(h)
    along = g - rest
    assert np.linalg.norm(along - (along @ h) / (h @ h) * h) <= 1e-14 * np.linalg.norm(g)
    assert rest @ rest <= g @ g * (1 + 1e-12)


def test_a_perturbed_gradient_of_zero_has_nothing_along_it():
    gradients = drawn(0)
    rest = orthogonal_part(gradients, [torch.zeros_like(g) for g in gradients])
    assert all(torch.equal(r, g) for r, g in zip(rest, gradients, strict=True))


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_single_precision_gradients_may_have_any_size(scale):
    expected = flat(orthogonal_part(drawn(0), drawn(1)))
    found = flat(orthogonal_part(drawn(0, scale, torch.float32), drawn(1, scale, torch.float32)))
    # Single precision rounds at 6e-8, relative.
    np.testing.assert_allclose(found / scale, expected, atol=1e-6)


def gradient_after_step(opt, parameters, first, second):
    for grads in (first, second):
        for p, g in zip(parameters, grads, strict=True):
            p.grad = g.clone()
        opt.step() if opt.ascended else opt.ascend()
    return flat([p.grad for p in parameters])


@given(st.integers(0, 2**32 - 1), st.floats(0, 2))
@settings(max_examples=40, deadline=None)
def test_the_base_steps_with_the_papers_direction(seed, alpha):
    parameters = [nn.Parameter(p) for p in drawn(seed + 2)]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:]}]
    opt = GSAM(torch.optim.SGD(groups, lr=0.1), alpha=alpha)
    g, h = flat(drawn(seed)), flat(drawn(seed + 1))
    expected = h - alpha * (g - (g @ h) / (h @ h) * h)
    found = gradient_after_step(opt, parameters, drawn(seed), drawn(seed + 1))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_without_alpha_it_is_sam_at_the_highest_rate():
    ours, theirs = ([nn.Parameter(p) for p in drawn(2)] for _ in range(2))
    wrapped = (
        GSAM(torch.optim.SGD(ours, lr=0.1), rho=0.3, alpha=0.0),
        SAM(torch.optim.SGD(theirs, lr=0.1), rho=0.3),
    )
    for _ in range(5):
        for opt, parameters in zip(wrapped, (ours, theirs), strict=True):

            def closure(opt=opt, parameters=parameters):
                opt.zero_grad()
                loss = sum((p**4).sum() for p in parameters)
                loss.backward()
                return loss

            opt.step(closure)
    np.testing.assert_array_equal(flat(ours), flat(theirs))


def test_a_parameter_without_a_first_gradient_counts_as_zero_there():
    p, q = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    opt = GSAM(torch.optim.SGD([p, q], lr=0.1), alpha=1.0)
    p.grad = torch.tensor([1.0])
    opt.ascend()
    p.grad, q.grad = torch.tensor([1.0]), torch.tensor([1.0])
    opt.step()
    # g = (1, 0), g' = (1, 1): g⊥ = (½, −½), g' − g⊥ = (½, 3/2).
    assert (p.grad.item(), q.grad.item()) == (0.5, 1.5)


def test_the_second_pass_may_write_into_the_memory_of_the_first():
    parameters, buffers = [nn.Parameter(p) for p in drawn(2)], drawn(0)
    opt = GSAM(torch.optim.SGD(parameters, lr=0.1), alpha=1.0)
    for values in (drawn(0), drawn(1)):
        for p, buffer, value in zip(parameters, buffers, values, strict=True):
            p.grad = buffer.copy_(value)
        opt.step() if opt.ascended else opt.ascend()
    g, h = flat(drawn(0)), flat(drawn(1))
    np.testing.assert_allclose(flat(buffers), h - (g - (g @ h) / (h @ h) * h), atol=1e-12)


def test_rho_follows_the_rate():
    p = nn.Parameter(torch.zeros(1))
    base = torch.optim.SGD([p], lr=0.4)
    opt = GSAM(base, rho=0.5, rho_min=0.1, lr_min=0.2)
    schedule = LinearLR(base, start_factor=1.0, end_factor=0.25, total_iters=3)
    # Rates 0.4, 0.3, 0.2, 0.1: halfway at 0.3, and never below rho_min.
    for expected in (0.5, 0.3, 0.1, 0.1):
        p.grad = torch.ones(1)
        opt.ascend()
        assert p.item() == pytest.approx(expected, rel=1e-6)
        opt.restore()
        base.step()
        schedule.step()


@given(st.floats(-1, 2))
def test_the_radius_stays_between_its_ends(lr):
    rho = scheduled_rho(lr, 0.1, 0.9, 0.02, 0.5)
    assert 0.02 <= rho <= 0.5
    if 0.1 <= lr <= 0.9:
        assert rho == pytest.approx(0.02 + 0.48 * (lr - 0.1) / 0.8, rel=1e-12)


def test_each_group_has_its_own_highest_rate_and_one_scheduled_before_keeps_its_first():
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    base = torch.optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b]}], lr=torch.tensor(0.1))
    LinearLR(base, start_factor=0.1)
    opt = GSAM(base)
    assert [group["lr_max"] for group in opt.param_groups] == pytest.approx([0.5, 0.1])
    opt.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.7})
    assert opt.param_groups[2]["lr_max"] == 0.7


def test_bad_arguments_are_named():
    def base():
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)

    with pytest.raises(InvalidArgument, match="alpha must be"):
        GSAM(base(), alpha=-1.0)

    class Rateless(torch.optim.Optimizer):
        def step(self, closure=None):
            pass

    with pytest.raises(InvalidArgument, match="learning rate named lr"):
        GSAM(Rateless([nn.Parameter(torch.zeros(1))], {}))
    with pytest.raises(InvalidArgument, match="rho_min must be"):
        GSAM(base(), rho_min=-1.0)
    with pytest.raises(InvalidArgument, match=r"lr_max must exceed lr_min = 0.1, got 0.1"):
        GSAM(base(), lr_min=0.1)
