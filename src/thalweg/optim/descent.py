"""Descending an objective from many starts and at many rates at once, with a name for how each path ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.objective.abstract import AbstractObjective
from thalweg.optim.driver.batched import COMPILE_FROM, Batched, Driver, Field
from thalweg.optim.driver.code import code_of
from thalweg.optim.driver.optimizer import RuleOptimizer
from thalweg.optim.endings import outcomes
from thalweg.optim.names import get
from thalweg.optim.outcomes import Outcomes
from thalweg.optim.sharpness.ascent import sam_ascent_columns
from thalweg.optim.sophia import SophiaH, due, refreshed
from thalweg.optim.sophia_estimates import generator, random_signs
from thalweg.optim.steepest_descent import LineSearched
from thalweg.surfaces import Surface
from thalweg.surfaces.derivatives import gradient, hessian_product

Rate: TypeAlias = float | Callable[[int], float]
Keep: TypeAlias = Literal["path", "last"] | int
"""Which iterates to keep: all, the last, or every k-th and the last."""

MOST_BYTES = 4 * 2**30
"""Largest path that is kept."""


@dataclass(frozen=True, eq=False, repr=False)
class Descent:
    """What `descend` found.

    path: iterates θ, shape (b, kept, n), or (r, b, kept, n) for a list of r rates; not the points at which the
        gradient was taken, where those differ. loss: their losses, (b, kept) or (r, b, kept).
    steps: which steps were kept, shape (kept,), 0 being the start.
    outcome: how each descent ended, shape (b,) or (r, b); `d.outcome[0]` says it for the first.
    optimizer, lr: what ran, at which rate or rates; nan where a schedule or a line search set them.
    """

    path: Tensor
    loss: Tensor
    steps: Tensor
    outcome: Outcomes
    optimizer: str
    lr: float | tuple[float, ...]

    def __repr__(self) -> str:
        shape = tuple(self.path.shape)
        return f"Descent({self.optimizer}, lr={self.lr}, path {shape}, {self.outcome})"

    @property
    def last(self) -> Tensor:
        """The last iterates, shape (b, n) or (r, b, n)."""
        return self.path[..., -1, :]


def descend(
    objective: AbstractObjective,
    optimizer: str | type[RuleOptimizer] = "gradient_descent",
    start: Tensor | Sequence[Any] | np.ndarray[Any, Any] | None = None,
    *,
    steps: int = 100,
    lr: Rate | Sequence[Rate] | None = None,
    keep: Keep = "path",
    noise: float = 0.0,
    seed: int = 0,
    rho: float | None = None,
    tolerance: float = 1e-3,
    follow: bool = True,
    compile: bool | None = None,
    **hyperparameters: Any,
) -> Descent:
    """Run one update rule from every start at every rate, all at once on surfaces.

    Parameters
    ----------
    objective: a surface, or a model's objective (then one start after the other).
    optimizer: the name of an elementwise rule (see `names()`) or its class; "sophia_h" on surfaces, with exact
        Hessian products; or "steepest_descent", which takes `line_search` and no rate.
    start: shape (n,) or (b, n); the objective's own point if not given.
    steps: how many steps. lr: one rate or a list of them; the rule's default if not given. A rate may be a schedule:
        any function of the number of steps done, such as `tw.schedules.cosine(0.1, steps)`.
    keep: "path", "last", or k for every k-th iterate (and the last).
    noise: standard deviation of Gaussian noise on every entry of every gradient, drawn from `seed`; the same for
        every rate.
    rho: radius of sharpness-aware minimization around the rule (Foret et al. 2021): the gradient is taken at
        θ + ρg/‖g‖.
    tolerance: how near to a minimum a descent has converged to it, as a part of the domain's diagonal.
    follow: whether descents that are not at a known minimum after the last step are followed for another 64, to tell
        cycles and rest elsewhere from paths still on their way.
    compile: True or False to choose whether steps are compiled; by default for large batches of a surface.
    hyperparameters: the rule's own, named as in its class.

    Raises InvalidArgument for arguments out of range, rules that need whole matrices or curvature,
    and paths too large to keep; ShapeMismatch for starts of another dimension; UnknownName for unknown rules.
    """
    if not isinstance(objective, AbstractObjective):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(
            f"objective must be a surface such as tw.surfaces.get('rosenbrock') or an Objective, got {objective!r}"
        )
    points = _starts(objective, start)
    if not isinstance(steps, int) or steps < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f"steps must be an integer of at least 0, got {steps}")
    if not 0 < tolerance < math.inf:
        raise InvalidArgument(f"tolerance must be finite and above 0, got {tolerance}")
    if rho is not None and hyperparameters.get("maximize"):
        raise InvalidArgument("rho climbs to a sharper point of a loss that is minimized: leave out maximize")
    if not 0 <= noise < math.inf:
        raise InvalidArgument(f"noise must be finite and at least 0, got {noise}")
    rates = _rates(lr)
    kept = _kept_steps(keep, steps, len(rates) * points.numel() * points.element_size())
    scale = _scale(objective, points)
    bound = 1e3 * max(scale, float(points.abs().max()))
    driver: Driver
    if optimizer == "steepest_descent":
        driver = _line_searched(objective, points, bound, lr, noise, rho, hyperparameters)
        name, taken, several = "steepest_descent", (math.nan,), False
    else:
        rule_class, groups = _groups(optimizer, rates, objective, hyperparameters, steps)
        several = isinstance(lr, Sequence) or np.ndim(cast(Any, lr)) > 0
        columns = points.T[:, None].repeat(1, len(groups), 1) if several else points.T
        field = _field(objective, rho)
        prepare = _curvature(objective, groups[0], seed) if issubclass(rule_class, SophiaH) else None
        driver = Batched(
            field, rule_class.rule, groups, columns, bound=bound, noise=noise, seed=seed, prepare=prepare
        )
        if isinstance(objective, Surface) and _compiles(compile, driver, steps):
            code = (
                f"{objective.fingerprint()}{code_of([objective.formula, gradient, sam_ascent_columns])}{rho}"
            )
            driver.compile(objective.name, code)
        name = rule_class.rule.name
        taken = tuple(math.nan if callable(group["lr"]) else float(group["lr"]) for group in groups)
    begun = driver.field(driver.point)
    path = torch.empty((len(kept), *driver.point.shape), dtype=points.dtype, device=points.device)
    for place, step in enumerate(kept):
        while driver.steps < step:
            driver.step()
        path[place] = driver.theta()
    outcome = outcomes(objective, driver, begun, tolerance * scale, follow)
    path = path.permute(*range(2, path.dim()), 0, 1)
    loss = _losses(objective, path)
    return Descent(path, loss, torch.tensor(kept), outcome, name, taken if several else taken[0])


def _starts(objective: AbstractObjective, start: Any) -> Tensor:
    if start is None:
        return objective.point[None]
    points = torch.as_tensor(np.asarray(start) if not isinstance(start, Tensor) else start)
    points = points.detach().to(objective.device, objective.dtype)
    if not bool(torch.isfinite(points).all()):
        raise InvalidArgument("start must be finite, got a NaN or an infinity")
    if points.dim() == 1:
        points = points[None]
    if points.dim() != 2 or points.shape[1] != objective.size or not len(points):
        n = objective.size
        raise ShapeMismatch(f"start must have shape ({n},) or (b, {n}), got {tuple(np.shape(start))}")
    return points


def _rates(lr: Rate | Sequence[Rate] | None) -> list[Rate | None]:
    if lr is None or callable(lr) or np.ndim(cast(Any, lr)) == 0:
        return [cast("Rate | None", lr)]
    rates = list(cast("Sequence[Rate]", lr))
    if not rates or any(not callable(rate) and np.ndim(rate) for rate in rates):
        raise InvalidArgument(f"lr must be a number or a list of numbers, got {lr!r}")
    return [rate if callable(rate) else float(rate) for rate in rates]


def _groups(
    optimizer: str | type[RuleOptimizer],
    rates: list[Rate | None],
    objective: AbstractObjective,
    given: dict[str, Any],
    steps: int,
) -> tuple[type[RuleOptimizer], list[dict[str, Any]]]:
    """The rule's class, and its hyperparameters for each rate as a torch optimizer checks and holds them."""
    found = get(optimizer) if isinstance(optimizer, str) else optimizer
    on_surface = found is SophiaH and isinstance(objective, Surface)
    if not (isinstance(found, type) and issubclass(found, RuleOptimizer) and (found.columns or on_surface)):  # pyright: ignore[reportUnnecessaryIsInstance]
        name = (
            optimizer
            if isinstance(optimizer, str)
            else getattr(optimizer, "__name__", type(optimizer).__name__)
        )
        raise InvalidArgument(
            f"optimizer {name!r} cannot run on many points at once: it needs whole matrices, curvature or a second "
            f"optimizer"
        )
    if on_surface:
        given = given | {"objective": objective}
    groups: list[dict[str, Any]] = []
    for rate in rates:
        chosen = given if rate is None else given | {"lr": rate(0) if callable(rate) else rate}
        try:
            group = found.hyperparameters(**chosen)
        except TypeError as error:
            raise InvalidArgument(f"optimizer {found.__name__}: {error}") from error
        groups.append(group | ({"lr": _held(rate, steps)} if callable(rate) else {}))
    return found, groups


def _held(schedule: Callable[[int], float], steps: int) -> Callable[[int], float]:
    """The schedule, at its last rate after the last step."""
    return lambda t: schedule(min(t, max(steps - 1, 0)))


def _field(objective: AbstractObjective, rho: float | None) -> Field:
    """The gradient of columns, at the point sharpness-aware minimization asks for if `rho` is given."""

    def plain(points: Tensor) -> Tensor:
        if isinstance(objective, Surface):
            return gradient(objective.formula, points)
        flat = points.flatten(1).unbind(1)
        return torch.stack([objective.gradient(theta) for theta in flat], 1).view_as(points)

    if rho is None:
        return plain
    if not 0 <= rho < math.inf:
        raise InvalidArgument(f"rho must be finite and at least 0, got {rho}")
    return lambda points: plain(sam_ascent_columns(points, plain(points), rho))


def _curvature(objective: AbstractObjective, group: dict[str, Any], seed: int) -> Callable[[Batched], None]:
    """Sophia's estimate of the Hessian's diagonal, u ⊙ (Hu) with random signs u, at every column when it is due."""
    formula = cast(Surface, objective).formula

    def prepare(driver: Batched) -> None:
        h = driver.state[driver.rule.state.index("hessian")]
        if h is not None and due(driver.steps, group):
            u = random_signs(h, generator(seed, driver.steps, h.device))
            estimate = u * hessian_product(formula, driver.point, u)
            h.copy_(refreshed(h, estimate, group["betas"][1]))

    return prepare


def _scale(objective: AbstractObjective, points: Tensor) -> float:
    """The length against which distances count: the domain's diagonal, or the size of the start."""
    if isinstance(objective, Surface):
        return float((objective.domain[:, 1] - objective.domain[:, 0]).norm())
    return 1 + float(points.norm(dim=1).max())


def _line_searched(
    objective: AbstractObjective,
    points: Tensor,
    bound: float,
    lr: object,
    noise: float,
    rho: float | None,
    given: dict[str, Any],
) -> LineSearched:
    unused = {"lr": lr, "rho": rho, "noise": noise or None}
    wrong = [name for name, value in unused.items() if value is not None] + sorted(
        set(given) - {"line_search"}
    )
    if wrong:
        raise InvalidArgument(f"optimizer 'steepest_descent' takes line_search only, got {', '.join(wrong)}")
    return LineSearched(objective, points.T, given.get("line_search", "exact"), bound)


def _compiles(asked: bool | None, driver: Batched, steps: int) -> bool:
    if min(driver.point.shape[1:]) < 2:
        return False
    return driver.point.numel() * steps >= COMPILE_FROM if asked is None else asked


def _kept_steps(keep: Keep, steps: int, each: int) -> list[int]:
    if keep == "last":
        return [steps]
    every = 1 if keep == "path" else keep
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f'keep must be "path", "last" or a number of steps from 1, got {keep!r}')
    kept = sorted({*range(0, steps + 1, every), steps})
    needed = len(kept) * each
    if needed > MOST_BYTES:
        most = max(1, math.ceil(needed / MOST_BYTES) * every)
        raise InvalidArgument(
            f'keep={keep!r} would hold {needed / 2**30:.1f} GiB: give keep={most} or more, or keep="last"'
        )
    return kept


def _losses(objective: AbstractObjective, path: Tensor) -> Tensor:
    flat = path.reshape(-1, path.shape[-1])
    parts = [objective.losses(part) for part in flat.split(1 << 20)]
    return torch.cat(parts).view(path.shape[:-1])
