"""Metrics and their standard errors against numbers computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.landscape import evaluate, interpolate, random_line
from thalweg.objective import Measurement, Objective

from .zoo import OwnLoss, Tied, classes, convolutional, mlp, normal, seeded

N = 23
X = normal(N, 4)
Y = classes(N, of=3)
BITS = classes(N, of=2)
WORDS, NEXT = classes(N, 4, of=6), classes(N, 4, of=6, seed=1)


class Fixed(nn.Module):
    """Scores that are the data, shifted by the one parameter, which is zero."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return x + self.shift


def accuracy(scores, target, loss, **options):
    objective = Objective(Fixed(), loss, (scores, target), batch_size=5, **options)
    found = objective.at().values(["accuracy", "loss"])
    with objective.evaluator(["accuracy", "loss"]) as values:
        # The same sum in the same order.
        assert values(objective.point) == found
    assert list(found) == ["accuracy", "loss"]
    assert found["loss"] == pytest.approx(float(objective.loss()), rel=1e-14)
    return found["accuracy"]


def test_accuracy_of_class_scores():
    scores = normal(N, 3, seed=1)
    wanted = np.mean(scores.numpy().argmax(1) == Y.numpy())
    # Counts over counts: one division apart.
    assert accuracy(scores, Y, F.cross_entropy) == pytest.approx(wanted, rel=1e-14)


def test_accuracy_of_sequences_is_that_of_their_tokens():
    scores, target = normal(N, 4, 6, seed=1), classes(N, 4, of=6)

    def loss(z, y):
        return F.cross_entropy(z.flatten(0, 1), y.flatten())

    wanted = np.mean(scores.numpy().argmax(2) == target.numpy())
    assert accuracy(scores, target, loss) == pytest.approx(wanted, rel=1e-14)
    # Class scores on axis 1, as torch's own loss wants them.
    assert accuracy(scores.transpose(1, 2), target, F.cross_entropy) == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, 3)])
@pytest.mark.parametrize("kind", [torch.float64, torch.int64, torch.bool])
def test_accuracy_of_binary_logits(shape, kind):
    scores, target = normal(*shape, seed=1), classes(*shape, of=2).to(kind)

    def loss(z, y):
        return F.binary_cross_entropy_with_logits(z, y.double())

    wanted = np.mean((scores.numpy() > 0) == (target.numpy() > 0.5))
    assert accuracy(scores, target, loss) == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("kind", [torch.float64, torch.int64])
def test_accuracy_of_a_single_column_is_that_of_a_logit(kind):
    scores, target = normal(N, 1, seed=1), BITS.to(kind)

    def loss(z, y):
        return F.binary_cross_entropy_with_logits(z[:, 0], y.double())

    wanted = np.mean((scores.numpy()[:, 0] > 0) == (BITS.numpy() > 0.5))
    assert 0.2 < wanted < 0.8
    assert accuracy(scores, target, loss) == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("size", [1, 3, 5, N])
@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([0.1, 5.0, 1.0], dtype=torch.float64)),
        nn.CrossEntropyLoss(reduction="sum"),
        nn.CrossEntropyLoss(label_smoothing=0.1),
    ],
)
def test_accuracy_is_a_share_of_samples_whatever_the_loss_weighs(loss, size):
    scores = normal(N, 3, seed=1)
    wanted = np.mean(scores.numpy().argmax(1) == Y.numpy())
    assert accuracy(scores, Y, loss, microbatch=size) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "ignored"), [(F.cross_entropy, -100), (nn.CrossEntropyLoss(ignore_index=2), 2)]
)
def test_ignored_targets_are_no_mistakes(loss, ignored):
    scores, target = normal(N, 3, seed=1), Y.clone()
    target[5:10] = ignored  # a whole batch
    target[::4] = ignored
    kept = target.numpy() != ignored
    wanted = np.mean(scores.numpy().argmax(1)[kept] == target.numpy()[kept])
    assert accuracy(scores, target, loss) == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize(
    ("scores", "target", "loss", "message"),
    [
        (
            X,
            normal(N, 4),
            F.mse_loss,
            "accuracy needs class targets; for a regression ask for the loss alone",
        ),
        (X, X[:, 0], lambda z, y: z.mean(), "accuracy needs class targets"),
        (
            normal(N, 3, 2),
            classes(N, 4, of=2),
            lambda z, y: z.mean(),
            r"output \(4, 3, 2\) .* for target \(4, 4\)",
        ),
    ],
)
def test_accuracy_without_classes_is_refused(scores, target, loss, message):
    objective = Objective(Fixed(), loss, (scores, target), batch_size=4)
    with pytest.raises(InvalidArgument, match=message):
        objective.at().values(["loss", "accuracy"])


@pytest.mark.parametrize("batchnorm", ["eval", "batch", "recalibrate"])
def test_metrics_agree_with_the_single_quantities(batchnorm):
    x = normal(N, 1, 4, 4)
    objective = Objective(convolutional(), F.cross_entropy, (x, Y), batch_size=9, batchnorm=batchnorm)
    theta = objective.point + 0.1
    names = ["gradient_norm", "loss", "accuracy"]
    found = objective.at(theta).values(names)
    assert list(found) == names
    assert found["loss"] == pytest.approx(float(objective.loss(theta)), rel=1e-12)
    assert found["gradient_norm"] == pytest.approx(float(objective.gradient(theta).norm()), rel=1e-12)
    assert 0 <= found["accuracy"] <= 1
    for chosen in (names, ["accuracy"], ["loss"]):
        with objective.evaluator(chosen, points=2) as values:
            for _ in range(2):
                assert values(theta) == {name: pytest.approx(found[name], rel=1e-12) for name in chosen}


def test_metrics_of_a_models_own_loss():
    model = seeded(OwnLoss())
    data = {"input_ids": WORDS, "labels": NEXT}
    objective = Objective(
        model,
        data=data,
        outputs=lambda model, batch: (model(batch["input_ids"]).logits, batch["labels"]),
        batch_size=5,
    )
    with torch.no_grad():
        output = model(WORDS, NEXT)
    found = objective.at().values(["loss", "accuracy"])
    assert found["loss"] == pytest.approx(float(output.loss), rel=1e-12)
    assert found["accuracy"] == pytest.approx(
        float((output.logits.argmax(-1) == NEXT).double().mean()), rel=1e-14
    )
    assert math.isnan(objective.at().measure(["loss"])["loss"].stderr)


# Standard errors.

REAL = normal(N, 3, seed=5)


def token_loss(z, y):
    return F.cross_entropy(z.flatten(0, -2), y.flatten())


def each(losses):
    return losses.detach().numpy().reshape(N, -1)


SPREADS = {
    "function": (mlp, X, Y, F.cross_entropy, lambda z: each(F.cross_entropy(z, Y, reduction="none"))[:, 0]),
    "module": (
        mlp,
        X,
        Y,
        nn.CrossEntropyLoss(),
        lambda z: each(F.cross_entropy(z, Y, reduction="none"))[:, 0],
    ),
    "mean over outputs": (mlp, X, REAL, nn.MSELoss(), lambda z: each((z - REAL).square()).mean(1)),
    "sum over outputs": (
        mlp,
        X,
        REAL,
        nn.MSELoss(reduction="sum"),
        lambda z: each((z - REAL).square()).sum(1),
    ),
    "one loss per sample": (
        mlp,
        X,
        REAL,
        lambda z, y: (z - y).square().sum(1),
        lambda z: each((z - REAL).square()).sum(1),
    ),
    "sequences": (
        lambda: seeded(Tied()),
        WORDS,
        NEXT,
        token_loss,
        lambda z: each(F.cross_entropy(z.flatten(0, 1), NEXT.flatten(), reduction="none")).mean(1),
    ),
}


@pytest.mark.parametrize("batch_size", [4, N])
@pytest.mark.parametrize("name", SPREADS)
def test_standard_error_of_the_loss(name, batch_size):
    model, x, y, loss, losses = SPREADS[name]
    model = model()
    objective = Objective(model, loss, (x, y), batch_size=batch_size)
    found = objective.at().measure(["loss"])["loss"]
    losses = losses(model(x))
    assert isinstance(found, Measurement)
    assert found.samples == N
    # The variance is a difference of moments: their rounding over it is far below 1e-9.
    assert found.value == pytest.approx(losses.mean(), rel=1e-12)
    assert found.stderr == pytest.approx(losses.std(ddof=1) / math.sqrt(N), rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (nn.CrossEntropyLoss(weight=torch.tensor([0.1, 5.0, 1.0], dtype=torch.float64)), Y),
        (nn.CrossEntropyLoss(ignore_index=2), Y),
        (lambda z, y: F.cross_entropy(z, y) * (z - z.mean(0)).square().sum(), Y),
    ],
)
def test_no_standard_error_where_the_mean_is_not_over_samples(loss, target):
    objective = Objective(mlp(), loss, (X, target), batch_size=N)
    found = objective.at().measure(["loss"])["loss"]
    assert math.isnan(found.stderr)
    assert found.value == pytest.approx(float(objective.loss()), rel=1e-12)


def test_standard_error_of_the_accuracy():
    scores = normal(N, 3, seed=1)
    objective = Objective(Fixed(), F.cross_entropy, (scores, Y), batch_size=5)
    found = objective.at().measure(["accuracy", "gradient_norm"])
    right = np.sum(scores.numpy().argmax(1) == Y.numpy())
    share = (right + 0.5) / (N + 1)
    assert found["accuracy"].stderr == pytest.approx(math.sqrt(share * (1 - share) / (N + 1)), rel=1e-12)
    assert math.isnan(found["gradient_norm"].stderr)
    # All right is not certainly right.
    sure = Objective(Fixed(), F.cross_entropy, (10 * F.one_hot(Y, 3).double(), Y)).at().measure(["accuracy"])
    assert sure["accuracy"].value == 1
    assert 0 < sure["accuracy"].stderr < 0.1


def test_the_spread_of_one_sample_is_none():
    found = Objective(mlp(), F.cross_entropy, (X[:1], Y[:1])).at().measure(["loss"])["loss"]
    assert math.isnan(found.stderr)


def test_no_standard_error_where_targets_are_dictionaries():
    model, weights = mlp(), normal(N, seed=2).abs()
    target = {"labels": Y, "weights": weights}

    def loss(z, y):
        return (y["weights"] * F.cross_entropy(z, y["labels"], reduction="none")).mean()

    objective = Objective(model, loss, [(X, target)])
    due = loss(model(X), target).item()
    found = objective.at().measure(["loss", "gradient_norm"])
    assert found["loss"].value == pytest.approx(due, rel=1e-12)
    assert math.isnan(found["loss"].stderr)
    assert found["loss"].samples == N
    line = random_line(objective)
    slice_ = evaluate(objective, line, 5)
    other = mlp()
    for t, value in zip(slice_.axes["alpha"], slice_.values["loss"], strict=True):
        nn.utils.vector_to_parameters(line.at([float(t)]), other.parameters())
        assert value == pytest.approx(loss(other(X), target).item(), rel=1e-12)
    assert math.isnan(slice_.sampling.losses["center"].stderr)
    path = interpolate(objective, model, line.at([1.0]), points=5)
    assert float(path.losses[0]) == pytest.approx(due, rel=1e-12)
    assert math.isnan(path.error)
