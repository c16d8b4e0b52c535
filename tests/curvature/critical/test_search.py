"""Searches against surfaces whose critical points are known, and what is said of starts that find none."""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.curvature.critical.landscapes import diabetes, sloping_fold, surface
from torch import nn

from thalweg import surfaces
from thalweg.curvature.critical import search
from thalweg.curvature.critical.search import critical_points
from thalweg.errors import InvalidArgument, NotDifferentiable, ShapeMismatch
from thalweg.objective import Objective

METHODS = ["newton", "gradient-norm"]


def kinds(found):
    return Counter(kind.kind for kind in found.kinds)


def consistent(found, starts):
    """Every start is accounted for, losses ascend, and the residuals are what they are said to be."""
    assert found.starts == starts
    assert int(found.hits.sum()) + sum(found.failures.values()) == starts
    assert found.losses.tolist() == sorted(found.losses.tolist())
    assert len(found.kinds) == len(found.points) == len(found.hits) == len(found)
    assert (found.index <= found.points.shape[1]).all()


def test_all_nine_of_himmelblau():
    """Coordinates from the literature (Himmelblau 1972)."""
    found = critical_points(surfaces.himmelblau())
    consistent(found, 64)
    assert kinds(found) == {"minimum": 4, "saddle": 4, "maximum": 1}
    assert found.complete is True
    assert found.known == 9
    assert not found.missing
    minima = [[3.0, 2.0], [3.584428, -1.848127], [-3.779310, -3.283186], [-2.805118, 3.131313]]
    for place in minima:
        near = (found.points - torch.tensor(place, dtype=torch.float64)).norm(dim=1) < 1e-5
        assert near.sum() == 1
        assert found.losses[near].item() == pytest.approx(0, abs=1e-20)
    assert found.losses[-1].item() == pytest.approx(181.616522, abs=1e-5)
    assert found.points[-1].tolist() == pytest.approx([-0.270845, -0.923039], abs=1e-6)
    # Newton's method ends at round-off: ‖H‖ is about 100, ‖θ‖ about 4.
    assert found.gradient_norms.max() < 1e2 * 4 * 1e-14
    assert found.location_errors.max() < 1e-13
    text = str(found)
    assert text.startswith("9 critical points from 64 starts: 4 minima, 4 saddles of index 1, 1 maximum")
    assert text.endswith("9 of 9 known ones, all there are")


@pytest.mark.parametrize("name", ["goldstein_price", "six_hump_camel", "styblinski_tang", "beale", "quartic"])
def test_complete_lists_from_64_starts(name):
    """Of twelve seeds each found every point when this was measured; Good's estimate says that few are unseen."""
    for seed in range(2):
        found = critical_points(surfaces.get(name), seed=seed)
        assert found.complete, found.missing
        assert found.chance_of_another < 0.1


@pytest.mark.parametrize(("half", "starts", "count"), [(1.6, 256, 7**2), (5.12, 2048, 21**2)])
def test_all_of_rastrigin_in_a_box(half, starts, count):
    """f′ = 2x + 20π sin 2πx has one zero near each multiple of ½ up to 5, and next to 5.5 only one beyond the box."""
    found = critical_points(surfaces.rastrigin(), starts, box=(-half, half))
    consistent(found, starts)
    assert len(found) == count
    ladder = sorted({round(x, 4) for x in found.points[:, 0].tolist()})
    assert len(ladder) == math.isqrt(count)
    oracle = [2 * x + 20 * math.pi * math.sin(2 * math.pi * x) for x in found.points.flatten().tolist()]
    # The slope of f′ is about 4·10² and x is known to 1e-15.
    assert max(map(abs, oracle)) < 1e-11
    # (k + 1)² minima, k² maxima and 2k(k + 1) saddles of a lattice of 2k + 1 by 2k + 1.
    k = (math.isqrt(count) - 1) // 2
    lattice = {"minimum": (k + k % 2) ** 2, "maximum": (k + 1 - k % 2) ** 2}
    minima = sum(1 for x in ladder if round(2 * x) % 2 == 0)
    assert kinds(found)["minimum"] == minima**2
    assert kinds(found)["maximum"] == (2 * k + 1 - minima) ** 2
    assert kinds(found)["saddle"] == count - sum(kinds(found)[kind] for kind in lattice)


def test_in_five_dimensions():
    """A separable sum: its critical points are all combinations of the three in one dimension."""
    found = critical_points(surfaces.styblinski_tang(3), 256)
    assert len(found) == 27
    assert found.complete
    assert Counter(found.index.tolist()) == {i: math.comb(3, i) * 2 ** (3 - i) for i in range(4)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["monkey_saddle", "degenerate_saddle"])
def test_degenerate_points_are_one_point_and_undetermined(name, method):
    """Starts end up to 1e-4 from it, and eigenvalues there are small but not zero: still one point of no sure kind."""
    found = critical_points(surfaces.get(name), method=method)
    assert len(found) == 1
    assert found.kinds[0].kind == "undetermined"
    assert found.kinds[0].index == 0
    distance = float(found.points[0].norm())
    assert distance <= 1e-3
    assert distance <= 4 * float(found.location_errors[0]) + 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_impostors_are_rejected_and_counted(method):
    found = critical_points(sloping_fold(), method=method, max_steps=60)
    consistent(found, 64)
    assert len(found) == 0
    assert found.converged == 0
    if method == "gradient-norm":
        assert found.failures == {"impostor": 64}
        assert (
            str(found) == "0 critical points from 64 starts (0 converged; 64 at impostors (Hg ≈ 0 but g ≠ 0))"
        )
    assert found.chance_of_another == 1
    assert found.complete is None


@pytest.mark.parametrize("dense", [2, 1])
@pytest.mark.parametrize("method", METHODS)
def test_an_impostor_beside_a_stiff_direction_is_no_critical_point(method, dense, monkeypatch):
    """‖g‖ is 1e-6 at the fold, within the tolerance beside λmax = 2e4; but no Newton step lowers it."""
    monkeypatch.setattr(search, "DENSE_UP_TO", dense)
    fold = surface(lambda p: p[0] ** 3 + 1e-6 * p[0] + 1e4 * p[1] ** 2, domain=(-1.0, 1.0))
    assert len(critical_points(fold, 16, method=method, max_steps=40)) == 0


def test_what_runs_away_escapes():
    found = critical_points(surface(lambda p: p[0] + p[1] ** 2, domain=(-1.0, 1.0)))
    assert len(found) == 0
    assert found.failures == {"escaped": 64}
    assert "64 escaped" in str(found)


def test_where_the_loss_levels_out_no_kind_is_sure():
    """eˣ has no critical point, but from x = −30 on none of its derivatives shows beside the other curvature, 2."""
    found = critical_points(surface(lambda p: p[0].exp() + p[1] ** 2, domain=(-1.0, 1.0)))
    assert set(kinds(found)) <= {"undetermined"}
    assert (found.points[:, 0] < -25).all()


def test_where_the_loss_is_not_finite():
    found = critical_points(surface(lambda p: (p[0].log() - 1) ** 2 + p[1] ** 2, domain=(-1.0, 8.0)))
    consistent(found, 64)
    # One start in nine has x < 0.
    assert 4 <= found.failures["not finite"] <= 10
    assert len(found) == 1
    assert found.points[0].tolist() == pytest.approx([math.e, 0], abs=1e-9)


def test_points_outside_the_box_are_counted_and_not_returned():
    found = critical_points(surfaces.himmelblau(), box=[(0, 5), (0, 5)])
    consistent(found, 64)
    assert found.failures["outside"] > 0
    # (3, 2), (3.385, 0.074) and (0.087, 2.884).
    assert kinds(found) == {"minimum": 1, "saddle": 2}
    assert found.known == 3
    assert found.complete


def test_known_points_that_are_missing_are_named():
    starts = torch.tensor([[3.0, 2.1], [3.1, 2.0], [-2.8, 3.1]], dtype=torch.float64)
    found = critical_points(surfaces.himmelblau(), starts)
    assert found.hits.tolist() == [2, 1] or found.hits.tolist() == [1, 2]
    assert found.complete is False
    assert len(found.missing) == 7
    assert found.chance_of_another == pytest.approx(1 / 3)
    assert "2 of 9 known ones" in str(found)


def test_a_maximum_step_count_leaves_starts_unfinished():
    found = critical_points(surfaces.rosenbrock(), max_steps=2)
    consistent(found, 64)
    assert found.failures["unfinished"] > 32
    # Two for each start, and two for each point found.
    assert found.hessians <= 2 * 64 + 3 * len(found)


@settings(max_examples=25, deadline=None)
@given(
    eigenvalues=st.lists(
        st.floats(0.1, 10).flatmap(lambda x: st.sampled_from([x, -x])), min_size=1, max_size=6
    ),
    seed=st.integers(0, 10**6),
    method=st.sampled_from(METHODS),
)
def test_turned_and_moved_quadratics(eigenvalues, seed, method):
    """A quadratic's one critical point is its centre, with the index of its matrix, wherever and however it lies."""
    draw = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    center = torch.randn(size, generator=draw, dtype=torch.float64)
    bowl = surfaces.quadratic(eigenvalues=eigenvalues, seed=seed, center=center.tolist())
    found = critical_points(bowl, 8, method=method, seed=seed)
    assert len(found) == 1
    assert found.points[0].tolist() == pytest.approx(center.tolist(), abs=1e-9)
    assert found.index.tolist() == [sum(value < 0 for value in eigenvalues)]
    assert found.failures == {}


def test_the_search_depends_on_its_seed_alone_and_leaves_everything_as_it_was():
    obj = diabetes(hidden=2)
    state, rng = copy.deepcopy(obj.model.state_dict()), torch.get_rng_state()
    first = critical_points(obj, 4)
    torch.rand(3)
    second = critical_points(obj, 4)
    other = critical_points(obj, 4, seed=1)
    assert torch.equal(first.points, second.points)
    assert not torch.equal(first.points, other.points)
    assert all(torch.equal(value, state[name]) for name, value in obj.model.state_dict().items())
    torch.set_rng_state(rng)


def test_the_points_of_a_model_are_critical_by_its_own_gradient():
    obj = diabetes(hidden=3)
    found = critical_points(obj, 10)
    consistent(found, 10)
    assert len(found) > 2
    for i, point in enumerate(found.points):
        assert obj.gradient(point).norm() == pytest.approx(float(found.gradient_norms[i]), abs=1e-14)
        assert found.gradient_norms[i] < 1e-12
        assert obj.loss(point) == pytest.approx(float(found.losses[i]))
        values = torch.linalg.eigvalsh(torch.stack([obj.hvp(e, point) for e in torch.eye(obj.size).double()]))
        assert int((values < 0).sum()) == found.kinds[i].index
    assert found.known is None
    assert found.complete is None
    assert found.hessians > 0
    assert found.products == 0


def test_copies_under_symmetry_stay_apart():
    """Exchanging two units, or the signs of one, gives another point of the same loss."""
    obj = diabetes(hidden=2)
    found = critical_points(obj, 8)
    lowest = found.points[0]
    w, b, c, d = lowest.split([6, 2, 2, 1])
    mirrored = torch.cat([-w.view(2, 3)[:1], w.view(2, 3)[1:]]).flatten()
    copied = torch.cat([mirrored, b * torch.tensor([-1.0, 1]), c * torch.tensor([-1.0, 1]), d])
    both = critical_points(obj, torch.stack([lowest, copied, lowest + 1e-9]))
    assert len(both) == 2
    assert both.losses[0] == pytest.approx(float(both.losses[1]), rel=1e-12)
    assert sorted(both.hits.tolist()) == [1, 2]


def test_single_precision():
    found = critical_points(surfaces.himmelblau().to(torch.float32))
    assert kinds(found) == {"minimum": 4, "saddle": 4, "maximum": 1}
    assert found.points.dtype == torch.float32
    assert found.complete
    obj = diabetes(hidden=2, dtype=torch.float32)
    assert len(critical_points(obj, 4)) > 0


def test_half_precision_is_refused():
    with pytest.raises(NotDifferentiable, match="a search for critical points needs float32 or float64"):
        critical_points(surfaces.himmelblau().to(torch.bfloat16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"starts": 0}, "starts must be an integer of at least 1, got 0"),
        ({"starts": -3}, "starts must be an integer of at least 1, got -3"),
        (
            {"method": "newtn"},
            "method must be 'newton' or 'gradient-norm', got 'newtn': did you mean 'newton'",
        ),
        ({"tol": 0.0}, "tol must be finite and above 0"),
        ({"distinct": -1.0}, "distinct must be finite and above 0"),
        ({"max_steps": 0}, "max_steps must be an integer of at least 1, got 0"),
        ({"box": (1.0, -1.0)}, r"box must be \(lower, upper\) or 2 such pairs, lower < upper"),
        ({"box": [(0, 1)] * 3}, r"box must be \(lower, upper\) or 2 such pairs"),
        ({"box": (0.0, math.inf)}, r"box must be \(lower, upper\)"),
        ({"starts": torch.tensor([[0.0, math.nan]])}, "starts must be finite"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        critical_points(surfaces.himmelblau(), **arguments)


@pytest.mark.parametrize("shape", [(2,), (3, 3), (0, 2)])
def test_starts_of_another_shape(shape):
    with pytest.raises(ShapeMismatch, match=r"starts must be a number or have shape \(b, 2\)"):
        critical_points(surfaces.himmelblau(), torch.zeros(shape))


def test_a_flat_loss():
    """Every point of a constant is critical, and no eigenvalue says of which kind."""
    flat = surface(lambda p: 0 * p.sum(0) + 3, domain=(-1.0, 1.0))
    found = critical_points(flat, 4)
    assert kinds(found) == {"undetermined": 4}
    assert found.losses.tolist() == [3.0] * 4


def test_a_linear_loss():
    found = critical_points(surface(lambda p: p.sum(0), domain=(-1.0, 1.0)), 4)
    assert len(found) == 0


def test_a_model_of_one_weight():
    model = nn.Linear(1, 1, bias=False).double()
    x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    found = critical_points(Objective(model, nn.MSELoss(), (x, 3 * x)), 4)
    assert kinds(found) == {"minimum": 1}
    assert found.points.tolist() == [[pytest.approx(3)]]


def test_every_surface_can_be_searched():
    for name, method in itertools.product(surfaces.names(), METHODS):
        found = critical_points(surfaces.get(name), 4, method=method, max_steps=5)
        consistent(found, 4)
        assert str(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_start_that_is_finite(dtype):
    """Products of the weights overflow, and with them the loss."""
    objective = diabetes(4, dtype=dtype)
    starts = torch.full((3, objective.size), torch.finfo(dtype).max / 2, dtype=dtype)
    found = critical_points(objective, starts)
    assert (len(found), found.failures) == (0, {"not finite": 3})
    assert str(found) == "0 critical points from 3 starts (0 converged; 3 where the loss is not finite)"
