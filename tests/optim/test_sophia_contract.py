"""SophiaG and SophiaH as torch optimizers: batches, closures, state, groups, and what they refuse."""

import copy
import io
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg import surfaces
from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.optim.sophia import SophiaG, SophiaH
from thalweg.optim.sophia_estimates import bartlett, generator, hutchinson, random_signs

RULES = [SophiaG, SophiaH]


def network(dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 3)).double()


def batch(step, samples=8):
    draw = torch.Generator().manual_seed(step)
    y = torch.randint(0, 3, (samples,), generator=draw)
    return torch.randn(samples, 4, generator=draw).double(), y


def objective(model):
    return Objective(model, nn.CrossEntropyLoss(), [batch(100), batch(101), batch(102, samples=5)])


CURVED = {"lr": 0.01, "betas": (0.9, 0.5), "gamma": 3.0, "update_period": 3}
"""With these a good part of the entries are not clipped, so that curvature counts."""


def made(cls, model, **options):
    return cls(model.parameters(), **CURVED, model=model, loss_fn=nn.CrossEntropyLoss(), **options)


def train(model, opt, steps, first=0):
    for step in range(first, first + steps):
        x, y = batch(step)
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step((x, y))
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def hessians(model, opt):
    return torch.cat([opt.state[p]["hessian"].flatten() for p in model.parameters()])


@pytest.mark.parametrize("cls", RULES)
def test_the_options_of_these_tests_leave_entries_unclipped(cls):
    model = network()
    opt = made(cls, model)
    before = train(model, opt, 3)
    steps = (train(model, opt, 1, first=3) - (1 - 0.01 * 0.1) * before).abs()
    assert float((steps < 0.0099).double().mean()) > 0.2


@pytest.mark.parametrize("cls", RULES)
def test_an_objective_and_a_model_with_its_loss_are_the_same(cls):
    one, other = network(), network()
    found = train(one, made(cls, one), 8)
    opt = cls(other.parameters(), **CURVED, objective=objective(other))
    torch.testing.assert_close(train(other, opt, 8), found, rtol=0, atol=0)


@pytest.mark.parametrize(("cls", "estimate"), [(SophiaG, bartlett), (SophiaH, hutchinson)])
def test_without_a_batch_the_objectives_are_taken_in_turn(cls, estimate):
    model = network()
    obj = objective(model)
    opt = cls(model.parameters(), lr=0.01, update_period=2, objective=obj, seed=4)
    expected = torch.zeros(obj.size).double()

    def closure():
        opt.zero_grad()
        loss = F.cross_entropy(model(batch(0)[0]), batch(0)[1])
        loss.backward()
        return loss

    for step in range(9):
        if step % 2 == 0:
            number = step // 2
            draw = generator(4, number, obj.device)
            source = draw if cls is SophiaG else random_signs(obj.point, draw)
            made_here = estimate(
                obj, batch((100, 101, 102)[number % 3], samples=(8, 8, 5)[number % 3]), source
            )
            expected = 0.99 * expected + 0.01 * made_here
        loss = opt.step(closure)
        assert loss.shape == ()
        torch.testing.assert_close(hessians(model, opt), expected)


@pytest.mark.parametrize("cls", RULES)
def test_a_batch_alone_is_enough_and_leaves_no_gradients(cls):
    one, other = network(), network()
    found = train(one, made(cls, one), 5)
    opt = made(cls, other)
    for step in range(5):
        loss = opt.step(batch(step))
        assert loss.requires_grad is False
    ends = torch.cat([p.detach().flatten() for p in other.parameters()])
    torch.testing.assert_close(ends, found, rtol=0, atol=1e-14)
    assert all(p.grad is None for p in other.parameters())


@pytest.mark.parametrize("cls", RULES)
def test_gradients_and_the_random_state_are_left_alone(cls):
    model = network(dropout=0.5)
    opt = made(cls, model)
    x, y = batch(0)
    F.cross_entropy(model(x), y).backward()
    before, state = [p.grad.clone() for p in model.parameters()], torch.get_rng_state()
    opt.step((x, y))
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


@pytest.mark.parametrize("cls", RULES)
@pytest.mark.parametrize("after", [4, 6])
def test_a_state_from_the_middle_goes_on_as_if_unbroken(cls, after):
    whole = network()
    expected = train(whole, made(cls, whole, seed=2), 10)
    broken = network()
    opt = made(cls, broken, seed=2)
    train(broken, opt, after)
    file = io.BytesIO()
    torch.save((broken.state_dict(), opt.state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    new = network()
    new.load_state_dict(weights)
    restored = made(cls, new, seed=2)
    restored.load_state_dict(state)
    torch.testing.assert_close(train(new, restored, 10 - after, first=after), expected, rtol=0, atol=0)


@pytest.mark.parametrize("cls", RULES)
def test_resumed_turns_of_an_objective_go_on_too(cls):
    ends = []
    for broken in (False, True):
        model = network()
        opt = cls(model.parameters(), **CURVED, objective=objective(model))
        for step in range(18):
            if broken and step == 14:
                state = opt.state_dict()
                opt = cls(model.parameters(), **CURVED, objective=objective(model))
                opt.load_state_dict(state)
            opt.zero_grad()
            F.cross_entropy(model(batch(step)[0]), batch(step)[1]).backward()
            opt.step()
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=0)


@pytest.mark.parametrize("cls", RULES)
def test_copies_go_on_alone_and_pickles_want_their_objective_back(cls):
    model = network()
    opt = cls(model.parameters(), **CURVED, objective=objective(model))
    train(model, opt, 4)
    copied_model, copied = copy.deepcopy((model, opt))
    loaded_model, loaded = pickle.loads(pickle.dumps((model, opt)))
    expected = train(model, opt, 6, first=4)
    torch.testing.assert_close(train(copied_model, copied, 6, first=4), expected, rtol=0, atol=0)
    with pytest.raises(
        InvalidArgument, match=r"unpickled without its objective: call measure_on\(objective\)"
    ):
        train(loaded_model, loaded, 6, first=4)
    _, again = pickle.loads(pickle.dumps((copied_model, copied)))
    model = nn.Sequential()
    with pytest.raises(InvalidArgument, match="not parameters of the model"):
        again.measure_on(model=model, loss_fn=nn.CrossEntropyLoss())


@pytest.mark.parametrize("cls", RULES)
def test_an_unpickled_one_goes_on_once_it_has_an_objective(cls):
    model = network()
    opt = made(cls, model)
    train(model, opt, 4)
    loaded_model, loaded = pickle.loads(pickle.dumps((model, opt)))
    loaded.measure_on(model=loaded_model, loss_fn=nn.CrossEntropyLoss())
    expected = train(model, opt, 6, first=4)
    torch.testing.assert_close(train(loaded_model, loaded, 6, first=4), expected, rtol=0, atol=0)


@pytest.mark.parametrize("cls", RULES)
def test_schedules_and_groups(cls):
    model = network()
    groups = [{"params": model[0].parameters(), "gamma": 1.0}, {"params": model[3].parameters(), "lr": 0.5}]
    opt = cls(groups, lr=0.1, update_period=2, objective=objective(model))
    schedule = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.1)
    train(model, opt, 1)
    schedule.step()
    assert [group["lr"] for group in opt.param_groups] == pytest.approx([0.01, 0.05])
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    moved = (train(model, opt, 1, first=1) - (1 - 0.01 * 0.1) * before).abs()
    # Clipped at 1: no further than the group's rate, and its decay.
    assert float(moved[:30].max()) <= 0.01 + 1e-12
    assert 0.01 < float(moved[30:].max()) <= 0.05 + 0.05 * 0.1 * float(before.abs().max())


@pytest.mark.parametrize("cls", RULES)
def test_maximizing_descends_the_negative(cls):
    model = network()
    opt = made(cls, model, maximize=True)
    other = network()
    loss = nn.CrossEntropyLoss()

    class Negative(cls):
        def _estimate(self, *arguments):
            return -super()._estimate(*arguments)

    negative = made(Negative, other)
    for step in range(5):
        opt.step(batch(step))
        x, y = batch(step)
        negative.zero_grad()
        (-loss(other(x), y)).backward()
        negative.step((x, y))
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-14)


def test_a_surface_is_an_objective_for_hutchinson():
    surface = surfaces.quadratic(condition_number=100, dim=2)
    x = nn.Parameter(torch.tensor([3.0, -2.0], dtype=surface.dtype))
    opt = SophiaH(
        [x], lr=0.05, gamma=1.0, weight_decay=0.0, betas=(0.0, 0.0), update_period=1, objective=surface
    )
    start = float(surface.loss(x.detach()))
    for _ in range(200):
        x.grad = surface.gradient(x.detach())
        opt.step()
    # Signs ±1 make the estimate of a diagonal Hessian exact, and the step that is not clipped η times Newton's.
    torch.testing.assert_close(opt.state[x]["hessian"], torch.diagonal(surface.hessian(x.detach())))
    assert float(surface.loss(x.detach())) < 1e-6 * start


@pytest.mark.parametrize("cls", RULES)
def test_dropout_is_off_for_curvature_and_tied_weights_count_once(cls):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 3), nn.Dropout(0.5), nn.Linear(3, 5, bias=False)).double()
    model[2].weight = model[0].weight

    def token_loss(logits, target):
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    tokens = torch.randint(0, 5, (4, 6))
    opt = cls(model.parameters(), model=model, loss_fn=token_loss, update_period=1)
    for _ in range(3):
        opt.step((tokens, tokens.roll(1, 1)))
    assert len(opt.state) == 1
    assert bool(opt.state[model[0].weight]["hessian"].isfinite().all())


@pytest.mark.parametrize("policy", ["pass", "skip", "raise"])
def test_a_curvature_that_is_not_finite(policy):
    model = network()

    class Broken(SophiaH):
        def _estimate(self, objective, batch, theta, number):
            return torch.full_like(theta, math.inf if number else 1.0)

    opt = made(Broken, model, nonfinite=policy)
    if policy == "raise":
        with pytest.raises(FloatingPointError, match="curvature estimate is not finite"):
            train(model, opt, 4)
        return
    train(model, opt, 4)
    kept = hessians(model, opt)
    expected = 0.5 if policy == "skip" else math.inf
    torch.testing.assert_close(kept, torch.full_like(kept, expected))


def test_gradients_that_are_not_finite_leave_everything():
    model = network()
    opt = made(SophiaH, model, nonfinite="skip")
    before = train(model, opt, 3)
    x, y = batch(3)
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    model[0].bias.grad[0] = math.nan
    held = hessians(model, opt)
    opt.step((x, y))
    assert torch.equal(torch.cat([p.detach().flatten() for p in model.parameters()]), before)
    assert torch.equal(hessians(model, opt), held)
    assert opt.param_groups[0]["memory"]["steps"] == 3


def test_parameters_without_gradients_stay():
    model = network()
    opt = made(SophiaH, model)
    x, y = batch(0)
    F.cross_entropy(model(x), y).backward()
    model[0].weight.grad = None
    before = model[0].weight.detach().clone()
    opt.step((x, y))
    assert torch.equal(model[0].weight, before)
    assert "hessian" not in opt.state[model[0].weight]
    model.zero_grad()
    made(SophiaG, model).step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs curvature: pass objective=obj, or model=model and loss_fn=loss$"),
        ({"objective": "obj", "model": network()}, "loss, not both"),
        ({"objective": "model"}, "objective must be an Objective or a surface, got Sequential"),
        ({"objective": "obj", "loss_fn": nn.MSELoss()}, "loss_fn belong to model="),
        ({"model": "model"}, "model must be a torch.nn.Module, got str"),
        ({"model": network(), "loss_fn": nn.MSELoss()}, "params: 4 of 4 are not parameters of the model"),
        (
            {"objective": objective(network())},
            "params: 4 of 4 are not among the 51 parameters of the objective",
        ),
        ({"objective": "obj", "seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"objective": "obj", "gamma": 0.0}, "gamma must be finite and above 0"),
        ({"objective": "obj", "eps": 0.0}, "eps must be finite and above 0"),
        ({"objective": "obj", "betas": (0.9, 1.0)}, r"betas\[1\]"),
        ({"objective": "obj", "update_period": 0}, "update_period must be an integer of at least 1, got 0"),
        ({"objective": "obj", "lr": -1.0}, "lr must be finite and at least 0"),
    ],
)
@pytest.mark.parametrize("cls", RULES)
def test_what_cannot_be_used_is_refused(cls, options, message):
    model = network()
    if options.get("objective") in ("obj", "model"):
        options = options | {"objective": objective(model) if options["objective"] == "obj" else model}
    with pytest.raises(InvalidArgument, match=message):
        cls(model.parameters(), **options)


def test_bartlett_wants_outputs_and_everyone_a_batch():
    model = network()

    def loss(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    with pytest.raises(InvalidArgument, match="with batch_loss pass outputs=g as well"):
        SophiaG(model.parameters(), model=model, batch_loss=loss)
    SophiaG(model.parameters(), model=model, batch_loss=loss, outputs=lambda m, b: (m(b[0]), b[1])).step(
        batch(0)
    )
    with pytest.raises(InvalidArgument, match="a surface has none: use SophiaH"):
        SophiaG([torch.zeros(2, requires_grad=True)], objective=surfaces.rosenbrock())
    opt = made(SophiaH, model)
    F.cross_entropy(model(batch(0)[0]), batch(0)[1]).backward()
    with pytest.raises(InvalidArgument, match=r"needs a batch to estimate curvature on: call step\(batch\)"):
        opt.step()
    with pytest.raises(InvalidArgument, match="batch was given twice"):
        opt.step(batch(0), batch=batch(1))
    recalibrated = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    obj = Objective(recalibrated, nn.CrossEntropyLoss(), batch(0), batchnorm="recalibrate")
    with pytest.raises(InvalidArgument, match='use "eval" or "batch"'):
        SophiaH(recalibrated.parameters(), objective=obj)
