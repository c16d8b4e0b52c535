"""`descend`: equal to the torch driver step by step, shapes, noise, and a name for every end."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.errors import InvalidArgument, ShapeMismatch, UnknownName
from thalweg.surfaces import Surface

SELF_CONTAINED = [name for name in tw.optim.names() if tw.optim.get(name).columns]
RATES = {"sgd": 1e-3, "momentum": 5e-4, "nesterov": 5e-4, "gradient_descent": 1e-3, "schedule_free_sgd": 1e-3}
STARTS = [[-1.5, 2.0], [0.3, 0.4], [1.2, -0.7]]


def torch_path(name: str, start: list[float], lr: float, steps: int, **options: float) -> torch.Tensor:
    """The iterates of the torch driver from one start."""
    surface = tw.surfaces.rosenbrock()
    p = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = tw.optim.get(name)([p], lr=lr, **options)
    path = [p.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        surface.formula(p).backward()
        optimizer.step()
        optimizer.eval()
        path.append(p.detach().clone())
        optimizer.train()
    return torch.stack(path)


@pytest.mark.parametrize("name", SELF_CONTAINED)
def test_equals_the_torch_driver_step_by_step(name):
    base = RATES.get(name, 0.03)
    rates = [base, base / 3]
    found = tw.optim.descend(tw.surfaces.rosenbrock(), name, STARTS, steps=80, lr=rates)
    assert found.path.shape == (2, 3, 81, 2)
    for r, lr in enumerate(rates):
        for b, start in enumerate(STARTS):
            # Rounding to 1e-16 grows along a valley of curvature 1000 by less than 1e5 in 80 steps.
            torch.testing.assert_close(
                found.path[r, b], torch_path(name, start, lr, 80), rtol=1e-10, atol=1e-11
            )


def test_options_of_the_rule_reach_it():
    options = {"weight_decay": 0.1, "momentum": 0.5, "nesterov": True}
    found = tw.optim.descend(tw.surfaces.rosenbrock(), "sgd", STARTS[0], steps=50, lr=1e-3, **options)
    oracle = torch_path("sgd", STARTS[0], 1e-3, 50, **options)
    torch.testing.assert_close(found.path[0], oracle, rtol=1e-12, atol=1e-12)


def test_maximize_climbs():
    hill = Surface("hill", lambda x: -(x**2).sum(0), [1.0, -2.0])
    found = tw.optim.descend(hill, "adam", steps=300, lr=0.05, maximize=True)
    assert float(found.loss[0, -1]) > -1e-3


def test_what_is_no_objective_is_refused():
    with pytest.raises(InvalidArgument, match="objective must be a surface such as"):
        tw.optim.descend("rosenbrock", "adam")


def test_prints_in_one_line():
    found = tw.optim.descend(tw.surfaces.himmelblau(), "sgd", [3.0, 2.0], steps=3, lr=0.01)
    assert repr(found) == "Descent(sgd, lr=0.01, path (1, 4, 2), 1 converged to minimum (3, 2))"


def test_shapes():
    surface = tw.surfaces.himmelblau()
    one = tw.optim.descend(surface, "adam", [0.0, 1.0], steps=7, lr=0.1)
    assert one.path.shape == (1, 8, 2)
    assert one.loss.shape == (1, 8)
    assert one.outcome.shape == (1,)
    assert one.lr == 0.1
    several = tw.optim.descend(surface, "adam", torch.zeros(5, 2), steps=7, lr=[0.1])
    assert several.path.shape == (1, 5, 8, 2)
    assert several.outcome.shape == (1, 5)
    torch.testing.assert_close(several.loss, surface.loss(several.path.reshape(-1, 2)).view(1, 5, 8))


def test_keeping_less_keeps_the_same():
    surface = tw.surfaces.himmelblau()
    every = tw.optim.descend(surface, "adam", steps=50, lr=0.1)
    some = tw.optim.descend(surface, "adam", steps=50, lr=0.1, keep=20)
    last = tw.optim.descend(surface, "adam", steps=50, lr=0.1, keep="last")
    assert some.steps.tolist() == [0, 20, 40, 50]
    assert torch.equal(some.path, every.path[:, some.steps])
    assert torch.equal(last.path, every.path[:, -1:])
    assert torch.equal(last.last, every.last)


def test_a_model_is_descended_and_left_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x, y = torch.randn(16, 3).double(), torch.randn(16, 1).double()
    objective = tw.Objective(model, nn.MSELoss(), (x, y))
    before = objective.point
    found = tw.optim.descend(objective, "adamw", steps=20, lr=[0.01, 0.1])
    assert torch.equal(objective.point, before)
    copy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    copy.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(copy.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.mse_loss(copy(x), y).backward()
        optimizer.step()
    oracle = torch.cat([p.detach().flatten() for p in copy.parameters()])
    torch.testing.assert_close(found.last[1, 0], oracle, rtol=1e-10, atol=1e-12)


def test_line_searches_leave_a_model_alone():
    objective = tw.Objective(nn.Linear(3, 1), nn.MSELoss(), (torch.randn(8, 3), torch.randn(8, 1)))
    before = objective.point
    found = tw.optim.descend(objective, "steepest_descent", steps=5, line_search="armijo")
    assert float(found.loss[0, -1]) < float(found.loss[0, 0])
    assert torch.equal(objective.point, before)


def test_a_schedule_is_not_asked_beyond_its_end():
    table = [0.01, 0.02, 0.03]
    found = tw.optim.descend(tw.surfaces.rosenbrock(), "adam", steps=3, lr=lambda t: table[t])
    assert found.outcome[0].kind == "wandering"


def test_a_schedule_as_rate():
    schedule = tw.schedules.cosine(0.1, 40)
    found = tw.optim.descend(
        tw.surfaces.himmelblau(), "sgd", [0.0, 0.0], steps=40, lr=lambda t: schedule(t) / 10
    )
    x = torch.zeros(2).double()
    for t in range(40):
        x = x - schedule(t) / 10 * tw.surfaces.himmelblau().gradient(x)
    torch.testing.assert_close(found.last[0], x, rtol=1e-12, atol=1e-12)
    assert math.isnan(found.lr)


def test_noise_is_that_of_its_seed_and_shared_by_rates():
    surface = tw.surfaces.quadratic(condition_number=1, dim=2)
    flat = Surface("flat", lambda x: 0.0 * x.sum(0), [0.0, 0.0])
    first = tw.optim.descend(surface, "sgd", steps=30, lr=0.1, noise=1.0, seed=3)
    again = tw.optim.descend(surface, "sgd", steps=30, lr=0.1, noise=1.0, seed=3)
    other = tw.optim.descend(surface, "sgd", steps=30, lr=0.1, noise=1.0, seed=4)
    assert torch.equal(first.path, again.path)
    assert not torch.equal(first.path, other.path)
    rates = tw.optim.descend(flat, "sgd", torch.zeros(3, 2), steps=30, lr=[0.1, 0.2], noise=1.0)
    torch.testing.assert_close(rates.path[1], 2 * rates.path[0])
    # The mean square of 30·3·2·n independent draws; five standard errors of a chi-square.
    walk = tw.optim.descend(flat, "sgd", torch.zeros(2000, 2), steps=1, lr=1.0, noise=2.0, keep="last")
    assert float(walk.last.square().mean()) == pytest.approx(4, rel=5 * math.sqrt(2 / 4000))


def test_sharpness_aware_gradient():
    surface = tw.surfaces.rosenbrock()
    found = tw.optim.descend(surface, "sgd", STARTS, steps=30, lr=1e-4, rho=0.05)
    x = torch.tensor(STARTS[1], dtype=torch.float64)
    for _ in range(30):
        g = surface.gradient(x)
        x = x - 1e-4 * surface.gradient(x + 0.05 * g / g.norm())
    torch.testing.assert_close(found.last[1], x, rtol=1e-12, atol=1e-12)


def test_sophia_takes_exact_products_of_the_surface():
    """On an axis-aligned quadratic u ⊙ (Hu) is the diagonal itself, whatever the signs."""
    surface = tw.surfaces.quadratic(condition_number=50, dim=2)
    diagonal = surface.hessian().diagonal()
    options = {"betas": (0.9, 0.99), "gamma": 1.0, "weight_decay": 0.0, "update_period": 10}
    found = tw.optim.descend(surface, "sophia_h", [1.0, -2.0], steps=100, lr=0.05, **options)
    x, m, h = torch.tensor([1.0, -2.0]).double(), torch.zeros(2).double(), torch.zeros(2).double()
    for t in range(100):
        if t % 10 == 0:
            h = 0.99 * h + 0.01 * diagonal
        m = 0.9 * m + 0.1 * surface.gradient(x)
        x = x - 0.05 * (m / h.clamp(min=1e-12)).clamp(-1, 1)
    torch.testing.assert_close(found.last[0], x, rtol=1e-11, atol=1e-13)


class TestOutcomes:
    def test_stability_edge_of_gradient_descent(self):
        """Claim K1."""
        surface = tw.surfaces.quadratic(condition_number=100, dim=2)
        edge = 2 / float(torch.linalg.eigvalsh(surface.hessian())[-1])
        rates = [0.995 * edge, edge, 1.005 * edge]
        found = tw.optim.descend(surface, "gradient_descent", [1.0, 1.0], steps=3000, lr=rates, keep=100)
        converged, cycling, diverged = (found.outcome[r, 0] for r in range(3))
        assert (converged.kind, converged.minimum) == ("converged", 0)
        assert (cycling.kind, cycling.period) == ("cycling", 2)
        assert diverged.kind == "diverged"
        # |x| grows by 1.01 a step until it passes the bound, 1000 times the diagonal of the domain.
        growth = math.log(1000 * float((surface.domain[:, 1] - surface.domain[:, 0]).norm())) / math.log(1.01)
        assert diverged.step == pytest.approx(growth, abs=2)

    def test_a_cycle_of_four(self):
        # x ← x − η(x³ − x) is a cubic map; between 2/f″ = 1 and chaos its periods double: 2, then 4 at about η = 1.29.
        double_well = Surface(
            "double well", lambda x: x[0] ** 4 / 4 - x[0] ** 2 / 2, [0.3], critical=[[1.0], [-1.0], [0.0]]
        )
        found = tw.optim.descend(double_well, "sgd", steps=4000, lr=[1.1, 1.26], keep="last")
        periods = [found.outcome[r, 0].period for r in range(2)]
        # The oracle: iterate the map on its own and look for the first return.
        for eta, period in zip([1.1, 1.26], periods, strict=True):
            x = 0.3
            for _ in range(4000):
                x -= eta * (x**3 - x)
            start, count = x, 0
            while True:
                x -= eta * (x**3 - x)
                count += 1
                if abs(x - start) < 1e-9:
                    break
            assert period == count

    def test_a_saddle_is_no_minimum(self):
        surface = tw.surfaces.strict_saddle()
        lengthwise = torch.zeros(surface.size)
        lengthwise[0] = 1.0
        stable = surface.hessian(torch.zeros(surface.size).double()).diagonal() > 0
        start = stable.double()
        outcome = tw.optim.descend(surface, "sgd", start, steps=2000, lr=0.05, keep="last").outcome[0]
        assert outcome.kind == "converged"
        assert outcome.target is not None
        assert outcome.target.kind == "saddle"
        assert outcome.minimum is None

    def test_points_that_no_list_has(self):
        wells = Surface("wells", lambda x: (x[0] ** 2 - 1) ** 2, [0.5], domain=(-2.0, 2.0))
        found = tw.optim.descend(wells, "sgd", [[0.5], [-0.5], [1.3]], steps=500, lr=0.05, keep="last")
        assert [o.target.kind for o in found.outcome] == ["unlisted"] * 3
        assert [round(o.target.location[0], 6) for o in found.outcome] == [1.0, -1.0, 1.0]
        assert found.outcome.counts() == {"converged to unlisted (1)": 2, "converged to unlisted (-1)": 1}

    @pytest.mark.parametrize("rate", [2.1, 2.12, 1.9995, 1.999])
    def test_what_creeps_does_not_cycle(self, rate):
        """Next to the edge of stability two steps nearly come back, but further off or nearer each time."""
        bowl = tw.surfaces.quadratic(condition_number=1, dim=1)
        outcome = tw.optim.descend(
            bowl, "sgd", [1.0], steps=10, lr=rate / float(bowl.hessian()[0, 0])
        ).outcome[0]
        assert outcome.kind == "wandering"

    def test_too_slow_is_wandering_not_converged(self):
        found = tw.optim.descend(tw.surfaces.rosenbrock(), "sgd", [-1.0, 1.0], steps=50, lr=1e-7)
        assert str(found.outcome[0]) == "wandering"

    def test_nan_from_the_start_is_diverged_at_the_first_step(self):
        broken = Surface("broken", lambda x: x[0].sqrt(), [-1.0], domain=(-2.0, 2.0))
        found = tw.optim.descend(broken, "sgd", [[-1.0], [1.0]], steps=3, lr=0.01)
        assert (found.outcome[0].kind, found.outcome[0].step) == ("diverged", 1)
        assert found.outcome[1].kind == "wandering"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"optimizer": "adamm"}, UnknownName, "unknown optimizer 'adamm': did you mean adam"),
        ({"optimizer": "muon"}, InvalidArgument, "optimizer 'muon' cannot run on many points"),
        ({"optimizer": "sophia_g"}, InvalidArgument, "optimizer 'sophia_g' cannot run on many points"),
        ({"optimizer": "sam"}, InvalidArgument, "optimizer 'sam' cannot run on many points"),
        (
            {"start": [[1.0, 2.0, 3.0]]},
            ShapeMismatch,
            r"start must have shape \(2,\) or \(b, 2\), got \(1, 3\)",
        ),
        ({"start": []}, ShapeMismatch, "start must have shape"),
        ({"steps": -1}, InvalidArgument, "steps must be an integer of at least 0, got -1"),
        ({"steps": 10.0}, InvalidArgument, "steps must be an integer"),
        ({"tolerance": -1.0}, InvalidArgument, "tolerance must be finite and above 0"),
        ({"start": [math.inf, 0.0]}, InvalidArgument, "start must be finite"),
        ({"rho": 0.1, "maximize": True}, InvalidArgument, "leave out maximize"),
        ({"optimizer": 3}, InvalidArgument, "optimizer 'int' cannot run"),
        ({"lr": -0.1}, InvalidArgument, "lr must be finite and at least 0, got -0.1"),
        ({"lr": [0.1, math.nan]}, InvalidArgument, "lr must be finite and at least 0, got nan"),
        ({"lr": []}, InvalidArgument, "lr must be a number or a list"),
        ({"keep": "some"}, InvalidArgument, "keep must be"),
        ({"keep": 0}, InvalidArgument, "keep must be"),
        ({"noise": -1.0}, InvalidArgument, "noise must be"),
        ({"rho": -1.0}, InvalidArgument, "rho must be"),
        ({"optimizer": "adam", "betas": (0.9, 1.0)}, InvalidArgument, r"betas\[1\] must be in"),
        ({"optimizer": "adam", "momentum": 0.5}, InvalidArgument, "momentum"),
        ({"optimizer": "steepest_descent", "lr": 0.1}, InvalidArgument, "takes line_search only, got lr"),
        ({"start": np.zeros((200_000, 2)), "steps": 3000}, InvalidArgument, "would hold .* GiB: give keep="),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        tw.optim.descend(tw.surfaces.rosenbrock(), **({"optimizer": "sgd", "lr": 1e-3} | arguments))
