"""What cannot be drawn is refused in one clear line; what can, but has holes, is drawn with them."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.models import cancer, classifier, relu_network, seeded
from thalweg import plots, surfaces
from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.landscape import (
    align,
    axis_plane,
    bezier_path,
    eigen_plane,
    evaluate,
    fitting_error,
    flat_walk,
    gradient_plane,
    honesty,
    interpolate,
    line_through,
    plane_through,
    polygon_path,
    random_line,
    random_plane,
    stack,
    trajectory_informed_plane,
    trajectory_plane,
    zero_modes,
)
from thalweg.objective import Objective


def refused(told: str, kind: type[Exception] = InvalidArgument):
    """One line that says so."""
    return pytest.raises(kind, match=rf"^[^\n]*{told}[^\n]*$")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1.0, 2.0, -0.5, 0.1])
def test_directions_that_are_parallel(dtype, factor) -> None:
    draw = torch.Generator().manual_seed(0)
    # Far from zero, so that the differences of the points carry their rounding.
    a = 100 * torch.randn(50, generator=draw, dtype=dtype)
    d = torch.randn(50, generator=draw, dtype=dtype)
    with refused("the two directions of a slice must not be parallel"):
        plane_through(a, a + d, a + factor * d)
    bent = factor * d + 0.05 * abs(factor) * torch.randn(50, generator=draw, dtype=dtype)
    assert plane_through(a, a + d, a + bent).dim == 2


def test_directions_of_one_dimension_are_parallel() -> None:
    objective = Objective(nn.Linear(1, 1, bias=False), F.mse_loss, (torch.ones(3, 1), torch.ones(3, 1)))
    with refused("must not be parallel"):
        random_plane(objective)
    assert evaluate(objective, random_line(objective), 5).evaluated.all()


def test_points_that_are_the_same() -> None:
    a = torch.randn(5, dtype=torch.float64)
    with refused("direction 1 of a slice must not be zero, as it is between equal points"):
        line_through(a, a)
    with refused("direction 2 of a slice must not be zero"):
        plane_through(a, a + 1, a)


def test_points_that_are_not_finite() -> None:
    a = torch.ones(5)
    for bad in (math.nan, math.inf):
        with refused("the points of a slice must be finite"):
            line_through(a, a * bad)
        with refused("the points of a slice must be finite"):
            plane_through(a, 2 * a, torch.tensor([1.0, 2.0, bad, 3.0, 4.0]))
    model = relu_network()
    with torch.no_grad():
        model[0].bias[2] = math.nan
    with refused("the points of a slice must be finite"):
        random_plane(Objective(model, F.cross_entropy, cancer()))


def test_points_whose_squares_overflow_are_none_of_these() -> None:
    far = torch.full((5,), 1e200, dtype=torch.float64)
    assert line_through(far, 2 * far).dim == 1


@pytest.mark.parametrize("count", [1, 2])
def test_paths_too_short_for_a_plane(count) -> None:
    objective = classifier()
    with refused(f"checkpoints must hold at least 3 points to span a plane, got {count}"):
        trajectory_plane(objective, [objective.point] * count)


def test_checkpoints_that_are_all_the_same() -> None:
    objective = classifier()
    with refused("checkpoints do not span a plane"):
        trajectory_plane(objective, [objective.point] * 4)


def other(hidden: int = 9, layers: int = 1) -> nn.Module:
    more = [module for _ in range(layers) for module in (nn.ReLU(), nn.Linear(6, 6))]
    return seeded(
        lambda: nn.Sequential(
            nn.Linear(30, hidden), nn.ReLU(), nn.Linear(hidden, 6), *more[:-1], nn.Linear(6, 2)
        )
    )


@pytest.mark.parametrize("connect", [interpolate, bezier_path])
def test_models_of_other_shapes_are_told_by_their_first_difference(connect) -> None:
    objective = classifier()
    with refused(r"b: 0.weight has shape \(9, 30\), that of the objective's model \(8, 30\)"):
        connect(objective, objective.model, other())
    deeper = nn.Sequential(*relu_network(), nn.ReLU(), nn.Linear(2, 2)).double()
    with refused("a holds 6.weight, which the objective's model has not"):
        connect(objective, deeper, objective.model)
    shallower = {name: value for name, value in objective.model.state_dict().items() if "4" not in name}
    with refused("lacks 2 of 6 parameters"):
        connect(objective, objective.model, shallower)
    with refused(r"0.weight is of shape \(8, 30\) in model_a and of shape \(9, 30\) in model_b"):
        align(objective.model, other())


def test_vectors_of_other_lengths() -> None:
    a = torch.ones(5)
    with refused(r"b must be a vector \(5,\), got shape \(4,\)", ShapeMismatch):
        line_through(a, torch.ones(4))
    with refused(r"theta must have shape", ShapeMismatch):
        interpolate(classifier(), a, a)


@pytest.mark.parametrize("resolution", [0, 1, 2, -3, 5.5, (5, 2), (5,), (5, 5, 5), "51", True])
def test_resolutions(resolution) -> None:
    objective = classifier()
    with refused(re.escape(f"resolution must be at least 3 along each of 2 axes, got {resolution}")):
        evaluate(objective, random_plane(objective), resolution)


@pytest.mark.parametrize("span", [0, 0.0, -1.0, math.nan, math.inf, "a"])
def test_spans(span) -> None:
    objective = classifier()
    with refused(f"span must be positive and finite, got {span}"):
        evaluate(objective, random_plane(objective), 5, span)


def test_filters_and_biases_of_zero_have_no_direction() -> None:
    """They stay where they are, and nothing is divided by their length."""
    model = relu_network()
    with torch.no_grad():
        model[0].weight[3:] = 0
        for layer in (0, 2, 4):
            model[layer].bias.zero_()
    objective = Objective(model, F.cross_entropy, cancer())
    plane = random_plane(objective)
    directions = objective.state(plane.directions[:, 0].contiguous())
    assert not directions["0.weight"][3:].any()
    assert not directions["0.bias"].any()
    torch.testing.assert_close(
        directions["0.weight"][:3].norm(dim=1), model[0].weight[:3].norm(dim=1).detach()
    )
    assert np.isfinite(evaluate(objective, plane, 5).values["loss"]).all()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with refused('leaves nothing of the direction here .* use normalization="none"'):
        random_plane(objective)


@pytest.mark.parametrize("rtol", [None, 0.01])
def test_values_that_are_not_finite_are_kept_and_drawn_as_missing(rtol) -> None:
    def formula(x):
        return torch.where(x[1] > 0.6, torch.inf, torch.where(x[0] > 0.6, torch.nan, 1 + (x**2).sum(0)))

    surface = surfaces.Surface("cliff", formula, [0.0, 0.0])
    found = evaluate(surface, axis_plane(surface), 21, rtol=rtol)
    x, y = np.meshgrid(*found.axes.values(), indexing="ij")
    loss = found.values["loss"]
    assert np.isinf(loss[y > 0.6]).all()
    assert np.isnan(loss[(x > 0.6) & (y <= 0.6)]).all()
    np.testing.assert_allclose(loss[(x <= 0.6) & (y <= 0.6)], (1 + x**2 + y**2)[(x <= 0.6) & (y <= 0.6)])
    ax = plots.contours(*found.axes.values(), loss)
    assert ax.patch.get_hatch() == "////"
    missing = int((~np.isfinite(loss)).sum())
    assert f"At {missing} of 441 points the loss is not a finite number (hatched)." in plots.Heights.of(
        loss
    ).remarks("loss")


@pytest.mark.parametrize(
    "call",
    [
        random_plane,
        random_line,
        eigen_plane,
        gradient_plane,
        axis_plane,
        stack,
        zero_modes,
        flat_walk,
        lambda it: evaluate(it, random_plane(classifier())),
        lambda it: honesty(it, random_plane(classifier())),
        lambda it: interpolate(it, it, it),
        lambda it: bezier_path(it, it, it),
        lambda it: trajectory_plane(it, [it] * 3),
        lambda it: trajectory_informed_plane(it, [it] * 3),
        lambda it: fitting_error(it, random_plane(classifier()), [it] * 3),
    ],
)
def test_a_model_in_place_of_an_objective(call) -> None:
    with refused(r"obj must be an objective, such as tw.Objective\(model, loss_fn, data\) .* got Sequential"):
        call(relu_network())


def test_other_things_in_place_of_planes_slices_and_ends() -> None:
    objective = classifier()
    with refused(r"plane must be a Plane, such as tw.landscape.random_plane\(obj\), got str"):
        evaluate(objective, "random")  # type: ignore[arg-type]
    with refused("plane must be a Plane"):
        honesty(objective, "random")  # type: ignore[arg-type]
    found = evaluate(objective, random_plane(objective), 3)
    with refused("b must be a Slice, got int"):
        found - 1  # type: ignore[operator]
    with refused(r"b must be a tensor \(.*\), a model or its state dictionary, got str"):
        interpolate(objective, objective.model, "x")  # type: ignore[arg-type]
    with refused("rtol must be None or not negative, got a"):
        evaluate(objective, random_plane(objective), 3, rtol="a")  # type: ignore[arg-type]
    state = objective.model.state_dict()
    with refused(r"a must be a point, a tensor \(n,\), got OrderedDict: obj.flatten\(state_dict\) makes one"):
        plane_through(state, state, state)  # type: ignore[arg-type]
    for wrong in (state, objective.model, 3):
        with refused("checkpoints must be a list of points, models or state dictionaries"):
            trajectory_plane(objective, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seed", "told"), [(0.5, "0.5"), (-1, "-1"), ("0", "'0'"), (True, "True"), (None, "None")]
)
def test_seeds(seed, told) -> None:
    objective = classifier()
    for call in (random_plane, random_line, stack):
        with refused(f"seed must be an integer of at least 0, got {re.escape(told)}"):
            call(objective, seed=seed)


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ((0,), "axes must be two coordinates, got "),
        ((0, 1, 2), "axes must be two coordinates, got "),
        ((), "axes must be two coordinates, got "),
        ((0, -1), "axes must be an integer of at least 0, got -1"),
        ((0.0, 1.0), "axes must be an integer of at least 0, got 0.0"),
        ((0, 9999), "axes must be below the dimension 316, got 9999"),
        ((3, 3), "axes must be two different ones, got 3 twice"),
    ],
)
def test_axes(axes, told) -> None:
    with refused(told):
        axis_plane(classifier(), axes=axes)


def test_domains_of_other_shapes() -> None:
    objective = classifier()
    n = objective.size
    for domain in (
        torch.zeros(n),
        torch.zeros(n, 3),
        torch.zeros(2, n),
        torch.zeros(2, 2),
        (-1.0, 1.0),
        [[0, 1]],
    ):
        shape = re.escape(str(tuple(torch.as_tensor(domain).shape)))
        with refused(rf"domain must have shape \({n}, 2\), got {shape}", ShapeMismatch):
            axis_plane(objective, domain=domain)
    box = torch.tensor([[-1.0, 2.0]]).expand(n, 2)
    assert axis_plane(objective, domain=box.tolist()).extent == ((-1.0, 2.0),) * 2


def test_points_of_other_types() -> None:
    a, b, c = torch.eye(3, dtype=torch.float64)
    with refused("b must be torch.float64 on cpu like the others, got torch.float32"):
        plane_through(a, b.float(), c)
    with refused("c must be torch.float64 on cpu like the others, got torch.int64"):
        plane_through(a, b, c.long())
    with refused("b must be torch.float32 on cpu like the others, got torch.float64"):
        line_through(a.float(), b)
    with refused("b must be torch.float64 on cpu like the others, got torch.float64 on meta"):
        line_through(a, b.to("meta"))
    for kind in (torch.int64, torch.bool, torch.complex64):
        with refused(f"a must be a floating-point type on cpu like the others, got {kind} on cpu"):
            line_through(a.to(kind), b.to(kind))


@pytest.mark.parametrize("of", ["model", "state", "generator", "number"])
def test_one_thing_in_place_of_checkpoints(of) -> None:
    objective = classifier()
    plane = random_plane(objective)
    wrong, name = {
        "model": (objective.model, "Sequential"),
        "state": (objective.model.state_dict(), "OrderedDict"),
        "generator": ((point for point in [objective.point] * 3), "generator"),
        "number": (3, "int"),
    }[of]
    with refused(f"checkpoints must be a list of points, models or state dictionaries, got {name}"):
        fitting_error(objective, plane, wrong)


@pytest.mark.parametrize("path", [bezier_path, polygon_path])
@pytest.mark.parametrize("optimizer", ["adam", 0.1])
def test_an_optimizer_that_makes_none(path, optimizer) -> None:
    objective = classifier()
    with refused(f"optimizer must be a function of parameters, .*SGD.*, got {optimizer!r}"):
        path(objective, objective.point, objective.point + 1, optimizer=optimizer)


@pytest.mark.parametrize("path", [bezier_path, polygon_path])
def test_a_misspelt_option_of_a_path(path) -> None:
    objective = classifier()
    with refused("option must be .*'steps'.* got 'stepz': did you mean 'steps'"):
        path(objective, objective.model, objective.model, stepz=3)


@pytest.mark.parametrize("plane_of", [trajectory_plane, trajectory_informed_plane])
def test_checkpoints_may_be_models_and_state_dictionaries(plane_of) -> None:
    objective = classifier()
    draw = torch.Generator().manual_seed(0)
    points = [objective.point + torch.randn(objective.size, generator=draw).double() for _ in range(4)]
    model = relu_network().double()
    model.load_state_dict(objective.state(points[-1]))
    mixed = [points[0], objective.state(points[1]), objective.state(points[2]), model]
    due, found = plane_of(objective, points), plane_of(objective, mixed)
    assert torch.equal(found.center, due.center)
    assert torch.equal(found.directions, due.directions)
    assert fitting_error(objective, due, mixed).losses.tolist() == pytest.approx(
        [float(objective.loss(point)) for point in points]
    )


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_weights_that_are_not_finite_are_named(bad) -> None:
    objective = classifier()
    broken = relu_network().double()
    with torch.no_grad():
        broken[2].weight[0, 1] = broken[4].bias[0] = bad
    for connect in (interpolate, bezier_path, polygon_path):
        with refused("b must be finite, got NaN or infinite entries in 2.weight"):
            connect(objective, objective.model, broken)
        with refused("a must be finite, got NaN or infinite entries in 2.weight"):
            connect(objective, objective.flatten(broken.state_dict()), objective.model)
    with refused("model_b must be finite, got NaN or infinite entries in 2.weight"):
        align(relu_network().double(), broken)
    with refused("model_a must be finite, got NaN or infinite entries in 2.weight"):
        align(broken, relu_network().double())


def test_what_is_printed_of_them_is_short() -> None:
    objective = classifier()
    plane = random_plane(objective, "none")
    found = evaluate(objective, plane, 5)
    loss = found.values["loss"]
    assert str(plane) == (
        f"plane in {objective.size} dimensions, random: random direction 1, of unit length (−1 to 1), "
        "random direction 2, of unit length (−1 to 1)"
    )
    assert str(found) == f"loss {loss.min():.4g} to {loss.max():.4g} on a {plane}\nAll 25 points evaluated."
    assert str(found - found) == (
        "difference of two slices: loss 0 to 0 (0% of the points beyond interpolation and rounding)"
    )


def test_a_plane_that_is_the_whole_space_is_no_shadow_of_it() -> None:
    surface = surfaces.get("booth")
    for plane in (random_plane(surface, "none"), eigen_plane(surface), axis_plane(surface)):
        assert not any("shadow" in limit for limit in plane.limits)
    assert any("1-D shadow of 2 dimensions" in limit for limit in random_line(surface, "none").limits)
    whole = plane_through(*torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    assert whole.limits == ()
    assert "shadow" in plane_through(*torch.eye(3)).limits[0]
