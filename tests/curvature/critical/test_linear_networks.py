"""Linear networks have no bad minima (K11: Baldi & Hornik 1989; Kawaguchi 2016)."""

from __future__ import annotations

import pytest
import torch

from thalweg import surfaces
from thalweg.curvature.critical.classification import classify
from thalweg.curvature.critical.search import critical_points


@pytest.mark.parametrize("method", ["newton", "gradient-norm"])
@pytest.mark.parametrize("widths", [[2, 2, 2], [3, 2, 3]])
def test_at_depth_two_every_critical_point_is_global_or_a_strict_saddle(widths, method):
    """Of some 120 points each from 128 starts, on 8, 12 and 18 weights: none was neither, and none both.

    The global minimum is reduced-rank regression's, in closed form.
    """
    network = surfaces.linear_network(2, widths, noise=0.3)
    found = critical_points(network, 48, method=method)
    assert len(found) > 40
    lowest = (found.losses - network.global_minimum).abs() < 1e-10
    strict = found.index > 0
    assert lowest.sum() > 3
    assert strict.sum() > 20
    assert torch.equal(lowest, ~strict)
    # The minima are a family with as many zero eigenvalues as the dimension of its symmetry group, GL(2).
    assert {kind.near_zero for kind, low in zip(found.kinds, lowest, strict=True) if low} == {4}


@pytest.mark.parametrize("depth", [3, 4])
def test_deeper_the_origin_is_degenerate_and_other_points_may_be(depth):
    """The origin's Hessian vanishes; of 116 to 126 points from 128 starts 14 to 18 had no sure negative eigenvalue.

    All of these were at the loss of the best fit of rank 1: saddles that second derivatives do not show.
    """
    network = surfaces.linear_network(depth, 2, noise=0.3)
    origin = classify(network, torch.zeros(network.size, dtype=torch.float64))
    assert origin.kind == "undetermined"
    assert origin.near_zero == network.size
    assert origin.largest == origin.smallest == 0
    found = critical_points(network, 48)
    lowest = (found.losses - network.global_minimum).abs() < 1e-10
    hidden = (found.index == 0) & ~lowest
    assert not (lowest & (found.index > 0)).any()
    assert all(found.kinds[i].kind == "undetermined" for i in hidden.nonzero()[:, 0].tolist())
    heights = [point.value for point in network.critical_points]
    for loss in found.losses[hidden].tolist():
        assert min(abs(loss - height) for height in heights) < 1e-6


def test_one_layer_is_convex():
    found = critical_points(surfaces.linear_network(1, [2, 2]), 8)
    assert [kind.kind for kind in found.kinds] == ["minimum"]
