from __future__ import annotations

import pytest

from thalweg import problems
from thalweg.errors import InvalidArgument, UnknownName


def test_names_are_those_of_the_factories():
    assert {
        "breast_cancer",
        "character_gpt",
        "concrete",
        "deep_linear",
        "digits",
        "digits_conv",
        "recurrent",
        "resnet",
        "wine",
    } <= set(problems.names())


def test_get_passes_parameters():
    problem = problems.get("deep_linear", depth=5, inputs=6, outputs=5)
    assert problem.name == "deep_linear"
    assert len(list(problem.make_model().parameters())) == 5


def test_mistakes_are_named():
    with pytest.raises(UnknownName, match="unknown problem 'digit': did you mean digits"):
        problems.get("digit")
    with pytest.raises(InvalidArgument, match=r"problem 'wine': .*'depth'; it takes hidden, activation"):
        problems.get("wine", depth=3)
    with pytest.raises(InvalidArgument, match="problem 'wine' is already registered"):
        problems.register("wine", problems.digits)
