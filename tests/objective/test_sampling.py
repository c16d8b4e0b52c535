"""An objective on a random sample of its data."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg.errors import InvalidArgument
from thalweg.objective import Objective

from .zoo import normal, seeded

N = 60
X, Y = normal(N, 4), torch.arange(N) % 3
FORMS = {
    "tensors": lambda: (X, Y),
    "unequal batches": lambda: [(X[:7], Y[:7]), (X[7:8], Y[7:8]), (X[8:40], Y[8:40]), (X[40:], Y[40:])],
    "shuffling loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True),
}


def objective(data, **options) -> Objective:
    return Objective(
        seeded(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))), F.cross_entropy, data, **options
    )


def held(found: Objective) -> tuple[torch.Tensor, torch.Tensor]:
    batches = [batch for _, batch in found.batches]
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def rows(x: torch.Tensor) -> list[int]:
    """Where in the data each sample is."""
    return [int((row == X).all(dim=1).nonzero()) for row in x]


@pytest.mark.parametrize("form", FORMS)
def test_a_sample_holds_different_samples_of_the_data_with_their_targets(form: str) -> None:
    whole = objective(FORMS[form]())
    part = whole.sample(20, seed=3)
    x, y = held(part)
    chosen = rows(x)
    assert len(set(chosen)) == 20
    assert torch.equal(y, Y[chosen])
    assert (part.samples, part.drawn.of, part.drawn.seed) == (20, N, 3)
    loss = F.cross_entropy(whole.model(x), y)
    assert float(part.loss()) == pytest.approx(float(loss.detach()), rel=1e-12)
    # The same data in other batches give the same sample.
    assert chosen == rows(held(objective((X, Y)).sample(20, seed=3))[0])
    assert chosen != rows(held(whole.sample(20, seed=4))[0])


def test_the_losses_of_samples_are_spread_around_that_of_all() -> None:
    """As the theory of sampling without replacement says: s²/n · (1 − n/N)."""
    whole = objective((X, Y))
    losses = F.cross_entropy(whole.model(X), Y, reduction="none").detach()
    drawn = torch.stack([whole.sample(15, seed).loss() for seed in range(400)])
    due = float(losses.std()) * math.sqrt((1 - 15 / N) / 15)
    # Four standard errors of a mean and of a deviation over 400 draws.
    assert abs(float(drawn.mean() - losses.mean())) <= 4 * due / 20
    assert float(drawn.std()) == pytest.approx(due, rel=4 / math.sqrt(800))


def test_all_the_data_are_the_objective_itself() -> None:
    whole = objective((X, Y))
    assert whole.sample(N) is whole
    assert whole.drawn is None


def test_derivatives_and_digest_are_those_of_the_sample() -> None:
    whole = objective((X, Y))
    part = whole.sample(20)
    alone = objective(held(part))
    v = normal(whole.size)
    torch.testing.assert_close(part.gradient(), alone.gradient())
    torch.testing.assert_close(part.hvp(v), alone.hvp(v))
    assert part.fingerprint() == alone.fingerprint() != whole.fingerprint()


def test_a_sample_comes_in_few_batches() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=6)
    assert [len(y) for _, (_, y) in objective(loader).sample(12).batches] == [6, 6]


class Summed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x).mean(1)


def test_sequences_of_different_lengths_stay_apart() -> None:
    batches = [(normal(3, length, 4), torch.arange(3)) for length in (2, 5, 5)]
    whole = Objective(seeded(Summed()), F.cross_entropy, batches)
    part = whole.sample(8, seed=1)
    sizes = [tuple(x.shape[:2]) for _, (x, _) in part.batches]
    assert sum(size for size, _ in sizes) == 8
    assert {length for _, length in sizes} == {2, 5}
    alone = [
        F.cross_entropy(whole.model(x[None]), y[None]).detach()
        for _, (xs, ys) in part.batches
        for x, y in zip(xs, ys, strict=True)
    ]
    assert float(part.loss()) == pytest.approx(float(torch.stack(alone).mean()), rel=1e-12)


def test_terms_that_are_skipped_count_as_in_the_whole() -> None:
    """The mean over the tokens that are kept, not over samples."""
    tokens = torch.where(torch.arange(N)[:, None] % 4 == torch.arange(5), -100, Y[:, None])

    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x)[:, :, None].expand(-1, -1, 5)

    whole = Objective(seeded(Repeated()), nn.CrossEntropyLoss(), (X, tokens), batch_size=16)
    part = whole.sample(30)
    x, y = held(part)
    due = F.cross_entropy(whole.model(x), y)
    assert float(part.loss()) == pytest.approx(float(due.detach()), rel=1e-12)


def test_drawing_leaves_random_states_and_the_model_alone() -> None:
    whole = objective(FORMS["shuffling loader"]())
    before, weights = torch.get_rng_state(), whole.point
    whole.sample(20).loss()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(weights, whole.point)
    assert whole.samples == N


def test_bad_arguments() -> None:
    whole = objective((X, Y))
    for count in (0, -3, 2.5, True):
        with pytest.raises(InvalidArgument, match="samples must be an integer of at least 1, got"):
            whole.sample(count)
    with pytest.raises(InvalidArgument, match="samples must be at most the 60 of the data, got 61"):
        whole.sample(61)
    norm = Objective(
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double(), F.cross_entropy, (X, Y), batchnorm="batch"
    )
    with pytest.raises(InvalidArgument, match='samples cannot be drawn with batchnorm="batch"'):
        norm.sample(20)


def test_a_sample_of_a_sample_is_refused() -> None:
    """What it would say of how it was drawn would not draw it again."""
    with pytest.raises(InvalidArgument, match="a sample already"):
        objective((X, Y)).sample(20).sample(10)
