"""Gradients of single samples against a loop that Thalweg has no part in."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from curvature.models import MODELS, trained
from thalweg import surfaces
from thalweg.curvature.noise.sample_gradients import sample_gradients
from thalweg.errors import InvalidArgument, NotDifferentiable, OutOfMemory
from thalweg.objective import Objective


def gathered(objective, theta=None):
    with sample_gradients(objective, theta) as sampled:
        return torch.cat([chunk for _, batch in objective.batches for chunk in sampled.chunks(batch)])


def looped(model, loss, samples):
    """The gradient of each sample's loss by a backward pass of its own, the model in evaluation mode."""
    model.eval()
    rows = []
    for sample in samples:
        slopes = torch.autograd.grad(loss(model, sample), list(model.parameters()))
        rows.append(torch.cat([slope.reshape(-1) for slope in slopes]))
    model.train()
    return torch.stack(rows)


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_against_a_loop(name):
    model, (x, y) = trained(name, steps=3)
    objective = Objective(model, F.cross_entropy, [(x[:7], y[:7]), (x[7:12], y[7:12])])
    state = {key: value.clone() for key, value in model.state_dict().items()}
    found = gathered(objective)
    exact = looped(
        model, lambda m, s: F.cross_entropy(m(s[0]), s[1]), [(x[i : i + 1], y[i : i + 1]) for i in range(12)]
    )
    # Sums of at most a thousand terms in another order: some hundred roundings.
    torch.testing.assert_close(found, exact, rtol=1e-11, atol=1e-13)
    assert model.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    noted = any("one by one" in note for note in objective.notes)
    # torch cannot vectorize its recurrent layers.
    assert noted == (name == "recurrent")


def test_small_memory_makes_small_pieces():
    model, data = trained("mlp", steps=1)
    # A sixteenth of it holds three gradients.
    n = sum(p.numel() for p in model.parameters())
    objective = Objective(model, F.cross_entropy, data, memory_budget=16 * 3 * 8 * n)
    with sample_gradients(objective, None) as sampled:
        pieces = [len(chunk) for chunk in sampled.chunks((data[0][:8], data[1][:8]))]
    assert pieces == [3, 3, 2]


def test_classes_that_weigh_more_and_labels_that_do_not_count():
    """Σγ/N is the gradient of the objective whatever the loss counts."""
    model, (x, y) = trained("mlp", steps=3)
    y = y.clone()
    y[::5] = -100
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64))
    objective = Objective(model, loss, [(x[:90], y[:90]), (x[90:], y[90:])])
    found = gathered(objective)
    torch.testing.assert_close(found.mean(0), objective.gradient(), rtol=1e-11, atol=1e-13)
    assert not found[::5].any()
    kept = y[1]
    (single,) = looped(model, lambda m, s: F.cross_entropy(m(s[0]), s[1]), [(x[1:2], y[1:2])])
    weights = loss.weight[y[y >= 0]]
    torch.testing.assert_close(found[1], single * loss.weight[kept] * len(y) / weights.sum())


def test_a_sample_without_terms_has_no_gradient_rather_than_nan():
    model, (x, y) = trained("mlp", steps=1)
    kept = torch.arange(len(x)) % 3 > 0

    def loss(model, batch):
        inputs, labels, mask = batch
        return (F.cross_entropy(model(inputs), labels, reduction="none") * mask).sum() / mask.sum()

    objective = Objective(
        model, data=(x, y, kept), batch_loss=loss, count=lambda batch: float(batch[2].sum())
    )
    found = gathered(objective)
    assert not found[::3].any()
    torch.testing.assert_close(found.mean(0), objective.gradient(), rtol=1e-11, atol=1e-13)


def test_recalibrated_statistics_are_those_of_the_objective():
    model, data = trained("convolutional", steps=3)
    objective = Objective(model, F.cross_entropy, data, batchnorm="recalibrate")
    theta = objective.point * 1.1
    found = gathered(objective, theta)
    torch.testing.assert_close(found.mean(0), objective.gradient(theta), rtol=1e-10, atol=1e-12)


def test_a_loss_that_compares_samples_is_refused():
    model, (x, y) = trained("mlp", steps=1)
    objective = Objective(model, lambda output, target: (output - output.mean(0)).square().sum(), (x, y))
    with pytest.raises(InvalidArgument, match="the mean over its samples"):
        gathered(objective)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named(value):
    model, (x, y) = trained("mlp", steps=1)
    objective = Objective(model, lambda output, target: F.cross_entropy(output, target) * value, (x, y))
    with pytest.raises(
        NotDifferentiable, match=f"obj: the loss of a batch is {value}, so that it has no gradients"
    ):
        gathered(objective)


def test_what_has_no_samples_of_its_own_is_refused():
    with (
        pytest.raises(InvalidArgument, match="a surface has no samples"),
        sample_gradients(surfaces.rosenbrock(), None),
    ):
        pass
    model, data = trained("convolutional", steps=1)
    with (
        pytest.raises(InvalidArgument, match='batchnorm="batch" ties'),
        sample_gradients(Objective(model, F.cross_entropy, data, batchnorm="batch"), None),
    ):
        pass


def test_running_out_of_memory_is_not_taken_for_what_cannot_be_vectorized():
    class Greedy(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x):
            if torch._C._functorch.maybe_current_level() is not None:
                raise torch.OutOfMemoryError("out of memory")
            return x * self.weight

    objective = Objective(Greedy(), F.mse_loss, (torch.ones(4, 2), torch.zeros(4, 2)))
    with sample_gradients(objective, None) as sampled, pytest.raises(torch.OutOfMemoryError):
        list(sampled.chunks((torch.ones(4, 2), torch.zeros(4, 2))))
    with sample_gradients(objective, None) as sampled, pytest.raises(OutOfMemory):
        objective.within_memory(lambda: list(sampled.chunks((torch.ones(4, 2), torch.zeros(4, 2)))))
