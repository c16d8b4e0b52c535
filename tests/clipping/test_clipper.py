import math

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from thalweg.clipping import NormClipper, NormHistory
from thalweg.errors import InvalidArgument, NotDifferentiable


def trained(optimizer_of, clip, steps=8, closure=False):
    """A linear fit for a few steps; `clip(optimizer, model)` returns what to call before each step."""
    draw = torch.Generator().manual_seed(0)
    model = nn.Linear(3, 2).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=draw))
    x = torch.randn(20, 3, generator=draw).double() * 5
    y = torch.randn(20, 2, generator=draw).double()
    optimizer = optimizer_of(model.parameters())
    before_step = clip(optimizer, model)

    def evaluate():
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        if closure:
            optimizer.step(evaluate)
        else:
            evaluate()
            before_step()
            optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def sgd(params):
    return torch.optim.SGD(params, lr=0.1, momentum=0.9)


def test_attached_equals_called_equals_torch():
    clipper, attached = NormClipper(0.5), NormClipper(0.5)

    def attach(optimizer, _):
        attached.attach(optimizer)
        return lambda: None

    by_torch = trained(sgd, lambda _, model: lambda: clip_grad_norm_(model.parameters(), 0.5))
    by_hand = trained(sgd, lambda _, model: lambda: clipper(model))
    by_hook = trained(sgd, attach)
    assert torch.equal(by_hand, by_hook)
    # torch divides by ‖g‖ + 1e-6 with ‖g‖ of about 1, over eight steps.
    torch.testing.assert_close(by_hand, by_torch, rtol=0, atol=1e-5)
    assert len(clipper.records) == len(attached.history) == 8
    assert [r.norm for r in clipper.records] == clipper.history.norms == attached.history.norms


@pytest.mark.parametrize("by_name", [True, False])
def test_closures_are_clipped_after_each_evaluation(by_name):
    attached = NormClipper(0.5)

    def attach(optimizer, _):
        attached.attach(optimizer)
        step = optimizer.step
        if by_name:
            optimizer.step = lambda closure: step(closure=closure)
        return lambda: None

    plain = trained(sgd, lambda _, model: lambda: NormClipper(0.5)(model))
    closed = trained(sgd, attach, closure=True)
    assert torch.equal(plain, closed)
    assert len(attached.records) == 8


def test_line_search_evaluations_are_each_recorded():
    attached = NormClipper(0.5)

    def attach(optimizer, _):
        attached.attach(optimizer)
        return lambda: None

    trained(lambda p: torch.optim.LBFGS(p, max_iter=4), attach, steps=2, closure=True)
    assert len(attached.records) > 2
    assert all(r.norm * r.scale <= 0.5 * (1 + 1e-12) for r in attached.records)


def test_all_groups_share_one_norm_and_the_handle_ends_it():
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [a]}, {"params": [b], "lr": 2.0}], lr=1.0)
    clipper = NormClipper(1.0)
    handle = clipper.attach(optimizer)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    optimizer.step()
    assert [a.item(), b.item()] == pytest.approx([-0.6, -1.6], rel=1e-7)
    handle.remove()
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    optimizer.step()
    assert [a.item(), b.item()] == pytest.approx([-3.6, -9.6], rel=1e-7)
    assert len(clipper.records) == 1


def test_nonfinite_names_the_place_in_the_groups():
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [a]}, {"params": [b]}], lr=1.0)
    clipper = NormClipper(1.0)
    clipper.attach(optimizer)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([math.nan])
    with pytest.raises(NotDifferentiable, match="group 1, parameter 0"):
        optimizer.step()
    assert [a.item(), b.item()] == [0, 0]
    # The history holds the norm that raised, for who looks afterwards.
    assert len(clipper.history) == 1
    named = torch.optim.SGD([("weight", b)], lr=1.0)
    clipper.attach(named)
    with pytest.raises(NotDifferentiable, match=r"\(weight\)"):
        named.step()


def test_skipped_steps_change_nothing():
    a = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([a], lr=1.0)
    clipper = NormClipper(1.0, nonfinite="skip")
    clipper.attach(optimizer)
    a.grad = torch.tensor([math.inf])
    optimizer.step()
    assert a.item() == 1
    assert clipper.records[-1].skipped
    assert clipper.spikes()[0].step == 0


def test_scaled_gradients_are_refused():
    a = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([a], lr=1.0)
    NormClipper(1.0).attach(optimizer)
    a.grad = torch.ones(1)
    # As a GradScaler leaves it on a fused optimizer that unscales by itself.
    optimizer.grad_scale = torch.tensor(1024.0)
    with pytest.raises(InvalidArgument, match="unscale_"):
        optimizer.step()


@pytest.mark.parametrize("fused", [False, True])
def test_with_a_grad_scaler(fused):
    a = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([a], lr=1.0, fused=fused)
    clipper = NormClipper(1.0)
    clipper.attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale((a * torch.tensor([3.0, 4.0])).sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert clipper.records[-1].norm == 5.0
    assert a.tolist() == pytest.approx([-0.6, -0.8], rel=1e-6)


def test_records_are_bounded_and_history_can_go_on():
    history = NormHistory()
    history.append(1.0)
    clipper = NormClipper(1.0, history=history, keep=3)
    a = nn.Parameter(torch.zeros(1))
    for step in range(5):
        a.grad = torch.tensor([float(step)])
        clipper([a])
    assert [r.norm for r in clipper.records] == [2.0, 3.0, 4.0]
    assert history.norms == [1.0, 0.0, 1.0, 2.0, 3.0, 4.0]


def test_wrong_arguments():
    with pytest.raises(InvalidArgument, match="c must be a number above 0"):
        NormClipper(0)
    with pytest.raises(InvalidArgument, match="keep must be at least 1"):
        NormClipper(1.0, keep=0)
