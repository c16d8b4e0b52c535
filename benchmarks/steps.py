"""P5: a step of every elementwise rule, against the bytes that must move and against the peers, in one run.

The floor of a rule with k state tensors reads p, g and the state and writes p and the state, 3 + 2k numbers for each
parameter, at the rate of torch's `copy_`, which moves 2.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

import thalweg as tw
from benchmarks.row import Row
from benchmarks.timing import median_seconds

# The tensors of a ResNet-50, 25.6 M parameters in 161 tensors: filters, norms and the head.
SHAPES = [(64, 3, 7, 7), (64,), (64,)]
for width, depth, first in ((64, 3, 64), (128, 4, 256), (256, 6, 512), (512, 3, 1024)):
    for block in range(depth):
        wide = first if block == 0 else 4 * width
        SHAPES += [(width, wide, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
        SHAPES += [(width,)] * 4 + [(4 * width,)] * 2
        if block == 0:
            SHAPES += [(4 * width, wide, 1, 1), (4 * width,), (4 * width,)]
SHAPES += [(1000, 2048), (1000,)]
RULES: dict[str, dict[str, Any]] = {
    "gradient_descent": {},
    "momentum": {},
    "nesterov": {},
    "sgd": {"momentum": 0.9},
    "adagrad": {},
    "rmsprop": {},
    "adam": {},
    "adamw": {},
    "lion": {},
    "sophia_g": {},
    "schedule_free_sgd": {},
    "schedule_free_adamw": {},
}
TORCH = {
    "gradient_descent": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
}
FUSED = {"gradient_descent", "momentum", "nesterov", "sgd", "adagrad", "adam", "adamw"}


def parameters(shapes: list[tuple[int, ...]]) -> list[nn.Parameter]:
    """Parameters with gradients."""
    torch.manual_seed(0)
    made = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in made:
        p.grad = 0.01 * torch.randn_like(p)
    return made


class SophiaRule(tw.optim.RuleOptimizer):
    """Sophia's rule alone, without the estimates of curvature that come every tenth step."""

    rule = tw.optim.SophiaG.rule

    def __init__(self, params, lr=1e-4, **options):
        chosen = {"betas": (0.965, 0.99), "gamma": 0.05, "eps": 1e-12, "weight_decay": 0.1}
        super().__init__(params, {"lr": lr} | chosen, **options)


def optimizer(name: str, params: list[nn.Parameter]) -> torch.optim.Optimizer:
    """One of Thalweg's, by name."""
    kind = SophiaRule if name == "sophia_g" else tw.optim.get(name)
    return kind(params, lr=1e-6, **RULES[name])


def peers(name: str, params: list[nn.Parameter]) -> dict[str, torch.optim.Optimizer]:
    """The same rule elsewhere, where it is installed."""
    found: dict[str, torch.optim.Optimizer] = {}
    if name in TORCH:
        kind, options = TORCH[name]
        found["torch's default"] = kind(params, lr=1e-6, **options)
        if name in FUSED:
            found["torch's fused"] = kind(params, lr=1e-6, fused=True, **options)
    if importlib.util.find_spec("schedulefree") and name.startswith("schedule_free"):
        import schedulefree

        kind = schedulefree.SGDScheduleFree if name.endswith("sgd") else schedulefree.AdamWScheduleFree
        found["schedulefree's"] = kind(params, lr=1e-6, foreach=False)
        found["schedulefree's"].train()
    if importlib.util.find_spec("pytorch_optimizer") and name == "lion":
        import pytorch_optimizer

        found["pytorch_optimizer's"] = pytorch_optimizer.Lion(params, lr=1e-6)
    return found


OPTAX = {
    "gradient_descent": ("sgd", {}),
    "sgd": ("sgd", {"momentum": 0.9}),
    "momentum": ("sgd", {"momentum": 0.9}),
    "nesterov": ("sgd", {"momentum": 0.9, "nesterov": True}),
    "adagrad": ("adagrad", {}),
    "rmsprop": ("rmsprop", {}),
    "adam": ("adam", {}),
    "adamw": ("adamw", {}),
    "lion": ("lion", {}),
}


def optax_step(name: str, params: list[nn.Parameter]) -> Callable[[], object] | None:
    """A compiled step of optax's rule that overwrites its parameters and state, where optax and JAX are installed."""
    if name not in OPTAX or not (importlib.util.find_spec("optax") and importlib.util.find_spec("jax")):
        return None
    import jax
    import optax

    kind, options = OPTAX[name]
    rule = getattr(optax, kind)(1e-6, **options)
    held = [jax.numpy.asarray(p.detach().numpy()) for p in params]
    gradients = [jax.numpy.asarray(p.grad.numpy()) for p in params if p.grad is not None]
    state = {"params": held, "rule": rule.init(held)}

    def update(state, gradients):
        updates, after = rule.update(gradients, state["rule"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "rule": after}

    compiled = jax.jit(update, donate_argnums=0)

    def step() -> None:
        nonlocal state
        state = jax.block_until_ready(compiled(state, gradients))

    return step


def large(name: str) -> list[Row]:
    """A step on 25.6 M parameters."""
    params = parameters(SHAPES)
    total = sum(p.numel() for p in params)
    ours = optimizer(name, params)
    begun = time.perf_counter()
    ours.step()
    first = time.perf_counter() - begun
    # Two numbers are moved for each one that is copied.
    numbers = 3 + 2 * sum(isinstance(s, torch.Tensor) and s.dim() > 0 for s in ours.state[params[0]].values())
    source, target = torch.randn(total), torch.empty(total)
    others = peers(name, params)
    calls: list[Callable[[], object]] = [lambda: target.copy_(source), ours.step]
    calls += [other.step for other in others.values()]
    names = list(others)
    if (compiled := optax_step(name, params)) is not None:
        calls.append(compiled)
        names.append("optax's")
    for call in calls:
        call()
    copy, step, *rest = median_seconds(calls, 9)
    rows = [
        Row(
            "P5",
            f"{name}, 25.6 M parameters: a step in times the memory floor",
            step / (copy * numbers / 2),
            1.25,
        )
    ]
    for other, seconds in zip(names, rest, strict=True):
        budget = 1.05 if other == "torch's fused" else None
        rows.append(Row("P5", f"{name}, 25.6 M parameters: a step in times {other}", step / seconds, budget))
    rows.append(Row("P5", f"{name}: first step, compiled kernel loaded or built, s", first, None))
    return rows


def small(name: str) -> list[Row]:
    """A step on a network of 17,226 parameters."""
    params = parameters([(128, 64), (128,), (64, 128), (64,), (10, 64), (10,)])
    ours, others = optimizer(name, params), peers(name, params)

    def many(step: Callable[[], object]) -> Callable[[], object]:
        return lambda: [step() for _ in range(200)]

    calls = [many(ours.step), *(many(other.step) for other in others.values())]
    for call in calls:
        call()
    step, *rest = median_seconds(calls, 15)
    rows = [Row("P5", f"{name}, 17 k parameters: a step, µs", step / 200 * 1e6, None)]
    for other, seconds in zip(others, rest, strict=True):
        budget = 1.0 if other == "torch's default" else None
        rows.append(Row("P5", f"{name}, 17 k parameters: a step in times {other}", step / seconds, budget))
    return rows


def measure() -> Iterator[Row]:
    for name in RULES:
        yield from large(name)
        yield from small(name)
