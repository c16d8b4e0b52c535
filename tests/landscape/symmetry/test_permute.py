"""Random equivalent networks have equal losses (K18), and there are as many as the products of factorials say."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.landscape.symmetry.models import ZOO, unlike
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.landscape import equivalents, permutations, permute
from thalweg.problems.mlp import MLP


def _moved(a: nn.Module, b: nn.Module) -> float:
    """The share of parameters that differ."""
    pairs = [(p != q).float() for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    return float(torch.cat([pair.ravel() for pair in pairs]).mean())


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_loss_is_equal(name: str, dtype: torch.dtype, tolerance: float) -> None:
    model, x, y, loss = ZOO[name]()
    model = model.to(dtype).eval()
    x, y = (t.to(dtype) if t.is_floating_point() else t for t in (x, y))
    graph = permutations(model, x)
    # Nothing was found that a trial then refuted: the rules themselves are right.
    assert not any("changed the output" in reason for reason in graph.pinned.values())
    before = loss(model(x), y)
    for seed in range(3):
        equal = permute(model, seed, graph=graph)
        # Half of all parameters and more are in another place, so that equality says something.
        assert _moved(model, equal) > 0.5
        after = loss(equal(x), y)
        assert (after - before).item() == pytest.approx(0, abs=tolerance * max(1.0, before.item()))


@pytest.mark.parametrize("name", ["mlp with batch-norm", "resnet"])
def test_loss_on_batch_statistics_is_equal(name: str) -> None:
    torch.manual_seed(0)
    model, x, y, loss = ZOO[name]()
    model, x = model.double().train(), x.double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    equal = permute(model, 1, x)
    a, b = (loss(m(x), y) for m in (model, equal))
    assert (a - b).item() == pytest.approx(0, abs=1e-12)
    # Their running statistics were updated in permuted order, too.
    model.eval(), equal.eval()
    assert torch.allclose(model(x), equal(x), atol=1e-11)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_count_of_an_mlp_is_the_product_of_factorials(hidden: list[int], seed: int) -> None:
    model = unlike(lambda: MLP((3, *hidden, 2), "tanh"), seed).double()
    found = equivalents(model)
    assert found.count == math.prod(math.factorial(h) for h in hidden)
    assert found.log10 == pytest.approx(math.log10(found.count), abs=1e-9)
    x = torch.randn(4, 3, dtype=torch.float64)
    assert torch.allclose(permute(model, seed)(x), model(x), atol=1e-13)


def test_count_by_enumeration() -> None:
    """All 3!·2! arrangements of hidden units are reached by permute, and no other network."""
    model = unlike(lambda: MLP((2, 3, 2, 2))).double()
    first, second, last = (m.weight for m in model if isinstance(m, nn.Linear))
    expected = {
        (first[list(p)].detach(), second[list(q)][:, list(p)].detach(), last[:, list(q)].detach())
        for p in itertools.permutations(range(3))
        for q in itertools.permutations(range(2))
    }
    keys = {tuple(torch.cat([w.ravel() for w in network]).tolist()) for network in expected}
    graph = permutations(model)
    reached = set()
    for seed in range(200):
        weights = [m.weight for m in permute(model, seed, graph=graph) if isinstance(m, nn.Linear)]
        reached.add(tuple(torch.cat([w.ravel() for w in weights]).tolist()))
    assert reached == keys
    assert equivalents(model).count == 12


# Stages of 8, 16, 32 channels; blocks 1 and 2 pad 4 and 8 channels of zeros on either side of what comes.
COUNTS = {
    "conv": (5, 10),
    "deep linear": (16, 16),
    "rnn": (8,),
    "gru": (8,),
    "wine": (32,),
    "resnet": (8, 8, 16, 8, 32, 16),
    "resnet without batch-norm": (8, 8, 16, 8, 32, 16),
    "resnet without skips": (8, 8, 8, 16, 16, 32, 32),
    # The stream; for each of two blocks two heads and in each of them 8 of query and key and 8 of value; 64 units.
    "gpt": (16, *(2, 8, 8, 8, 8, 64) * 2),
    "tied gpt": (16, *(2, 8, 8, 8, 8, 64) * 2),
}


@pytest.mark.parametrize("name", COUNTS)
def test_count_of_other_architectures(name: str) -> None:
    model, x, _, _ = ZOO[name]()
    found = equivalents(model, x)
    assert found.count == math.prod(math.factorial(size) for size in COUNTS[name])
    assert found.log10 == pytest.approx(math.log10(found.count), rel=1e-12)


def test_large_counts_print_as_powers() -> None:
    wide = equivalents(MLP((4, 512, 2)))
    assert wide.log10 == pytest.approx(1166.54, abs=0.01)  # log10 512!, from tables
    assert str(wide).startswith("10^1166.5 equivalent networks")
    assert str(equivalents(MLP((4, 3, 2)))).startswith("6 equivalent networks: linear1.weight[0]: 3")


def test_nothing_changes_but_the_copy() -> None:
    model, x, y, loss = ZOO["mlp with batch-norm"]()
    model.train()
    loss(model(x), y).backward()
    before = copy.deepcopy(model.state_dict())
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    random_state = torch.get_rng_state()
    equal = permute(model, 0, x)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert model.training
    assert equal.training
    pairs = zip(model.parameters(), equal.parameters(), strict=True)
    assert not any(a.data_ptr() == b.data_ptr() for a, b in pairs)


def test_seeds() -> None:
    model = MLP((4, 9, 2))
    weights = [permute(model, seed).linear1.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_bad_input() -> None:
    with pytest.raises(InvalidArgument, match="seed must be an integer of at least 0, got -1"):
        permute(MLP((4, 3, 2)), -1)
    with pytest.raises(InvalidArgument, match=r"x: the model refused this Tensor of shape \(2, 5\)"):
        permute(MLP((4, 3, 2)), x=torch.zeros(2, 5))
    with pytest.raises(InvalidArgument, match=r"model must be a torch.nn.Module, got int"):
        equivalents(3)  # pyright: ignore[reportArgumentType]
