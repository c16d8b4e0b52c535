from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thalweg.errors import InvalidArgument
from thalweg.plots.tracks import Track, bundles, length, track

BOX = np.array([[-1.0, 1.0], [-2.0, 2.0]])
PATHS = arrays(np.float64, st.tuples(st.integers(1, 8), st.just(2)), elements=st.floats(allow_nan=True))


def test_a_path_that_ends_inside_is_drawn_whole() -> None:
    path = np.array([[0.0, 0.0], [3.0, 0.0], [0.5, 1.0]])
    found = track(path, BOX)
    assert found.points.tolist() == path.tolist()
    assert not found.leaves


@pytest.mark.parametrize(
    ("away", "exit_"),
    [
        ([3.0, 0.0], [1.0, 0.0]),
        ([-4.0, 0.0], [-1.0, 0.0]),
        ([0.0, 8.0], [0.0, 2.0]),
        ([4.0, 4.0], [1.0, 1.0]),
        # The direction alone counts, and its difference to a point on the other side overflows.
        ([1e308, 1e308], [1.0, 1.0]),
        ([-1e308, 1e307], [-1.0, 0.1]),
    ],
)
def test_a_path_is_cut_where_it_crosses_the_frame_for_the_last_time(
    away: list[float], exit_: list[float]
) -> None:
    path = np.array([[0.9, 0.0], [9.0, 9.0], [0.0, 0.0], away, [50.0, 0.0]])
    found = track(path, BOX)
    assert found.leaves
    assert found.points[:3] == pytest.approx(path[:3])
    # Far points are moved nearer, to a million sizes of the box.
    assert found.points[3] == pytest.approx(exit_, abs=1e-5)
    assert len(found.points) == 4


def test_what_is_far_away_in_between_is_moved_nearer() -> None:
    found = track(np.array([[0.0, 0.0], [-1e308, 1e308], [0.5, 0.5]]), BOX)
    # A million times the larger side of the box, which is 4.
    assert found.points[1] == pytest.approx([-4e6, 4e6])
    assert found.points[[0, 2]].tolist() == [[0.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_path_ends_before_what_is_not_finite(bad: float) -> None:
    found = track(np.array([[0.0, 0.0], [0.5, 0.5], [bad, 0.0], [0.1, 0.1]]), BOX)
    assert found.points.tolist() == [[0.0, 0.0], [0.5, 0.5]]
    assert found.leaves


def test_a_path_outside_is_drawn_as_it_is() -> None:
    found = track(np.array([[5.0, 5.0], [6.0, 6.0]]), BOX)
    assert found.points.tolist() == [[5.0, 5.0], [6.0, 6.0]]
    assert not found.leaves


@given(PATHS)
def test_what_is_drawn_is_finite_begins_as_the_path_and_ends_on_the_frame_where_it_leaves(
    path: np.ndarray,
) -> None:
    found = track(path, BOX)
    assert np.isfinite(found.points).all()
    if found.leaves and len(found.points) > 1:
        # A crossing is computed to the rounding of a step of at most 4e6.
        assert (np.abs(found.points[-1]) <= BOX[:, 1] + 1e-9).all()
    count = max(len(found.points) - 1, 0)
    inside = (np.abs(path[:count]) <= BOX[:, 1]).all(axis=1)
    assert found.points[:count][inside].tolist() == path[:count][inside].tolist()


def test_one_path_is_a_bundle_of_one() -> None:
    found = bundles({"a": [[1, 2], [3, 4]], "b": np.zeros((3, 5, 2))}, "paths", 2)
    assert {key: bundle.shape for key, bundle in found.items()} == {"a": (1, 2, 2), "b": (3, 5, 2)}
    assert bundles({"a": [1.0, 2.0]}, "losses", None)["a"].shape == (1, 2)


@pytest.mark.parametrize(
    ("paths", "size", "message"),
    [
        ({}, 2, "paths must hold at least one path"),
        ({"a": [1.0, 2.0]}, 2, r"paths\['a'\] must have shape \(t, 2\) or \(s, t, 2\), got \(2,\)"),
        ({"a": np.zeros((4, 3))}, 2, r"got \(4, 3\)"),
        ({"a": np.zeros((0, 2))}, 2, r"got \(0, 2\)"),
        ({"a": 1.0}, None, r"paths\['a'\] must have shape \(t,\) or \(s, t\), got \(\)"),
    ],
)
def test_wrong_paths(paths: dict[str, object], size: int | None, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        bundles(paths, "paths", size)  # type: ignore[arg-type]


def test_the_length_of_a_path_counts_sides_of_the_box_and_what_is_within() -> None:
    # Half of the width to the right; then as far as the frame, a quarter of the height.
    path = Track(np.array([[-1.0, 1.0], [0.0, 1.0], [0.0, 50.0]]), False)
    assert length(path, BOX) == pytest.approx(0.5 + 0.25)
    assert length(Track(np.empty((0, 2)), False), BOX) == 0
