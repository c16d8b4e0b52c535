import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clipping.gradients import cosine, flat, parameters
from torch import nn
from torch.nn.utils import clip_grad_norm_

from thalweg.clipping import clip_by_norm
from thalweg.errors import InvalidArgument, NotDifferentiable

SHAPES = ((4, 3), (5,), (2, 3, 2), ())


def drawn(seed: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(seed)
    return parameters(*(scale * torch.randn(shape, generator=draw).to(dtype) for shape in SHAPES))


@pytest.mark.parametrize("c", [0.01, 1.0, 3.0, 100.0])
def test_agrees_with_torch(c):
    ours, theirs = drawn(0), drawn(0)
    record = clip_by_norm(ours, c)
    norm = clip_grad_norm_(theirs, c)
    # float32 norms: torch adds 1e-6 to a norm of about 5, and sums in float32.
    assert record.norm == pytest.approx(float(norm), rel=1e-6)
    assert record.clipped == (float(norm) > c)
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=1e-6, atol=0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), log_scale=st.floats(-6, 6), log_c=st.floats(-6, 6))
def test_norm_bounded_and_direction_kept(seed, log_scale, log_c):
    params = drawn(seed, 10.0**log_scale)
    before = flat(params)
    record = clip_by_norm(params, 10.0**log_c)
    after = flat(params)
    # Each entry is rounded to float32 once, by at most 6e-8 of itself.
    assert float(after.norm()) <= 10.0**log_c * (1 + 1e-7) or not record.clipped
    assert record.clipped == (float(before.norm()) > 10.0**log_c)
    torch.testing.assert_close(after, before * record.scale, rtol=2e-7, atol=0)
    assert record.angle == 0
    assert cosine(before, after) == pytest.approx(1, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), order=st.permutations(range(len(SHAPES))))
def test_order_of_parameters_does_not_matter(seed, order):
    params = drawn(seed)
    other = drawn(seed)
    assert clip_by_norm(params, 1.0).norm == pytest.approx(
        clip_by_norm([other[i] for i in order], 1.0).norm, rel=1e-15
    )


def test_clipping_twice_changes_nothing_more():
    params = drawn(3, dtype=torch.float64)
    clip_by_norm(params, 0.5)
    once = flat(params)
    clip_by_norm(params, 0.5)
    torch.testing.assert_close(flat(params), once, rtol=1e-15, atol=0)


def test_norm_is_over_all_parameters_not_each():
    params = parameters(torch.tensor([3.0]), torch.tensor([4.0]))
    record = clip_by_norm(params, 1.0)
    assert record.norm == 5.0
    assert [float(p.grad) for p in params] == pytest.approx([0.6, 0.8], rel=1e-7)
    assert record.scale == 0.2


@pytest.mark.parametrize(("c", "clipped"), [(4.999, True), (5.0, False), (5.001, False)])
def test_a_norm_of_just_c_is_left(c, clipped):
    params = parameters(torch.tensor([3.0]), torch.tensor([4.0]))
    assert clip_by_norm(params, c).clipped == clipped


def test_small_gradient_is_untouched():
    params = drawn(0)
    before = flat(params)
    record = clip_by_norm(params, 1e3)
    assert not record.clipped
    assert record.scale == 1
    assert torch.equal(flat(params), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_wide(dtype):
    # 100² · 1000 entries = 1e7 is beyond float16, and bfloat16 would stop adding at 256 times the summand.
    params = parameters(torch.full((1000,), 100.0, dtype=dtype))
    record = clip_by_norm(params, 10.0)
    assert record.norm == pytest.approx(100 * math.sqrt(1000), rel=1e-12)
    assert params[0].grad.dtype == dtype
    eps = torch.finfo(dtype).eps
    assert float(flat(params).norm()) == pytest.approx(10.0, rel=eps)


def test_mixed_types_share_one_norm():
    params = parameters(
        torch.tensor([3.0], dtype=torch.float16),
        torch.tensor([4.0], dtype=torch.float64),
        torch.tensor([12.0]),
    )
    assert clip_by_norm(params, 6.5).norm == 13.0
    assert [p.grad.item() for p in params] == [1.5, 2.0, 6.0]


@pytest.mark.parametrize(
    ("dtype", "value"), [(torch.float32, 1e30), (torch.float64, 1e300), (torch.float64, 1e-300)]
)
def test_squares_neither_overflow_nor_vanish(dtype, value):
    params = parameters(torch.full((4,), value, dtype=dtype))
    record = clip_by_norm(params, value)
    assert record.norm == pytest.approx(2 * value, rel=1e-7)
    torch.testing.assert_close(params[0].grad, torch.full((4,), value / 2, dtype=dtype), rtol=1e-7, atol=0)


def test_a_factor_below_the_normal_numbers_keeps_its_digits():
    # 1e-8 / ‖g‖ = 8e-48 is 0 in float32, although the clipped entries are not.
    ramp = torch.linspace(1e38, 3e38, 40)
    params = parameters(ramp)
    clip_by_norm(params, 1e-8)
    expected = 1e-8 * ramp.double() / ramp.double().norm()
    torch.testing.assert_close(params[0].grad.double(), expected, rtol=3e-7, atol=0)


def test_parameters_without_gradient_are_skipped():
    params = [*parameters(torch.tensor([2.0])), nn.Parameter(torch.ones(3))]
    assert clip_by_norm(params, 1.0).norm == 2.0
    assert params[1].grad is None
    assert clip_by_norm([nn.Parameter(torch.ones(3))], 1.0).norm == 0


def test_no_gradient_entries():
    assert clip_by_norm(parameters(torch.zeros(0), torch.zeros(0, dtype=torch.float64)), 1.0).norm == 0


def test_a_parameter_given_twice_counts_once():
    (parameter,) = parameters(torch.tensor([3.0]))
    assert clip_by_norm([parameter, parameter], 1.0).norm == 3.0
    assert float(parameter.grad) == pytest.approx(1.0, rel=1e-7)


def test_module_and_pairs_and_tensor():
    model = nn.Linear(2, 1)
    for given_ in (model, model.named_parameters(), model.parameters()):
        model.weight.grad, model.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
        assert clip_by_norm(given_, 1.0).norm == 5.0
    assert clip_by_norm(model.bias, 1.0).norm == pytest.approx(0.8, rel=1e-7)


def test_sparse_gradient_with_repeated_rows():
    model = nn.Embedding(6, 3, sparse=True)
    model(torch.tensor([1, 1, 4])).square().sum().backward()
    dense = model.weight.grad.to_dense().double()
    assert not model.weight.grad.is_coalesced()
    record = clip_by_norm(model, 0.1)
    assert record.norm == pytest.approx(float(dense.norm()), rel=1e-7)
    torch.testing.assert_close(model.weight.grad.to_dense().double(), dense * record.scale, rtol=2e-7, atol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nonfinite_raises_by_name(bad):
    model = nn.Linear(2, 1)
    model.weight.grad, model.bias.grad = torch.tensor([[1.0, bad]]), torch.tensor([4.0])
    with pytest.raises(NotDifferentiable, match=r"1 parameters \(weight\)"):
        clip_by_norm(model, 1.0)
    # Another clipping of the same step may still look at it.
    assert float(model.bias.grad) == 4.0


def test_nonfinite_skip_makes_the_step_do_nothing():
    params = drawn(0)
    params[1].grad[0] = math.nan
    before = [p.detach().clone() for p in params]
    record = clip_by_norm(params, 1.0, nonfinite="skip")
    assert record.skipped
    assert record.nonfinite == ("params[1]",)
    assert math.isnan(record.norm)
    assert math.isnan(record.angle)
    torch.optim.AdamW(params, lr=1.0, weight_decay=0.5).step()
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))


def test_nonfinite_pass_leaves_the_gradients():
    params = drawn(0)
    params[1].grad[0] = math.inf
    before = flat(params)
    record = clip_by_norm(params, 1.0, nonfinite="pass")
    assert not record.clipped
    assert not record.skipped
    assert record.norm == math.inf
    assert torch.equal(flat(params), before)


def test_infinite_c_only_measures():
    assert not clip_by_norm(drawn(0, 1e6), math.inf).clipped


@pytest.mark.parametrize("c", [0, -1.0, math.nan, "one", None])
def test_wrong_c(c):
    with pytest.raises(InvalidArgument, match="c must be a number above 0"):
        clip_by_norm(drawn(0), c)


def test_wrong_arguments():
    with pytest.raises(InvalidArgument, match='"raise", "skip" or "pass"'):
        clip_by_norm(drawn(0), 1.0, nonfinite="ignore")
    model = nn.Linear(2, 1)
    iterator = model.parameters()
    list(iterator)
    with pytest.raises(InvalidArgument, match="only once"):
        clip_by_norm(iterator, 1.0)
    with pytest.raises(InvalidArgument, match=r"params\[0\] must be a parameter"):
        clip_by_norm([{"params": []}], 1.0)
    with pytest.raises(InvalidArgument, match=r"gradient of params\[0\] is complex"):
        clip_by_norm(parameters(torch.ones(2, dtype=torch.complex64)), 1.0)


def test_wrong_storage():
    parameter = nn.Parameter(torch.zeros(2, 2).to_sparse_csr())
    parameter.grad = torch.eye(2).to_sparse_csr()
    with pytest.raises(InvalidArgument, match="sparse_csr: make it dense or COO"):
        clip_by_norm([("w", parameter)], 1.0)
