"""The plain numpy rules against the paths that other implementations took, and the problem against autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from optim.references import oracle
from optim.references.oracle import constant, warmed
from optim.references.problem import (
    RECORDED_STEPS,
    SIZE,
    STEPS,
    Vector,
    flat,
    gradient,
    hessian_product,
    initial,
    loss,
    parameters,
    run,
    torch_loss,
    unflatten,
)
from optim.references.recordings import names, recording, sophia_estimates, sophia_signs

# Relative noise of 1e-15 in every gradient moves the ends of these paths by at most 5e-15; a sine or a matrix
# product of another machine is off by less. Rates rounded to float32 would show as 1e-8.
TOLERANCE = 1e-12

FALLING = 0.02 / (1 + np.arange(STEPS) / 50)
LATE_WARMUP = 0.1 * np.minimum(np.arange(STEPS) / 20, 1)

Arguments = dict[str, Any]
Path = Iterator[Vector]


def first(pairs: oracle.Pairs) -> Path:
    return (pair[0] for pair in pairs)


def second(pairs: oracle.Pairs) -> Path:
    return (pair[1] for pair in pairs)


def rate(a: Arguments) -> Vector:
    return constant(a["learning_rate"])


def adamw(a: Arguments) -> Path:
    decay = a.get("weight_decay", 0.0)
    return oracle.adamw(initial(), gradient, rate(a), (a["b1"], a["b2"]), a["eps"], decay)


def lion(a: Arguments) -> Path:
    return oracle.lion(initial(), gradient, rate(a), (a["b1"], a["b2"]), a["weight_decay"])


def rmsprop(a: Arguments) -> Path:
    kind = {"eps_in_root": a["eps_in_sqrt"], "centered": a.get("centered", False)}
    return oracle.rmsprop(initial(), gradient, rate(a), a["decay"], a["eps"], **kind)


def muon(a: Arguments) -> Path:
    settings: Arguments = {
        "mu": a["beta"],
        "eps": a["eps"],
        "weight_decay": a["weight_decay"],
        "nesterov": a["nesterov"],
    }
    if a["consistent_rms"]:
        settings["scale"] = lambda rows, columns: a["consistent_rms"] * max(rows, columns) ** 0.5
    return oracle.muon(initial(), gradient, rate(a), bias_corrected=True, **settings)


def sophia(a: Arguments, *, as_optax: bool) -> Path:
    settings: Arguments = {
        "bias_corrected": as_optax,
        "late": as_optax,
        "gamma": a["gamma"],
        "eps": a["eps"],
        "weight_decay": a["weight_decay"],
        "betas": (a["b1"], a["b2"]),
    }
    return oracle.sophia(initial(), gradient, rate(a), sophia_estimates(), **settings)


def sophia_paper(_: Arguments) -> Path:
    return sophia(recording("sophia").arguments, as_optax=False)


def schedule_free(a: Arguments) -> oracle.Pairs:
    rates = warmed(a["lr"], a["warmup_steps"])
    kind = (
        {"beta": a["momentum"]}
        if "momentum" in a
        else {"beta": a["betas"][0], "beta2": a["betas"][1], "eps": a["eps"]}
    )
    return oracle.schedule_free(initial(), gradient, rates, weight_decay=a["weight_decay"], **kind)


def optax_schedule_free(a: Arguments) -> oracle.Pairs:
    kind = {"beta2": a["b2"], "eps": a["eps"]} if "b2" in a else {}
    return oracle.schedule_free(
        initial(), gradient, rate(a), beta=a["b1"], weight_decay=a["weight_decay"], **kind
    )


def optax_warmup(a: Arguments) -> oracle.Pairs:
    weights = warmed(0.1, 20)
    return oracle.schedule_free(
        initial(), gradient, LATE_WARMUP, weight_decay=a["weight_decay"], weights=weights
    )


PATHS: dict[str, Callable[[Arguments], Path]] = {
    "momentum": lambda a: oracle.momentum(initial(), gradient, rate(a), a["momentum"]),
    "nesterov": lambda a: second(oracle.nesterov(initial(), gradient, rate(a), a["momentum"])),
    "momentum_falling_rate": lambda a: oracle.momentum(initial(), gradient, FALLING, a["momentum"]),
    "nesterov_falling_rate": lambda a: second(oracle.nesterov(initial(), gradient, FALLING, a["momentum"])),
    "adagrad": lambda a: oracle.adagrad(initial(), gradient, rate(a), a["eps"], eps_in_root=True),
    "rmsprop": rmsprop,
    "rmsprop_eps_in_root": rmsprop,
    "rmsprop_centered": rmsprop,
    "adam": adamw,
    "adamw": adamw,
    "lion": lion,
    "lion_decay": lion,
    "muon": muon,
    "muon_nesterov_rms": muon,
    "sophia": lambda a: sophia(a, as_optax=True),
    "sophia_paper": sophia_paper,
    "optax_schedule_free_sgd": lambda a: first(optax_schedule_free(a)),
    "optax_schedule_free_adamw": lambda a: first(optax_schedule_free(a)),
    "optax_schedule_free_sgd_warmup": lambda a: first(optax_warmup(a)),
} | {
    f"schedule_free_{kind}_warmup_{warmup}{decay}_{point}": lambda a, pick=pick: pick(schedule_free(a))
    for kind in ("sgd", "adamw")
    for warmup in (0, 20)
    for decay in ("", "_decay")
    for point, pick in (("x", first), ("y", second))
}  # fmt: skip


def at_recorded_steps(path: Path) -> Vector:
    points = list(path)
    assert len(points) == STEPS
    return np.stack([points[step - 1] for step in RECORDED_STEPS])


def test_every_recording_has_an_oracle() -> None:
    assert set(PATHS) == set(names())


@pytest.mark.parametrize("name", PATHS)
def test_oracle_follows_the_recording(name: str) -> None:
    recorded = recording(name)
    found = at_recorded_steps(PATHS[name](recorded.arguments))
    np.testing.assert_allclose(found, np.stack(list(recorded.points.values())), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", PATHS)
def test_recording_descends_and_states_its_losses(name: str) -> None:
    recorded = recording(name)
    found = [loss(point) for point in recorded.points.values()]
    np.testing.assert_allclose(found, list(recorded.losses.values()), rtol=TOLERANCE)
    assert found[-1] < 0.5 * loss(initial())


def test_recordings_are_copies() -> None:
    recording("adam").points[1][:] = 0
    assert recording("adam").points[1].any()


@pytest.mark.parametrize("step", [None, 0, 1, 2, 3, 4, 299])
def test_gradient_is_that_of_autograd(step: int | None) -> None:
    point = recording("adam").points[100]
    params = parameters(point)
    value = torch_loss(params, step)
    # Sums of at most 64 products of order one: a few hundred units in the last place.
    assert loss(point, step) == pytest.approx(value.item(), abs=1e-14)
    np.testing.assert_allclose(
        gradient(point, step), flat(torch.autograd.grad(value, params)), rtol=0, atol=1e-13
    )


def test_minibatches_take_turns() -> None:
    point = initial()
    np.testing.assert_array_equal(gradient(point, 6), gradient(point, 2))
    parts = np.mean([gradient(point, step) for step in range(4)], axis=0)
    np.testing.assert_allclose(parts, gradient(point), rtol=0, atol=1e-14)


def test_flat_points_and_tensors_are_the_same() -> None:
    point = initial()
    assert point.shape == (SIZE,)
    assert [part.shape for part in unflatten(point)] == [tuple(p.shape) for p in parameters()]
    np.testing.assert_array_equal(flat(parameters()), point)


def test_hessian_product_is_the_slope_of_the_gradient() -> None:
    point, h = recording("adam").points[100], 1e-5
    vector = np.cos(np.arange(SIZE))
    slope = (gradient(point + h * vector, 3) - gradient(point - h * vector, 3)) / (2 * h)
    # Central differences: h² = 1e-10 times third derivatives of order ten, and rounding 1e-16/h = 1e-11.
    np.testing.assert_allclose(hessian_product(point, vector, 3), slope, rtol=0, atol=1e-7)


@pytest.mark.parametrize("step", [0, 10, 100])
def test_sophia_estimates_are_hutchinsons(step: int) -> None:
    point = recording("sophia").points[step] if step else initial()
    signs, estimate = sophia_signs()[step // 10], sophia_estimates()[step // 10]
    assert set(np.unique(signs)) == {-1, 1}
    np.testing.assert_allclose(signs * hessian_product(point, signs, step), estimate, rtol=0, atol=TOLERANCE)


def test_sophia_estimates_have_negative_entries_left_after_averaging() -> None:
    average = np.zeros(SIZE)
    for estimate in sophia_estimates():
        average = 0.99 * average + 0.01 * estimate
    assert 0.05 < np.mean(average < 0) < 0.5


LIVE = {
    "momentum": lambda params: torch.optim.SGD(params, lr=0.02, momentum=0.9),
    "nesterov": lambda params: torch.optim.SGD(params, lr=0.02, momentum=0.9, nesterov=True),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.005, alpha=0.9, eps=1e-6),
    "rmsprop_centered": lambda params: torch.optim.RMSprop(
        params, lr=0.005, alpha=0.9, eps=1e-6, centered=True
    ),
    "adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("name", LIVE)
def test_torch_on_the_problem_follows_the_recording(name: str) -> None:
    found, recorded = run(LIVE[name](parameters())), recording(name).points
    assert list(found) == list(recorded)
    np.testing.assert_allclose(list(found.values()), list(recorded.values()), rtol=0, atol=TOLERANCE)


def test_forms_of_momentum_part_only_when_the_rate_changes() -> None:
    for rates, name in ((constant(0.02), "momentum"), (FALLING, "momentum_falling_rate")):
        buffered = at_recorded_steps(oracle.buffered_momentum(initial(), gradient, rates))
        apart = np.abs(buffered - np.stack(list(recording(name).points.values()))).max()
        assert apart < TOLERANCE if name == "momentum" else apart > 0.01


def test_adagrad_with_eps_outside_the_root_is_torchs() -> None:
    found = list(run(torch.optim.Adagrad(parameters(), lr=0.1, eps=1e-6)).values())
    ours = at_recorded_steps(oracle.adagrad(initial(), gradient, constant(0.1), 1e-6))
    np.testing.assert_allclose(ours, found, rtol=0, atol=TOLERANCE)
