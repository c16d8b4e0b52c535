from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg import problems
from thalweg.errors import InvalidArgument, MissingData
from thalweg.problems.tables import standardize


@pytest.mark.parametrize(
    ("name", "rows", "features", "classes"), [("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2)]
)
def test_classification_tables_are_whole_and_stratified(name, rows, features, classes):
    problem = problems.get(name)
    (x_train, y_train), (x_test, y_test) = problem.train, problem.test
    assert len(x_train) + len(x_test) == rows
    assert x_train.shape[1] == x_test.shape[1] == features
    together = torch.bincount(y_train) + torch.bincount(y_test)
    assert len(together) == classes
    # A fifth of each class, off by at most one sample from rounding.
    assert torch.all((torch.bincount(y_test) - together / 5).abs() <= 1)
    assert problem.make_model()(x_test).shape == (len(x_test), classes)


def test_columns_are_standardized_by_training_rows_alone():
    (x_train, _), (x_test, _) = problems.wine().train, problems.wine().test
    torch.testing.assert_close(x_train.mean(0), torch.zeros(13), atol=1e-6, rtol=0)
    torch.testing.assert_close(x_train.var(0, correction=0), torch.ones(13), atol=1e-5, rtol=0)
    # The means of 36 test rows stay off by about 1/√36 where they had no part in the shift.
    assert x_test.mean(0).abs().max() > 0.05


def test_standardize_keeps_units_and_constant_columns():
    table = np.array([[1.0, 5.0], [3.0, 5.0], [9.0, 5.0]])
    scaled = standardize(table, np.array([0, 1]), np.array([2]))
    assert scaled.train.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert scaled.test.tolist() == [[7.0, 0.0]]
    restored = scaled.test * scaled.std + scaled.mean
    assert restored.tolist() == [[9.0, 5.0]]


def test_default_training_of_a_table_separates_the_wines(trained_accuracy):
    # 36 test bottles: at most two wrong. Linear discriminants do as well, so the task is easy.
    assert trained_accuracy(problems.wine()) >= 34 / 36


def test_concrete_is_whole_and_repeats_stay_together(data_file):
    problem = problems.concrete(path=data_file("concrete.csv"))
    (x_train, y_train), (x_test, y_test) = problem.train, problem.test
    assert len(x_train) + len(x_test) == 1030
    assert x_train.shape[1:] == (8,)
    assert y_train.shape == (len(x_train), 1)
    assert y_test.shape == (len(x_test), 1)
    assert not set(map(tuple, x_train.tolist())) & set(map(tuple, x_test.tolist()))
    assert y_train.var(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert problem.metrics == ("loss",)
    # The published standard deviation of all strengths is 16.7 MPa.
    assert "deviation 16." in problem.description


def test_concrete_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    with pytest.raises(
        MissingData, match=r"concrete\.csv \(1,030 .* was not found: .*archive\.ics\.uci\.edu"
    ):
        problems.concrete()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,4\n", "eight features and the strength, got 2 columns"),
        ("a,b\n1,two\n", "not a table of numbers"),
        ("a,b\n1,2\n3\n", "not a table of numbers"),
        ("a,b\n1,nan\n", "finite numbers"),
    ],
)
def test_concrete_refuses_other_files(tmp_path, content, message):
    file = tmp_path / "concrete.csv"
    file.write_text(content)
    with pytest.raises(InvalidArgument, match=message):
        problems.concrete(path=file)
