from __future__ import annotations

import pytest
import torch

from comparison.tasks import plain, task
from thalweg import optim
from thalweg.comparison.contenders import contender, contenders
from thalweg.errors import InvalidArgument, UnknownName
from thalweg.optim.sharpness.sam import SAM


def test_names_with_hyperparameters_and_around_each_other() -> None:
    text = "sgd, adamw(weight_decay=0.1, betas=(0.8, 0.9)),sam(momentum(momentum=0.8), rho=0.1)"
    found = contenders(text)
    assert found == contenders(
        ["sgd", "adamw(weight_decay=0.1, betas=(0.8, 0.9))", text[text.index("sam") :]]
    )
    model = plain()
    made = [team.make(model, 0.03, task().train_objective(model)) for team in found]
    assert [type(optimizer) for optimizer in made] == [optim.SGD, optim.AdamW, SAM]
    assert all(optimizer.param_groups[0]["lr"] == 0.03 for optimizer in made)
    assert made[1].param_groups[0]["betas"] == (0.8, 0.9)
    assert made[1].param_groups[0]["weight_decay"] == 0.1
    assert isinstance(made[2].base, optim.Momentum)
    assert (made[2].param_groups[0]["momentum"], made[2].param_groups[0]["rho"]) == (0.8, 0.1)
    assert made[2].model is model
    assert [team.default_rate for team in found] == [1e-3, 1e-3, 1e-3]
    assert [team.cost(0) for team in found] == [1, 1, 2]
    assert [team.steps(7) for team in found] == [7, 7, 3]
    assert len({team.slug for team in found}) == 3


def test_frozen_parameters_have_no_part() -> None:
    model = plain()
    model[0].weight.requires_grad_(False)
    made = contender("sgd").make(model, 0.1, task().train_objective(model))
    assert len(made.param_groups[0]["params"]) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sgd", "must name at least two"),
        ("", "must name at least two"),
        ("sgd, sgd", "sgd comes twice"),
        ("sgd, adamw(", "must be names such as"),
        ("sgd, adamw(lr=1)", "lr cannot be given"),
        ("sgd, adamw(nesterov=True)", "adamw has no nesterov; it takes amsgrad, betas"),
        ("sgd, adamw(0.1)", "takes hyperparameters by name only"),
        ("sgd, adamw(eps=x)", "eps must be a number"),
        ("sgd, sam", "sam goes around another optimizer"),
        ("sgd, sam(asam(sgd))", "sam cannot go around asam"),
        ("sgd, sam(sgd, radius=1)", "sam has no radius; it takes rho"),
        ("sgd, switch", "optimizer 'switch' needs first, second"),
        ("sgd, 3", "must be names such as"),
        ("sgd, __import__('os')", "takes hyperparameters by name only|unknown optimizer"),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    with pytest.raises((InvalidArgument, UnknownName), match=told):
        contenders(text)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown optimizer 'adamv': did you mean adam"):
        contenders("sgd, adamv")


@pytest.mark.parametrize("name", optim.names())
def test_every_name_is_constructed_or_refused_clearly(name: str) -> None:
    model = plain()
    try:
        team = contender(name)
    except InvalidArgument as error:
        assert "needs" in str(error) or "rate" in str(error)  # noqa: PT017
        return
    torch.manual_seed(0)
    made = team.make(model, team.default_rate, task().train_objective(model))
    assert sum(len(group["params"]) for group in made.param_groups) == 4
