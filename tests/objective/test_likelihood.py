"""Likelihoods are found from the loss, with the weight of each datum, whatever the loss is wrapped in."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.objective.batch_loss import BatchLoss
from thalweg.objective.drawn_labels import classes, normals, uniforms
from thalweg.objective.likelihood import Likelihood, known_link, likelihood

from .zoo import classes as labels
from .zoo import normal

Z, Y = 3 * normal(9, 5), labels(9, of=5)
SKIPPING = Y.where(torch.arange(9) % 3 > 0, -100)
PIXELS, OF_PIXELS = normal(4, 5, 2, 3), labels(4, 2, 3, of=5)
TOKENS, NEXT = normal(4, 3, 5), labels(4, 3, of=5)
REAL, BITS = normal(9, 5, seed=1), (normal(9, 5, seed=2) > 0).double()
W = torch.tensor([0.2, 3.0, 1.3, 0.7, 1.0], dtype=torch.float64)
MASK = (normal(9, 5, seed=3) > 0).double()


def found(loss, z, y) -> Likelihood | None:
    return likelihood(BatchLoss(nn.Identity(), loss, None, None), z, y)


def even(shape, value):
    return torch.full(shape, value, dtype=torch.float64)


def smoothed(y):
    return (0.9 * W[y] + 0.1 * W.mean()) / W[y].sum()


# name: loss, output, target, link, class axis, the weight of each datum (and entry)
KNOWN = {
    "mean": (F.cross_entropy, Z, Y, "softmax", 1, even((9,), 1 / 9)),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), Z, Y, "softmax", 1, even((9,), 1 / 9)),
    "none": (nn.CrossEntropyLoss(reduction="none"), Z, Y, "softmax", 1, even((9,), 1 / 9)),
    "skipping": (F.cross_entropy, Z, SKIPPING, "softmax", 1, (SKIPPING >= 0).double() / 6),
    "weights": (nn.CrossEntropyLoss(weight=W), Z, Y, "softmax", 1, W[Y] / W[Y].sum()),
    "weights, smoothed": (
        nn.CrossEntropyLoss(weight=W, label_smoothing=0.1),
        Z,
        Y,
        "softmax",
        1,
        smoothed(Y),
    ),
    "shares": (F.cross_entropy, Z, REAL.softmax(1), "softmax", 1, even((9,), 1 / 9)),
    "weighted shares": (
        nn.CrossEntropyLoss(weight=W),
        Z,
        REAL.softmax(1),
        "softmax",
        1,
        REAL.softmax(1) @ W / 9,
    ),
    "partial": (functools.partial(F.cross_entropy, weight=W), Z, Y, "softmax", 1, W[Y] / W[Y].sum()),
    "pixels": (F.cross_entropy, PIXELS, OF_PIXELS, "softmax", 1, even((24,), 1 / 24)),
    "log-probabilities": (
        nn.NLLLoss(weight=W),
        Z.log_softmax(1),
        Y,
        "log-softmax",
        1,
        W[Y] / W[Y].sum(),
    ),
    "squares": (F.mse_loss, Z, REAL, "identity", 1, even((9, 5), 2 / 45)),
    "sum of squares": (nn.MSELoss(reduction="sum"), Z, REAL, "identity", 1, even((9, 5), 2 / 9)),
    "squares of numbers": (F.mse_loss, Z[:, 0], REAL[:, 0], "identity", 1, even((9, 1), 2 / 9)),
    "bits": (F.binary_cross_entropy_with_logits, Z, BITS, "sigmoid", 1, even((9, 5), 1 / 45)),
    "weighted bits": (
        nn.BCEWithLogitsLoss(pos_weight=W),
        Z,
        BITS,
        "sigmoid",
        1,
        (W * BITS + 1 - BITS) / 45,
    ),
}


EPS = torch.finfo(torch.float64).eps


def assert_weights(likelihood, wanted, eps=EPS):
    wanted = wanted.reshape(likelihood.weights.shape).to(likelihood.weights)
    # The difference of two slopes of at most twice its size.
    assert float((likelihood.weights - wanted).abs().max()) <= 10 * eps * float(wanted.max())


@pytest.mark.parametrize("name", KNOWN)
def test_losses_of_torch(name):
    loss, z, y, link, axis, weights = KNOWN[name]
    assert known_link(loss, z.dim()) == (link, axis)
    likelihood = found(loss, z, y)
    assert (likelihood.link, likelihood.axis) == (link, axis)
    assert_weights(likelihood, weights)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", KNOWN)
def test_the_same_behind_a_function(name, dtype):
    loss, z, y, link, axis, weights = KNOWN[name]
    z, y = z.to(dtype), y.to(dtype) if y.is_floating_point() else y
    # Log-probabilities that were rounded anew are none to the last digit, which is what they are known by.
    z = z.log_softmax(1) if link == "log-softmax" else z
    loss = loss.to(dtype) if isinstance(loss, nn.Module) else loss
    if isinstance(loss, functools.partial):
        loss = functools.partial(loss.func, weight=W.to(dtype))
    summed = getattr(loss, "reduction", "mean") == "sum"
    likelihood = found(lambda z, y: loss(z, y) / (len(z) if summed else 1), z, y)
    assert (likelihood.link, likelihood.axis) == (link, axis)
    assert_weights(likelihood, weights, torch.finfo(dtype).eps)
    if isinstance(loss, nn.Module):
        loss.double()


def test_shifted_tokens():
    def loss(z, y):
        return F.cross_entropy(z[:, :-1].flatten(0, 1), y[:, 1:].flatten())

    likelihood = found(loss, TOKENS, NEXT)
    assert (likelihood.link, likelihood.axis) == ("softmax", 2)
    assert_weights(likelihood, torch.tensor([1 / 8, 1 / 8, 0.0], dtype=torch.float64).repeat(4))
    assert likelihood.kept.view(4, 3).tolist() == [[True, True, False]] * 4


def test_masked_squares():
    likelihood = found(lambda z, y: (MASK * (z - y) ** 2).sum() / MASK.sum(), Z, REAL)
    assert likelihood.link == "identity"
    assert_weights(likelihood, 2 * MASK / MASK.sum())


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(scale):
    assert found(lambda z, y: scale * F.cross_entropy(z, y), Z, Y).link == "softmax"
    assert found(lambda z, y: F.mse_loss(z * scale, y * scale), Z, REAL).link == "identity"
    assert found(lambda z, y: (z - y).square().mean(), Z * scale, REAL * scale).link == "identity"
    far = found(F.mse_loss, Z.float(), 1e12 * REAL.float())
    assert_weights(far, even((9, 5), 2 / 45), torch.finfo(torch.float32).eps)


@pytest.mark.parametrize(
    "loss",
    [
        nn.HuberLoss(),
        nn.L1Loss(),
        nn.SmoothL1Loss(beta=1e-3),
        lambda z, y: (z - y).cosh().log().mean(),
        lambda z, y: F.poisson_nll_loss(z, y.abs()),
        lambda z, y: (z @ torch.ones(5, 5, dtype=z.dtype) * z).mean(),
        lambda z, y: (z * y).mean(),
        lambda z, y: -F.cross_entropy(z, y.softmax(1)),
        lambda z, y: F.cross_entropy(z, y.softmax(1)) + 1e-3 * z.square().mean(),
        lambda z, y: F.cross_entropy(1.01 * z, y.softmax(1)),
        lambda z, y: F.binary_cross_entropy_with_logits(2 * z, (y > 0).to(z)),
        lambda z, y: F.binary_cross_entropy(z, (y > 0).to(z)),
        lambda z, y: z.sum() * 0,
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_other_losses_have_none(loss, dtype):
    assert found(loss, Z.to(dtype), REAL.to(dtype)) is None or not loss(Z, REAL)


def test_a_subclass_with_a_forward_of_its_own_is_not_known():
    class Halved(nn.MSELoss):
        def forward(self, z, y):
            return super().forward(z, y) / 2

    assert known_link(Halved(), 2) is None
    assert_weights(found(Halved(), Z, REAL), even((9, 5), 1 / 45))


def test_scores_are_no_log_probabilities():
    with pytest.raises(InvalidArgument, match="nll_loss takes log-probabilities"):
        found(F.nll_loss, Z, Y)


def test_uniforms_are_uniform_and_belong_to_their_place():
    places = torch.arange(20_000)
    u = uniforms(3, 0, places)
    assert u.dtype == torch.float64
    assert kstest(u.numpy(), "uniform").pvalue > 0.01
    assert kstest(normals(3, 0, places).numpy(), "norm").pvalue > 0.01
    assert torch.equal(uniforms(3, 0, places[500:700]), u[500:700])
    assert torch.equal(uniforms(3, 0, places.view(100, 200)), u.view(100, 200))
    others = [uniforms(4, 0, places), uniforms(3, 1, places), uniforms(-1, 0, places), u.roll(1)]
    for other in others:
        # The correlation of independent numbers is within 4/√20000 = 0.028 of zero.
        assert abs(float(torch.corrcoef(torch.stack([u, other]))[0, 1])) < 0.028
    assert bool(((u > 0) & (u < 1)).all())


def test_classes_come_as_often_as_their_probabilities():
    p = torch.tensor([[0.5, 0.0, 0.3, 0.2], [0.0, 1.0, 0.0, 0.0]])
    u = uniforms(0, 0, torch.arange(40_000)).view(2, -1)
    drawn = classes(p, u)
    shares = torch.bincount(drawn[0], minlength=4) / drawn.shape[1]
    # Shares of 20,000 draws have standard errors of at most 0.0036.
    assert float((shares - p[0]).abs().max()) < 0.015
    assert shares[1] == 0
    assert bool((drawn[1] == 1).all())
    # The ends belong to classes that can come.
    assert classes(
        p, torch.tensor([[1e-300, 1 - 1e-16], [1e-300, 1 - 1e-16]], dtype=torch.float64)
    ).tolist() == [
        [0, 3],
        [1, 1],
    ]
