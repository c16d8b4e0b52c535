from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thalweg import surfaces
from thalweg.errors import InvalidArgument
from thalweg.optim.descent import descend
from thalweg.plots import COLORS, descent_curve, descent_losses, descents, race

X, Y = np.linspace(-2, 2, 21), np.linspace(-1, 1, 17)
BOWL = X[:, None] ** 2 + 10 * Y[None, :] ** 2
SHORT = [[-1.5, 0.8], [-0.5, 0.1], [0.0, 0.0]]
LEAVING = [[1.0, 0.5], [1.5, -0.5], [5.0, -0.5]]


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def lines(ax: Axes, label: str) -> list[list[list[float]]]:
    """What is drawn in the colour of `label`, its ends apart."""
    color = next(line.get_color() for line in ax.lines if line.get_label() == label)
    found = [line for line in ax.lines if line.get_color() == color and len(line.get_xdata()) > 1]
    return [np.asarray(line.get_xydata()).tolist() for line in found]


def marks(ax: Axes, marker: str) -> list[list[float]]:
    found = [line for line in ax.lines if line.get_marker() == marker and line.get_linestyle() == "None"]
    return [point for line in found for point in np.asarray(line.get_xydata()).tolist()]


def test_paths_of_one_colour_each_with_their_starts_ends_and_exits() -> None:
    ax = Figure().add_subplot()
    paths = {"a $ rule": SHORT, "adam": LEAVING}
    assert descents(X, Y, BOWL, paths, ax, minima=[[0, 0]], labels=("east", "north")) is ax
    assert legend(ax) == [r"a \$ rule", "adam", "start", "end", "leaves the picture", "known minimum"]
    assert lines(ax, r"a \$ rule") == [SHORT]
    # It crosses the frame at x = 2.
    assert lines(ax, "adam")[0] == [*LEAVING[:2], [2.0, -0.5]]
    assert sorted(marks(ax, "s")) == [[-1.5, 0.8], [1.0, 0.5]]
    assert marks(ax, "X") == [[2.0, -0.5]]
    assert [0.0, 0.0] in marks(ax, "o")
    assert marks(ax, "*") == [[0.0, 0.0]]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-2, 2), (-1, 1))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("east", "north")
    ax.figure.draw_without_rendering()


def test_several_starts_share_colour_and_entry() -> None:
    second = [[1.5, 0.8], [0.5, 0.1], [0.0, 0.0]]
    ax = descents(X, Y, BOWL, {"sgd": [SHORT, second], "adam": SHORT})
    assert lines(ax, "sgd") == [SHORT, second]
    assert legend(ax) == ["sgd", "adam", "start", "end"]
    assert legend(descents(X, Y, BOWL, {"sgd": SHORT}, legend=False)) == []


def test_of_paths_that_coincide_each_is_seen() -> None:
    straight = [[-1.5, 0.8], [0.0, 0.0]]
    beyond = [[-1.5, 0.8], [0.75, -0.4], [0.0, 0.0]]
    ax = descents(X, Y, BOWL, {"gradient_descent": straight, "momentum": beyond, "adam": SHORT})
    drawn = {line.get_label(): line for line in ax.lines}
    short, long = drawn["gradient_descent"], drawn["momentum"]
    assert short.get_zorder() > long.get_zorder()
    assert short.get_linewidth() + 0.5 < long.get_linewidth()
    # Ends at one place are rings, the larger ones below.
    ends = [line for line in ax.lines if line.get_marker() == "o" and line.get_linestyle() == "None"]
    ends = sorted((line for line in ends if len(line.get_xdata())), key=lambda line: line.get_markersize())
    assert len({line.get_markerfacecolor() for line in ends}) == 3
    assert all(big.get_markersize() > small.get_markersize() + 2 for small, big in pairwise(ends))
    assert all(big.get_zorder() < small.get_zorder() for small, big in pairwise(ends))


def test_ends_at_places_of_their_own_are_of_one_size_and_those_of_one_colour_no_rings() -> None:
    other = [[1.5, 0.8], [1.0, 0.0]]
    ax = descents(X, Y, BOWL, {"sgd": [SHORT, SHORT], "adam": other})
    ends = [line for line in ax.lines if line.get_marker() == "o" and line.get_linestyle() == "None"]
    assert len({line.get_markersize() for line in ends if len(line.get_xdata())}) == 1


@pytest.mark.parametrize("colorbar", [True, False])
def test_a_colour_bar_is_as_high_as_its_map(colorbar: bool) -> None:
    figure = Figure(figsize=(4, 8), layout="constrained")
    ax = descents(X, Y, BOWL, {"sgd": SHORT}, figure.add_subplot(), colorbar=colorbar)
    figure.draw_without_rendering()
    bars = [child for child in [*ax.child_axes, *figure.axes] if child.get_ylabel().startswith("loss")]
    assert len(bars) == colorbar
    for bar in bars:
        assert bar.get_window_extent().height == pytest.approx(ax.get_window_extent().height, rel=1e-6)
        box, edge = bar.get_tightbbox(), figure.bbox
        assert box is not None
        assert box.x1 <= edge.x1


def test_a_path_without_end_needs_no_key_for_ends() -> None:
    ax = descents(X, Y, BOWL, {"sgd": [*SHORT, [math.nan, 0.0]]})
    assert legend(ax) == ["sgd", "start", "leaves the picture"]
    assert marks(ax, "X") == [[0.0, 0.0]]
    ax.figure.draw_without_rendering()


def test_a_path_without_any_point() -> None:
    ax = descents(X, Y, BOWL, {"sgd": [[math.nan, 0.0]]})
    assert legend(ax) == ["sgd", "start", "end"]
    assert marks(ax, "s") == []
    ax.figure.draw_without_rendering()


def test_wrong_shapes_of_a_map() -> None:
    with pytest.raises(InvalidArgument, match=r"values must have shape \(21, 17\)"):
        descents(X, Y, BOWL.T, {"sgd": SHORT})
    with pytest.raises(InvalidArgument, match="minima must have shape"):
        descents(X, Y, BOWL, {"sgd": SHORT}, minima=[0.0])


def test_losses_above_the_lowest_on_a_logarithmic_axis() -> None:
    ax = descent_losses({"a": [3.0, 2.0, 1.0], "b": [[3.0, 1.5, math.inf], [3.0, 1.1, 1.01]]}, lowest=1.0)
    assert ax.get_yscale() == "log"
    first, mark, second, third = (np.asarray(line.get_ydata()) for line in ax.lines)
    # What has arrived lies below the axis, with a triangle where it leaves.
    assert first[:2] == pytest.approx([2.0, 1.0])
    assert 0 < first[2] < 1e-200
    assert (ax.lines[1].get_marker(), ax.lines[1].get_xdata().tolist(), mark.tolist()) == ("v", [2], [0])
    assert second == pytest.approx([2.0, 0.5, math.nan], nan_ok=True)
    assert third == pytest.approx([2.0, 0.1, 0.01])
    assert legend(ax) == ["a", "b"]
    assert ax.lines[2].get_color() == ax.lines[3].get_color() != ax.lines[0].get_color()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss above the lowest")


def test_a_loss_that_touches_the_lowest_and_goes_on_has_not_arrived() -> None:
    ax = descent_losses({"a": [3.0, 0.0, 1.0], "b": [2.0, 1.0, 0.5], "c": [0.0, 0.0, 0.0]}, lowest=0.0)
    triangles = [line for line in ax.lines if line.get_marker() == "v"]
    assert [line.get_xdata().tolist() for line in triangles] == [[0]]
    low, _ = ax.get_ylim()
    assert 0.1 < low < 0.5
    # Without a known lowest value, zero has no place on a logarithmic axis.
    assert np.isnan(descent_losses({"a": [1.0, 0.0]}).lines[0].get_ydata()[1])


def test_a_smooth_curve_is_drawn_over_one_that_jumps() -> None:
    jumps = [1.0, 0.1] * 10
    ax = descent_losses({"adam": np.linspace(1, 0.1, 20), "momentum": jumps})
    smooth, jumping = ax.lines
    assert smooth.get_zorder() > jumping.get_zorder()


def test_what_diverges_leaves_the_axis() -> None:
    ax = descent_losses({"a": [1.0, 1e3, 1e300, math.nan], "b": [1.0, 0.5, 0.25, 0.1]})
    low, high = ax.get_ylim()
    assert 1 < high < 100
    assert 0 < low < 0.1
    with np.errstate(all="raise"):
        ax.figure.draw_without_rendering()


def test_the_axis_is_not_deeper_than_twelve_decades() -> None:
    ax = descent_losses({"a": [1.0, 1e-8, 1e-80]}, lowest=0.0)
    assert 1e-13 < ax.get_ylim()[0] < 1e-11


def test_losses_of_both_signs_are_drawn_as_they_are() -> None:
    ax = descent_losses({"a": [1.0, -1.0, -1e9]}, steps=[0, 10, 20])
    assert ax.get_yscale() == "linear"
    assert ax.lines[0].get_xdata().tolist() == [0, 10, 20]
    assert -100 < ax.get_ylim()[0] < -1


def test_losses_without_any_number() -> None:
    descent_losses({"a": [math.nan, math.inf]}).figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": {}}, "losses must hold"),
        ({"steps": [0, 1]}, "steps must be a sequence of 3 numbers"),
    ],
)
def test_wrong_losses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        descent_losses(**({"losses": {"a": [1.0, 2.0, 3.0]}} | changes))


def test_iterates_lie_on_the_curve() -> None:
    x = np.linspace(-2, 2, 101)
    path = np.array([1.5, -1.0, 0.5])
    ax = descent_curve(x, x**2, {"gd": path}, {"gd": path**2}, minima=[0.0], name="f")
    assert lines(ax, "gd") == [np.stack([path, path**2], axis=1).tolist()]
    assert legend(ax) == ["gd", "start", "end", "known minimum"]
    # Up to a little above the highest iterate, 1.5² = 2.25, and not to the curve's end at 4.
    assert 2.25 < ax.get_ylim()[1] < 3
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "f")
    assert marks(ax, "*") == [[0.0, 0.0]]


def test_a_diverging_iterate_leaves_the_curve() -> None:
    x = np.linspace(-2, 2, 101)
    path = np.array([1.0, -1.5, 40.0, math.inf])
    ax = descent_curve(x, x**2, {"gd": path}, {"gd": path**2})
    assert "leaves the picture" in legend(ax)
    assert len(lines(ax, "gd")[0]) == 3
    assert marks(ax, "X")[0][1] == pytest.approx(ax.get_ylim()[1])


def test_losses_have_to_fit_the_paths() -> None:
    with pytest.raises(InvalidArgument, match="losses must have the labels and shapes of paths"):
        descent_curve([0.0, 1.0], [0.0, 1.0], {"a": [0.0, 1.0]}, {"b": [0.0, 1.0]})


def test_a_race_on_two_coordinates_has_a_map_and_losses() -> None:
    surface = surfaces.rosenbrock()
    runs = {
        "gd": descend(surface, "gradient_descent", [-1.5, 2.0], steps=5, lr=[1e-3, 3e-6]),
        "adam": descend(surface, "adam", [-1.5, 2.0], steps=5, lr=0.1),
    }
    figure = race(surface, runs, title="a title")
    ground, loss = figure.axes[:2]
    labels = ["gd, η = 0.001", "gd, η = 3 × 10⁻⁶", "adam"]
    assert [line.get_label() for line in loss.lines] == labels
    assert [text.get_text() for text in figure.legends[0].get_texts()][:3] == labels
    assert figure.get_suptitle() == "a title"
    assert np.asarray(lines(ground, "adam")) == pytest.approx(runs["adam"].path.numpy())
    assert loss.lines[2].get_ydata() == pytest.approx(runs["adam"].loss[0].numpy())
    assert ground.get_xlim() == (-2, 2)
    assert loss.lines[2].get_color() == COLORS["green"]
    assert len({line.get_color() for line in loss.lines}) == 3
    figure.draw_without_rendering()


def test_a_race_in_a_small_part_of_the_domain_is_drawn_there() -> None:
    surface = surfaces.beale()
    run = descend(surface, "adam", [2.0, 0.0], steps=50, lr=0.1)
    ax = race(surface, {"adam": run}).axes[0]
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    # The domain is a square of side 9.
    assert right - left < 0.6 * 9
    assert high - low == pytest.approx(right - left)
    # All of the path and the minimum at (3, 0.5), not at the very edge.
    places = np.vstack([run.path[0].numpy(), [[3.0, 0.5]]])
    assert (places > [left, low]).all()
    assert (places < [right, high]).all()


def test_the_map_of_a_race_holds_all_starts() -> None:
    surface = surfaces.himmelblau()
    ax = race(surface, {"gd": descend(surface, start=[[0.0, -9.0], [5.0, 0.0]], steps=1, lr=1e-6)}).axes[0]
    assert ax.get_ylim()[0] < -9
    # One on the edge of the domain has to be seen, too.
    assert ax.get_xlim()[1] > 5
    assert (ax.get_xlim()[0], ax.get_ylim()[1]) == (-5, 5)
    assert (
        race(surface, {"gd": descend(surface, start=[-5.0, 0.0], steps=1, lr=1e-6)}).axes[0].get_xlim()[0]
        < -5
    )


def test_a_race_on_one_coordinate_and_on_many() -> None:
    curve = surfaces.get("quartic")
    figure = race(curve, {"gd": descend(curve, start=[1.5], steps=5, lr=0.1)})
    assert len(figure.axes) == 2
    assert figure.axes[0].get_xlim() == (-2, 2)
    many = surfaces.quadratic(10, dim=5)
    assert len(race(many, {"gd": descend(many, steps=5, lr=0.1)}).axes) == 1


def test_kept_steps_are_the_steps_of_the_axis() -> None:
    surface = surfaces.quadratic(10)
    figure = race(surface, {"gd": descend(surface, steps=10, lr=0.1, keep=5)})
    assert figure.axes[1].lines[0].get_xdata().tolist() == [0, 5, 10]


def test_a_race_needs_runs_of_its_surface() -> None:
    surface, other = surfaces.quadratic(10), surfaces.quadratic(10, dim=3)
    with pytest.raises(InvalidArgument, match="runs must hold at least one"):
        race(surface, {})
    with pytest.raises(InvalidArgument, match=r"runs\['gd'\] must be of quadratic, of 2 coordinates, got 3"):
        race(surface, {"gd": descend(other, steps=1, lr=0.1)})


def test_single_precision_surfaces_are_drawn() -> None:
    surface = surfaces.rosenbrock().to(torch.float32)
    race(surface, {"gd": descend(surface, steps=2, lr=1e-4)}).draw_without_rendering()
