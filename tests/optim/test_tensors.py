"""Parameters and gradients of every type, shape and layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.optim.training import NAMES, build, twin, update_alone
from torch import Tensor, nn

from thalweg.errors import InvalidArgument

TAKES_SPARSE = ["gradient_descent", "sgd", "momentum", "adagrad"]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t.contiguous(),
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(0, 3).contiguous().transpose(0, 3),
    "with gaps": lambda t: torch.stack([t, t], -1)[..., 0],
    "every other row": lambda t: torch.repeat_interleave(t, 2, 0)[::2],
}


@pytest.fixture(params=["packed", "alone"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "alone":
        update_alone(monkeypatch, 0, 16)


def values(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("name", NAMES)
def test_dtypes_may_be_mixed(name: str) -> None:
    dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    together, apart = ([values(7, dtype=d).requires_grad_() for d in (*dtypes, *dtypes)] for _ in range(2))
    mixed, singles = build(name, together), [build(name, [q]) for q in apart]
    for step in range(4):
        for p, q, single in zip(together, apart, singles, strict=True):
            p.grad = values(7, seed=step + 1, dtype=p.dtype)
            q.grad = p.grad
            single.step()
        mixed.step()
    for p, q in zip(together, apart, strict=True):
        assert torch.equal(p, q)
        assert p.isfinite().all()
    for p, entry in mixed.state.items():
        assert {v.dtype for v in entry.values() if isinstance(v, Tensor)} <= {p.dtype}


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("gradient", LAYOUTS)
@pytest.mark.parametrize("parameter", LAYOUTS)
@pytest.mark.parametrize("name", ["adamw", "schedule_free_adamw"])
def test_strides_do_not_matter(name: str, parameter: str, gradient: str) -> None:
    p = LAYOUTS[parameter](values(4, 3, 2, 5)).detach().requires_grad_()
    q = values(4, 3, 2, 5).requires_grad_()
    strides = p.stride()
    optimizer, other = build(name, [p]), build(name, [q])
    for step in range(3):
        g = values(4, 3, 2, 5, seed=step + 1)
        p.grad = LAYOUTS[gradient](g)
        q.grad = g
        optimizer.step()
        other.step()
    assert p.stride() == strides
    # Rounding may differ at the end of a vector.
    torch.testing.assert_close(p, q, rtol=1e-14, atol=1e-15)
    for key, value in optimizer.state[p].items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(value, other.state[q][key], rtol=1e-14, atol=1e-15, check_stride=False)


def test_what_lies_between_the_entries_of_a_parameter_is_left_alone() -> None:
    whole = values(6, 4)
    before = whole.clone()
    p = whole[::2, 1:3].detach().requires_grad_()
    optimizer = build("adam", [p])
    p.grad = torch.ones_like(p)
    optimizer.step()
    changed = whole != before
    assert changed[::2, 1:3].all()
    assert changed.sum() == p.numel()


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("name", NAMES)
def test_an_expanded_gradient_is_read(name: str) -> None:
    p, q = values(4, 3).requires_grad_(), values(4, 3).requires_grad_()
    for parameter, g in (
        (p, torch.ones(1, 1, dtype=torch.float64).expand(4, 3)),
        (q, torch.ones(4, 3).double()),
    ):
        parameter.grad = g
        build(name, [parameter]).step()
    assert torch.equal(p, q)


@pytest.mark.usefixtures("layout")
def test_an_expanded_parameter_is_refused() -> None:
    p = torch.zeros(1, dtype=torch.float64).expand(4).requires_grad_()
    p.grad = torch.ones(4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="single memory location"):
        build("sgd", [p]).step()


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("name", NAMES)
def test_numbers_and_empty_tensors_are_parameters(name: str) -> None:
    number, empty, vector = (
        values().requires_grad_(),
        values(0, 3).requires_grad_(),
        values(2).requires_grad_(),
    )
    alone = values().requires_grad_()
    optimizer, other = build(name, [number, empty, vector]), build(name, [alone])
    for step in range(3):
        for p in (number, empty, vector, alone):
            p.grad = torch.full_like(p, 1.0 + step)
        optimizer.step()
        other.step()
    assert torch.equal(number, alone)
    assert number.shape == ()
    only = build(name, [empty])
    only.step()
    only.load_state_dict(only.state_dict())
    only.step()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_default_sizes_for_packing_and_blocks(name: str) -> None:
    """Parameters around 65,536 and 262,144 elements, without a test's own limits."""
    shapes = [(65_535,), (65_536,), (1025, 512), (3,)]
    mine, theirs = ([values(*s, dtype=torch.float32).requires_grad_() for s in shapes] for _ in range(2))
    options: dict[str, Any] = {"momentum": 0.9} if name == "sgd" else {}
    pair = build(name, mine, **options, compile=False), twin(name, theirs, lr=0.01, **options)
    for step in range(2):
        for optimizer, params in zip(pair, (mine, theirs), strict=True):
            for p in params:
                p.grad = values(*p.shape, seed=step + 1, dtype=torch.float32)
            optimizer.step()
    for p, q in zip(mine, theirs, strict=True):
        # A few roundings of two steps.
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("name", TAKES_SPARSE)
def test_a_sparse_embedding_is_trained_as_a_dense_one(name: str) -> None:
    layers = []
    for sparse in (True, False):
        torch.manual_seed(0)
        layer = nn.Embedding(10, 3, sparse=sparse, dtype=torch.float64)
        bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        optimizer = build(name, [layer.weight, bias])
        for step in range(4):
            optimizer.zero_grad()
            # The same row twice: the gradient is not coalesced.
            rows = torch.tensor([step, step, (3 * step + 1) % 10])
            ((layer(rows) + bias) ** 2).sum().backward()
            assert layer.weight.grad is not None
            assert layer.weight.grad.is_sparse == sparse
            optimizer.step()
        layers.append((layer.weight, bias))
    torch.testing.assert_close(*layers, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}], ids=["plain", "weight decay"])
def test_sparse_adagrad_is_the_dense_one(options: dict[str, Any], maximize: bool) -> None:
    p, q = values(5, 2).requires_grad_(), values(5, 2).requires_grad_()
    sparse, dense = (build("adagrad", [t], lr=0.1, maximize=maximize, **options) for t in (p, q))
    for step in range(4):
        place = torch.tensor([[step, 1, step]])
        p.grad = torch.sparse_coo_tensor(place, values(3, 2, seed=step), (5, 2), check_invariants=True)
        q.grad = p.grad.to_dense()
        sparse.step()
        dense.step()
    torch.testing.assert_close(p, q, rtol=1e-13, atol=1e-15)


def test_untouched_rows_stay_as_they_are() -> None:
    p = values(5, 2).requires_grad_()
    before = p.detach().clone()
    p.grad = torch.sparse_coo_tensor(
        torch.tensor([[1]]), torch.ones(1, 2).double(), (5, 2), check_invariants=True
    )
    build("adagrad", [p]).step()
    rows = (p != before).all(1)
    assert rows.tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    "order",
    [
        "dense first",
        "sparse first",
    ],
)
@pytest.mark.parametrize("name", TAKES_SPARSE)
def test_gradients_may_be_dense_and_sparse_in_turn(name: str, order: str) -> None:
    p, q = values(5, 2).requires_grad_(), values(5, 2).requires_grad_()
    turning, dense = build(name, [p]), build(name, [q])
    for step in range(4):
        g = torch.sparse_coo_tensor(
            torch.tensor([[step]]), values(1, 2, seed=step), (5, 2), check_invariants=True
        )
        p.grad = g if (step % 2 == 0) == (order == "sparse first") else g.to_dense()
        q.grad = g.to_dense()
        turning.step()
        dense.step()
    torch.testing.assert_close(p, q, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TAKES_SPARSE])
def test_sparse_gradients_that_a_rule_cannot_use_are_refused(name: str) -> None:
    p = values(5, 2).requires_grad_()
    before = p.detach().clone()
    p.grad = torch.sparse_coo_tensor(
        torch.tensor([[1]]), torch.ones(1, 2).double(), (5, 2), check_invariants=True
    )
    with pytest.raises(InvalidArgument, match=r"does not take sparse gradients.*sparse=False") as caught:
        build(name, [p]).step()
    assert "\n" not in str(caught.value)
    assert torch.equal(p, before)


def test_a_refused_step_changes_nothing() -> None:
    moved, refused = values(3).requires_grad_(), values(5, 2).requires_grad_()
    optimizer = build("adam", [{"params": [moved]}, {"params": [refused]}])
    before = moved.detach().clone()
    moved.grad = torch.ones_like(moved)
    refused.grad = torch.sparse_coo_tensor(
        torch.tensor([[1]]), torch.ones(1, 2).double(), (5, 2), check_invariants=True
    )
    with pytest.raises(InvalidArgument):
        optimizer.step()
    assert torch.equal(moved, before)


@pytest.mark.parametrize("name", NAMES)
def test_complex_parameters_are_refused_by_name(name: str) -> None:
    z = torch.zeros(2, dtype=torch.complex64, requires_grad=True)
    with pytest.raises(InvalidArgument, match=r"number 1 is torch.complex64.*view_as_real"):
        build(name, [values(2).requires_grad_(), z])
    with pytest.raises(InvalidArgument, match=r"parameter layer.weight is torch.complex64"):
        build(name, [("layer.weight", z)])
    optimizer = build(name, [values(2).requires_grad_()])
    with pytest.raises(InvalidArgument, match="real"):
        optimizer.add_param_group({"params": [z]})
    assert len(optimizer.param_groups) == 1


def test_real_views_of_complex_parameters_are_trained_as_torch_does() -> None:
    z = torch.complex(values(3), values(3, seed=1)).requires_grad_()
    real = torch.view_as_real(z.detach().clone()).requires_grad_()
    theirs, mine = twin("adam", [z], lr=0.1), build("adam", [real], lr=0.1)
    for step in range(3):
        z.grad = torch.complex(values(3, seed=step + 2), values(3, seed=step + 9))
        real.grad = torch.view_as_real(z.grad)
        theirs.step()
        mine.step()
    torch.testing.assert_close(real, torch.view_as_real(z.detach()), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_parameters_that_change_their_dtype_are_computed_in_it(name: str) -> None:
    """As `model.double()` does in the middle of a run; the state may stay in single precision."""
    options: dict[str, Any] = {"momentum": 0.9} if name == "sgd" else {}
    p, q = values(3, dtype=torch.float32).requires_grad_(), values(3, dtype=torch.float32).requires_grad_()
    changed, loaded = build(name, [p], **options), build(name, [q], **options)
    for parameter, optimizer in ((p, changed), (q, loaded)):
        parameter.grad = values(3, seed=1, dtype=torch.float32)
        optimizer.step()
        parameter.grad = None
        parameter.data = parameter.data.double()
    loaded.load_state_dict(loaded.state_dict())
    for parameter, optimizer in ((p, changed), (q, loaded)):
        parameter.grad = values(3, seed=2)
        optimizer.step()
    assert p.dtype == torch.float64
    torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)
