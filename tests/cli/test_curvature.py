"""`thalweg curvature` as a person and as a program reads it."""

from __future__ import annotations

import pytest
import torch

import thalweg as tw
from cli.conftest import Command


def test_a_surface(thalweg: Command) -> None:
    found = thalweg("curvature", "rosenbrock", "--measure", "eigenpairs,kind,trace", "--json").json
    x, y = tw.surfaces.rosenbrock().point.tolist()
    # (1 − x)² + 100 (y − x²)²
    matrix = torch.tensor([[2 + 1200 * x**2 - 400 * y, -400 * x], [-400 * x, 200.0]], dtype=torch.float64)
    exact = torch.linalg.eigvalsh(matrix)
    assert found["eigenpairs"]["values"] == pytest.approx(exact.flip(0).tolist())
    assert found["trace"]["value"] == pytest.approx(float(exact.sum()))
    assert found["kind"]["kind"] == "not critical"


def test_every_measure_of_a_model_is_told(thalweg: Command) -> None:
    ended = thalweg("curvature", "wine", "-k", "4", "--probes", "2")
    assert ended.status == 0
    assert "initialization from seed 0" in ended.out
    for name in ("eigenpairs", "kind", "trace", "density", "sharpness", "noise", "blocks"):
        assert f"\n{name}\n" in ended.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rosenbrock", "--measure", "noise"), "has none"),
        (("rosenbrock", "--measure", "eigenpair"), "did you mean 'eigenpairs'"),
        (("rosenbrok",), "rosenbrock"),
    ],
)
def test_bad_input_is_one_line(thalweg: Command, arguments: tuple[str, ...], told: str) -> None:
    ended = thalweg("curvature", *arguments)
    assert ended.status == 1
    assert told in ended.line
