from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from comparison.tasks import plain, samples, task
from thalweg import Objective
from thalweg.comparison.task import as_problem, tuning_problem
from thalweg.errors import InvalidArgument
from thalweg.surveys import resolve


def rows(data: Any) -> list[tuple[float, ...]]:
    """Every sample's first features, whatever form the data has."""
    if isinstance(data, DataLoader):
        return [tuple(row) for x, _ in data for row in x.tolist()]
    if isinstance(data, list):
        return [tuple(row) for x, _ in data for row in x.tolist()]
    if isinstance(data, tuple):
        return [tuple(row) for row in data[0].tolist()]
    return [tuple(data[i][0].tolist()) for i in range(len(data))]


X, Y = samples(50, 0)
FORMS: dict[str, Any] = {
    "tensors": (X, Y),
    "dataset": TensorDataset(X, Y),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=7, shuffle=True),
    "batches": [(X[i : i + 5], Y[i : i + 5]) for i in range(0, 50, 5)],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_fifth_of_the_training_data_is_held_out(form: str) -> None:
    whole = task(train=FORMS[form])
    found = tuning_problem(whole, 3)
    fit, held = rows(found.train), rows(found.test)
    assert (len(fit), len(held)) == (40, 10)
    assert sorted(fit + held) == sorted(map(tuple, X.tolist()))
    assert not set(held) & set(rows(whole.test))
    again, other = tuning_problem(whole, 3), tuning_problem(whole, 4)
    assert sorted(rows(again.test)) == sorted(held) != sorted(rows(other.test))


def test_what_cannot_be_split() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    for data in (DataLoader(Stream()), [(X, Y)], (X[:1], Y[:1])):
        with pytest.raises(InvalidArgument, match="training data must"):
            tuning_problem(task(train=data), 0)


def test_a_given_model_begins_where_it_stands_and_is_left_there() -> None:
    model = plain()
    model[0].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = as_problem(resolve(Objective(model, cross_entropy, samples(20, 0), parameters="2.*")))
    assert found.test is None
    assert found.metrics == ("loss", "accuracy")
    for seed in (0, 1):
        made = found.make_model(seed)
        assert made is not model
        assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())
        assert [name for name, p in made.named_parameters() if p.requires_grad] == ["2.weight", "2.bias"]
    assert model[0].weight.requires_grad
    assert len(found.train[0]) == 20

    with_test = as_problem(resolve((model, cross_entropy, samples(20, 0), samples(6, 1))))
    assert len(with_test.test[1]) == 6


def test_surfaces_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"'booth' is a surface: .* tw\.optim\.descend"):
        as_problem(resolve("booth"))
