"""Slices against the loss at each of their points, through interruptions and points where there is no loss."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from torch import nn

from landscape.models import cancer, classifier, mixed
from thalweg import surfaces
from thalweg.errors import InvalidArgument, RunConflict, ShapeMismatch
from thalweg.landscape import axis_plane, evaluate, line_through, random_line, random_plane
from thalweg.objective import Objective
from thalweg.store import Run


class Counted:
    """A quadratic with a loss of nan where x > 1 and infinite where y > 1, that counts the points it is asked at."""

    def __init__(self):
        self.points = 0
        self.surface = surfaces.Surface("holes", self.loss, [0.5, 0.5])

    def loss(self, x):
        self.points += x[0].numel()
        value = (x**2).sum(0)
        value = torch.where(x[1] > 1, torch.inf, value)
        return torch.where(x[0] > 1, torch.nan, value)


def expected(alpha, beta):
    """The loss of `Counted` around its start."""
    x, y = 0.5 + alpha, 0.5 + beta
    return np.nan if x > 1 else np.inf if y > 1 else x**2 + y**2


@pytest.fixture
def run(tmp_path):
    with Run.open(tmp_path / "run", kind="slice", settings={}) as opened:
        yield opened


def test_a_surface_at_every_point():
    surface = surfaces.rosenbrock()
    plane = axis_plane(surface)
    found = evaluate(surface, plane, (5, 7), 0.5)
    assert found.values["loss"].shape == (5, 7)
    assert (found.evaluations, found.error) == (35, 0.0)
    assert list(found.axes) == ["alpha", "beta"]
    x0, y0 = surface.point.tolist()
    for i, a in enumerate(np.linspace(-0.5, 0.5, 5)):
        for j, b in enumerate(np.linspace(-0.5, 0.5, 7)):
            x, y = x0 + a, y0 + b
            exact = 100 * (y - x * x) ** 2 + (1 - x) ** 2
            assert found.values["loss"][i, j] == pytest.approx(exact, rel=1e-12)


def by_hand(objective, theta):
    """Loss, accuracy and gradient norm of a copy of the model at θ, over the whole data at once."""
    model = copy.deepcopy(objective.model).eval()
    torch.nn.utils.vector_to_parameters(theta, model.parameters())
    batches = [batch for _, batch in objective.batches]
    *inputs, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    output = model(*inputs)
    loss = F.cross_entropy(output, y)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    return {
        "loss": float(loss.detach()),
        "accuracy": float((output.argmax(1) == y).double().mean()),
        "gradient_norm": float(torch.cat([slope.flatten() for slope in slopes]).norm()),
    }


@pytest.mark.parametrize(
    "metrics",
    [["loss"], ["accuracy"], ["loss", "accuracy"], ("gradient_norm",), ["gradient_norm", "accuracy", "loss"]],
)
def test_a_model_at_every_point(metrics):
    objective = mixed()
    plane = random_plane(objective, seed=2)
    found = evaluate(objective, plane, 3, metrics=metrics)
    assert list(found.values) == list(metrics)
    for i, a in enumerate((-1.0, 0.0, 1.0)):
        for j, b in enumerate((-1.0, 0.0, 1.0)):
            exact = by_hand(objective, plane.at([a, b]))
            for name in metrics:
                # The mean over batches of seven and five: another order of summation.
                assert found.values[name][i, j] == pytest.approx(exact[name], rel=1e-12)
    if "loss" in metrics:
        assert found.values["loss"][1, 1] == pytest.approx(float(objective.loss()), rel=1e-14)


def test_a_line():
    objective = classifier()
    a, b = objective.point, -objective.point
    found = evaluate(objective, line_through(a, b), 7)
    assert found.values["loss"].shape == (7,)
    assert found.values["loss"][1] == pytest.approx(float(objective.loss(a)), rel=1e-13)
    assert found.values["loss"][5] == pytest.approx(float(objective.loss(b)), rel=1e-13)


def test_holes_are_stored_and_the_rest_goes_on(run):
    counted = Counted()
    for stored in (None, run):
        found = evaluate(counted.surface, axis_plane(counted.surface), 9, run=stored)
        exact = [[expected(a, b) for b in np.linspace(-1, 1, 9)] for a in np.linspace(-1, 1, 9)]
        np.testing.assert_allclose(found.values["loss"], exact, rtol=1e-14)
        assert np.isnan(found.values["loss"]).any()
        assert np.isinf(found.values["loss"]).any()
    assert counted.points == 2 * 81 + 4
    again = evaluate(counted.surface, axis_plane(counted.surface), 9, run=run)
    np.testing.assert_array_equal(again.values["loss"], found.values["loss"])
    # The run's claim on its grid evaluates the center, and three points for the surface's fingerprint.
    assert (again.evaluations, counted.points) == (0, 2 * 81 + 2 * 4)


class Logarithm(nn.Module):
    """log w · x: not a number for negative w."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))

    def forward(self, x):
        return self.w.log() * x


def test_holes_of_a_model():
    x = torch.ones(4, 1, dtype=torch.float64)
    objective = Objective(Logarithm(), nn.MSELoss(), (x, 0 * x))
    line = line_through(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    found = evaluate(objective, line, 7).values["loss"]
    # At -0.25, 0, 0.25, ...: no logarithm, minus infinity, numbers.
    assert np.isnan(found[0])
    assert found[1] == np.inf
    np.testing.assert_allclose(found[2:], np.log([0.25, 0.5, 0.75, 1, 1.25]) ** 2, rtol=1e-13, atol=1e-30)
    assert objective.point.item() == 0.5


def interrupted_after(points):
    def progress(done, total):
        if done == points:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_slice_of_a_surface_goes_on_at_the_next_row(tmp_path):
    counted = Counted()
    plane = axis_plane(counted.surface)
    whole = evaluate(counted.surface, plane, 5, rtol=None)
    counted.points = 0
    with (
        pytest.raises(KeyboardInterrupt),
        Run.open(tmp_path / "run", kind="slice", settings={}) as run,
    ):
        evaluate(counted.surface, plane, 5, rtol=None, run=run, progress=interrupted_after(10))
    assert counted.points == 10 + 4
    seen = []
    with Run.open(tmp_path / "run", kind="slice", settings={}) as run:
        rest = evaluate(
            counted.surface, plane, 5, rtol=None, run=run, progress=lambda *done: seen.append(done)
        )
        assert run.evaluations("slice") == 25
    assert (rest.evaluations, counted.points) == (15, 25 + 2 * 4)
    assert seen == [(15, 25), (20, 25), (25, 25)]
    np.testing.assert_array_equal(rest.values["loss"], whole.values["loss"])


def test_an_interrupted_slice_of_a_model_goes_on_at_the_next_point(tmp_path):
    objective = classifier()
    plane = random_plane(objective)
    whole = evaluate(objective, plane, 5)
    with (
        pytest.raises(KeyboardInterrupt),
        Run.open(tmp_path / "run", kind="slice", settings={}) as run,
    ):
        evaluate(objective, plane, 5, rtol=None, run=run, progress=interrupted_after(11))
    with Run.open(tmp_path / "run", kind="slice", settings={}) as run:
        assert len(run.points("slice")) == 11
        rest = evaluate(objective, plane, 5, rtol=None, run=run)
        assert run.evaluations("slice") == 25
    assert rest.evaluations == 14
    np.testing.assert_array_equal(rest.values["loss"], whole.values["loss"])


def test_a_metric_that_was_not_stored_is_evaluated(run):
    objective = classifier()
    line = random_line(objective)
    first = evaluate(objective, line, 3, run=run)
    both = evaluate(objective, line, 3, metrics=["loss", "accuracy"], run=run)
    again = evaluate(objective, line, 3, metrics=["accuracy"], run=run)
    assert (first.evaluations, both.evaluations, again.evaluations) == (3, 3, 0)
    np.testing.assert_array_equal(again.values["accuracy"], both.values["accuracy"])


def test_a_grid_of_another_slice_is_refused(run):
    objective = classifier()
    plane = random_plane(objective, seed=1)
    evaluate(objective, plane, 3, rtol=None, run=run)
    others = [
        (objective, random_plane(objective, seed=2), 3, 1.0),
        (objective, plane, 3, 0.5),
        (objective, plane, 5, 1.0),
    ]
    for other, through, resolution, span in others:
        with pytest.raises(RunConflict, match=r"grid 'slice' of .* holds points of another slice"):
            evaluate(other, through, resolution, span, None, run=run)
    assert evaluate(objective, plane, 3, rtol=None, run=run).evaluations == 0


def test_a_grid_of_changed_code_is_refused(run):
    """Far from zero, so that the change of the loss is small beside the lengths of the plane's vectors."""

    class Scaled(nn.Module):
        factor = 1.0

        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.full((2, 2), 1e4))

        def forward(self, x):
            return self.factor * (x @ self.w) * 1e-5

    objective = Objective(Scaled(), F.mse_loss, (torch.ones(4, 2), torch.zeros(4, 2)))
    plane = random_plane(objective)
    evaluate(objective, plane, 3, run=run)
    assert evaluate(objective, plane, 3, run=run).evaluations == 0
    Scaled.factor = 1.01
    with pytest.raises(RunConflict, match="holds points of another slice"):
        evaluate(objective, plane, 3, run=run)


def test_grids_of_a_run_are_apart(run):
    objective = classifier()
    first = evaluate(objective, random_line(objective, seed=1), 3, rtol=None, run=run, grid="one")
    second = evaluate(objective, random_line(objective, seed=2), 3, rtol=None, run=run, grid="two")
    assert second.evaluations == 3
    assert not np.array_equal(first.values["loss"], second.values["loss"])
    assert run.grids() == ["one", "two"]


def whole_state(objective):
    """All of a model that a caller could see."""
    model = objective.model
    return {
        "tensors": {name: t.detach().clone() for name, t in model.state_dict().items()},
        "gradients": {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "required": {name: p.requires_grad for name, p in model.named_parameters()},
        "modes": {name: m.training for name, m in model.named_modules()},
        "places": {name: (id(p), p.data_ptr()) for name, p in model.named_parameters()},
        "random": torch.random.get_rng_state(),
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same_state(before, after):
    for name, tensor in before["tensors"].items():
        assert torch.equal(tensor, after["tensors"][name]), name
    for name, slope in before["gradients"].items():
        found = after["gradients"][name]
        assert (slope is None and found is None) or torch.equal(slope, found), name
    assert torch.equal(before["random"], after["random"])
    for name in ("required", "modes", "places", "grad mode"):
        assert before[name] == after[name]


@pytest.mark.parametrize("metrics", [["loss", "accuracy"], ["loss", "gradient_norm"]])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ZeroDivisionError])
def test_the_model_is_as_it_was(metrics, error):
    objective = mixed()
    # Some gradients are there, one is not, and a layer is in evaluation mode.
    objective.model.convolution.weight.grad = torch.ones_like(objective.model.convolution.weight)
    objective.model.head.eval()
    plane = random_plane(objective)
    before = whole_state(objective)

    def progress(done, total):
        if error is not None and done == 4:
            raise error

    if error is None:
        evaluate(objective, plane, 3, metrics=metrics, progress=progress)
    else:
        with pytest.raises(error):
            evaluate(objective, plane, 3, metrics=metrics, progress=progress)
    assert_same_state(before, whole_state(objective))


def test_an_exception_inside_the_model_leaves_it_as_it_was():
    class Fragile(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 8:
                raise ZeroDivisionError
            return super().forward(x)

    x, y = cancer(20)
    objective = Objective(Fragile(30, 2).double(), F.cross_entropy, (x, y))
    before = whole_state(objective)
    with pytest.raises(ZeroDivisionError):
        evaluate(objective, random_plane(objective), 5)
    assert_same_state(before, whole_state(objective))


def test_bad_arguments(run):
    counted = Counted()
    plane = axis_plane(counted.surface)
    bad = [
        ({"metrics": "loss"}, "metrics must be a list such as [\"loss\"], got 'loss'"),
        ({"metrics": []}, 'metrics must be a list such as ["loss"], got []'),
        ({"metrics": ["loss", "beauty"]}, "got 'beauty'"),
        ({"metrics": ["accuracy"]}, "'accuracy' is none of"),
        ({"rtol": -0.01}, "rtol must be None or not negative, got -0.01"),
        ({"rtol": float("nan")}, "rtol must be None or not negative, got nan"),
        ({"resolution": 0}, "resolution must be at least 3"),
        ({"resolution": 2}, "resolution must be at least 3"),
        ({"span": 0.0}, "span must be positive and finite, got 0.0"),
        ({"span": float("nan")}, "span must be positive and finite, got nan"),
        ({"span": float("inf")}, "span must be positive and finite, got inf"),
        ({"run": run, "grid": "../x"}, "grid"),
    ]
    for arguments, message in bad:
        with pytest.raises(InvalidArgument) as caught:
            evaluate(counted.surface, plane, **{"resolution": 3, **arguments})
        assert message in str(caught.value)
    with pytest.raises(InvalidArgument, match="got 'beauty'"):
        evaluate(classifier(), random_plane(classifier()), 3, metrics=["beauty"])
    assert run.grids() == []


def test_a_plane_of_another_objective():
    with pytest.raises(ShapeMismatch, match="theta must have shape"):
        evaluate(classifier(), random_plane(mixed()), 3)
    surface = surfaces.rosenbrock()
    with pytest.raises(ShapeMismatch, match=r"must be torch.float64 like the objective, got torch.float32"):
        evaluate(surface, axis_plane(surface.to(torch.float32)), 3)


def test_the_dataset_says_what_it_is(tmp_path):
    objective = classifier()
    plane = random_plane(objective, "layer", seed=7)
    found = evaluate(objective, plane, (3, 5), metrics=["loss", "accuracy"])
    data = found.dataset
    assert isinstance(data, xr.Dataset)
    assert dict(data.sizes) == {"alpha": 3, "beta": 5}
    assert set(data.data_vars) == {"loss", "accuracy"}
    np.testing.assert_array_equal(data["loss"].values, found.values["loss"])
    np.testing.assert_allclose(data["beta"].values, [-1, -0.5, 0, 0.5, 1])
    assert float(data["loss"].sel(alpha=0, beta=0)) == pytest.approx(float(objective.loss()), rel=1e-13)
    assert data.attrs["kind"] == "random"
    assert data.attrs["normalization"] == "layer"
    assert data.attrs["seed"] == 7
    assert data.attrs["error"] == 0.0
    assert data.attrs["labels"] == list(plane.labels)
    json.dumps(found.attributes())
    data.to_netcdf(tmp_path / "slice.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "slice.nc", engine="h5netcdf") as back:
        np.testing.assert_array_equal(back["accuracy"].values, found.values["accuracy"])
        assert list(back.attrs["labels"]) == list(plane.labels)


def test_a_line_has_one_dimension():
    objective = classifier()
    data = evaluate(objective, random_line(objective), 5).dataset
    assert dict(data.sizes) == {"alpha": 5}
