"""ASAM: rescaling a network's layers changes nothing it sees."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.optim.sharpness.asam import ASAM
from thalweg.optim.sharpness.sam import SAM


def network(factor=1.0):
    """A ReLU network; `factor` rescales its layers against each other, which leaves its function alone."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    with torch.no_grad():
        model[0].weight.mul_(factor)
        model[0].bias.mul_(factor)
        model[2].weight.div_(factor)
    return model


def loss(model):
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(32, 3, generator=draw).double(), torch.randn(32, 2, generator=draw).double()
    return ((model(x) - y) ** 2).mean()


def perturbed_loss(wrap, model, **options):
    opt = wrap(torch.optim.SGD(model.parameters(), lr=0.1), **options)
    loss(model).backward()
    opt.ascend()
    return float(loss(model).detach())


@given(st.floats(0.05, 20))
@settings(max_examples=40, deadline=None)
def test_without_eta_the_perturbed_loss_is_invariant_under_layer_rescaling(factor):
    here = perturbed_loss(ASAM, network(), eta=0.0)
    # Each of some 20 operations rounds at 1.1e-16, relative.
    assert perturbed_loss(ASAM, network(factor), eta=0.0) == pytest.approx(here, rel=1e-12)


def test_with_eta_and_in_sam_it_is_not():
    for wrap, options in ((ASAM, {"eta": 0.01}), (SAM, {"rho": 0.5})):
        here, there = (perturbed_loss(wrap, network(factor), **options) for factor in (1.0, 20.0))
        assert there != pytest.approx(here, rel=1e-4)


def test_defaults_are_the_papers():
    group = ASAM(torch.optim.SGD(network().parameters(), lr=0.1)).param_groups[0]
    assert (group["rho"], group["eta"]) == (0.5, 0.01)


def test_groups_that_are_not_adaptive_follow_the_authors_code():
    model = network()
    twin = copy.deepcopy(model)
    names = [name for name, _ in model.named_parameters()]
    weights = [p for name, p in model.named_parameters() if "weight" in name]
    biases = [p for name, p in model.named_parameters() if "weight" not in name]
    opt = ASAM(torch.optim.SGD([{"params": weights}, {"params": biases, "adaptive": False}], lr=0.1), rho=0.3)
    loss(model).backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    opt.ascend()
    before, after = dict(twin.named_parameters()), dict(model.named_parameters())
    t = {
        name: before[name].abs() + 0.01 if "weight" in name else torch.ones_like(before[name])
        for name in names
    }
    norm = torch.cat([(t[name] * grads[name]).flatten() for name in names]).norm()
    for name in names:
        torch.testing.assert_close(after[name], before[name] + 0.3 * t[name] ** 2 * grads[name] / norm)


def test_a_bad_eta_is_named():
    with pytest.raises(InvalidArgument, match="eta must be finite and at least 0, got -1"):
        ASAM(torch.optim.SGD(network().parameters(), lr=0.1), eta=-1)
