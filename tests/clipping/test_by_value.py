import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clipping.gradients import cosine, flat, parameters
from torch import nn
from torch.nn.utils import clip_grad_value_

from thalweg.clipping import clip_by_norm, clip_by_value
from thalweg.errors import InvalidArgument, NotDifferentiable


def heavy(seed: int, size: int = 300) -> torch.Tensor:
    """Cauchy numbers, whose tail has no variance."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=draw) / torch.randn(size, generator=draw)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), log_c=st.floats(-3, 3))
def test_agrees_with_torch_and_the_angle_with_its_definition(seed, log_c):
    c = 10.0**log_c
    ours, theirs = (parameters(*heavy(seed).split([100, 150, 50])) for _ in range(2))
    before = flat(ours)
    record = clip_by_value(ours, c)
    clip_grad_value_(theirs, c)
    after = flat(ours)
    assert torch.equal(after, flat(theirs))
    assert record.norm == pytest.approx(float(before.norm()), rel=1e-14)
    assert record.scale == pytest.approx(float(after.norm() / before.norm()), rel=1e-12)
    assert record.clipped == (not torch.equal(before, after))
    # The cosine is compared: the arc cosine of the reference would lose digits. The excess is rounded to float32.
    assert record.cosine == pytest.approx(cosine(before, after), abs=1e-7)


def test_known_angle():
    # (3, 1) becomes (1, 1): from atan(1/3) to 45 degrees.
    record = clip_by_value(parameters(torch.tensor([3.0, 1.0], dtype=torch.float64)), 1.0)
    assert record.angle == pytest.approx(math.pi / 4 - math.atan(1 / 3), rel=1e-14)


def test_small_angle_keeps_its_digits():
    # (1 + t, 1) becomes (1, 1): turned by t/2 to first order; an arc cosine in float64 ends at 1e-8.
    t = 2.0**-40
    record = clip_by_value(parameters(torch.tensor([1 + t, 1.0], dtype=torch.float64)), 1.0)
    assert record.angle == pytest.approx(t / 2, rel=1e-10)


def test_equal_entries_do_not_turn():
    params = parameters(torch.tensor([5.0, -5.0, 5.0]), torch.tensor([-5.0], dtype=torch.float64))
    record = clip_by_value(params, 2.0)
    # Two equal float64 numbers cancel but for their rounding, under a square root: 1e-8.
    assert record.angle == pytest.approx(0, abs=1e-7)
    assert record.scale == pytest.approx(0.4, rel=1e-14)


def test_within_bounds_is_untouched():
    params = parameters(torch.tensor([0.5, -1.0]))
    record = clip_by_value(params, 1.0)
    assert not record.clipped
    assert record.angle == 0
    assert record.scale == 1
    assert flat(params).tolist() == [0.5, -1.0]


def test_negative_entries_are_bounded_too():
    params = parameters(torch.tensor([0.5, -7.0]))
    assert clip_by_value(params, 1.0).clipped
    assert flat(params).tolist() == [0.5, -1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    params = parameters(torch.tensor([300.0, 0.05, -2.0], dtype=dtype), torch.tensor([3.0]))
    before = flat(params)
    record = clip_by_value(params, 0.1)
    # The bound 0.1 is rounded to the gradient's type, and the angle is that of the stored numbers, found in float32.
    assert record.cosine == pytest.approx(cosine(before, flat(params)), abs=1e-8)
    assert float(params[0].grad[0]) == float(torch.tensor(0.1, dtype=dtype))


def test_large_numbers_do_not_overflow():
    big = torch.tensor([3e300, 1e300], dtype=torch.float64)
    record = clip_by_value(parameters(big, torch.tensor([2.0])), 1e300)
    assert record.angle == pytest.approx(math.pi / 4 - math.atan(1 / 3), rel=1e-12)


def test_sparse_gradient():
    model = nn.Embedding(6, 3, sparse=True)
    model(torch.tensor([1, 1, 4])).square().sum().backward()
    dense = model.weight.grad.to_dense()
    record = clip_by_value(model, 0.5)
    clamped = dense.clamp(-0.5, 0.5)
    assert torch.equal(model.weight.grad.to_dense(), clamped)
    assert record.cosine == pytest.approx(
        cosine(dense.double().flatten(), clamped.double().flatten()), abs=1e-7
    )


def test_heavy_tails_turn_under_value_but_not_under_norm():
    """CLAIMS K55, over ten draws."""
    for seed in range(10):
        gradient = heavy(seed, 10_000)
        by_value, by_norm = parameters(gradient), parameters(gradient)
        assert clip_by_value(by_value, 1.0).cosine < 0.5
        assert clip_by_norm(by_norm, 1.0).cosine == 1
        assert cosine(flat(by_value), gradient.double()) < 0.5
        assert cosine(flat(by_norm), gradient.double()) == pytest.approx(1, abs=1e-12)


def test_nonfinite_is_never_clamped_silently():
    params = parameters(torch.tensor([math.inf, 2.0]))
    with pytest.raises(NotDifferentiable, match=r"params\[0\]"):
        clip_by_value(params, 1.0)
    record = clip_by_value(params, 1.0, nonfinite="pass")
    assert record.nonfinite == ("params[0]",)
    assert flat(params).tolist() == [math.inf, 2.0]
    assert clip_by_value(params, 1.0, nonfinite="skip").skipped
    assert params[0].grad is None


def test_wrong_arguments():
    with pytest.raises(InvalidArgument, match="c must be a number above 0, got -1"):
        clip_by_value(parameters(torch.ones(2)), -1)
    with pytest.raises(InvalidArgument, match=r"c must be above 0 in torch\.float16"):
        clip_by_value(parameters(torch.ones(2, dtype=torch.float16)), 1e-9)


def test_without_gradients():
    assert not clip_by_value([nn.Parameter(torch.ones(2))], 1.0).clipped
    assert not clip_by_value(parameters(torch.zeros(0)), 1.0).clipped
