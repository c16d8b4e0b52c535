"""Muon against torch.optim.Muon with AdamW, optax, and plain numpy."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from tests.optim.references import oracle, problem, recordings
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.optim import muon
from thalweg.optim.muon import Muon
from thalweg.problems.character_gpt import CharacterGPT


def network(dtype=torch.float64):
    torch.manual_seed(0)
    layers = (
        nn.Linear(5, 12),
        nn.Tanh(),
        nn.Linear(12, 12),
        nn.Tanh(),
        nn.Linear(12, 12),
        nn.Tanh(),
        nn.Linear(12, 2),
    )
    return nn.Sequential(*layers).to(dtype)


def backward(model, step=0):
    draw = torch.Generator().manual_seed(step)
    like = next(model.parameters())
    x, y = torch.randn(16, 5, generator=draw).to(like), torch.randn(16, 2, generator=draw).to(like)
    model.zero_grad()
    loss = ((model(x) - y) ** 2).mean()
    loss.backward()
    return loss


def train(model, *optimizers, steps=300, first=0):
    for step in range(first, first + steps):
        backward(model, step)
        for optimizer in optimizers:
            optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def matrices(model):
    return [p for p in model.parameters() if p.dim() == 2]


def vectors(model):
    return [p for p in model.parameters() if p.dim() < 2]


VARIANTS = [
    {},
    {"nesterov": False},
    {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0},
    {"momentum": 0.8, "ns_steps": 3, "ns_coefficients": (3.0, -3.2, 1.2), "eps": 1e-3},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_matrices_are_torchs_muon_and_vectors_torchs_adamw(variant):
    ours, theirs = network(), network()
    decay, steps = variant.get("weight_decay", 0.1), 100 if variant else 300
    found = train(ours, Muon(ours.named_parameters(), lr=0.02, **variant), steps=steps)
    expected = train(
        theirs,
        torch.optim.Muon(matrices(theirs), lr=0.02, **variant),
        torch.optim.AdamW(vectors(theirs), lr=0.02, weight_decay=decay),
        steps=steps,
    )
    # The matrices' steps agree to the last bit, AdamW's round differently, at 1e-16.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_matrices_alone_are_torchs_to_the_last_bit(variant):
    ours, theirs = network(torch.float32), network(torch.float32)
    found = train(ours, Muon(matrices(ours), lr=0.02, **variant), steps=60)
    expected = train(theirs, torch.optim.Muon(matrices(theirs), lr=0.02, **variant), steps=60)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def follow(path, opt, params, schedule=None):
    """Train the reference problem along a path of plain numpy, step by step."""
    for step, expected in enumerate(path):
        opt.zero_grad()
        problem.torch_loss(params, step).backward()
        opt.step()
        if schedule is not None:
            schedule.step()
        # Rounding of 1e-16 a step, multiplied by the slope 485 of the iteration.
        np.testing.assert_allclose(problem.flat(params), expected, rtol=0, atol=1e-10)


FULL_PRECISION = {"eps": 1e-16, "ns_dtype": torch.float64, "adamw_eps": 1e-16, "adamw_weight_decay": 0.0}


def test_what_optax_recorded():
    params = problem.parameters()
    opt = Muon(params, lr=0.01, weight_decay=0.1, nesterov=False, **FULL_PRECISION)
    for step in range(problem.STEPS):
        opt.zero_grad()
        problem.torch_loss(params, step).backward()
        opt.step()
        if step + 1 in problem.RECORDED_STEPS:
            expected = recordings.recording("muon").points[step + 1]
            np.testing.assert_allclose(problem.flat(params), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("nesterov", [True, False])
def test_plain_numpy_agrees_with_either_momentum_under_a_schedule(nesterov):
    rates = 0.02 * np.cos(np.arange(problem.STEPS) / 200)
    options = {"weight_decay": 0.2, "nesterov": nesterov}
    path = oracle.muon(problem.initial(), problem.gradient, rates, eps=1e-16, **options)
    params = problem.parameters()
    opt = Muon(params, lr=0.02, **options, **FULL_PRECISION)
    follow(path, opt, params, torch.optim.lr_scheduler.LambdaLR(opt, lambda t: math.cos(t / 200)))


def test_convolutions_are_flattened_to_outputs_by_all_else():
    torch.manual_seed(0)
    for layout in (torch.contiguous_format, torch.channels_last):
        convolution = nn.Conv2d(3, 4, 2, bias=False).to(memory_format=layout)
        flat = nn.Parameter(convolution.weight.detach().reshape(4, 12).clone())
        ours, theirs = Muon(convolution.parameters(), lr=0.1), torch.optim.Muon([flat], lr=0.1)
        for step in range(5):
            g = torch.randn(4, 12, generator=torch.Generator().manual_seed(step))
            convolution.weight.grad = (
                g.view(4, 3, 2, 2).to(memory_format=layout).clone(memory_format=torch.preserve_format)
            )
            flat.grad = g
            ours.step()
            theirs.step()
        torch.testing.assert_close(convolution.weight.detach().reshape(4, 12), flat.detach(), rtol=0, atol=0)


def test_matrices_in_batches_move_as_they_would_alone(monkeypatch):
    whole, single = network(), network()
    found = train(whole, Muon(whole.named_parameters(), lr=0.02), steps=20)
    monkeypatch.setattr(muon, "AT_ONCE", {"cpu": 1})
    expected = train(single, Muon(single.named_parameters(), lr=0.02), steps=20)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_scales_are_the_named_ones():
    assert muon.scale(8, 2, "original") == muon.scale(8, 2, None) == 2.0
    assert muon.scale(2, 8, "original") == 1.0
    assert muon.scale(2, 9, "match_rms_adamw") == pytest.approx(0.6)
    assert muon.scale(9, 2, "match_rms_adamw") == pytest.approx(0.6)


def who(optimizer, model):
    """The names of what Muon updates."""
    names = {p: name for name, p in model.named_parameters()}
    return {names[p] for group in optimizer.param_groups if group["use_muon"] for p in group["params"]}


def test_embeddings_heads_and_vectors_of_a_gpt_go_to_adamw():
    for tied in (True, False):
        model = CharacterGPT(11, layers=1, width=8, heads=2, context=4, tied=tied)
        parts = ("attention.query_key_value", "attention.output", "expand", "contract")
        expected = {f"blocks.0.{part}.weight" for part in parts}
        opt = Muon(model.named_parameters())
        assert who(opt, model) == expected
        assert sum(len(group["params"]) for group in opt.param_groups) == len(list(model.parameters()))
        # Nothing is known of them without names.
        unnamed = who(Muon(model.parameters()), model)
        assert unnamed == {name for name, p in model.named_parameters() if p.dim() > 1}


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("transformer.wte.weight", False),
        ("transformer.wpe.weight", False),
        ("lm_head.weight", False),
        ("model.embed_tokens.weight", False),
        ("tok_embeddings.weight", False),
        ("output.weight", False),
        ("pos_emb", False),
        ("classifier.weight", False),
        ("layers.0.attention.output.weight", True),
        ("layers.0.mlp.c_proj.weight", True),
        ("encoder.multi_head_attention.q.weight", True),
        ("0.weight", True),
    ],
)
def test_names_decide(name, matrix):
    opt = Muon([(name, nn.Parameter(torch.ones(2, 3)))])
    assert [group["use_muon"] for group in opt.param_groups] == [matrix]
    assert [group["param_names"] for group in opt.param_groups] == [[name]]


def test_patterns_and_groups_override_the_names():
    model = network()
    assert who(Muon(model.named_parameters(), adamw_names=("6", "0.*")), model) == {"2.weight", "4.weight"}
    assert who(Muon(model.named_parameters(), adamw_names="6.weight"), model) == {
        "0.weight",
        "2.weight",
        "4.weight",
    }
    groups = [
        {"params": [model[0].weight], "use_muon": False, "lr": 0.5, "betas": (0.8, 0.9)},
        {"params": [model[2].weight, model[2].bias], "lr": 0.3, "adamw_lr": 0.01},
        {"params": [model[4].weight, model[4].bias], "lr": 0.2, "weight_decay": 0.0},
    ]
    opt = Muon(groups, lr=0.1, adamw_eps=1e-6)
    first, matrix, rest, second_matrix, second_rest = opt.param_groups
    assert not first["use_muon"]
    assert (first["lr"], first["betas"], first["eps"], first["weight_decay"]) == (0.5, (0.8, 0.9), 1e-6, 0.1)
    assert (matrix["lr"], matrix["eps"], rest["lr"], rest["eps"]) == (0.3, 1e-7, 0.01, 1e-6)
    assert (second_matrix["weight_decay"], second_rest["weight_decay"], second_rest["lr"]) == (0.0, 0.0, 0.2)
    assert rest["betas"] == (0.9, 0.999)


def test_an_adamw_rate_of_its_own_follows_schedules_too():
    model = network()
    opt = Muon(model.named_parameters(), lr=0.02, adamw_lr=3e-4, adamw_weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda t: 0.5**t)
    train(model, opt, steps=1)
    schedule.step()
    assert [group["lr"] for group in opt.param_groups] == [0.01, 1.5e-4]
    assert [group["weight_decay"] for group in opt.param_groups] == [0.1, 0.01]
    cycled = Muon(model.parameters())
    cycle = torch.optim.lr_scheduler.OneCycleLR(cycled, max_lr=0.1, total_steps=4)
    cycled.step()
    cycle.step()


def test_states_are_exchanged_with_torchs_in_both_directions():
    def trained(cls, steps, state=None, first=0):
        model = network()
        if state is not None:
            model.load_state_dict(state[0])
        opt = cls(matrices(model), lr=0.02)
        if state is not None:
            opt.load_state_dict(state[1])
        end = train(model, opt, steps=steps, first=first)
        return end, (copy.deepcopy(model.state_dict()), opt.state_dict())

    whole, _ = trained(torch.optim.Muon, 20)
    for before, after in ((Muon, torch.optim.Muon), (torch.optim.Muon, Muon), (Muon, Muon)):
        _, state = trained(before, 10)
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        end, _ = trained(after, 10, torch.load(file, weights_only=True), first=10)
        torch.testing.assert_close(end, whole, rtol=0, atol=1e-12)


def test_copies_and_pickles_go_on_like_the_original():
    model = network()
    opt = Muon(model.named_parameters(), lr=0.02, adamw_lr=0.001, adamw_names=("6",))
    train(model, opt, steps=5)
    pairs = [copy.deepcopy((model, opt)), pickle.loads(pickle.dumps((model, opt)))]
    expected = train(model, opt, steps=5, first=5)
    for other, restored in pairs:
        torch.testing.assert_close(train(other, restored, steps=5, first=5), expected, rtol=0, atol=0)
        restored.add_param_group({"params": [("6", nn.Parameter(torch.ones(2, 2)))]})
        assert not restored.param_groups[-1]["use_muon"]
        assert restored.param_groups[-1]["lr"] == 0.001


def test_maximizing_is_minimizing_the_negative():
    up, down = network(), network()
    ascent, descent = Muon(up.parameters(), maximize=True), Muon(down.parameters())
    for step in range(3):
        backward(up, step)
        for p, q in zip(up.parameters(), down.parameters(), strict=True):
            q.grad = -p.grad
        ascent.step()
        descent.step()
    for p, q in zip(up.parameters(), down.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)


def test_closures_hooks_and_missing_gradients():
    model = network()
    opt = Muon(model.named_parameters(), lr=0.02)
    seen = []
    opt.register_step_post_hook(lambda *_: seen.append("after"))
    before = copy.deepcopy(model.state_dict())
    backward(model)
    model[0].weight.grad = None
    model[0].bias.grad = None
    assert opt.step(lambda: 3.5) == 3.5
    assert seen == ["after"]
    moved = {name for name, p in model.state_dict().items() if not torch.equal(p, before[name])}
    assert moved == set(before) - {"0.weight", "0.bias"}
    assert model[0].weight not in opt.state


@pytest.mark.parametrize("policy", ["skip", "raise"])
def test_gradients_that_are_not_finite(policy):
    model = network()
    opt = Muon(model.named_parameters(), nonfinite=policy)
    before = copy.deepcopy(model.state_dict())
    backward(model)
    model[2].weight.grad[0, 0] = math.nan
    if policy == "raise":
        with pytest.raises(FloatingPointError, match=r"2\.weight"):
            opt.step()
    else:
        opt.step()
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("nesterov", [True, False])
def test_half_precision_parameters(dtype, nesterov):
    model = network(dtype)
    opt = Muon(model.named_parameters(), lr=0.02, nesterov=nesterov)
    before = backward(model, 0).item()
    for _ in range(20):
        backward(model, 0)
        opt.step()
    assert backward(model, 0).item() < before
    assert all(p.dtype == dtype for p in model.parameters())
    # Torch's normalizes the buffer itself in bfloat16 without Nesterov: its norm would be 1.
    g = torch.full((2, 2), 3.0, dtype=dtype)
    p = nn.Parameter(torch.zeros(2, 2, dtype=dtype))
    p.grad = g
    single = Muon([p], nesterov=nesterov)
    single.step()
    torch.testing.assert_close(single.state[p]["momentum_buffer"], g * 0.05, rtol=0.01, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be finite and at least 0, got -1.0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"weight_decay": -0.1}, "weight_decay must be finite and at least 0"),
        ({"eps": 0.0}, "eps must be finite and above 0"),
        ({"ns_steps": 0}, "ns_steps must be an integer from 1 to 99, got 0"),
        ({"ns_coefficients": (1.0, 2.0)}, "ns_coefficients must be three numbers"),
        ({"adjust_lr_fn": "sqrt"}, "adjust_lr_fn must be .*got 'sqrt'"),
        ({"ns_dtype": torch.int32}, "ns_dtype must be a floating-point"),
        ({"adamw_lr": -1.0}, "lr must be finite and at least 0"),
        ({"adamw_betas": (0.9, 1.0)}, r"betas\[1\] must be in"),
    ],
)
def test_hyperparameters_out_of_their_range(options, message):
    with pytest.raises(InvalidArgument, match=message):
        Muon(network().named_parameters(), **options)


def test_what_cannot_be_orthogonalized_is_refused():
    with pytest.raises(InvalidArgument, match=r"use_muon needs .* 2 axes, number 1 has shape \(3,\)"):
        Muon([{"params": [nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3))], "use_muon": True}])
    embedding = nn.Embedding(4, 3, sparse=True)
    opt = Muon(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(InvalidArgument, match=r"Muon does not take sparse gradients.*\(4, 3\)"):
        opt.step()


def test_a_group_that_is_refused_leaves_none_behind():
    opt = Muon([nn.Parameter(torch.ones(2, 2))])
    complex_vector = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    with pytest.raises(InvalidArgument, match="must be real"):
        opt.add_param_group({"params": [nn.Parameter(torch.ones(3, 3)), complex_vector]})
    assert len(opt.param_groups) == 1
