from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

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
