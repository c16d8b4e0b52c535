"""The density of eigenvalues against dense spectra and against cases in which the quadrature is exact."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from curvature.models import MODELS, case
from curvature.spectra import diagonal, rotated
from thalweg.curvature import SymmetricOperator, eigenpairs, hessian, spectral_density
from thalweg.errors import InvalidArgument, ShapeMismatch

EPS = torch.finfo(torch.float64).eps
LEVELS = torch.tensor([-2.0, -0.5, 0.0, 1.0, 4.0], dtype=torch.float64)
COUNTS = torch.tensor([10, 20, 100, 60, 10])
N = int(COUNTS.sum())


def levels():
    """A diagonal matrix of five eigenvalues: with random signs v, vᵀf(A)v = tr f(A) without any error."""
    return diagonal(LEVELS.repeat_interleave(COUNTS))


@pytest.mark.parametrize("name", MODELS)
def test_moments_of_models(name):
    known = case(name)
    with hessian(known.objective) as operator:
        found = spectral_density(operator, 10, 8)
        assert found.products == operator.products == 10 * 8
    for power, moment in enumerate(found.moments, start=1):
        exact = float(known.eigenvalues.pow(power).mean())
        # Four standard errors of ten samples: Student's t with 9 degrees is beyond in 0.3 % of cases.
        assert abs(moment.value - exact) <= 4 * moment.stderr
        # The band says something: it is not wide enough for any value.
        assert moment.stderr < float(known.eigenvalues.abs().pow(power).mean())


def test_moments_without_sampling_error():
    """The quadrature of m steps is exact up to power 2m − 1 (Golub & Meurant 2010, theorem 6.1)."""
    n = 200
    eigenvalues = torch.linspace(-1, 2, n, dtype=torch.float64)
    for steps in (1, 2, 3, 5):
        found = spectral_density(diagonal(eigenvalues), 3, steps)
        for power in range(2 * steps):
            exact = float(eigenvalues.pow(power).mean())
            assert found.moment(power).value == pytest.approx(exact, abs=1e3 * EPS * 2**power)
        # The next one is not exact, or more steps than these were made.
        assert abs(found.moment(2 * steps).value - float(eigenvalues.pow(2 * steps).mean())) > 1e-9


def test_the_curve_is_the_broadened_spectrum():
    width = 0.15
    grid = torch.linspace(-4, 6, 301, dtype=torch.float64)
    found = spectral_density(levels(), 3, 8, width=width, grid=grid)
    each = torch.exp(-0.5 * ((grid[:, None] - LEVELS) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    exact = each @ (COUNTS.double() / N)
    assert found.width == width
    assert torch.equal(found.grid, grid)
    # Nodes and weights are right to rounding, and the Gaussians' slope is below 1 / width².
    torch.testing.assert_close(found.density, exact, rtol=0, atol=1e-10)
    assert float(found.stderr.max()) <= 1e-10
    assert found.size == N


@pytest.mark.parametrize("width", [None, 0.02, 0.5])
def test_it_integrates_to_one(width):
    exact = torch.linspace(-1, 3, 150, dtype=torch.float64)
    found = spectral_density(SymmetricOperator.of(rotated(exact)), 3, 20, width=width)
    # The grid reaches five widths beyond the nodes (6e-7 of a Gaussian are outside); the trapezoid rule on
    # Gaussians of width s with spacing h ≤ s is off by 2 exp(−2π²s²/h²), about 1e-8, and far less below that.
    assert float(found.grid[1] - found.grid[0]) <= found.width
    assert float(torch.trapezoid(found.density, found.grid)) == pytest.approx(1, abs=1e-6)
    for weights in found.weights:
        assert float(weights.sum()) == pytest.approx(1, abs=100 * EPS)
        assert bool((weights >= 0).all())


def test_the_default_width_is_a_hundredth_of_the_range():
    found = spectral_density(levels(), 2, 8)
    assert found.width == pytest.approx(6 / 100, rel=1e-10)
    assert len(found.grid) == 512


def test_the_band_shrinks_as_the_root_of_the_probes():
    operator = SymmetricOperator.of(rotated(torch.arange(1, 121, dtype=torch.float64) ** -1.0))
    grid = torch.linspace(-0.2, 1.2, 50, dtype=torch.float64)
    few, many = (
        float(spectral_density(operator, probes, 15, width=0.1, grid=grid).stderr.mean())
        for probes in (16, 256)
    )
    # A spread from 16 samples is known to 1/√30 = 18 %; the mean over the grid has some independent ones.
    assert few / many == pytest.approx(4, rel=0.36)


def broadened(eigenvalues, grid, width):
    each = torch.exp(-0.5 * ((grid[:, None] - eigenvalues) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    return each.mean(1)


BULK = torch.linspace(-1, 2, 120, dtype=torch.float64)
OUTLIERS = torch.cat([torch.tensor([30.0, 12, 6]), torch.linspace(-0.5, 1, 117)]).double()


@pytest.mark.parametrize(
    ("name", "known", "least"), [("bulk", 0, 0.93), ("outliers", 0, 0.86), ("outliers", 3, 0.93)]
)
def test_bands_hold_at_their_rate(name, known, least):
    """Over 300 seeds ±2 stderr hold the broadened density at about 95 % of the points where there is any, and the
    moments as often. Less, 88 %, on the peak of a single eigenvalue, whose weights are skewed, unless it is known.

    Points of one curve move together: the rate over all of 300 curves is itself known to a per cent. Moments are held
    to the 0.1 % point of the binomial for the same rates.
    """
    eigenvalues = {"bulk": BULK, "outliers": OUTLIERS}[name]
    operator = SymmetricOperator.of(rotated(eigenvalues))
    # Nine steps, in which orthogonality is not lost, resolve this width.
    width = 0.1 * float(eigenvalues.max() - eigenvalues.min())
    grid = torch.linspace(
        float(eigenvalues.min()) - width, float(eigenvalues.max()) + width, 150, dtype=torch.float64
    )
    exact = broadened(eigenvalues, grid, width)
    some = exact > 1e-3 * exact.max()
    pairs = eigenpairs(operator, known, "largest", 1e-8) if known else None
    held, moments, runs = 0.0, torch.zeros(4), 300
    for seed in range(runs):
        found = spectral_density(
            operator, 8, 9, width=width, grid=grid, pairs=pairs, reorthogonalize=False, seed=seed
        )
        # A known peak is right but for its eigenvalue's own error.
        inside = (found.density - exact).abs() <= 2 * found.stderr + 1e-9 * exact.max()
        held += float(inside[some].double().mean())
        for power, moment in enumerate(found.moments, start=1):
            moments[power - 1] += (
                abs(moment.value - float(eigenvalues.pow(power).mean())) <= 2 * moment.stderr
            )
    assert least <= held / runs <= 0.985
    assert float(moments.min()) >= stats.binom.ppf(1e-3, runs, least)


def test_a_quadrature_of_too_few_steps_widens_the_band():
    """On a diagonal matrix the probes do not differ, but eight steps do not resolve the width."""
    eigenvalues = torch.linspace(-1, 1, 300, dtype=torch.float64)
    grid = torch.linspace(-1, 1, 200, dtype=torch.float64)
    exact = broadened(eigenvalues, grid, 0.1)
    for steps in (8, 16):
        found = spectral_density(diagonal(eigenvalues), 4, steps, width=0.1, grid=grid)
        inside = (found.density - exact).abs() <= 2 * found.stderr
        assert float(inside.double().mean()) >= 0.85
    fine = spectral_density(diagonal(eigenvalues), 4, 80, width=0.1, grid=grid)
    assert float((fine.density - exact).abs().max()) <= 1e-6
    assert fine.relative_error < 0.01 * found.relative_error


def test_known_pairs_enter_as_they_are():
    operator = SymmetricOperator.of(rotated(OUTLIERS))
    pairs = eigenpairs(operator, 3, "largest", 1e-10)
    found = spectral_density(operator, 4, 30, pairs=pairs)
    for nodes, weights in zip(found.nodes, found.weights, strict=True):
        assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
        for value in (30.0, 12.0, 6.0):
            near = (nodes - value).abs() < 1e-6
            assert float(weights[near].sum()) == pytest.approx(1 / 120, rel=1e-6)
    assert [(round(one.value, 6), round(one.count, 6)) for one in found.outliers] == [
        (30, 1),
        (12, 1),
        (6, 1),
    ]
    # The fourth moment is nearly all theirs.
    exact = float(OUTLIERS.pow(4).mean())
    assert found.moment(4).value == pytest.approx(exact, rel=1e-4)
    assert spectral_density(operator, 4, 30).moment(4).stderr > 100 * found.moment(4).stderr


def test_all_pairs_known_or_pairs_of_another_matrix():
    exact = torch.linspace(-1, 1, 12, dtype=torch.float64)
    operator = SymmetricOperator.of(rotated(exact))
    found = spectral_density(operator, 2, 30, pairs=eigenpairs(operator, 12))
    torch.testing.assert_close(found.nodes[0].sort().values, exact, rtol=0, atol=1e-12)
    with pytest.raises(ShapeMismatch, match="pairs must hold vectors of 120 entries, got 12"):
        spectral_density(SymmetricOperator.of(rotated(OUTLIERS)), pairs=eigenpairs(operator, 12))


def test_probes_are_added_until_the_band_is_narrow():
    operator = SymmetricOperator.of(rotated(BULK))
    loose, tight = (spectral_density(operator, 4, 40, width=0.2, rtol=rtol) for rtol in (1.0, 0.05))
    assert len(loose.nodes) == 4
    assert len(tight.nodes) > 4
    assert tight.converged
    assert tight.relative_error <= 0.05
    assert tight.products == 40 * len(tight.nodes)
    short = spectral_density(operator, 4, 40, width=0.2, rtol=1e-3, max_probes=9)
    assert len(short.nodes) == 9
    assert not short.converged


def test_text():
    text = str(spectral_density(SymmetricOperator.of(rotated(OUTLIERS)), 4, 40))
    assert text.startswith("density of 120 eigenvalues from −0.5 to 30, 3 outliers (largest in size 30 ± ")
    assert text.endswith("% (160 products)")


def test_fraction_negative():
    exact = torch.cat([torch.linspace(-2, -1, 60), torch.linspace(1, 3, 140)]).double()
    found = spectral_density(SymmetricOperator.of(rotated(exact)), 12, 30).fraction_negative
    # With a gap around zero each node stands for eigenvalues of one sign; four standard errors, as above.
    assert abs(found.value - 0.3) <= 4 * found.stderr
    assert found.stderr < 0.05


def test_fraction_negative_without_sampling_error():
    found = spectral_density(levels(), 2, 8).fraction_negative
    # The 100 zeros, which rounding turns into nodes of either sign, are not negative.
    assert found.value == pytest.approx(30 / N, abs=1e-10)


def test_fraction_negative_of_a_model():
    known = case("mlp")
    with hessian(known.objective) as operator:
        found = spectral_density(operator, 10, 40).fraction_negative
    # Nodes between the cut (a thousandth of the largest) and ten times that may stand for either side of it.
    cut = 1e-3 * known.norm
    low, high = (float((known.eigenvalues < -c).double().mean()) for c in (10 * cut, 0.1 * cut))
    assert low - 4 * found.stderr <= found.value <= high + 4 * found.stderr


def test_without_reorthogonalization_ghosts_come_but_the_density_stays():
    exact = torch.cat([torch.linspace(0, 1, 297), torch.tensor([4.0, 6.0, 10.0])]).double()
    operator = SymmetricOperator.of(rotated(exact))
    kept = spectral_density(operator, 6, 60, width=0.1, reorthogonalize=True)
    fast = spectral_density(operator, 6, 60, width=0.1, grid=kept.grid, reorthogonalize=False)
    for nodes in kept.nodes:
        assert int((nodes > 10 - 1e-6).sum()) == 1
    assert any(int((nodes > 10 - 1e-6).sum()) > 1 for nodes in fast.nodes)
    assert bool(((fast.density - kept.density).abs() <= 4 * kept.stderr + 1e-6).all())
    for power in range(1, 5):
        assert fast.moment(power).value == pytest.approx(kept.moment(power).value, rel=1e-6)


def test_float32():
    exact = torch.linspace(-1, 3, 150, dtype=torch.float64)
    matrix = rotated(exact)
    single = spectral_density(SymmetricOperator.of(matrix.float()), 4, 10, seed=1)
    double = spectral_density(SymmetricOperator.of(matrix), 4, 10, seed=1)
    # The same probes; ten steps with products that are right to √n eps.
    for power, moment in enumerate(single.moments, start=1):
        assert moment.value == pytest.approx(double.moment(power).value, abs=1e-4 * 3**power)


@pytest.mark.parametrize("reorthogonalize", [True, False])
@pytest.mark.parametrize("level", [0.0, 3.0, -2.0])
def test_a_multiple_of_the_identity(level, reorthogonalize):
    operator = diagonal(torch.full((50,), level, dtype=torch.float64))
    found = spectral_density(operator, 2, 10, reorthogonalize=reorthogonalize)
    assert found.moments[0].value == pytest.approx(level, abs=1e-14)
    assert found.width > 0
    assert float(found.grid[found.density.argmax()]) == pytest.approx(level, abs=found.width)
    # The Krylov space is exhausted after one step.
    assert found.products == 2


def test_one_dimension_and_more_steps_than_dimensions():
    found = spectral_density(diagonal(torch.tensor([2.5], dtype=torch.float64)), 2, 64)
    assert found.moments[1].value == pytest.approx(6.25)
    exact = torch.linspace(0, 1, 7, dtype=torch.float64)
    found = spectral_density(diagonal(exact), 2, 64)
    assert found.products == 14
    torch.testing.assert_close(found.nodes[0], exact, rtol=0, atol=1e-12)


def test_the_same_seed_gives_the_same_bits():
    operator = SymmetricOperator.of(rotated(torch.linspace(0, 1, 80)))
    first, again, other = (spectral_density(operator, 2, 10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.density, again.density)
    assert not torch.equal(first.density, other.density)


def test_bad_arguments():
    operator = levels()
    bad = [
        ({"probes": 1}, "probes must be at least 2, got 1"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"grid": 1}, "grid points must be at least 2, got 1"),
        ({"width": 0.0}, "width must be positive and finite, got 0.0"),
        ({"width": float("nan")}, "width must be positive and finite, got nan"),
        ({"width": float("inf")}, "width must be positive and finite, got inf"),
    ]
    for arguments, message in bad:
        with pytest.raises(InvalidArgument) as caught:
            spectral_density(operator, **arguments)
        assert message in str(caught.value)
    assert operator.products == 0


@pytest.mark.parametrize("zeros", [0, 80])
def test_the_share_below_its_threshold(zeros):
    """Where eigenvalues of both signs crowd around zero the share is that of those below a threshold, and says so."""
    exact = torch.cat([-torch.logspace(-4, 0, 120), torch.zeros(zeros), torch.logspace(-4, 1, 200)]).double()
    found = spectral_density(SymmetricOperator.of(rotated(exact)), 12, 48).fraction_negative
    due = float((exact < -found.threshold).double().mean())
    assert 0 < found.threshold < 1
    assert found.stderr > 0
    assert abs(found.value - due) <= 4 * found.stderr
    assert "% of the eigenvalues are below −0." in str(found)


def test_a_share_that_is_certain():
    exact = torch.cat([torch.linspace(-2, -1, 30), torch.linspace(1, 3, 70)]).double()
    found = spectral_density(SymmetricOperator.of(rotated(exact)), 4, 100).fraction_negative
    # Every eigenvalue is found; the probes' weights are all that varies.
    assert found.threshold < 1e-10
    assert abs(found.value - 0.3) <= 4 * found.stderr
