"""SAM against its two-gradient definition, written out in NumPy, on Rosenbrock's valley."""

import numpy as np
import pytest
import torch
from torch import nn

from thalweg import surfaces
from thalweg.errors import InvalidArgument
from thalweg.optim.sharpness.asam import ASAM
from thalweg.optim.sharpness.gsam import GSAM
from thalweg.optim.sharpness.sam import SAM

START = (-1.2, 1.0)
RHO = 0.05


def slope(x):
    """Gradient of (1 − x₀)² + 100(x₁ − x₀²)²."""
    return np.array([-2 * (1 - x[0]) - 400 * x[0] * (x[1] - x[0] ** 2), 200 * (x[1] - x[0] ** 2)])


def sam_slope(x):
    g = slope(x)
    return slope(x + RHO * g / np.linalg.norm(g))


def asam_slope(x):
    g, t = slope(x), np.abs(x) + 0.01
    return slope(x + 0.5 * t**2 * g / np.linalg.norm(t * g))


def gsam_slope(x):
    g, h = slope(x), sam_slope(x)
    along = (g @ h) / (h @ h) * h
    return h - 0.4 * (g - along)


class Momentum:
    """v ← 0.9v + g; x ← x − ηv; the decay λx is part of g."""

    def __init__(self, lr, decay=0.0):
        self.lr, self.decay, self.v = lr, decay, np.zeros(2)

    def __call__(self, x, g):
        self.v = 0.9 * self.v + g + self.decay * x
        return x - self.lr * self.v


class AdamW:
    def __init__(self, lr, decay=0.01):
        self.lr, self.decay, self.m, self.s, self.t = lr, decay, np.zeros(2), np.zeros(2), 0

    def __call__(self, x, g):
        self.t += 1
        self.m, self.s = 0.9 * self.m + 0.1 * g, 0.999 * self.s + 0.001 * g**2
        m, s = self.m / (1 - 0.9**self.t), self.s / (1 - 0.999**self.t)
        return x * (1 - self.lr * self.decay) - self.lr * m / (np.sqrt(s) + 1e-8)


BASES = {
    "momentum": (lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.9), lambda: Momentum(1e-4)),
    "decayed": (
        lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.9, weight_decay=0.1),
        lambda: Momentum(1e-4, 0.1),
    ),
    "adamw": (lambda p: torch.optim.AdamW(p, lr=1e-2), lambda: AdamW(1e-2)),
}
RULES = {"sam": (SAM, sam_slope), "asam": (ASAM, asam_slope), "gsam": (GSAM, gsam_slope)}


def at_start(parts=1):
    start = torch.tensor(START, dtype=torch.float64)
    return [nn.Parameter(piece.clone()) for piece in start.tensor_split(parts)]


def closure_of(parameters, calls=None):
    formula = surfaces.rosenbrock().formula

    def closure():
        for p in parameters:
            p.grad = None
        loss = formula(torch.cat(list(parameters)))
        loss.backward()
        if calls is not None:
            calls.append(loss.item())
        return loss

    return closure


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("rule", RULES)
def test_300_steps_follow_the_definition(rule, base):
    wrap, direction = RULES[rule]
    build, reference = BASES[base]
    # In two tensors of two groups: the norm is over both.
    parameters = at_start(2)
    opt = wrap(build([{"params": [p]} for p in parameters]))
    closure, update, x = closure_of(parameters), reference(), np.array(START)
    for _ in range(300):
        opt.step(closure)
        x = update(x, direction(x))
        # Roundings of 1e-16 grow with the curvature, by less than 1e5 along this path.
        np.testing.assert_allclose(torch.cat(parameters).detach().numpy(), x, atol=1e-10, rtol=0)
    assert opt.gradient_evaluations == 600
    assert np.linalg.norm(x - np.array(START)) > 0.1


def test_two_calls_are_the_same_step_as_a_closure():
    ours, theirs = at_start(), at_start()
    one, two = (SAM(BASES["momentum"][0](p), RHO) for p in (ours, theirs))
    loss = surfaces.rosenbrock().formula
    for _ in range(20):
        one.step(closure_of(ours))
        loss(theirs[0]).backward()
        two.ascend()
        # Cleared already: the loop need not.
        assert theirs[0].grad is None
        loss(theirs[0]).backward()
        assert two.step() is None
        two.zero_grad()
    assert torch.equal(ours[0], theirs[0])
    assert one.gradient_evaluations == two.gradient_evaluations == 40


def test_the_closure_is_called_twice_and_the_loss_at_theta_returned():
    parameters, calls = at_start(), []
    opt = SAM(BASES["momentum"][0](parameters), RHO)
    # Under no_grad as well: the closure has gradients on.
    with torch.no_grad():
        loss = opt.step(closure_of(parameters, calls))
    x = np.array(START)
    g = slope(x)
    value = [(1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2 for x in (x, x + RHO * g / np.linalg.norm(g))]
    assert calls == pytest.approx(value, rel=1e-12)
    assert loss.item() == calls[0]
    assert opt.gradient_evaluations == 2


def test_a_closure_that_forgets_to_clear_adds_nothing_to_the_second_gradient():
    ours, theirs = at_start(), at_start()
    forgetful, tidy = (SAM(BASES["momentum"][0](p), RHO) for p in (ours, theirs))

    def closure():
        loss = surfaces.rosenbrock().formula(ours[0])
        loss.backward()
        return loss

    forgetful.step(closure)
    tidy.step(closure_of(theirs))
    assert torch.equal(ours[0], theirs[0])


def test_the_norm_counts_every_group_and_rho_may_differ():
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2))
    opt = SAM(torch.optim.SGD([{"params": [a], "rho": 2.0}, {"params": [b]}], lr=0.1), rho=1.0)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([0.0, 4.0])
    opt.ascend()
    # ‖(3, 0, 4)‖ = 5.
    torch.testing.assert_close(a.detach(), torch.tensor([1.2]))
    torch.testing.assert_close(b.detach(), torch.tensor([0.0, 0.8]))


def test_an_exempt_group_stays_but_counts_in_the_norm():
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    opt = SAM(torch.optim.SGD([{"params": [a], "rho": 0.0}, {"params": [b]}], lr=0.1), rho=1.0)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    opt.ascend()
    assert (a.item(), b.item()) == (0.0, pytest.approx(0.8))


def test_a_base_that_maximizes_is_perturbed_downhill():
    p, q = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([1.0, 2.0]))
    down, up = SAM(torch.optim.SGD([p], lr=0.1)), SAM(torch.optim.SGD([q], lr=0.1, maximize=True))

    def closure(x, sign):
        def call():
            loss = sign * (x**4).sum()
            x.grad = None
            loss.backward()
            return loss

        return call

    for _ in range(5):
        down.step(closure(p, 1))
        up.step(closure(q, -1))
    torch.testing.assert_close(p, q)


def test_weight_decay_has_no_part_in_the_ascent():
    p = nn.Parameter(torch.tensor([10.0, 10.0]))
    opt = SAM(torch.optim.SGD([p], lr=0.1, weight_decay=100.0), rho=1.0)
    p.grad = torch.tensor([3.0, -4.0])
    opt.ascend()
    torch.testing.assert_close(p.detach(), torch.tensor([10.6, 9.2]))


@pytest.mark.parametrize("wrap", [SAM, ASAM, GSAM])
def test_theta_is_restored_to_the_last_bit(wrap):
    draw = torch.Generator().manual_seed(0)
    # Of sizes for which (θ + ε) − ε is not θ.
    p = nn.Parameter(torch.randn(1000, generator=draw) * 10 ** torch.linspace(-8, 4, 1000))
    before = p.detach().clone()
    opt = wrap(torch.optim.SGD([p], lr=0.0 if wrap is not GSAM else 1e-30))
    for _ in range(3):
        p.grad = torch.randn(1000, generator=draw)
        opt.ascend()
        assert opt.ascended
        assert not torch.equal(p, before)
        p.grad = torch.randn(1000, generator=draw)
        opt.step()
        assert not opt.ascended
        assert torch.equal(p, before)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_theta_is_restored_when_the_second_pass_fails(error):
    p = nn.Parameter(torch.tensor([0.1, 0.7]))
    before, calls = p.detach().clone(), []
    opt = SAM(torch.optim.SGD([p], lr=0.1), rho=0.3)

    def closure():
        calls.append(p.detach().clone())
        if len(calls) == 2:
            raise error
        (p**2).sum().backward()

    with pytest.raises(error):
        opt.step(closure)
    assert not torch.equal(calls[1], before)
    assert torch.equal(p, before)
    # And the optimizer goes on.
    calls.extend([before])
    opt.step(closure)
    assert not torch.equal(p, before)


def test_restore_gives_a_step_up():
    p = nn.Parameter(torch.tensor([0.1, 0.7]))
    before = p.detach().clone()
    opt = SAM(torch.optim.SGD([p], lr=0.1), rho=0.3)
    p.grad = torch.ones(2)
    opt.ascend()
    opt.restore()
    assert torch.equal(p, before)
    with pytest.raises(InvalidArgument, match="needs the gradient at two points"):
        opt.step()


def test_a_zero_gradient_steps_as_the_base_does():
    p = nn.Parameter(torch.tensor([1.0, 2.0]))
    opt = SAM(torch.optim.SGD([p], lr=0.5, weight_decay=0.1), rho=0.3)

    def closure():
        p.grad = torch.zeros(2)
        return torch.tensor(0.0)

    opt.step(closure)
    torch.testing.assert_close(p.detach(), torch.tensor([0.95, 1.9]))


@pytest.mark.parametrize("wrap", [SAM, ASAM, GSAM])
def test_a_gradient_that_is_not_finite_perturbs_nothing_and_the_base_steps(wrap):
    p = nn.Parameter(torch.tensor([1.0, 2.0]))
    opt = wrap(torch.optim.SGD([p], lr=0.1))
    p.grad = torch.tensor([float("nan"), 1.0])
    opt.ascend()
    assert torch.equal(p.detach(), torch.tensor([1.0, 2.0]))
    p.grad = torch.tensor([1.0, 1.0])
    opt.step()
    torch.testing.assert_close(p.detach(), torch.tensor([0.9, 1.9]))


def test_frozen_and_unused_parameters_stay():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    opt = SAM(torch.optim.SGD([used, unused], lr=0.1))

    def closure():
        opt.zero_grad()
        loss = (used**2).sum()
        loss.backward()
        return loss

    opt.step(closure)
    assert torch.equal(unused, torch.ones(2))
    assert not torch.equal(used, torch.ones(2))


def test_half_precision_parameters():
    p = nn.Parameter(torch.zeros(4, dtype=torch.float16))
    opt = SAM(torch.optim.SGD([p], lr=0.1), rho=0.5)
    # Below the square root of half precision's smallest number.
    p.grad = torch.full((4,), 2.0**-20, dtype=torch.float16)
    opt.ascend()
    assert torch.equal(p.detach(), torch.full((4,), 0.25, dtype=torch.float16))


def test_misuse_is_one_clear_line():
    p = nn.Parameter(torch.ones(2))
    base = torch.optim.SGD([p], lr=0.1)
    for bad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match="rho must be finite and at least 0"):
            SAM(base, rho=bad)
    # A refused value leaves nothing behind in the base's groups.
    assert "rho" not in base.param_groups[0]
    with pytest.raises(InvalidArgument, match=r"base must be an optimizer such as .*, got SGD"):
        SAM(torch.optim.SGD, rho=0.1)
    with pytest.raises(InvalidArgument, match="got list"):
        SAM([p])
    with pytest.raises(InvalidArgument, match="got SAM"):
        SAM(SAM(base))
    with pytest.raises(InvalidArgument, match="LBFGS cannot"):
        SAM(torch.optim.LBFGS([p]))
    with pytest.raises(InvalidArgument, match="model must be"):
        SAM(base, model=p)
    opt = SAM(base)
    with pytest.raises(InvalidArgument, match=r"pass a closure .* or call backward\(\), ascend\(\)"):
        opt.step()
    with pytest.raises(InvalidArgument, match=r"ascend\(\) found no gradients"):
        opt.ascend()
    with pytest.raises(InvalidArgument, match=r"ascend\(\) found no gradients"):
        opt.step(lambda: torch.zeros(()))
    p.grad = torch.ones(2)
    opt.ascend()
    for call in (opt.ascend, lambda: opt.step(lambda: None), opt.state_dict):
        with pytest.raises(InvalidArgument, match=r"restore\(\) to give the step up"):
            call()
    with pytest.raises(InvalidArgument, match="no gradients at the perturbed point"):
        opt.step()
    assert torch.equal(p, torch.ones(2))


def test_sparse_gradients_are_refused_before_anything_moves():
    table = nn.Embedding(4, 2, sparse=True)
    before = table.weight.detach().clone()
    opt = SAM(torch.optim.SGD(table.parameters(), lr=0.1))
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InvalidArgument, match="sparse=False"):
        opt.ascend()
    assert torch.equal(table.weight, before)
