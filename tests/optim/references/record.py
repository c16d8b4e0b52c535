"""Records the peers' paths on the problem: `python -m tests.optim.references.record`, by hand; see README.md."""

# pyright: basic, reportMissingImports=false, reportPrivateImportUsage=false
from __future__ import annotations

import json
import platform
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import schedulefree
import torch
from pytorch_optimizer import SophiaH

from . import problem
from .problem import RECORDED_STEPS, STEPS, Vector
from .recordings import SETTINGS, VECTORS

jax.config.update("jax_enable_x64", True)
PEERS = ("optax", "jax", "jaxlib", "schedulefree", "pytorch_optimizer", "torch", "numpy")
Points = dict[int, Vector]

rules: dict[str, dict[str, Any]] = {}
paths: list[np.ndarray] = []
estimates: list[Vector] = []
signs: list[Vector] = []


def keep(name: str, peer: str, arguments: dict[str, Any], note: str, points: Points) -> None:
    paths.append(np.stack([points[step] for step in RECORDED_STEPS]))
    losses = [problem.loss(points[step]) for step in RECORDED_STEPS]
    rules[name] = {"peer": peer, "arguments": arguments, "note": note, "losses": losses}


def flat(tree: Any) -> Vector:
    return np.concatenate([np.asarray(leaf).ravel() for leaf in tree])


def jax_loss(tree: Any, step: int) -> jax.Array:
    w1, b1, w2, b2 = tree
    x, y = problem.batch(step)
    residual = jnp.tanh(x @ w1.T + b1) @ w2.T + b2 - y
    return (problem.OUTPUT_WEIGHTS * residual**2).sum(1).mean()


def optax_points(transform: Any, before: Any = None, read: Any = None) -> Points:
    """Apply an optax transform to the gradients by hand; before(tree, step) looks on ahead of every step."""

    def apply(gradients: Any, state: Any, tree: Any, phase: int) -> Any:
        more = {"obj_fn": lambda p: jax_loss(p, phase)} if before else {}
        updates, state = transform.update(gradients, state, tree, **more)
        return optax.apply_updates(tree, updates), state

    compiled = jax.jit(apply, static_argnums=3)
    tree = [jnp.asarray(part) for part in problem.unflatten(problem.initial())]
    state = transform.init(tree)
    points = {}
    for step in range(STEPS):
        slope = problem.gradient(flat(tree), step)
        gradients = [jnp.asarray(part) for part in problem.unflatten(slope)]
        if before:
            before(tree, step)
        tree, state = compiled(gradients, state, tree, step % 4 if before else 0)
        if step + 1 in RECORDED_STEPS:
            points[step + 1] = flat(read(state, tree) if read else tree)
    return points


def from_optax(name: str, function: str, note: str = "", read: Any = None, **arguments: Any) -> None:
    home = optax.contrib if function.startswith("contrib.") else optax
    make = getattr(home, function.removeprefix("contrib."))
    keep(name, f"optax.{function}", arguments, note, optax_points(make(**arguments), read=read))


def first_order() -> None:
    in_root, outside = "eps inside the root", "eps outside the root"
    from_optax("momentum", "sgd", "buffer b ← αb + g, θ ← θ − ηb", learning_rate=0.02, momentum=0.9)
    from_optax(
        "nesterov", "sgd", "points are the look-ahead θ + αv", learning_rate=0.02, momentum=0.9, nesterov=True
    )
    from_optax("adagrad", "adagrad", in_root, learning_rate=0.1, initial_accumulator_value=0.0, eps=1e-6)
    rmsprop = {"learning_rate": 0.005, "decay": 0.9, "eps": 1e-6}
    from_optax("rmsprop", "rmsprop", outside, eps_in_sqrt=False, **rmsprop)
    from_optax("rmsprop_eps_in_root", "rmsprop", in_root, eps_in_sqrt=True, **rmsprop)
    from_optax("rmsprop_centered", "rmsprop", outside, eps_in_sqrt=False, centered=True, **rmsprop)
    adam = {"learning_rate": 0.01, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
    from_optax("adam", "adam", outside, **adam)
    from_optax("adamw", "adamw", "decay times the rate, at the old θ", weight_decay=0.1, **adam)
    for decay in (0.0, 0.1):
        name = "lion_decay" if decay else "lion"
        from_optax(name, "lion", learning_rate=0.003, b1=0.9, b2=0.99, weight_decay=decay)


def falling_rate() -> None:
    """The lecture's momentum under a changing rate: the gradient is scaled before it enters the velocity."""
    arguments = {"learning_rate": "0.02 / (1 + t / 50)", "momentum": 0.9}
    for nesterov in (False, True):
        scale = optax.scale_by_learning_rate(lambda t: 0.02 / (1 + t.astype(jnp.float64) / 50))
        points = optax_points(optax.chain(scale, optax.trace(decay=0.9, nesterov=nesterov)))
        name = "nesterov_falling_rate" if nesterov else "momentum_falling_rate"
        note = "t from 0; rate inside the velocity" + (
            "; points are the look-ahead θ + αv" if nesterov else ""
        )
        keep(
            name,
            "optax.chain(scale_by_learning_rate, trace)",
            arguments | {"nesterov": nesterov},
            note,
            points,
        )


def muon() -> None:
    axes = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=0)
    layout = [axes, None, axes, None]
    common = {"learning_rate": 0.01, "beta": 0.95, "eps": 1e-16, "ns_steps": 5}
    for name, rms, nesterov, decay in (("muon", None, False, 0.1), ("muon_nesterov_rms", 0.2, True, 0.0)):
        arguments = {**common, "nesterov": nesterov, "consistent_rms": rms, "weight_decay": decay}
        points = optax_points(optax.contrib.muon(**arguments, muon_weight_dimension_numbers=layout))
        scale = "0.2·√max(rows, columns)" if rms else "√max(1, rows/columns)"
        note = f"update times {scale}; decay on matrices only; vectors by Adam(0.9, 0.999), same rate and eps"
        if nesterov:
            note += "; memory over 1 − μᵗ⁺¹ and gradient over 1 − μᵗ before they are mixed, Adam likewise"
        keep(name, "optax.contrib.muon", arguments, note, points)


def sophia() -> None:
    """Sophia-H with its own signs, which are recorded, then the paper's order of steps fed the same estimates."""
    arguments = {
        "b1": 0.965,
        "b2": 0.99,
        "eps": 1e-8,
        "gamma": 10.0,
        "weight_decay": 0.1,
        "update_interval": 10,
    }
    arguments = {"learning_rate": 0.01, **arguments, "clip_threshold": 1.0}
    estimator = optax.contrib.hutchinson_estimator_diag_hessian(jax.random.PRNGKey(0))
    state = estimator.init(None)

    def watch(tree: Any, step: int) -> None:
        nonlocal state
        if step % 10:
            return
        subkey = jax.random.split(state.key)[1]
        drawn = optax.tree.random_like(subkey, tree, jax.random.rademacher, dtype=jnp.float32)
        estimate, state = estimator.update(None, state, tree, obj_fn=lambda p: jax_loss(p, step))
        u = flat(drawn).astype(np.float64)
        ours = u * problem.hessian_product(flat(tree), u, step)
        if not np.allclose(flat(estimate), ours, rtol=0, atol=1e-12):
            raise RuntimeError(f"the signs of step {step} are not those of the peer's estimate")
        signs.append(u)
        estimates.append(flat(estimate))

    points = optax_points(optax.contrib.sophia(**arguments), before=watch)
    note = "Rademacher signs; m over 1 − β₁ᵗ; ĥ of steps 1, 11, … counts from the next step on: neither is the paper's"
    keep("sophia", "optax.contrib.sophia", arguments, note, points)

    clip = 10.0  # clip(m/h, p)·lr is p·lr·clip(m/(p·h), 1): p is the paper's gamma
    theirs = {"lr": 0.01 / clip, "betas": (0.965, 0.99), "weight_decay": 0.1 * clip, "p": clip, "eps": 1e-9}
    params = problem.parameters()
    optimizer = SophiaH(params, **theirs, update_period=10)
    points = {}
    for step in range(STEPS):
        optimizer.zero_grad()
        problem.torch_loss(params, step).backward()
        estimate = problem.unflatten(estimates[step // 10])
        optimizer.step(
            hessian=[torch.from_numpy(part.copy()) for part in estimate] if step % 10 == 0 else None
        )
        if step + 1 in RECORDED_STEPS:
            points[step + 1] = problem.current(optimizer)
    note = "the paper's order: ĥ first, no bias correction; η, λ, γ, ε and estimates are those of `sophia`"
    keep("sophia_paper", "pytorch_optimizer.SophiaH", theirs, note, points)


def schedule_free() -> None:
    def averaged(optimizer: Any) -> Vector:
        optimizer.eval()
        point = problem.current(optimizer)
        optimizer.train()
        return point

    for kind, rate in (("SGD", 0.1), ("AdamW", 0.02)):
        for warmup in (0, 20):
            for decay in (0.0, 0.01):
                name = f"schedule_free_{kind.lower()}_warmup_{warmup}" + ("_decay" if decay else "")
                arguments = {"lr": rate, "warmup_steps": warmup, "weight_decay": decay}
                arguments |= {"r": 0.0, "weight_lr_power": 2.0, "foreach": False}
                arguments |= {"momentum": 0.9} if kind == "SGD" else {"betas": (0.9, 0.999), "eps": 1e-8}
                peer = f"schedulefree.{kind}ScheduleFree"
                for suffix, read in (("y", problem.current), ("x", averaged)):
                    optimizer = getattr(schedulefree, f"{kind}ScheduleFree")(
                        problem.parameters(), **arguments
                    )
                    optimizer.train()
                    note = f"points {'y, train mode' if suffix == 'y' else 'x, eval mode'}; decay at y"
                    keep(f"{name}_{suffix}", peer, arguments, note, problem.run(optimizer, read=read))

    note = "points x; decay at y"
    mean = optax.contrib.schedule_free_eval_params
    common = {"b1": 0.9, "weight_decay": 0.01, "weight_lr_power": 2.0}
    from_optax(
        "optax_schedule_free_sgd", "contrib.schedule_free_sgd", note, mean, learning_rate=0.1, **common
    )
    adamw = common | {"learning_rate": 0.02, "b2": 0.999, "eps": 1e-8}
    from_optax("optax_schedule_free_adamw", "contrib.schedule_free_adamw", note, mean, **adamw)

    # schedule_free_sgd(warmup_steps=20) is this with a rate that optax works out in float32.
    def warm(t: jax.Array) -> jax.Array:
        return 0.1 * jnp.minimum(t.astype(jnp.float64) / 20, 1)

    step = optax.chain(optax.add_decayed_weights(0.01), optax.sgd(warm))
    points = optax_points(optax.contrib.schedule_free(step, warm, b1=0.9, weight_lr_power=2.0), read=mean)
    arguments = common | {"learning_rate": "0.1·min(t/20, 1)"}
    note += (
        "; t from 0 in the steps of z, where the first is therefore none, but from 1 in the averaging weights"
    )
    peer = "optax.contrib.schedule_free(chain(add_decayed_weights, sgd))"
    keep("optax_schedule_free_sgd_warmup", peer, arguments, note, points)


def as_text(found: dict[str, Any]) -> str:
    """JSON with one recording a line, so that a change to one shows as such."""
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in found["rules"].items()]
    head = json.dumps({k: v for k, v in found.items() if k != "rules"})
    return head[:-1] + ',\n"rules": {\n' + ",\n".join(lines) + "\n}}\n"


def main() -> None:
    """Run every peer and write recorded.json and recorded.npz."""
    torch.set_num_threads(1)
    for part in (first_order, falling_rate, muon, sophia, schedule_free):
        part()
    versions = {"python": platform.python_version()} | {name: version(name) for name in PEERS}
    found = {"versions": versions, "steps": RECORDED_STEPS, "rules": rules}
    SETTINGS.write_text(as_text(found), encoding="utf-8")
    kept = {"points": np.stack(paths), "sophia_estimates": np.stack(estimates)}
    np.savez_compressed(VECTORS, **kept, sophia_signs=np.stack(signs).astype(np.int8))
    print(f"{len(rules)} recordings, {(SETTINGS.stat().st_size + VECTORS.stat().st_size) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
