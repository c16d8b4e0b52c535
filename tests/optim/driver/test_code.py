"""Digests of functions: the same for the same code, another one for whatever changes what is computed."""

import functools
import math
import types

import pytest
import torch

from thalweg.optim.driver.code import code_of

PLAIN = """
import math
import torch
K = 2.0
WEIGHTS = torch.ones(3)
def helper(x):
    return x * K
def f(x, power=2):
    def inner(y):
        return helper(y) + math.pi
    return torch.sin(inner(x) ** power).sum(0)
"""


def made(text: str = PLAIN, **changed: object) -> types.FunctionType:
    space: dict[str, object] = {"__name__": "somewhere"}
    exec(text, space)
    space.update(changed)
    return space["f"]


def test_the_same_code_has_the_same_digest():
    assert code_of([made()]) == code_of([made()])


@pytest.mark.parametrize(
    "other",
    [
        made(K=3.0),
        made(PLAIN.replace("x * K", "x + K")),
        made(PLAIN.replace("power=2", "power=3")),
        made(PLAIN.replace("math.pi", "math.e")),
        made(PLAIN.replace("torch.sin", "torch.cos")),
        made(PLAIN.replace("helper(y)", "helper(helper(y))")),
    ],
    ids=["global number", "helper", "default", "attribute of a module", "operation", "inner function"],
)
def test_what_changes_the_result_changes_the_digest(other):
    assert code_of([made()]) != code_of([other])


def test_what_is_closed_over_counts():
    def closing(scale: object):
        def outer(x):
            def inner(y):
                return y * scale

            return inner(x)

        return outer

    digests = [code_of([closing(value)]) for value in (1.0, 2.0, torch.ones(2), torch.zeros(2), [1.0], [2.0])]
    assert len(set(digests)) == len(digests)
    deep = [code_of([closing(closing(value))]) for value in (1.0, 2.0)]
    assert deep[0] != deep[1]


def test_callable_objects_and_partials_count_with_what_they_hold():
    class Scaled:
        def __init__(self, factors):
            self.factors = factors

        def __call__(self, x):
            return x * self.factors[0]

    assert code_of([Scaled([1.0])]) != code_of([Scaled([2.0])])
    assert code_of([functools.partial(math.pow, 2.0)]) != code_of([functools.partial(math.pow, 3.0)])


def test_functions_that_call_each_other_end():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert code_of([even]) == code_of([even])
