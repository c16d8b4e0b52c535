"""What people pass at first where an objective or an operator is wanted is named, with the way to make one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw
from thalweg.errors import InvalidArgument

MODEL = nn.Linear(3, 2)
OBJECTIVE = tw.Objective(MODEL, F.cross_entropy, (torch.zeros(4, 3), torch.zeros(4).long()))


@pytest.mark.parametrize(
    "name",
    [
        "hessian",
        "ggn",
        "fisher",
        "gradient_covariance",
        "classify",
        "critical_points",
        "sharpness",
        "smoothness",
        "gradient_noise_scale",
        "largest_stable_rate",
        "layer_rates",
    ],
)
def test_a_model_is_no_objective(name: str) -> None:
    with pytest.raises(
        InvalidArgument, match=r"obj must be an objective, such as tw.Objective.*, got Linear"
    ):
        getattr(tw.curvature, name)(MODEL)


@pytest.mark.parametrize(
    "name",
    [
        "eigenpairs",
        "spectral_density",
        "condition_number",
        "trace",
        "diagonal",
        "frobenius_norm",
        "effective_rank",
        "log_determinant",
    ],
)
def test_an_objective_is_no_operator(name: str) -> None:
    for given in (OBJECTIVE, torch.eye(5)):
        with pytest.raises(InvalidArgument, match=r"operator must be .* tw.curvature.hessian\(obj\)"):
            getattr(tw.curvature, name)(given)
