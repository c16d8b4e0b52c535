"""Gradients at sampled labels: their second moment is the loss's Hessian in the output, by torch's autograd."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.optim.sampled_gradient import sampled_output_gradient


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=draw(seed), dtype=dtype)


LABELS = torch.tensor([0, 2, 1, 2])
TOKENS = torch.tensor([[0, 2, -100], [1, -100, 2]])
SOFT = torch.tensor([[0.2, 0.3, 0.5]] * 4, dtype=torch.float64)
BINARY = torch.tensor([[0.0, 1.0, 1.0]] * 4, dtype=torch.float64)
LOSSES = {
    "cross-entropy": ((4, 3), lambda z: F.cross_entropy(z, LABELS)),
    "summed over samples": ((4, 3), lambda z: F.cross_entropy(z, LABELS, reduction="sum") / 7),
    "class weights": (
        (4, 3),
        lambda z: F.cross_entropy(z, LABELS, weight=torch.tensor([1.0, 2, 4]).double()),
    ),
    "smoothed": ((4, 3), lambda z: F.cross_entropy(z, LABELS, label_smoothing=0.2)),
    "soft labels": ((4, 3), lambda z: F.cross_entropy(z, SOFT)),
    "masked tokens": ((2, 3, 4), lambda z: F.cross_entropy(z.flatten(0, 1), TOKENS.flatten())),
    "torch's layout": ((2, 4, 3), lambda z: F.cross_entropy(z, TOKENS)),
    "two classes": ((5, 2), lambda z: F.cross_entropy(z, torch.tensor([0, 1, 1, 0, 1]))),
    "squared error": ((4, 3), lambda z: F.mse_loss(z, SOFT)),
    "weighted squares": (
        (4, 3),
        lambda z: ((z - SOFT) ** 2 * torch.tensor([1.0, 0.5, 0.0]).double()).sum(1).mean(),
    ),
    "one output": ((6,), lambda z: F.mse_loss(z, torch.zeros(6).double())),
    "logistic": (
        (4, 3),
        lambda z: F.binary_cross_entropy_with_logits(z, BINARY, pos_weight=torch.tensor(3.0)),
    ),
    "Poisson": ((4, 3), lambda z: F.poisson_nll_loss(z, BINARY)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_mean_zero_and_the_hessian_as_covariance(name):
    shape, loss = LOSSES[name]
    z, generator = normal(*shape), draw(2)
    samples = torch.stack([sampled_output_gradient(loss, z, generator).flatten() for _ in range(800)])
    exact = torch.autograd.functional.hessian(loss, z).reshape(z.numel(), -1)
    products = samples[:, :, None] * samples[:, None, :]
    for found, expected in ((samples, torch.zeros(z.numel()).double()), (products, exact)):
        error = found.std(0) / len(found) ** 0.5
        # Five standard errors: one in 10⁶ for each of at most 600 entries. Rounding where nothing varies.
        assert bool(((found.mean(0) - expected).abs() <= 5 * error + 1e-9).all())
    assert float(exact.abs().max()) > 1e-3


def test_at_each_sampled_label_it_is_the_root_of_b_times_the_gradient_of_the_mean_loss():
    z = normal(8, 5)
    s = sampled_output_gradient(lambda z: F.cross_entropy(z, torch.zeros(8, dtype=torch.int64)), z, draw(3))
    # The sampled class is the one whose gradient p − 1 is negative.
    labels = s.argmin(1)
    assert labels.unique().numel() > 1
    leaf = z.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(leaf, labels), leaf)
    torch.testing.assert_close(s, 8**0.5 * g)


def test_labels_have_the_frequencies_of_the_softmax():
    z = normal(1, 4).expand(20_000, 4).contiguous()
    s = sampled_output_gradient(
        lambda z: F.cross_entropy(z, torch.zeros(20_000, dtype=torch.int64)), z, draw(4)
    )
    counts = torch.bincount(s.argmin(1), minlength=4).double() / 20_000
    # Five standard deviations of a frequency near a half.
    torch.testing.assert_close(counts, z[0].softmax(0), rtol=0, atol=5 * 0.5 / 20_000**0.5)


def test_masked_terms_have_none():
    z = normal(2, 3, 4)
    s = sampled_output_gradient(LOSSES["masked tokens"][1], z, draw())
    assert torch.equal(s.ne(0).any(-1), TOKENS != -100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_types(dtype):
    z = (30 * normal(64, 10)).to(dtype)
    labels = torch.arange(64) % 10
    s = sampled_output_gradient(lambda z: F.cross_entropy(z, labels), z, draw())
    assert s.dtype == dtype
    assert bool(s.isfinite().all())
    # |p − e| is at most √2, and c is 1/64.
    assert float(s.float().norm(dim=1).max()) <= (2 / 64) ** 0.5 * 1.01


def test_the_seed_decides():
    loss, z = LOSSES["cross-entropy"][1], normal(4, 3)
    first, again = (sampled_output_gradient(loss, z, draw(5)) for _ in range(2))
    assert torch.equal(first, again)
    state = torch.get_rng_state()
    sampled_output_gradient(loss, z, draw(5))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_that_diverged_has_no_estimate():
    z = normal(4, 3)
    z[0, 0] = torch.inf
    assert bool(sampled_output_gradient(LOSSES["cross-entropy"][1], z, draw()).isnan().all())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda z: (z.sum(1) ** 2).mean(), "neither that of cross-entropy nor diagonal"),
        (lambda z: F.cross_entropy(z, LABELS) + 0.1 * z.square().mean(), "neither that of cross-entropy nor"),
        (lambda z: z.square().square().mean() - z.square().mean(), "not convex in the output"),
        (nn.Sequential(nn.Sigmoid(), nn.Flatten(0)), None),
    ],
)
def test_losses_without_a_likelihood_are_refused(loss, message):
    if message is None:
        inner, message = loss, "not convex in the output"

        def loss(z):
            return F.mse_loss(inner(z), BINARY.flatten())

    with pytest.raises(InvalidArgument, match=message):
        sampled_output_gradient(loss, normal(4, 3), draw())
