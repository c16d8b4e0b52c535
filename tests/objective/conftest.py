from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch

from .oracle import Dense
from .zoo import ZOO, Case


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    # The models are tiny: threads would only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=ZOO)
def case(request: pytest.FixtureRequest) -> Case:
    """Every case of the zoo, made anew."""
    return ZOO[request.param]()


@pytest.fixture
def dense(request: pytest.FixtureRequest, case: Case) -> Dense:
    """The dense derivatives of the case at its θ; every case made anew is the same."""
    return _dense(request.node.callspec.params["case"])


@cache
def _dense(name: str) -> Dense:
    return ZOO[name]().dense()
