"""Stacks of random lines against closed forms of quadratics, NumPy's statistics and dense slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from landscape.models import classifier, mixed
from thalweg import surfaces
from thalweg.errors import InvalidArgument
from thalweg.landscape import evaluate, random_line, stack
from thalweg.store import Run

RATES = torch.linspace(-1, 4, 30, dtype=torch.float64)


def test_lines_of_a_quadratic():
    """Along unit vectors d from the origin: ½α²dᵀHd."""
    surface = surfaces.quadratic(eigenvalues=RATES)
    found = stack(surface, 5, "none", center=torch.zeros(30, dtype=torch.float64), span=2)
    assert found.alpha.tolist() == pytest.approx(np.linspace(-2, 2, 51).tolist())
    curvatures = []
    for line in (part.plane for part in found.slices):
        d = line.directions[:, 0]
        curvatures.append(float(d @ surface.hvp(d)))
    due = 0.5 * np.outer(curvatures, found.alpha**2)
    np.testing.assert_allclose(found.values["loss"], due, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.mean(), due.mean(axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.std(), due.std(axis=0, ddof=1), rtol=1e-12, atol=1e-14)
    low, middle, high = found.quantiles()
    np.testing.assert_allclose(middle, np.median(due, axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose([low, high], np.quantile(due, [0.1, 0.9], axis=0), rtol=1e-12, atol=1e-14)
    assert found.evaluations == 5 * 51
    assert found.error == 0
    assert len({part.plane.facts["seed"] for part in found.slices}) == 5


def test_the_mean_curvature_is_the_trace_over_the_dimension():
    """Of unit vectors that are uniform on the sphere: the mean of dᵀHd is tr H / n (Böttcher & Wheeler 2022), its
    variance 2 (tr H²/n − (tr H/n)²) / (n + 2)."""
    surface, k, n = surfaces.quadratic(eigenvalues=RATES), 400, 30
    found = stack(surface, k, "none", center=torch.zeros(n, dtype=torch.float64), resolution=3)
    curvature = 2 * found.values["loss"][:, -1]
    mean = float(RATES.mean())
    variance = 2 * (float(RATES.square().mean()) - mean**2) / (n + 2)
    assert 2 * found.mean()[-1] == pytest.approx(mean, abs=4 * (variance / k) ** 0.5)
    assert 2 * found.std()[-1] == pytest.approx(variance**0.5, rel=4 / (2 * k) ** 0.5)
    assert curvature.std(ddof=1) == pytest.approx(2 * found.std()[-1])


def test_lines_follow_the_seed_and_not_their_number():
    objective = classifier()
    before = torch.random.get_rng_state()
    few, more, others = (stack(objective, k, seed=seed, resolution=3) for k, seed in ((2, 0), (4, 0), (4, 1)))
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(more.values["loss"][:2], few.values["loss"])
    lines = [part.plane for part in (*more.slices, *others.slices)]
    assert len({int(line.facts["seed"]) for line in lines}) == 8
    again = random_line(objective, seed=int(lines[1].facts["seed"]))
    assert torch.equal(again.directions, lines[1].directions)
    # Gaussian directions, whose angle to each other has a cosine of about 1/√n: none is the other's copy.
    gram = torch.cat([line.directions / line.directions.norm() for line in lines], dim=1)
    cosines = (gram.T @ gram - torch.eye(8)).abs().max()
    assert float(cosines) < 6 / objective.size**0.5


def test_lines_to_a_tolerance():
    objective = classifier(nn.Tanh)
    found = stack(objective, 4, "layer", resolution=301, rtol=0.01)
    dense = stack(objective, 4, "layer", resolution=301, rtol=None)
    assert dense.evaluations == 4 * 301
    assert found.evaluations < 0.3 * dense.evaluations
    size = np.maximum(
        np.abs(dense.values["loss"]), 1e-3 * np.ptp(dense.values["loss"], axis=1, keepdims=True)
    )
    assert 0 < found.error <= 0.01
    assert (np.abs(found.values["loss"] - dense.values["loss"]) / size).max() <= found.error
    np.testing.assert_allclose(found.mean(), dense.mean(), rtol=0.01)
    assert found.dataset.evaluated.sum() == found.evaluations


def test_a_stack_is_a_dataset(tmp_path: Path):
    objective = classifier()
    found = stack(objective, 3, metrics=["loss", "accuracy"], resolution=5)
    found.dataset.to_netcdf(tmp_path / "stack.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "stack.nc", engine="h5netcdf") as data:
        for name in ("loss", "accuracy"):
            np.testing.assert_array_equal(data[name], found.values[name])
            np.testing.assert_array_equal(data[f"{name}_mean"], found.values[name].mean(axis=0))
            np.testing.assert_array_equal(data[f"{name}_std"], found.values[name].std(axis=0, ddof=1))
            assert data[f"{name}_quantiles"].dims == ("quantile", "alpha")
        assert data["quantile"].values.tolist() == [0.1, 0.5, 0.9]
        assert data.attrs["normalization"] == "filter"
        assert any("3 lines through" in sentence for sentence in data.attrs["limits"])
    line = random_line(objective, seed=int(found.slices[2].plane.facts["seed"]))
    np.testing.assert_array_equal(
        found.values["loss"][2], evaluate(objective, line, 5, rtol=None).values["loss"]
    )


def test_a_stack_in_a_run_is_continued(tmp_path: Path):
    objective, done = classifier(), list[tuple[int, int]]()

    def again(k: int):
        with Run.open(tmp_path / "run", kind="test", settings={}) as run:
            return stack(objective, k, resolution=7, run=run, progress=lambda *at: done.append(at))

    first = again(3)
    assert first.evaluations == 21
    assert done[-1] == (21, 21)
    more = again(5)
    assert more.evaluations == 14
    np.testing.assert_array_equal(more.values["loss"][:3], first.values["loss"])
    assert again(5).evaluations == 0


def test_losses_that_are_not_finite():
    edge = surfaces.Surface(
        "edge",
        lambda x: torch.where((x**2).sum(0) < 4, (x**2).sum(0), torch.inf),
        torch.zeros(3, dtype=torch.float64),
    )
    found = stack(edge, 4, "none", span=3, resolution=7)
    assert np.isinf(found.mean()[[0, -1]]).all()
    assert np.isnan(found.std()[[0, -1]]).all()
    assert found.mean()[3] == 0


def test_what_is_told():
    found = stack(mixed(), 2, resolution=3)
    assert str(found).startswith("2 random lines: loss is ")
    assert any("held fixed" in sentence for sentence in found.limits)
    with pytest.raises(InvalidArgument, match="k must be an integer of at least 2, got 1"):
        stack(mixed(), 1)
    with pytest.raises(InvalidArgument, match="metric must be one of loss, got 'accuracy'"):
        found.mean("accuracy")
    with pytest.raises(InvalidArgument, match="q must be from 0 to 1"):
        found.quantiles([0.5, 1.5])
