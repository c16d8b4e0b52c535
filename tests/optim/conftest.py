"""What the tests restating PyTorch's own share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.optim.torch_suite import CLASSES, Suite


@pytest.fixture(scope="session")
def database() -> dict[str, Any]:
    torch_tests = pytest.importorskip(
        "torch.testing._internal.common_optimizers",
        reason="torch's own test tables cannot be imported: they need the package expecttest",
        exc_type=ImportError,
    )
    return {
        "infos": {info.name: info for info in torch_tests.optim_db},
        "step_error": torch_tests.OptimizerErrorEnum.STEP_ERROR,
    }


@pytest.fixture(params=list(CLASSES))
def suite(request: pytest.FixtureRequest, database: dict[str, Any]) -> Suite:
    torch.manual_seed(0)
    return Suite(database["infos"][request.param])
