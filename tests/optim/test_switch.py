import copy
import io
import pickle
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.optim.adam import Adam
from thalweg.optim.adamw import AdamW
from thalweg.optim.lion import Lion
from thalweg.optim.momentum import Momentum
from thalweg.optim.nesterov import Nesterov
from thalweg.optim.rmsprop import RMSProp
from thalweg.optim.sgd import SGD
from thalweg.optim.switch import Plateau, Switch

SHAPES = ((3, 2), (4,))


def parameters(seed: int = 0) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=draw, dtype=torch.float64)) for shape in SHAPES]


def gradients(steps: int, seed: int = 1, *, constant: bool = False) -> list[list[torch.Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    drawn = [[torch.randn(s, generator=draw, dtype=torch.float64) for s in SHAPES] for _ in range(steps)]
    return [drawn[0]] * steps if constant else drawn


def run(optimizer, params, grads):
    for given_ in grads:
        for p, g in zip(params, given_, strict=True):
            p.grad = g.clone()
        optimizer.step()


def flat(params):
    return torch.cat([p.detach().flatten() for p in params])


def same(ours, theirs):
    # float64, some tens of operations on numbers of order 1.
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


ADAM_SGD = [
    (lambda p, **k: torch.optim.Adam(p, lr=0.01, **k), lambda p, **k: torch.optim.SGD(p, lr=0.1, **k)),
    (lambda p, **k: Adam(p, lr=0.01, **k), lambda p, **k: SGD(p, lr=0.1, **k)),
    (lambda p, **k: AdamW(p, lr=0.01, **k), lambda p, **k: torch.optim.SGD(p, lr=0.1, **k)),
    (lambda p, **k: torch.optim.RAdam(p, lr=0.01, **k), lambda p, **k: SGD(p, lr=0.1, **k)),
]


@pytest.mark.parametrize(("adam", "sgd"), ADAM_SGD)
def test_steps_of_the_first_then_of_the_second(adam, sgd):
    ours, theirs, grads = parameters(), parameters(), gradients(9)
    switch = Switch(adam(ours), sgd(ours), at=4, carry=False)
    first, second = adam(theirs), sgd(theirs)
    for step, g in enumerate(grads):
        assert switch.switched == (step >= 4)
        assert switch.active is (switch.second if step >= 4 else switch.first)
        run(switch, ours, [g])
        run(first if step < 4 else second, theirs, [g])
        assert torch.equal(flat(ours), flat(theirs))
    assert switch.steps == 9


@pytest.mark.parametrize(("adam", "sgd"), ADAM_SGD)
def test_equal_decay_gives_the_sum_of_decayed_gradients(adam, sgd):
    """β₁ = μ: the buffer is Σ μᵏ g, as if SGD had run from the start, whatever the gradients."""
    params, grads = parameters(), gradients(6)
    switch = Switch(adam(params, betas=(0.8, 0.99)), sgd(params, momentum=0.8), at=6)
    run(switch, params, grads)
    for i, p in enumerate(params):
        same(switch.state[p]["momentum_buffer"], sum(0.8 ** (5 - k) * grads[k][i] for k in range(6)))


@settings(max_examples=25, deadline=None)
@given(
    beta=st.floats(0, 0.99),
    mu=st.floats(0.01, 1),
    dampening=st.floats(0, 0.9),
    steps=st.integers(1, 8),
    pair=st.sampled_from(ADAM_SGD[:2]),
)
def test_constant_gradient_gives_the_buffer_of_a_run_from_the_start(beta, mu, dampening, steps, pair):
    params, other, grads = parameters(), parameters(), gradients(steps, constant=True)
    adam, sgd = pair
    options = {"momentum": mu, "dampening": dampening}
    switch = Switch(adam(params, betas=(beta, 0.99)), sgd(params, **options), at=steps)
    run(switch, params, grads)
    whole = torch.optim.SGD(other, lr=0.1, **options)
    run(whole, other, grads)
    for p, q in zip(params, other, strict=True):
        # 1 − βᵗ loses digits for β near 1: of 1e-16 a hundredth.
        torch.testing.assert_close(
            switch.state[p]["momentum_buffer"], whole.state[q]["momentum_buffer"], rtol=1e-11, atol=1e-12
        )


def test_long_run_approaches_the_average_over_one_minus_mu():
    params, grads = parameters(), gradients(2000)
    first = torch.optim.Adam(params, lr=1e-3, betas=(0.9, 0.999))
    switch = Switch(first, torch.optim.SGD(params, lr=0.1, momentum=0.95), at=lambda s: s.steps == 2000)
    averages = []
    first.register_step_post_hook(
        lambda o, *_: averages.append([o.state[p]["exp_avg"].clone() for p in params])
    )
    run(switch, params, grads)
    for p, average in zip(params, averages[-1], strict=True):
        same(switch.state[p]["momentum_buffer"], average / 0.05)


@pytest.mark.parametrize(
    ("first", "second", "whole"),
    [
        (
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
            lambda p: Momentum(p, lr=0.1, momentum=0.9),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        ),
        (
            lambda p: Momentum(p, lr=0.1, momentum=0.9),
            lambda p: SGD(p, lr=0.1, momentum=0.9),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        ),
        (
            lambda p: SGD(p, lr=0.1, momentum=0.9),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        ),
        (
            lambda p: torch.optim.Adam(p, lr=0.1),
            lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0),
            lambda p: torch.optim.Adam(p, lr=0.1),
        ),
        (
            lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True, betas=(0.9, 0.5)),
            lambda p: Adam(p, lr=0.1, amsgrad=True, betas=(0.9, 0.5)),
            lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True, betas=(0.9, 0.5)),
        ),
        (lambda p: Lion(p, lr=0.1), lambda p: Lion(p, lr=0.1), lambda p: Lion(p, lr=0.1)),
    ],
)
def test_a_switch_between_equivalents_is_no_switch(first, second, whole):
    ours, theirs, grads = parameters(), parameters(), gradients(9)
    # A gradient that AMSGrad remembers.
    grads[0] = [100 * g for g in grads[0]]
    switch = Switch(first(ours), second(ours), at=4)
    run(switch, ours, grads)
    run(whole(theirs), theirs, grads)
    same(flat(ours), flat(theirs))


def test_velocity_takes_the_rate_at_the_switch():
    params, grads = parameters(), gradients(3)
    switch = Switch(SGD(params, lr=0.5, momentum=0.9), Momentum(params, lr=0.1, momentum=0.9), at=3)
    run(switch, params, grads)
    for i, p in enumerate(params):
        same(switch.state[p]["velocity"], -0.1 * sum(0.9 ** (2 - k) * grads[k][i] for k in range(3)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: torch.optim.Adam(p, lr=0.1)),
        (lambda p: SGD(p, lr=0.1, momentum=0.9), lambda p: AdamW(p, lr=0.1)),
        (lambda p: Adam(p, lr=0.1), lambda p: SGD(p, lr=0.1)),
        (lambda p: SGD(p, lr=0.1), lambda p: SGD(p, lr=0.1, momentum=0.9)),
        # The momentum of RMSProp sums preconditioned gradients.
        (lambda p: RMSProp(p, lr=0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        (lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9), lambda p: SGD(p, lr=0.1, momentum=0.9)),
        (lambda p: Momentum(p, lr=0.0), lambda p: SGD(p, lr=0.1, momentum=0.9)),
    ],
)
def test_what_cannot_be_carried_starts_afresh(first, second):
    ours, theirs, grads = parameters(), parameters(), gradients(7)
    switch = Switch(first(ours), second(ours), at=3)
    run(switch, ours, grads)
    run(first(theirs), theirs, grads[:3])
    run(second(theirs), theirs, grads[3:])
    assert torch.equal(flat(ours), flat(theirs))


def test_groups_may_be_cut_otherwise():
    params, grads = parameters(), gradients(5)
    first = torch.optim.Adam([{"params": [params[0]], "betas": (0.5, 0.9)}, {"params": [params[1]]}])
    second = torch.optim.SGD(
        [{"params": [params[1]], "momentum": 0.9}, {"params": [params[0]], "momentum": 0.5}]
    )
    switch = Switch(first, second, at=5)
    run(switch, params, grads)
    for i, decay in enumerate((0.5, 0.9)):
        expected = sum(decay ** (4 - k) * grads[k][i] for k in range(5))
        same(second.state[params[i]]["momentum_buffer"], expected)


def test_lion_averages_with_its_second_beta():
    params, grads = parameters(), gradients(4, constant=True)
    switch = Switch(Adam(params), Lion(params, betas=(0.9, 0.7)), at=4)
    run(switch, params, grads)
    same(switch.state[params[0]]["exp_avg"], (1 - 0.7**4) * grads[0][0])
    switch = Switch(Lion(params, betas=(0.9, 0.7)), SGD(params, momentum=0.5), at=4)
    run(switch, params, grads)
    same(switch.state[params[0]]["momentum_buffer"], (1 - 0.5**4) / 0.5 * grads[0][0])


def test_steps_are_counted_for_each_parameter():
    params, grads = parameters(), gradients(4, constant=True)
    switch = Switch(Adam(params), SGD(params, momentum=0.5), at=4)
    params[0].grad = grads[0][0].clone()
    switch.step()
    switch.step()
    run(switch, params, grads[:2])
    same(switch.state[params[0]]["momentum_buffer"], (1 - 0.5**4) / 0.5 * grads[0][0])
    same(switch.state[params[1]]["momentum_buffer"], (1 - 0.5**2) / 0.5 * grads[0][1])


def test_a_parameter_without_gradients_is_not_carried():
    params, grads = parameters(), gradients(3)
    switch = Switch(Adam(params), SGD(params, momentum=0.9), at=3)
    for g in grads:
        params[0].grad = g[0].clone()
        switch.step()
    assert set(switch.state) == {params[0]}
    run(switch, params, gradients(2))


def test_sharpness_aware_second_gets_the_momentum_of_its_base():
    sam = pytest.importorskip("thalweg.optim.sharpness.sam")
    params, grads = parameters(), gradients(3)
    second = sam.SAM(torch.optim.SGD(params, lr=0.1, momentum=0.9), rho=0.05)
    switch = Switch(torch.optim.Adam(params), second, at=3)
    run(switch, params, grads)
    same(switch.state[params[0]]["momentum_buffer"], sum(0.9 ** (2 - k) * grads[k][0] for k in range(3)))

    def closure():
        switch.zero_grad()
        loss = sum((p**2).sum() for p in params)
        loss.backward()
        return loss

    assert switch.step(closure) > 0
    assert second.gradient_evaluations == 2


def test_the_iterate_is_handed_over():
    ours, theirs, grads = parameters(), parameters(), gradients(5)
    switch = Switch(Nesterov(ours, lr=0.1), SGD(ours, lr=0.1), at=5)
    run(switch, ours, grads)
    first = Nesterov(theirs, lr=0.1)
    run(first, theirs, grads)
    assert not torch.equal(flat(ours), flat(theirs))
    first.eval()
    same(flat(ours), flat(theirs))


def test_look_ahead_begins_with_the_carried_velocity():
    ours, theirs, grads = parameters(), parameters(), gradients(4)
    switch = Switch(Momentum(ours, lr=0.1), Nesterov(ours, lr=0.1), at=3)
    run(switch, ours, grads)
    switch.eval()
    # The first gradient after the switch is still taken at θ: a step of plain momentum.
    run(Momentum(theirs, lr=0.1), theirs, grads)
    same(flat(ours), flat(theirs))


def test_train_and_eval_reach_the_active_one():
    params = parameters()
    switch = Switch(SGD(params), Nesterov(params, lr=0.1), at=1)
    switch.eval()
    switch.train()
    run(switch, params, gradients(3))
    ahead = flat(params)
    switch.eval()
    assert not torch.equal(flat(params), ahead)
    switch.train()
    same(flat(params), ahead)


def test_state_of_the_first_is_let_go():
    params = parameters()
    switch = Switch(Adam(params), SGD(params), at=2)
    run(switch, params, gradients(2))
    assert not switch.first.state
    assert not switch.first.state_dict()["state"]


def pair(params):
    return Switch(Adam(params, lr=0.01), torch.optim.SGD(params, lr=0.1, momentum=0.9), at=5)


@pytest.mark.parametrize("at", [0, 3, 5, 7])
def test_saved_and_loaded_on_either_side_it_goes_on_the_same(at):
    ours, theirs, grads = parameters(), parameters(), gradients(10)
    whole = pair(ours)
    run(whole, ours, grads)
    begun = pair(theirs)
    run(begun, theirs, grads[:at])
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    resumed_params = [nn.Parameter(p.detach().clone()) for p in theirs]
    resumed = pair(resumed_params)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert (resumed.steps, resumed.switched) == (at, at >= 5)
    run(resumed, resumed_params, grads[at:])
    assert torch.equal(flat(resumed_params), flat(ours))
    assert resumed.steps == 10


def test_loading_can_go_back_before_the_switch():
    params, grads = parameters(), gradients(10)
    switch = pair(params)
    run(switch, params, grads[:2])
    saved, kept = copy.deepcopy(switch.state_dict()), [p.detach().clone() for p in params]
    run(switch, params, grads[2:])
    once = flat(params)
    switch.load_state_dict(saved)
    assert not switch.switched
    assert not switch.second.state
    with torch.no_grad():
        for p, k in zip(params, kept, strict=True):
            p.copy_(k)
    run(switch, params, grads[2:])
    assert torch.equal(flat(params), once)


def test_the_state_of_another_optimizer_is_refused():
    params = parameters()
    with pytest.raises(InvalidArgument, match="not of a Switch: load it into"):
        pair(params).load_state_dict(torch.optim.Adam(params).state_dict())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("at", [3, 7])
def test_copies_go_on_the_same(copied, at):
    params, grads = parameters(), gradients(10)
    switch = pair(params)
    switch.register_step_post_hook(lambda *_: None)
    run(switch, params, grads[:at])
    twin = copied(switch)
    twins = [p for group in twin.param_groups for p in group["params"]]
    assert twins[0] is not params[0]
    run(switch, params, grads[at:])
    run(twin, twins, grads[at:])
    assert torch.equal(flat(params), flat(twins))


def test_hooks_see_every_step_and_state():
    params, seen = parameters(), []
    switch = pair(params)
    switch.register_step_pre_hook(lambda *_: seen.append("before"))
    switch.register_step_post_hook(lambda *_: seen.append("after"))
    run(switch, params, gradients(7))
    assert seen == ["before", "after"] * 7
    seen.clear()
    switch.register_state_dict_pre_hook(lambda _: seen.append("saving"))
    switch.register_state_dict_post_hook(lambda _, state: {**state, "note": 1})
    switch.register_load_state_dict_pre_hook(lambda _, state: {k: v for k, v in state.items() if k != "note"})
    switch.register_load_state_dict_post_hook(lambda _: seen.append("loaded"))
    state = switch.state_dict()
    assert state["note"] == 1
    switch.load_state_dict(state)
    assert seen == ["saving", "loaded"]


def test_closure_and_loss():
    params = parameters()
    losses = []
    switch = Switch(SGD(params, lr=0.1), SGD(params, lr=0.1), at=lambda s: bool(losses.append(s.loss)))

    def closure():
        switch.zero_grad()
        loss = sum((p**2).sum() for p in params)
        loss.backward()
        return loss

    first = switch.step(closure)
    assert losses == [first.item()]
    assert first.item() == pytest.approx(float((flat(parameters()) ** 2).sum()), rel=1e-14)
    switch.step(loss=torch.tensor(3.0, requires_grad=True))
    switch.step()
    assert losses[1:] == [3.0, None]
    # A loss that is kept must not keep its graph.
    loss = sum((p**2).sum() for p in params)
    alive = weakref.ref(loss)
    switch.step(loss=loss)
    del loss
    assert alive() is None
    assert switch.loss == losses[-1]
    switch.zero_grad()
    assert params[0].grad is None


def test_with_a_grad_scaler():
    params = [nn.Parameter(torch.ones(2))]
    switch = Switch(torch.optim.SGD(params, lr=1.0), torch.optim.SGD(params, lr=0.5), at=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for factor in (1.0, float("inf"), 1.0):
        switch.zero_grad()
        scaler.scale((params[0] * factor).sum()).backward()
        scaler.step(switch)
        scaler.update()
    # 1 − 1·1, the infinite one skipped and not counted, then − 0.5·1.
    assert params[0].tolist() == [-0.5, -0.5]
    assert switch.steps == 2


def test_schedulers_of_each():
    params = parameters()
    switch = Switch(torch.optim.SGD(params, lr=1.0), torch.optim.SGD(params, lr=0.1), at=3)
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(o, 0.5) for o in (switch.first, switch.second)]
    rates = []
    for g in gradients(6):
        rates.append(switch.param_groups[0]["lr"])
        turn = schedulers[switch.switched]
        run(switch, params, [g])
        turn.step()
    assert rates == pytest.approx([1.0, 0.5, 0.25, 0.1, 0.05, 0.025], rel=1e-15)


def test_a_scheduler_of_the_switch_itself_is_refused():
    params = parameters()
    switch = pair(params)
    scheduler = torch.optim.lr_scheduler.LambdaLR(switch, lambda _: 1.0)
    with pytest.raises(InvalidArgument, match=r"attach one to switch\.first"):
        run(switch, params, gradients(1))
    assert scheduler.optimizer is switch


def test_plateau_scheduler_may_have_the_switch():
    params = parameters()
    switch = pair(params)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(switch, factor=0.5, patience=0)
    run(switch, params, gradients(6))
    scheduler.step(1.0)
    scheduler.step(1.0)
    assert switch.second.param_groups[0]["lr"] == 0.05
    assert switch.first.param_groups[0]["lr"] == 0.01


def test_switching_by_hand():
    params = parameters()
    switch = Switch(Adam(params), SGD(params, momentum=0.9), at=lambda _: False)
    run(switch, params, gradients(2))
    switch.switch()
    buffer = switch.state[params[0]]["momentum_buffer"].clone()
    switch.switch()
    assert torch.equal(switch.state[params[0]]["momentum_buffer"], buffer)


def test_plateau_switches_when_the_mean_loss_no_longer_falls():
    def steps_until(losses, **options):
        params = parameters()
        switch = Switch(SGD(params), SGD(params), at=Plateau(**options))
        for step, loss in enumerate(losses):
            switch.step(loss=loss)
            if switch.switched:
                return step + 1
        return None

    falling = [1 - 0.01 * i for i in range(50)]
    assert steps_until(falling, window=5) is None
    # Flat from step 50 on: 47..51 have the mean 0.522, 2.3 % above 52..56; 48..52 have 0.516, 1.2 % above 53..57.
    assert steps_until([*falling, *[0.51] * 20], window=5, rtol=0.013) == 57
    assert steps_until([1.0] * 30, window=5) == 10
    # Scatter much larger than the fall per step does not matter.
    scattered = [loss + 0.3 * (-1) ** i for i, loss in enumerate(falling)]
    assert steps_until(scattered, window=10) is None


def test_plateau_is_saved():
    params = parameters()
    switch = Switch(SGD(params), SGD(params), at=Plateau(window=3))
    for _ in range(5):
        switch.step(loss=1.0)
    saved = switch.state_dict()
    other = Switch(SGD(params), SGD(params), at=Plateau(window=3))
    other.load_state_dict(saved)
    other.step(loss=1.0)
    assert other.switched


def test_wrong_arguments():
    params, adam = parameters(), Adam(parameters())
    first, second = Adam(params), SGD(params)
    for at in (0, -3, 2.5, True, "soon", None):
        with pytest.raises(
            InvalidArgument, match="at must be a number of steps of at least 1, or a criterion"
        ):
            Switch(first, second, at=at)
    with pytest.raises(InvalidArgument, match="first must be a torch optimizer, got type"):
        Switch(Adam, second, at=1)
    with pytest.raises(InvalidArgument, match="the same one twice"):
        Switch(first, first, at=1)
    with pytest.raises(InvalidArgument, match="2 are only in first, 2 only in second, 0 in both"):
        Switch(adam, second, at=1)
    with pytest.raises(InvalidArgument, match="1 are only in first, 0 only in second, 1 in both"):
        Switch(first, SGD(params[:1]), at=1)
    with pytest.raises(InvalidArgument, match="both minimize or both maximize"):
        Switch(first, SGD(params, maximize=True), at=1)
    with pytest.raises(InvalidArgument, match=r"switch\.first and to switch\.second"):
        Switch(first, second, at=1).add_param_group({"params": []})
    with pytest.raises(InvalidArgument, match="window must be at least 1"):
        Plateau(window=0)
    with pytest.raises(InvalidArgument, match="rtol must be in"):
        Plateau(rtol=1.0)
    with pytest.raises(InvalidArgument, match="Plateau needs the loss"):
        Switch(first, second, at=Plateau()).step()
