"""Slices with interpolated points against the whole grid."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import RBFInterpolator
from torch import nn

from landscape.models import cancer, seeded
from thalweg.errors import RunConflict
from thalweg.landscape import evaluate, line_through, random_line, random_plane
from thalweg.landscape.refinement import Refinement
from thalweg.landscape.surrogate import Splines
from thalweg.objective import Objective
from thalweg.store import Run, dataset, export


def network(activation=nn.Tanh, norm=nn.Identity, steps=60):
    """Trained, so that the loss spans decades around its point."""
    x, y = cancer(100)
    model = seeded(lambda: nn.Sequential(nn.Linear(30, 8), norm(8), activation(), nn.Linear(8, 2)).double())
    adam = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        adam.zero_grad()
        F.cross_entropy(model(x), y).backward()
        adam.step()
    return Objective(model.eval(), F.cross_entropy, (x, y))


def true_error(found, exact):
    """As `Slice.error` defines it, where the exact value is finite."""
    finite = np.isfinite(exact)
    assert np.array_equal(np.isfinite(found), finite)
    size = np.maximum(np.abs(exact), 1e-3 * np.ptp(exact[finite]))
    return (np.abs(found[finite] - exact[finite]) / size[finite]).max()


def places(n):
    line = np.linspace(-1, 1, n)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


def refined(function, rtol=0.01, n=51):
    """The refinement of a function of x and y on [-1, 1]², and the function there."""
    grid = places(n)
    exact = np.asarray(function(*grid.T), dtype=float)[:, None]
    none = np.array([], dtype=np.intp)
    asked = Refinement(grid, (n, n), lambda i: exact[i], none, np.zeros((0, 2)), np.zeros((0, 1)))
    return asked.run(rtol), exact


def test_splines_are_those_of_scipy():
    draw = np.random.default_rng(0)
    points, queries = draw.uniform(-1, 1, (40, 2)), draw.uniform(-1, 1, (30, 2))
    heights = np.sin(3 * points[:, 0]) * np.exp(points[:, 1])
    splines = Splines(points)
    due = RBFInterpolator(points, heights, kernel="cubic", degree=2)(queries)
    np.testing.assert_allclose(splines.at(queries).weights @ heights, due, rtol=1e-8, atol=1e-8)
    residuals, _ = splines.left_out(heights)
    for i in range(0, 40, 7):
        others = np.arange(40) != i
        again = RBFInterpolator(points[others], heights[others], kernel="cubic", degree=2)(points[[i]])
        assert residuals[i] == pytest.approx(heights[i] - again[0], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x**2 + 100 * y**2,
        lambda x, y: 1e-3 + x**2 + 0.2 * (y - 0.3) ** 4,
        lambda x, y: np.log(np.cosh(4 * x - 2 * y)) + 0.01,
        lambda x, y: np.exp(4 * x + 3 * y),
        lambda x, y: 5 + np.sin(4 * x) * np.cos(3 * y),
        lambda x, y: 3 + 0 * x,
    ],
)
@pytest.mark.parametrize("rtol", [0.1, 0.01])
def test_smooth_functions_take_few_points(function, rtol):
    found, exact = refined(function, rtol)
    assert not found.rough
    assert found.evaluated.mean() <= 0.15
    assert true_error(found.values, exact) <= found.error <= rtol
    np.testing.assert_array_equal(found.values[found.evaluated], exact[found.evaluated])


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: 100 * (y - x**2) ** 2 + (1 - x) ** 2,
        lambda x, y: np.sin(4 * x) * np.cos(3 * y),
    ],
)
def test_valleys_and_changes_of_sign_are_known_too(function):
    """A hundredth of what is nearly zero takes more points."""
    found, exact = refined(function)
    assert found.evaluated.mean() <= 0.3
    assert true_error(found.values, exact) <= found.error == 0.01


def test_nothing_but_holes():
    found, _ = refined(lambda x, y: np.nan * x, n=15)
    assert found.evaluated.all()


def test_rough_functions_are_evaluated_whole():
    draw = np.random.default_rng(1)
    for function in (lambda x, y: draw.normal(size=len(x)), lambda x, y: 1.0 + (np.floor(7 * (x + y)) % 2)):
        found, exact = refined(function)
        assert (found.rough, found.error, found.evaluated.all()) == (True, 0.0, True)
        np.testing.assert_array_equal(found.values, exact)


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_nothing_is_interpolated_across_a_cliff(hole):
    found, exact = refined(lambda x, y: np.where(x + 0.3 * y > 0.7, hole, 1 + x**2 + y**2))
    assert not found.rough
    assert found.evaluated[~np.isfinite(exact[:, 0])].all()
    assert true_error(found.values, exact) <= found.error


@pytest.mark.parametrize("span", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(
    ("activation", "norm"),
    [(nn.ReLU, nn.Identity), (nn.Tanh, nn.Identity), (nn.GELU, nn.Identity), (nn.Tanh, nn.BatchNorm1d)],
)
def test_the_stated_error_of_a_network_holds(activation, norm, span):
    objective = network(activation, norm)
    plane = random_plane(objective)
    found = evaluate(objective, plane, 31, span)
    exact = evaluate(objective, plane, 31, span, None)
    assert true_error(found.values["loss"], exact.values["loss"]) <= found.error <= 0.01
    assert found.evaluations == found.evaluated.sum()
    assert bool(found.note) == (found.error == 0)
    assert (exact.error, exact.note, exact.evaluated.all()) == (0.0, "", True)
    np.testing.assert_array_equal(
        found.values["loss"][found.evaluated], exact.values["loss"][found.evaluated]
    )


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU])
def test_the_map_of_a_smooth_network_takes_few_points(activation):
    objective = network(activation)
    found = evaluate(objective, random_plane(objective), 51, 0.5)
    assert found.evaluations <= 0.15 * 51 * 51


def test_every_metric_is_known():
    objective = network()
    plane = random_plane(objective)
    found = evaluate(objective, plane, 25, 0.3, 0.05, ["loss", "gradient_norm"])
    exact = evaluate(objective, plane, 25, 0.3, None, ["loss", "gradient_norm"])
    assert 0 < found.error <= 0.05
    for name in ("loss", "gradient_norm"):
        assert true_error(found.values[name], exact.values[name]) <= found.error
    # Steps cannot be interpolated.
    assert evaluate(objective, plane, 25, 0.3, metrics=["loss", "accuracy"]).evaluated.all()


def test_there_is_a_map_before_it_is_done():
    """Its previews start with the coarse grid and double at least; they change nothing, and hold no model."""
    objective = network()
    plane = random_plane(objective)
    previews = []
    found = evaluate(objective, plane, 31, preview=previews.append)
    counts = [int(preview.evaluated.sum()) for preview in previews]
    assert counts[0] == 49
    assert all(after >= 2 * before for before, after in pairwise(counts))
    assert counts[-1] < found.evaluated.sum()
    np.testing.assert_array_equal(found.values["loss"], evaluate(objective, plane, 31).values["loss"])
    dense = evaluate(objective, plane, 31, rtol=None).values["loss"]
    for preview in previews:
        assert preview.objective is None
        assert "not audited" in preview.caption[-1]
        np.testing.assert_array_equal(preview.values["loss"][preview.evaluated], dense[preview.evaluated])
        assert true_error(preview.values["loss"], dense) <= 2 * preview.error


def test_a_map_that_is_evaluated_whole_has_a_coarse_one_first():
    objective = network(nn.ReLU)
    previews = []
    found = evaluate(
        objective, random_plane(objective), 15, metrics=["loss", "accuracy"], preview=previews.append
    )
    assert found.error == 0
    assert [int(preview.evaluated.sum()) for preview in previews] == [49]
    assert np.isfinite(previews[0].values["accuracy"]).all()


def test_a_line():
    objective = network()
    line = random_line(objective)
    found = evaluate(objective, line, 201)
    exact = evaluate(objective, line, 201, rtol=None)
    assert found.evaluations <= 0.4 * 201
    assert true_error(found.values["loss"], exact.values["loss"]) <= found.error
    assert evaluate(objective, line, 21).evaluations == 21


class Logarithm(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))

    def forward(self, x):
        return self.w.log() * x


def test_a_line_over_a_cliff():
    x = torch.ones(4, 1, dtype=torch.float64)
    objective = Objective(Logarithm(), nn.MSELoss(), (x, 0 * x))
    line = line_through(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    found = evaluate(objective, line, 301)
    w = np.linspace(-0.25, 1.25, 301)
    assert np.isnan(found.values["loss"][w < -1e-9]).all()
    assert found.values["loss"][50] == np.inf
    assert np.isfinite(found.values["loss"][w > 1e-9]).all()


def interrupted_after(points):
    def progress(done, total):
        if done >= points:
            raise KeyboardInterrupt

    return progress


def opened(path):
    return Run.open(path, kind="slice", settings={})


def test_an_interrupted_map_goes_on_to_the_same(tmp_path):
    objective = network()
    plane = random_plane(objective)
    whole = evaluate(objective, plane, 31, 0.5)
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "run") as run:
        evaluate(objective, plane, 31, 0.5, run=run, progress=interrupted_after(70))
    with opened(tmp_path / "run") as run:
        rest = evaluate(objective, plane, 31, 0.5, run=run)
        assert rest.evaluations == whole.evaluations - 70
        assert evaluate(objective, plane, 31, 0.5, run=run).evaluations == 0
    np.testing.assert_array_equal(rest.values["loss"], whole.values["loss"])
    np.testing.assert_array_equal(rest.evaluated, whole.evaluated)
    assert rest.error == whole.error


def test_points_serve_other_tolerances_resolutions_and_spans(tmp_path):
    objective = network()
    plane = random_plane(objective)
    alone = evaluate(objective, plane, 51, 0.5)
    exact = evaluate(objective, plane, 51, 0.5, None).values["loss"]
    with opened(tmp_path / "a") as run:
        coarse = evaluate(objective, plane, 26, 0.5, 0.05, run=run)
        finer = evaluate(objective, plane, 26, 0.5, run=run)
        # All but the points of the first one's audit are asked for again.
        assert finer.evaluations <= finer.evaluated.sum() - coarse.evaluations + 24
        with pytest.raises(KeyboardInterrupt):
            evaluate(objective, plane, 51, 0.5, run=run, progress=interrupted_after(130))
        assert dataset(run, "slice")["loss"].shape == (26, 26)
        continued = evaluate(objective, plane, 51, 0.5, run=run)
        assert dataset(run, "slice")["loss"].shape == (51, 51)
        evaluate(objective, plane, 51, 0.2, run=run)
    with opened(tmp_path / "b") as run:
        evaluate(objective, plane, 26, 0.5, 0.05, run=run)
        evaluate(objective, plane, 26, 0.5, run=run)
        unbroken = evaluate(objective, plane, 51, 0.5, run=run)
        assert evaluate(objective, plane, 51, 0.5, 0, run=run).evaluated.all()
    np.testing.assert_array_equal(continued.values["loss"], unbroken.values["loss"])
    assert unbroken.evaluations < alone.evaluations
    for found in (alone, unbroken):
        assert true_error(found.values["loss"], exact) <= found.error


def test_a_grid_of_another_plane_is_refused(tmp_path):
    objective = network()
    with opened(tmp_path / "run") as run:
        evaluate(objective, random_plane(objective), 15, run=run)
        for plane, rtol in ((random_plane(objective, seed=1), 0.01), (random_plane(objective), None)):
            with pytest.raises(RunConflict, match="holds points of another slice"):
                evaluate(objective, plane, 15, rtol=rtol, run=run)


def test_the_run_holds_the_map_and_the_points(tmp_path):
    objective = network()
    plane = random_plane(objective)
    with opened(tmp_path / "run") as run:
        found = evaluate(objective, plane, 31, 0.5, run=run)
        evaluate(objective, plane, 25, 0.5, run=run)
        found = evaluate(objective, plane, 31, 0.5, run=run)
        data, points = dataset(run, "slice"), dataset(run, "slice.evaluated")
        names = {path.name for path in export(run, "csv", tmp_path / "csv")}
        export(run, "netcdf", tmp_path / "netcdf")
    np.testing.assert_array_equal(data["loss"], found.values["loss"])
    np.testing.assert_array_equal(data["evaluated"], found.evaluated)
    assert {"slice.csv", "slice.evaluated.csv"} <= names
    k = 5
    theta = plane.at([float(points["alpha"][k]), float(points["beta"][k])])
    assert float(points["loss"][k]) == pytest.approx(float(objective.loss(theta)), rel=1e-12)
    own = found.dataset
    assert own["evaluated"].dtype == bool
    assert own.attrs["error"] == found.error
    own.to_netcdf(tmp_path / "own.nc", engine="h5netcdf")


@pytest.mark.parametrize("end", [-1, 1])
@pytest.mark.parametrize("hole", [np.nan, np.inf])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: 1 + x**2,
        lambda x: np.exp(3 * x),
        # Grows without bound towards the hole.
        lambda x: 3 - np.log(np.maximum(1 - x, 1e-9)),
    ],
)
def test_a_line_with_one_coarse_point_that_is_not_finite(function, hole, end):
    """Of seven coarse points six are left, with the fewest that a surrogate needs."""
    line = np.linspace(-1, 1, 201)
    exact = np.where(line == end, hole, function(line))[:, None]
    none = np.array([], dtype=np.intp)
    asked = Refinement(
        line[:, None], (201,), lambda i: exact[i], none, np.zeros((0, 1)), np.zeros((0, 1))
    ).run(0.01)
    assert (~np.isfinite(exact)).sum() == 1
    assert true_error(asked.values, exact) <= asked.error
    np.testing.assert_array_equal(asked.values[asked.evaluated], exact[asked.evaluated])
