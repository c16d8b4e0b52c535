"""The contract with torch's optimizers: groups, state, schedulers, copies, hooks, batch-norm, loss scaling."""

import copy
import inspect
import io
import pickle

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, StepLR

from thalweg.errors import InvalidArgument
from thalweg.optim.sharpness.asam import ASAM
from thalweg.optim.sharpness.gsam import GSAM
from thalweg.optim.sharpness.sam import SAM

WRAPPERS = [SAM, ASAM, GSAM]


def network(seed=0, *layers):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), *layers, nn.Tanh(), nn.Linear(5, 1)).double()


def data():
    draw = torch.Generator().manual_seed(7)
    return torch.randn(16, 3, generator=draw).double(), torch.randn(16, 1, generator=draw).double()


def closure_of(model, opt):
    x, y = data()

    def closure():
        opt.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        return loss

    return closure


def weights(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()


BASES = [
    getattr(torch.optim, name)
    for name in torch.optim.__all__
    if name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")
    and inspect.isclass(getattr(torch.optim, name))
]


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("base", BASES)
def test_any_base_takes_the_step(base, wrap):
    model, twin = network(), network()
    opt, plain = wrap(base(model.parameters(), lr=0.01)), base(twin.parameters(), lr=0.01)
    for _ in range(3):
        # The twin is handed the gradients that the base used.
        opt.step(closure_of(model, opt))
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            q.grad = p.grad.clone()
        plain.step()
    torch.testing.assert_close(weights(model), weights(twin), rtol=0, atol=0)


def test_options_have_another_name_where_the_base_uses_it():
    p = nn.Parameter(torch.zeros(2))
    # Adadelta's rho is a decay rate.
    opt = SAM(torch.optim.Adadelta([p], rho=0.9), rho=0.5)
    assert (opt.param_groups[0]["rho"], opt.param_groups[0]["sam_rho"]) == (0.9, 0.5)
    p.grad = torch.tensor([3.0, 4.0])
    opt.ascend()
    torch.testing.assert_close(p.detach(), torch.tensor([0.3, 0.4]))


# A scheduler warns when it cannot see the optimizer's steps.
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("on_base", [False, True])
def test_a_scheduler_on_either_optimizer_moves_both(on_base):
    model = network()
    opt = SAM(torch.optim.SGD(model.parameters(), lr=1.0))
    schedule = StepLR(opt.base if on_base else opt, step_size=1, gamma=0.1)
    for expected in (1.0, 0.1, 0.01):
        assert opt.param_groups[0]["lr"] == opt.base.param_groups[0]["lr"] == pytest.approx(expected)
        opt.step(closure_of(model, opt))
        schedule.step()


def test_a_scheduler_that_cycles_momentum_finds_it():
    model = network()
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    schedule = OneCycleLR(opt, max_lr=0.1, total_steps=10, base_momentum=0.5)
    opt.step(closure_of(model, opt))
    schedule.step()
    assert opt.base.param_groups[0]["momentum"] < 0.95


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_run_saved_in_the_middle_goes_on_as_if_unbroken(wrap):
    def built(model):
        opt = wrap(torch.optim.AdamW(model.parameters(), lr=0.01), rho=0.2)
        return opt, LambdaLR(opt, lambda t: 1 / (1 + t))

    def run(model, opt, schedule, steps):
        for _ in range(steps):
            opt.step(closure_of(model, opt))
            schedule.step()

    model = network()
    opt, schedule = built(model)
    run(model, opt, schedule, 5)
    file = io.BytesIO()
    torch.save([model.state_dict(), opt.state_dict(), schedule.state_dict()], file)
    run(model, opt, schedule, 5)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = network(1)
    resumed, again = built(other)
    resumed.param_groups[0]["rho"] = 0.9
    for target, state in zip((other, resumed, again), saved, strict=True):
        target.load_state_dict(state)
    assert resumed.param_groups[0]["rho"] == 0.2
    assert resumed.gradient_evaluations == 10
    assert resumed.param_groups is resumed.base.param_groups
    run(other, resumed, again, 5)
    assert torch.equal(weights(model), weights(other))
    assert resumed.gradient_evaluations == 20


def test_a_checkpoint_of_the_base_alone_keeps_rho():
    model = network()
    plain = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    closure_of(model, plain)()
    plain.step()
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.7)
    opt.load_state_dict(plain.state_dict())
    assert (opt.param_groups[0]["rho"], opt.param_groups[0]["lr"]) == (0.7, 0.3)
    assert len(opt.state) == 4
    # And the other way: loading through the base reaches the wrapper.
    opt.base.load_state_dict(opt.state_dict())
    assert opt.param_groups is opt.base.param_groups
    assert opt.state is opt.base.state
    opt.step(closure_of(model, opt))


def test_a_checkpoint_sets_counts_and_nothing_else():
    opt = SAM(torch.optim.SGD(network().parameters(), lr=0.1))
    state = opt.state_dict()
    state["sharpness_aware"] = {"gradient_evaluations": 6, "base": None, "step": None}
    opt.load_state_dict(state)
    assert opt.gradient_evaluations == 6
    assert opt.base is not None
    assert callable(opt.step)


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_go_on_alike(wrap, duplicate):
    model = network()
    opt = wrap(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), model=model)
    StepLR(opt, 1)
    opt.step(closure_of(model, opt))
    twin, copied = duplicate((model, opt))
    assert copied.model is twin
    assert copied.param_groups[0]["params"][0] is next(twin.parameters())
    for m, o in ((model, opt), (twin, copied)):
        o.step(closure_of(m, o))
    assert torch.equal(weights(model), weights(twin))
    assert copied.gradient_evaluations == 4


def test_groups_can_be_added():
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    opt = SAM(torch.optim.SGD([first], lr=0.1, momentum=0.8), rho=1.0)
    opt.add_param_group({"params": [second], "rho": 2.0})
    assert opt.base.param_groups[1]["momentum"] == 0.8
    first.grad, second.grad = torch.tensor([3.0]), torch.tensor([4.0])
    opt.ascend()
    assert (float(first.detach()), float(second.detach())) == (pytest.approx(0.6), pytest.approx(1.6))
    opt.restore()
    with pytest.raises(InvalidArgument, match="rho"):
        opt.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "rho": -1.0})
    assert len(opt.param_groups) == 2


def test_hooks_run_once_a_step():
    model, seen = network(), []
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    opt.register_step_pre_hook(lambda o, args, kwargs: seen.append(("before", o is opt)))
    opt.register_step_post_hook(lambda o, args, kwargs: seen.append(("after", o is opt)))
    opt.base.register_step_pre_hook(
        lambda o, args, kwargs: seen.append(("base", o.param_groups[0]["params"][0].grad is not None))
    )
    opt.step(closure_of(model, opt))
    assert seen == [("before", True), ("base", True), ("after", True)]
    opt.register_state_dict_pre_hook(lambda o: seen.append("saving"))
    opt.register_state_dict_post_hook(lambda o, state: {**state, "note": 1})
    opt.register_load_state_dict_pre_hook(lambda o, state: seen.append(state.get("note")))
    opt.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    opt.load_state_dict(opt.state_dict())
    assert seen[3:] == ["saving", 1, "loaded"]


def test_it_names_itself_and_its_base():
    assert repr(SAM(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))).startswith("SAM(SGD (")


class TestBatchNorm:
    """The statistics of one step are those of one forward pass at θ."""

    def statistics(self, model):
        return {name: value.clone() for name, value in model.named_buffers()}

    @pytest.mark.parametrize("momentum", [0.1, None])
    @pytest.mark.parametrize("two_calls", [False, True])
    def test_statistics_are_those_of_the_first_pass(self, momentum, two_calls):
        model = network(0, nn.BatchNorm1d(5, momentum=momentum))
        reference = copy.deepcopy(model)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=1.0, model=model)
        closure = closure_of(model, opt)
        for _ in range(3):
            reference.load_state_dict({**reference.state_dict(), **dict(model.named_parameters())})
            reference(data()[0])
            if two_calls:
                closure()
                opt.ascend()
                closure()
                opt.step()
            else:
                opt.step(closure)
        expected = self.statistics(reference)
        for name, value in self.statistics(model).items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
        assert int(expected["1.num_batches_tracked"]) == 3
        assert model[1].track_running_stats

    def test_the_second_pass_normalizes_by_its_batch_all_the_same(self):
        model = network(0, nn.BatchNorm1d(5))
        free = copy.deepcopy(model)
        one = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=1.0, model=model)
        two = SAM(torch.optim.SGD(free.parameters(), lr=0.1), rho=1.0)
        one.step(closure_of(model, one))
        two.step(closure_of(free, two))
        assert torch.equal(weights(model), weights(free))
        # Without the model the statistics are updated twice, as its documentation says.
        assert int(free[1].num_batches_tracked) == 2

    def test_layers_are_let_go_when_the_second_pass_fails(self):
        model = network(0, nn.BatchNorm1d(5))
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), model=model)
        calls = []

        def closure():
            if calls:
                raise RuntimeError
            calls.append(1)
            return closure_of(model, opt)()

        with pytest.raises(RuntimeError):
            opt.step(closure)
        assert model[1].track_running_stats

    def test_layers_in_evaluation_mode_and_without_statistics_stay_as_they_are(self):
        model = network(0, nn.BatchNorm1d(5), nn.BatchNorm1d(5, track_running_stats=False))
        model[1].eval()
        before = self.statistics(model)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=1.0, model=model)
        opt.step(closure_of(model, opt))
        assert all(torch.equal(before[name], value) for name, value in self.statistics(model).items())
        assert (model[1].track_running_stats, model[2].track_running_stats) == (True, False)


def test_random_numbers_are_the_closures_own():
    model = network(0, nn.Dropout(0.5))
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    torch.manual_seed(3)
    opt.step(closure_of(model, opt))
    after = torch.rand(1)
    torch.manual_seed(3)
    for _ in range(2):
        model(data()[0])
    assert torch.equal(torch.rand(1), after)


class TestGradScaler:
    """A step under a scaler is the step without one: powers of two scale exactly."""

    def built(self, wrap, **options):
        model = network().float()
        return model, wrap(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **options)

    def loss(self, model):
        x, y = data()
        return ((model(x.float()) - y.float()) ** 2).mean()

    @pytest.mark.parametrize("wrap", WRAPPERS)
    def test_scaled_steps_equal_plain_ones(self, wrap):
        (ours, scaled), (theirs, plain) = self.built(wrap), self.built(wrap)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
        for _ in range(6):
            for opt, model, scale in ((scaled, ours, scaler.scale), (plain, theirs, lambda loss: loss)):
                scale(self.loss(model)).backward()
                opt.ascend()
                scale(self.loss(model)).backward()
                scaler.step(opt) if opt is scaled else opt.step()
                opt.zero_grad()
            scaler.update()
        assert scaler.get_scale() == 2.0**13
        assert torch.equal(weights(ours), weights(theirs))
        assert not hasattr(scaled, "grad_scale")

    @pytest.mark.parametrize("wrap", WRAPPERS)
    @pytest.mark.parametrize("overflowing", [(1,), (0, 1)])
    def test_an_overflow_skips_the_step_and_restores_theta(self, wrap, overflowing):
        model, opt = self.built(wrap)
        before = weights(model)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for number in range(2):
            scaler.scale(self.loss(model)).backward()
            if number in overflowing:
                model[0].weight.grad[0, 0] = float("inf")
            if number == 0:
                opt.ascend()
        scaler.step(opt)
        scaler.update()
        assert torch.equal(weights(model), before)
        assert scaler.get_scale() == 512.0
        assert not opt.ascended
        assert not opt.state

    def test_unscaling_after_the_second_pass_allows_clipping(self):
        (ours, scaled), (theirs, plain) = self.built(SAM), self.built(SAM)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for opt, model, scale in ((scaled, ours, scaler.scale), (plain, theirs, lambda loss: loss)):
            scale(self.loss(model)).backward()
            opt.ascend()
            scale(self.loss(model)).backward()
            if opt is scaled:
                scaler.unscale_(opt)
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            scaler.step(opt) if opt is scaled else opt.step()
        assert torch.equal(weights(ours), weights(theirs))

    def test_unscaling_only_one_of_gsams_gradients_is_refused(self):
        model, opt = self.built(GSAM)
        before = weights(model)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale(self.loss(model)).backward()
        opt.ascend()
        scaler.scale(self.loss(model)).backward()
        scaler.unscale_(opt)
        with pytest.raises(InvalidArgument, match="pre-hook"):
            scaler.step(opt)
        assert torch.equal(weights(model), before)

    def test_a_closure_is_refused(self):
        model, opt = self.built(SAM)
        scaler = torch.amp.GradScaler("cpu")
        scaler.scale(self.loss(model)).backward()
        with pytest.raises(InvalidArgument, match=r"cannot step with a closure: .*scaler.step"):
            scaler.step(opt, lambda: None)

    def test_a_disabled_scaler_is_none(self):
        model, opt = self.built(SAM)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        scaler.step(opt, closure_of(model.double(), opt))
        assert opt.gradient_evaluations == 2
