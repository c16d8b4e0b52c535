"""Losses of every reduction, weighted and skipping ones included, are the mean that torch takes over all the data."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.objective import Objective

from .oracle import Dense
from .test_objective import assert_same
from .zoo import displaced, mlp, normal, seeded

N = 11
X = normal(N, 4)
CLASSES = torch.tensor([0, 2, 1, 1, 0, 2, 2, 1, 0, 1, 2])
# The second batch of four holds ignored targets only.
SKIPPING = torch.tensor([0, 2, 1, -100, -100, -100, -100, -100, 0, 1, -100])
REAL = normal(N, 3, seed=1)
BITS = (REAL > 0).double()
SHARES = REAL.softmax(-1)
WEIGHTS = torch.tensor([0.2, 3.0, 1.3], dtype=torch.float64)


def total_over_samples(loss):
    """A sum over all data divided by the number of samples."""
    return lambda output, target: loss(output, target) / len(output)


# name: (loss, target, the same on all data at once when it is not the loss itself)
LOSSES = {
    "cross_entropy": (F.cross_entropy, CLASSES, None),
    "cross_entropy that skips": (F.cross_entropy, SKIPPING, None),
    "CrossEntropyLoss": (nn.CrossEntropyLoss(), CLASSES, None),
    "CrossEntropyLoss that skips": (nn.CrossEntropyLoss(), SKIPPING, None),
    "weighted": (nn.CrossEntropyLoss(weight=WEIGHTS), CLASSES, None),
    "ignore_index": (nn.CrossEntropyLoss(ignore_index=1), CLASSES, None),
    "weighted, ignore_index": (nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=2), CLASSES, None),
    "weighted, smoothed": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), CLASSES, None),
    "weighted, shares": (nn.CrossEntropyLoss(weight=WEIGHTS), SHARES, None),
    "CrossEntropyLoss sum": (
        nn.CrossEntropyLoss(reduction="sum"),
        CLASSES,
        total_over_samples(nn.CrossEntropyLoss(reduction="sum")),
    ),
    "CrossEntropyLoss none": (nn.CrossEntropyLoss(reduction="none"), CLASSES, F.cross_entropy),
    "NLLLoss": (
        lambda z, y: nn.NLLLoss(weight=WEIGHTS, reduction="none")(z.log_softmax(-1), y),
        CLASSES,
        lambda z, y: (WEIGHTS[y] * F.cross_entropy(z, y, reduction="none")).mean(),
    ),
    "MSELoss mean": (nn.MSELoss(), REAL, None),
    "MSELoss sum": (nn.MSELoss(reduction="sum"), REAL, total_over_samples(nn.MSELoss(reduction="sum"))),
    "MSELoss none": (nn.MSELoss(reduction="none"), REAL, nn.MSELoss()),
    "mse_loss": (F.mse_loss, REAL, None),
    "one loss per sample": (
        lambda z, y: (z - y).square().sum(1),
        REAL,
        lambda z, y: (z - y).square().sum() / N,
    ),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), BITS, None),
    "binary_cross_entropy_with_logits": (F.binary_cross_entropy_with_logits, BITS, None),
    "partial": (functools.partial(F.cross_entropy, label_smoothing=0.2), CLASSES, None),
    "HuberLoss": (nn.HuberLoss(delta=0.5), REAL, None),
    "linear in the output": (lambda z, y: (z * y).mean(), REAL, None),
}


@pytest.mark.parametrize("microbatch", [None, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_over_batches_is_the_loss_over_all_data(name, microbatch):
    loss, target, whole = LOSSES[name]
    whole = whole or loss
    model = mlp()
    dense = Dense(
        model,
        lambda model: whole(model(X), target),
        displaced(model),
        outputs=lambda model: model(X),
        output_loss=lambda z: whole(z, target),
    )
    objective = Objective(model, loss, (X, target), batch_size=4, microbatch=microbatch)
    v = normal(objective.size, seed=9)
    with objective.at(dense.theta) as here:
        assert_same(here.loss(), dense.loss)
        assert_same(here.gradient(), dense.gradient)
        assert_same(here.hvp(v), dense.hessian @ v)
        assert_same(here.ggnvp(v), dense.gauss_newton @ v)


def test_class_weights_of_dict_batches_are_read_from_their_labels():
    model, loss = mlp(), nn.CrossEntropyLoss(weight=WEIGHTS)

    def outputs(key):
        return lambda model, batch: (model(batch["x"]), batch[key])

    data = {"x": X, "labels": CLASSES}
    objective = Objective(model, loss, data, outputs=outputs("labels"), batch_size=4)
    assert_same(objective.loss(), loss(model(X), CLASSES).detach())
    data = {"x": X, "y": CLASSES}
    with pytest.raises(
        InvalidArgument, match=r'count: class weights .* last element of a batch or its "labels"'
    ):
        Objective(model, loss, data, outputs=outputs("y"))
    objective = Objective(
        model,
        loss,
        data,
        outputs=outputs("y"),
        batch_size=4,
        count=lambda batch: float(WEIGHTS[batch["y"]].sum()),
    )
    assert_same(objective.loss(), loss(model(X), CLASSES).detach())
    # Without weights samples are counted.
    plain = Objective(model, nn.CrossEntropyLoss(), data, outputs=outputs("y"), batch_size=4)
    assert_same(plain.loss(), F.cross_entropy(model(X), CLASSES).detach())


def test_an_all_ignored_data_set_is_refused():
    with pytest.raises(InvalidArgument, match="the weights of all batches sum to 0"):
        Objective(mlp(), F.cross_entropy, (X, torch.full((N,), -100)))


class Scaled(nn.Module):
    """Its own loss is twice the cross-entropy, so that it can be told from a guess."""

    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x, labels):
        logits = self.body(x)
        return {"loss": 2 * F.cross_entropy(logits, labels), "logits": logits}


def test_the_models_own_loss_is_taken_also_with_outputs():
    model = seeded(Scaled())
    data = {"x": X, "labels": CLASSES}
    wanted = 2 * F.cross_entropy(model.body(X), CLASSES).detach()

    def outputs(model, batch):
        return model.body(batch["x"]), batch["labels"]

    for options in ({}, {"outputs": outputs}, {"batch_loss": lambda model, batch: model(**batch)["loss"]}):
        assert_same(Objective(model, data=data, batch_size=4, **options).loss(), wanted)
    # Gauss-Newton needs to know the loss of an output, and does not take a guess that does not give the loss.
    objective = Objective(model, data=data, outputs=outputs)
    with pytest.raises(InvalidArgument, match="neither cross-entropy nor mean squared error"):
        objective.ggnvp(objective.point)
    explained = Objective(
        model,
        lambda z, y: 2 * F.cross_entropy(z, y),
        data,
        batch_loss=lambda model, batch: model(**batch)["loss"],
        outputs=outputs,
        batch_size=4,
    )
    dense = Dense(
        model,
        lambda model: 2 * F.cross_entropy(model.body(X), CLASSES),
        explained.point,
        outputs=lambda model: model.body(X),
        output_loss=lambda z: 2 * F.cross_entropy(z, CLASSES),
    )
    assert_same(explained.ggnvp(explained.point), dense.gauss_newton @ explained.point)


def test_logits_of_a_structured_output_are_the_output():
    class Structured(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp()

        def forward(self, x):
            return {"logits": self.body(x), "hidden": x}

    model = Structured()
    assert_same(
        Objective(model, F.cross_entropy, (X, CLASSES)).loss(),
        F.cross_entropy(model.body(X), CLASSES).detach(),
    )


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (mlp, {"loss_fn": lambda z, y: 3.0}, "loss_fn must return a tensor, got float"),
        (mlp, {"batch_loss": lambda model, batch: None}, "batch_loss must return a tensor, got NoneType"),
        (
            mlp,
            {"data": [X], "loss_fn": F.mse_loss},
            r"loss_fn needs batches \(inputs, target\), got a Tensor",
        ),
        (
            mlp,
            {"data": {"x": X}, "loss_fn": F.mse_loss},
            "loss_fn needs batches .* got a dict: use batch_loss=f",
        ),
        (mlp, {}, r"without loss_fn and batch_loss, batches must be dicts that model\(\*\*batch\) takes"),
        (nn.LSTM, {"loss_fn": F.mse_loss}, "model returned tuple, not a tensor or an object with .logits"),
    ],
)
def test_losses_that_do_not_fit_the_batches(model, options, message):
    model = nn.LSTM(4, 3).double() if model is nn.LSTM else model()
    objective = Objective(model, **{"data": (X, REAL), **options})
    with pytest.raises(InvalidArgument, match=message) as raised:
        objective.loss()
    assert "\n" not in str(raised.value)
    # Asked again it says so again, rather than what comes after the first check.
    with pytest.raises(InvalidArgument, match=message):
        objective.gradient()


def test_a_model_that_returns_no_loss():
    class Silent(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x)}

    objective = Objective(Silent(4, 3).double(), data={"x": X})
    with pytest.raises(InvalidArgument, match=r"model\(\*\*batch\) returned no loss: pass labels"):
        objective.loss()


def test_a_models_own_loss_counts_the_labels_it_keeps() -> None:
    """`model(**batch).loss` averages over labels that are not -100, so batches weigh as many."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(4, 3).double()

        def forward(self, x, labels):
            return {"loss": F.cross_entropy(self.line(x), labels)}

    torch.manual_seed(0)
    x, labels = torch.randn(40, 4, dtype=torch.float64), torch.randint(0, 3, (40,))
    labels[torch.arange(40) % 7 < 4] = -100
    labels[30:] = -100
    model = Own()
    exact = F.cross_entropy(model.line(x), labels).item()
    batches = [{"x": x[i : i + 16], "labels": labels[i : i + 16]} for i in range(0, 40, 16)]
    for microbatch in (None, 8, 5):
        found = Objective(model, data=batches, microbatch=microbatch).loss().item()
        assert found == pytest.approx(exact, rel=1e-12)


def test_a_loss_that_is_no_mean_over_samples_is_not_split() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(12, 4), torch.randint(0, 3, (12, 1))
    y[::3] = -1

    def kept(output, target):
        return F.cross_entropy(output, target[:, 0], ignore_index=-1)

    model = nn.Linear(4, 3)
    with pytest.raises(InvalidArgument, match=r"microbatch: the loss of a batch is .* pass count=f"):
        Objective(model, kept, (x[:8], y[:8]), microbatch=5).loss()
    counted = Objective(model, kept, (x, y), microbatch=5, count=lambda batch: float((batch[1] >= 0).sum()))
    assert counted.loss().item() == pytest.approx(kept(model(x), y).item(), rel=1e-5)


@pytest.mark.parametrize("form", ["list", "one dict"])
@pytest.mark.parametrize("way", ["batch_loss", "outputs"])
def test_a_users_function_may_take_elements_out_of_its_batch(way, form):
    model = mlp()
    batches = [{"x": X[:4], "labels": CLASSES[:4]}, {"x": X[4:], "labels": CLASSES[4:]}]
    data = batches if form == "list" else {"x": X, "labels": CLASSES}

    def batch_loss(model, batch):
        labels = batch.pop("labels")
        return F.cross_entropy(model(batch["x"]), labels)

    def outputs(model, batch):
        labels = batch.pop("labels")
        return model(batch.pop("x")), labels

    own = (
        {"batch_loss": batch_loss}
        if way == "batch_loss"
        else {"outputs": outputs, "loss_fn": F.cross_entropy}
    )
    objective = Objective(model, data=data, batch_size=4 if form == "one dict" else None, **own)
    due = F.cross_entropy(model(X), CLASSES).detach()
    values = [objective.loss(), objective.loss(), objective.at().loss()]
    assert values[0] == values[1] == values[2]
    assert_same(values[0], due)
    assert all(sorted(batch) == ["labels", "x"] for batch in batches)
