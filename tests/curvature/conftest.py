"""Which tests of curvature are long: those with hundreds of seeds or searches, run by `make test-slow`."""

from __future__ import annotations

import pytest

LONG = (
    "curvature/critical/",
    "curvature/estimators/",
    "curvature/noise/",
    "curvature/stability/",
    "curvature/test_layer_rates",
    "curvature/matrices/test_peer_cases",
    "curvature/spectrum/test_condition_number",
    "curvature/spectrum/test_eigenpairs_",
    "curvature/spectrum/test_outliers",
    "curvature/spectrum/test_spectral_density",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(part in item.path.as_posix() for part in LONG):
            item.add_marker(pytest.mark.slow)
