"""Basin maps against descents that were followed to their end."""

import pytest
import torch

import thalweg as tw
from thalweg.errors import InvalidArgument
from thalweg.surfaces import Surface


def test_himmelblau_under_small_steps_is_the_gradient_flow():
    surface = tw.surfaces.himmelblau()
    found = tw.optim.basins(
        surface, "gradient_descent", lr=4e-3, steps=600, resolution=24, dtype=torch.float64
    )
    assert found.label.shape == (24, 24)
    # The oracle: SciPy's integrator of dθ/dt = −∇f to a long time, from some of the starts.
    import scipy.integrate

    minima = torch.stack([m.location for m in surface.minima])
    for row, column in [(0, 0), (3, 20), (12, 5), (20, 20), (23, 1), (7, 13)]:
        start = [float(found.x[column]), float(found.y[row])]
        flow = scipy.integrate.solve_ivp(
            lambda t, x: -surface.gradient(torch.from_numpy(x.copy())).numpy(), (0, 5), start, rtol=1e-8
        )
        end = torch.from_numpy(flow.y[:, -1])
        assert int((minima - end).norm(dim=1).argmin()) == int(found.label[row, column])


def test_rows_run_along_y():
    tilted = Surface(
        "wells",
        lambda x: (x[0] ** 2 - 1) ** 2 + x[1] ** 2,
        [0.5, 0.5],
        domain=(-2.0, 2.0),
        critical=[[-1.0, 0.0], [1.0, 0.0]],
    )
    found = tw.optim.basins(tilted, "sgd", lr=0.02, steps=400, resolution=10)
    left, right = (int(found.label[0, column]) for column in (0, -1))
    assert found.targets[left].location[0] == pytest.approx(-1)
    assert found.targets[right].location[0] == pytest.approx(1)
    assert (found.label == found.label[0]).all()
    assert found.shares() == {"minimum (-1, 0)": 0.5, "minimum (1, 0)": 0.5}


def test_what_does_not_settle_is_said():
    surface = tw.surfaces.himmelblau()
    slow = tw.optim.basins(surface, "sgd", lr=1e-6, steps=10, resolution=8)
    assert (slow.label == -1).float().mean() > 0.9
    wild = tw.optim.basins(surface, "sgd", lr=1.0, steps=50, resolution=8)
    assert wild.shares()["diverged"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"surface": tw.surfaces.rosenbrock(dim=3)}, "surface must be one of two coordinates"),
        ({"box": (0, 1)}, r"box must be \(\(x0, x1\), \(y0, y1\)\)"),
        ({"lr": [0.1, 0.2]}, "lr must be one number"),
        ({"resolution": 1}, "resolution must be at least 2, got 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        tw.optim.basins(**({"surface": tw.surfaces.himmelblau()} | arguments))
