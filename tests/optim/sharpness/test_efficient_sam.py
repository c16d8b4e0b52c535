"""Efficient SAM: which weights move, which samples are used, and what that costs."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.optim.sharpness.efficient_sam import EfficientSAM
from thalweg.optim.sharpness.sam import SAM


def network(*layers):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), *layers, nn.Tanh(), nn.Linear(8, 1)).double()


def batch_of(size=16, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, generator=draw).double(), torch.randn(size, generator=draw).double()


def losses(model, batch):
    x, y = batch
    return (model(x)[:, 0] - y) ** 2


def weights(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def built(model, **options):
    return EfficientSAM(torch.optim.SGD(model.parameters(), lr=0.1), model, losses, **options)


class Recorded:
    """Losses that remember at which weights, on which targets and with a gradient or not they were asked for."""

    def __init__(self):
        self.calls = []

    def __call__(self, model, batch):
        values = losses(model, batch)
        self.calls.append((weights(model), batch[1], torch.is_grad_enabled(), values.detach()))
        return values


def test_perturbing_and_using_all_is_sam():
    ours, theirs = network(), network()
    efficient, sam = (
        built(ours, rho=0.3, beta=1.0, gamma=1.0),
        SAM(torch.optim.SGD(theirs.parameters(), lr=0.1), 0.3),
    )
    batch = batch_of()

    def closure():
        sam.zero_grad()
        loss = losses(theirs, batch).mean()
        loss.backward()
        return loss

    for _ in range(10):
        assert torch.equal(efficient.step(batch), sam.step(closure).detach())
    assert torch.equal(weights(ours), weights(theirs))
    assert (efficient.cost, efficient.extra_forward_passes) == (2.0, 0)


def test_a_step_is_the_papers():
    model, recorded = network(), Recorded()
    start, batch = weights(model), batch_of()
    mean = losses(model, batch).mean()
    g = torch.nn.utils.parameters_to_vector(torch.autograd.grad(mean, list(model.parameters())))
    opt = EfficientSAM(torch.optim.SGD(model.parameters(), lr=0.1), model, recorded, rho=0.3)
    assert float(opt.step(batch)) == pytest.approx(mean.item(), rel=1e-15)
    first, again, second = recorded.calls
    assert [call[2] for call in recorded.calls] == [True, False, True]
    # Each weight moved by twice its part of ρg/‖g‖ (β = ½), or not at all.
    moved, full = first[0] - start, 2 * 0.3 * g / g.norm()
    assert torch.equal(moved, torch.zeros_like(moved))
    moved = again[0] - start
    torch.testing.assert_close(moved, torch.where(moved != 0, full, 0), rtol=0, atol=1e-15)
    assert 0.2 < (moved != 0).double().mean() < 0.8
    # The second gradient is on the half whose loss rose most, in their order, at the same weights.
    rise = (again[3] - first[3]).numpy()
    chosen = np.sort(np.argsort(-rise)[:8])
    assert torch.equal(second[1], batch[1][chosen])
    assert torch.equal(second[0], again[0])
    twin = network()
    torch.nn.utils.vector_to_parameters(again[0], twin.parameters())
    part = losses(twin, (batch[0][chosen], batch[1][chosen])).mean()
    h = torch.nn.utils.parameters_to_vector(torch.autograd.grad(part, list(twin.parameters())))
    torch.testing.assert_close(weights(model), start - 0.1 * h, rtol=0, atol=1e-14)


def test_selection_is_by_the_rise_of_the_loss_not_by_the_loss():
    # Sample 0 has a large loss that the weight does not touch, sample 1 a small one that it does.
    p = nn.Linear(1, 1, bias=False)
    used = []

    def two(model, index):
        used.append(index.tolist())
        return torch.stack([100 + 0 * model.weight.sum(), model.weight.sum() ** 2])[index]

    opt = EfficientSAM(torch.optim.SGD(p.parameters(), lr=0.1), p, two, beta=1.0)
    opt.step(torch.tensor([0, 1]))
    assert used == [[0, 1], [0, 1], [1]]


@given(st.integers(1, 40), st.sampled_from([0.25, 0.5, 0.75, 1.0]))
@settings(max_examples=25, deadline=None)
def test_passes_are_counted_by_sample(size, gamma):
    model = network()
    opt = built(model, gamma=gamma)
    for step in range(1, 4):
        opt.step(batch_of(size))
        used = max(1, round(gamma * size))
        assert opt.samples == step * size
        assert opt.sample_backward_passes == step * (size + used)
        assert opt.extra_forward_passes == (0 if used == size else step * size)
        assert opt.gradient_evaluations == 2 * step


def test_the_cost_is_below_two_gradients():
    opt = built(network())
    assert np.isnan(opt.cost)
    for size in (16, 16, 9):
        opt.step(batch_of(size))
    assert 1.45 < opt.cost < 1.55


def test_the_perturbation_is_sams_on_average():
    p = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        p.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, 0.5]]))
    start, seen = p.weight.detach().clone(), []

    def plain(model, batch):
        seen.append(model.weight.detach() - start)
        return model(batch)[:, 0]

    opt = EfficientSAM(torch.optim.SGD(p.parameters(), lr=0.0), p, plain, rho=1.0, beta=0.25, gamma=1.0)
    x = torch.tensor([[3.0, 0.0, 4.0, -12.0]])
    for _ in range(400):
        opt.step(x)
    mean = torch.stack(seen[1::2]).mean(0)
    # An entry is 4·e with probability ¼, so its mean over 400 has a standard error of √3·e/√400 = 0.087·e.
    torch.testing.assert_close(mean, x / 13, rtol=4 * 0.087, atol=0)


def test_masks_come_from_the_seed_alone():
    def run(seed, steps=3):
        model = network()
        opt = built(model, seed=seed)
        for _ in range(steps):
            opt.step(batch_of())
        return weights(model)

    first = run(0)
    # The model is drawn from seed 0, and nothing is drawn after it.
    after = torch.random.get_rng_state()
    network()
    assert torch.equal(torch.random.get_rng_state(), after)
    assert torch.equal(run(0), first)
    assert not torch.equal(run(1), first)


def test_masks_differ_from_step_to_step():
    model, recorded = network(), Recorded()
    opt = EfficientSAM(torch.optim.SGD(model.parameters(), lr=0.0), model, recorded)
    start = weights(model)
    for _ in range(2):
        opt.step(batch_of())
    masks = [recorded.calls[i][0] != start for i in (1, 4)]
    assert not torch.equal(*masks)


def test_a_run_saved_in_the_middle_goes_on_as_if_unbroken():
    model = network()
    opt = built(model)
    for seed in range(4):
        opt.step(batch_of(seed=seed))
    file = io.BytesIO()
    torch.save([model.state_dict(), opt.state_dict()], file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = network()
    resumed = built(other)
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    for seed in range(4, 8):
        opt.step(batch_of(seed=seed))
        resumed.step(batch_of(seed=seed))
    assert torch.equal(weights(model), weights(other))
    assert resumed.state_dict()["sharpness_aware"] == opt.state_dict()["sharpness_aware"]


def test_copies_go_on_alike():
    model = network()
    opt = built(model)
    opt.step(batch_of())
    for twin, copied in (copy.deepcopy((model, opt)), pickle.loads(pickle.dumps((model, opt)))):
        reference, again = copy.deepcopy((model, opt))
        again.step(batch_of())
        copied.step(batch_of())
        assert torch.equal(weights(twin), weights(reference))


def test_batch_norm_sees_the_first_pass_only():
    model = network(nn.BatchNorm1d(8))
    reference = copy.deepcopy(model)
    reference(batch_of()[0])
    built(model, rho=1.0).step(batch_of())
    for name, value in model.named_buffers():
        assert torch.equal(value, dict(reference.named_buffers())[name])
    assert model[1].track_running_stats


@pytest.mark.parametrize("failing", [1, 2])
def test_theta_is_restored_when_a_later_pass_fails(failing):
    model, calls = network(nn.BatchNorm1d(8)), []

    def fragile(model, batch):
        calls.append(1)
        if len(calls) == failing + 1:
            raise RuntimeError("out of luck")
        return losses(model, batch)

    before = weights(model)
    opt = EfficientSAM(torch.optim.SGD(model.parameters(), lr=0.1), model, fragile)
    with pytest.raises(RuntimeError, match="out of luck"):
        opt.step(batch_of())
    assert torch.equal(weights(model), before)
    assert model[1].track_running_stats
    assert not opt.ascended
    opt.step(batch_of())


def test_batches_may_be_nested_and_hold_what_is_no_sample():
    model = network()

    def nested(model, batch):
        assert batch["scale"].shape == (3,)
        return (model(batch["in"]["x"] * batch["scale"])[:, 0] - batch["y"]) ** 2

    x, y = batch_of(8)
    opt = EfficientSAM(torch.optim.SGD(model.parameters(), lr=0.1), model, nested)
    opt.step({"in": {"x": x}, "y": y, "scale": torch.ones(3).double(), "name": "a"})
    assert opt.sample_backward_passes == 12


def test_misuse_is_one_clear_line():
    model = network()
    with pytest.raises(InvalidArgument, match=r"beta must be in \(0, 1\], got 0"):
        built(model, beta=0)
    with pytest.raises(InvalidArgument, match=r"gamma must be in \(0, 1\], got 1.5"):
        built(model, gamma=1.5)
    with pytest.raises(InvalidArgument, match="seed must be"):
        built(model, seed=-1)
    base = torch.optim.SGD(model.parameters(), lr=0.1)
    opt = EfficientSAM(base, model, lambda model, batch: losses(model, batch).mean())
    with pytest.raises(ShapeMismatch, match=r'reduction="none".*shape \(16,\), got \(\)'):
        opt.step(batch_of())
    opt = built(model)
    opt.step(batch_of())
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(()))
    with pytest.raises(InvalidArgument, match="bfloat16"):
        scaler.step(opt, batch_of())
