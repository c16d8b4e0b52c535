"""Sophia's two estimates: their means are the diagonals of the Hessian and of the Gauss-Newton matrix."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import distributed as dist
from torch import nn

from thalweg import curvature
from thalweg.errors import InvalidArgument, NotDifferentiable
from thalweg.objective import Objective
from thalweg.optim.sophia_estimates import bartlett, generator, hutchinson, random_signs


def objective(loss="cross-entropy", samples=6, dropout=0.0, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, 3)).double()
    x = torch.randn(samples, 3).double()
    y = torch.arange(samples) % 3 if loss == "cross-entropy" else torch.randn(samples, 3).double()
    loss_fn = nn.CrossEntropyLoss() if loss == "cross-entropy" else nn.MSELoss()
    return Objective(model, loss_fn, (x, y), **options)


def batch_of(obj):
    ((_, batch),) = obj.batches
    return batch


def hutchinson_sample(obj, number, seed=0):
    return hutchinson(obj, batch_of(obj), random_signs(obj.point, generator(seed, number, obj.device)))


def bartlett_sample(obj, number, seed=0):
    return bartlett(obj, batch_of(obj), generator(seed, number, obj.device))


def require_mean(samples, exact):
    """The mean of the samples is `exact`, within what their scatter allows, and this would show a factor of 2."""
    error = samples.std(0) / len(samples) ** 0.5
    # Five standard errors: fails once in 10⁵ for 31 entries, and seeds are fixed. Rounding where nothing varies.
    assert bool(((samples.mean(0) - exact).abs() <= 5 * error + 1e-12).all())
    sums = samples.sum(1)
    error = float(sums.std()) / len(sums) ** 0.5
    assert abs(float(sums.mean() - exact.sum())) <= 5 * error
    assert 5 * error < float(exact.sum())


@pytest.mark.parametrize("loss", ["cross-entropy", "squared error"])
@pytest.mark.parametrize(
    ("sample", "operator"), [(hutchinson_sample, curvature.hessian), (bartlett_sample, curvature.ggn)]
)
def test_the_mean_is_the_diagonal(loss, sample, operator):
    obj = objective(loss)
    samples = torch.stack([sample(obj, number) for number in range(400)])
    require_mean(samples, operator(obj).dense().diagonal())


def test_hutchinson_is_signs_times_their_product_with_the_dense_hessian():
    obj = objective()
    signs = random_signs(obj.point, generator(3, 5, obj.device))
    assert set(signs.tolist()) == {-1.0, 1.0}
    expected = signs * (curvature.hessian(obj).dense() @ signs)
    torch.testing.assert_close(hutchinson(obj, batch_of(obj), signs), expected)


def test_the_size_of_the_batch_does_not_change_what_is_estimated():
    # The same samples eight times over have the same mean loss, so the same Gauss-Newton matrix.
    once = objective(samples=3)
    x, y = batch_of(once)
    many = Objective(once.model, nn.CrossEntropyLoss(), (x.repeat(8, 1), y.repeat(8)))
    samples = torch.stack([bartlett_sample(many, number) for number in range(300)])
    require_mean(samples, curvature.ggn(once).dense().diagonal())


def test_terms_are_tokens_whatever_the_loss_function_is_called():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5)).double()
    tokens = torch.randint(0, 5, (4, 7))
    targets = tokens.roll(1, 1).masked_fill(tokens == 2, -100)

    def token_loss(logits, target):
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    obj = Objective(model, token_loss, [(tokens, targets)])
    samples = torch.stack([bartlett_sample(obj, number) for number in range(300)])
    require_mean(samples, curvature.ggn(obj).dense().diagonal())


@pytest.mark.parametrize("sample", [hutchinson_sample, bartlett_sample])
def test_the_model_its_gradients_and_the_random_state_are_left_alone(sample):
    obj = objective(dropout=0.5)
    obj.model.train()
    for p in obj.model.parameters():
        p.grad = torch.ones_like(p)
    before, state = copy.deepcopy(obj.model.state_dict()), torch.get_rng_state()
    first, again = sample(obj, 0), sample(obj, 0)
    assert torch.equal(first, again)
    assert not torch.equal(first, sample(obj, 1))
    assert not torch.equal(first, sample(obj, 0, seed=1))
    assert obj.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, before[name]) for name, p in obj.model.state_dict().items())
    assert all(bool((p.grad == 1).all()) for p in obj.model.parameters())
    assert not first.requires_grad


def test_estimates_of_two_processes_are_those_of_their_batches_together(monkeypatch):
    obj = objective(samples=8)
    halves = [tuple(t[half] for t in batch_of(obj)) for half in (slice(4), slice(4, 8))]
    signs = random_signs(obj.point, generator(0, 0, obj.device))
    whole = hutchinson(obj, batch_of(obj), signs)
    other = signs * hutchinson(obj, halves[1], signs)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda v: v.add_(other))
    torch.testing.assert_close(hutchinson(obj, halves[0], signs), whole)

    gradients = []
    monkeypatch.setattr(dist, "all_reduce", lambda v: gradients.append(v.clone()))
    for number in range(100):
        for process, half in enumerate(halves):
            bartlett(obj, half, generator(0, number, obj.device, process))
    # What each process makes of the sum of both gradients.
    pairs = iter(torch.stack(gradients).view(100, 2, -1).sum(1))
    monkeypatch.setattr(dist, "all_reduce", lambda v: v.copy_(next(pairs)))
    samples = torch.stack([bartlett_sample(obj, 0) for _ in range(100)])
    monkeypatch.undo()
    require_mean(samples, curvature.ggn(obj).dense().diagonal())


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh() ** 2)


class Once(nn.Module):
    def forward(self, x):
        return OnceDifferentiable.apply(x)


def test_without_a_second_derivative_differences_are_taken_and_said():
    obj = objective()
    signs = random_signs(obj.point, generator(0, 0, obj.device))
    expected = hutchinson(obj, batch_of(obj), signs)
    obj.model[1] = Once()
    # Central differences: h² and eps/h balance at eps^(2/3) = 4e-11 of the scale of the third derivatives.
    torch.testing.assert_close(hutchinson(obj, batch_of(obj), signs), expected, rtol=0, atol=1e-8)
    assert any("finite differences" in note for note in obj.notes)
    assert bool(bartlett_sample(obj, 0).isfinite().all())


def test_what_has_no_estimate_says_so():
    obj = objective()
    half = Objective(
        copy.deepcopy(obj.model).bfloat16(),
        nn.CrossEntropyLoss(),
        [(torch.ones(2, 3).bfloat16(), torch.tensor([0, 1]))],
    )
    with pytest.raises(NotDifferentiable, match="float32 or float64"):
        hutchinson_sample(half, 0)
    assert bartlett_sample(half, 0).dtype == torch.bfloat16
    unknown = Objective(
        obj.model, data=[batch_of(obj)], batch_loss=lambda m, b: F.cross_entropy(m(b[0]), b[1])
    )
    with pytest.raises(InvalidArgument, match="pass outputs=g as well"):
        bartlett_sample(unknown, 0)
