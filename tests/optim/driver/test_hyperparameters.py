from __future__ import annotations

import pytest
import torch

from thalweg.errors import InvalidArgument
from thalweg.optim.driver import hyperparameters as check


def test_a_tensor_with_one_number_counts_as_that() -> None:
    for shape in ((), (1,), (1, 1)):
        check.rate(torch.full(shape, 0.1))
        check.averaging(torch.full(shape, 0.1), "momentum")
        with pytest.raises(InvalidArgument, match=r"^eps must be finite and above 0, got -1.0$"):
            check.positive(torch.full(shape, -1.0), "eps")


def test_a_tensor_with_several_numbers_is_none() -> None:
    with pytest.raises(InvalidArgument, match=r"^lr as a tensor must hold one number, got shape \(2,\)$"):
        check.rate(torch.ones(2))
    with pytest.raises(InvalidArgument, match=r"^eps must be a number, got tensor"):
        check.positive(torch.ones(2), "eps")


def test_a_truth_value_counts_as_a_number() -> None:
    check.nonnegative(False, "weight_decay")
    check.share(True, "decay")
    with pytest.raises(InvalidArgument, match=r"^momentum must be in \[0, 1\), got 1.0$"):
        check.averaging(True, "momentum")
    with pytest.raises(InvalidArgument, match=r"^momentum must be in \(0, 1\), got 0.0$"):
        check.mixing(False, "momentum")


@pytest.mark.parametrize("values", [0.9, (0.9,), (0.9, 0.99, 0.999), "ab", (0.9, 1.0), (-0.1, 0.9)])
def test_betas_are_a_pair_of_averages(values: object) -> None:
    with pytest.raises(InvalidArgument, match=r"^betas.* in \[0, 1\), got"):
        check.betas(values)
