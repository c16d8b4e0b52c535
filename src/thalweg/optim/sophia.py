"""Sophia: momentum over an estimate of the Hessian's diagonal, clipped elementwise (Liu et al. 2024)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Unpack, cast

import torch
from torch import Tensor, nn

from thalweg.checks import whole
from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective, Objective
from thalweg.objective.batch_loss import LossFunction, ModelBatchLoss, ModelOutputs
from thalweg.objective.batches import Batch
from thalweg.optim.curvature_source import CurvatureSource
from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.driver.gradients import finite, may_step
from thalweg.optim.driver.optimizer import Closure, Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import Group, Rule, Scalar, rate
from thalweg.optim.sophia_estimates import (
    bartlett,
    generator,
    hutchinson,
    process_number,
    processes,
    random_signs,
)


def update(
    theta: Tensor,
    g: Tensor,
    m: Tensor,
    h: Tensor,
    lr: Scalar,
    beta1: Scalar,
    gamma: Scalar,
    eps: Scalar,
    shrink: Scalar,
) -> tuple[Tensor, ...]:
    """m ← β₁m + (1−β₁)g; θ ← θ − ηλθ − η clip(m / max(γh, ε), 1). `shrink` is ηλ.

    Where h is negative or tiny, m/ε is beyond 1 and the step is η sign m. h is refreshed outside: see `refreshed`.
    """
    m = beta1 * m + (1 - beta1) * g
    step = (m / (gamma * h).clamp(min=eps)).clamp(-1, 1)  # pyright: ignore[reportArgumentType] - a tensor will do
    return theta - lr * step - shrink * theta, m, h


def refreshed(h: Tensor, estimate: Tensor, beta2: Scalar) -> Tensor:
    """h ← β₂h + (1−β₂)ĥ, before the update of the step in which ĥ was made."""
    return beta2 * h + (1 - beta2) * estimate


def due(steps: float, group: Group) -> bool:
    """Whether the step after `steps` ones begins with a new estimate: the first one, then each `update_period`-th."""
    return steps % group["update_period"] == 0


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """η, β₁, γ, ε and ηλ; the steps are counted."""
    lr = rate(group)
    values = (lr, float(group["betas"][0]), group["gamma"], group["eps"], lr * group["weight_decay"])
    return values, {"steps": memory["steps"] + 1}


class Sophia(RuleOptimizer):
    """What SophiaG and SophiaH share; they differ in the estimate of the diagonal and in γ."""

    columns = False
    rule = Rule("sophia", update, scalars, state=("exp_avg", "hessian"), memory={"steps": 0})

    def __init__(
        self, params: Params, values: tuple[Any, ...], source: CurvatureSource, seed: int, options: Options
    ) -> None:
        self.seed = whole("seed", seed, 0)
        self._source = source
        names = ("lr", "betas", "gamma", "eps", "weight_decay", "update_period")
        super().__init__(params, dict(zip(names, values, strict=True)), **options)
        self._check_source()

    def measure_on(
        self,
        objective: AbstractObjective | None = None,
        *,
        model: nn.Module | None = None,
        loss_fn: LossFunction | None = None,
        batch_loss: ModelBatchLoss | None = None,
        outputs: ModelOutputs | None = None,
    ) -> None:
        """Estimate curvature on another objective, or on a model and its loss; after unpickling, on any.

        Raises InvalidArgument as the constructor does.
        """
        before = self._source
        self._source = CurvatureSource(type(self).__name__, objective, model, loss_fn, batch_loss, outputs)
        try:
            self._check_source()
        except InvalidArgument:
            self._source = before
            raise

    def step(self, closure: Closure | Batch | None = None, *, batch: Batch | None = None) -> Any:
        """Update the parameters; the loss, if it was computed here.

        `step(closure)`: the closure clears gradients, computes loss and gradients, and returns the loss.
        `step(batch)`: with the gradients that are there; if there are none, those of the batch's mean loss are
        computed, and cleared afterwards. On every `update_period`-th step curvature is estimated first: on `batch`,
        or without one on the objective's next batch in turn. Gradients and random state are left alone by it.

        Raises InvalidArgument when a batch is due and there is none, and as the other optimizers do.
        """
        if closure is not None and not callable(closure):
            if batch is not None:
                raise InvalidArgument("batch was given twice: step(batch), or step(closure, batch=batch)")
            closure, batch = None, closure
        params = [p for group in self.param_groups for p in group["params"]]
        own = closure is None and batch is not None and all(p.grad is None for p in params)

        def prepare() -> Any:
            loss = cast("Closure", closure)() if closure is not None else None
            if own:
                loss = self._backward(batch, params)
            if may_step(self.param_groups, self.nonfinite):
                self._refresh(batch, params)
            return loss

        try:
            return super().step(prepare)
        finally:
            if own:
                for p in params:
                    p.grad = None

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        check.rate(group["lr"])
        check.betas(group["betas"])
        check.positive(group["gamma"], "gamma")
        check.positive(group["eps"], "eps")
        check.nonnegative(group["weight_decay"], "weight_decay")
        whole("update_period", group["update_period"])

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled; the objective is copied, but not pickled."""
        return super().__getstate__() | {"seed": self.seed, "_source": self._source}

    @abstractmethod
    def _estimate(
        self, objective: AbstractObjective, batch: Batch | None, theta: Tensor, number: int
    ) -> Tensor:
        """ĥ (n,) at θ: estimate `number`, counted from 0."""

    def _check_source(self) -> None:
        self._source.check([p for group in self.param_groups for p in group["params"]])

    def _backward(self, batch: Batch, params: list[Tensor]) -> Tensor:
        if processes() > 1:
            raise InvalidArgument(
                f"{type(self).__name__}: with several processes call backward() on the wrapped model, which averages "
                "gradients, before step(batch)"
            )
        loss = self._source.loss(batch)
        wanted = [p for p in params if p.requires_grad]
        for p, g in zip(wanted, torch.autograd.grad(loss, wanted, allow_unused=True), strict=True):
            p.grad = g
        return loss.detach()

    @torch.no_grad()
    def _refresh(self, batch: Batch | None, params: list[Tensor]) -> None:
        """Bring a new estimate into the states of the groups for which one is due."""
        waiting = [
            group
            for group in self.param_groups
            if due(group["memory"]["steps"], group) and any(p.grad is not None for p in group["params"])
        ]
        if not waiting:
            return
        number = int(waiting[0]["memory"]["steps"]) // waiting[0]["update_period"]
        objective, batch = self._source.at(batch, number, params)
        with torch.enable_grad():
            vector = self._estimate(objective, batch, self._source.point(objective, params), number)
        if self.nonfinite != "pass" and not finite(vector):
            if self.nonfinite == "skip":
                return
            raise FloatingPointError(
                "the curvature estimate is not finite: lower lr, or choose nonfinite='skip', which keeps the last one"
            )
        pieces = self._source.pieces(objective, vector, params)
        for group in waiting:
            for p in group["params"]:
                if p.grad is not None:
                    held = self.state[p]
                    if held.get("hessian") is None:
                        held["hessian"] = self.rule.begin("hessian", p.detach(), group)
                    h = held["hessian"]
                    # Uphill is downhill on −f.
                    estimate = -pieces[p] if group["maximize"] else pieces[p]
                    h.copy_(refreshed(h.to(estimate.dtype), estimate, group["betas"][1]))


class SophiaG(Sophia):
    """Sophia with Gauss-Newton-Bartlett's estimate: ĥ = B·ĝ², ĝ the mean gradient at labels that the model predicts.

        every k steps: h ← β₂h + (1−β₂)ĥ;  m ← β₁m + (1−β₁)g;  θ ← θ − ηλθ − η clip(m / max(γh, ε), 1)

    Labels are drawn from the softmax for cross-entropy, from a Gaussian for squared errors; true labels would make it
    the empirical Fisher. B, the number of terms in the mean (tokens for language models), is read off the loss, so
    γ does not depend on the batch size, unlike ρ·B of the authors' code. One more forward and backward pass every k
    steps, in evaluation mode.

    Give `objective`, or `model` with its loss, as `Objective` takes them (`batch_loss` needs `outputs`), and call
    `step(batch)` or `step(closure)`: see `step`.

    Parameters
    ----------
    lr η: about that of AdamW or a little less. betas (β₁, β₂). weight_decay λ, decoupled. eps ε.
    gamma γ: such that between a tenth and a half of the entries are not clipped (the paper's advice).
    update_period k. seed: of the sampled labels; estimate number j depends on it and j alone.

    Defaults are the paper's and its authors' code. State: two tensors per parameter. Raises InvalidArgument for a
    hyperparameter out of its range, neither or both of objective and model, and parameters that these do not have.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.965, 0.99),
        gamma: float = 0.05,
        eps: float = 1e-12,
        weight_decay: float = 0.1,
        update_period: int = 10,
        *,
        objective: AbstractObjective | None = None,
        model: nn.Module | None = None,
        loss_fn: LossFunction | None = None,
        batch_loss: ModelBatchLoss | None = None,
        outputs: ModelOutputs | None = None,
        seed: int = 0,
        **options: Unpack[Options],
    ) -> None:
        source = CurvatureSource("SophiaG", objective, model, loss_fn, batch_loss, outputs)
        super().__init__(params, (lr, betas, gamma, eps, weight_decay, update_period), source, seed, options)

    def _check_source(self) -> None:
        self._source.require_outputs()
        super()._check_source()

    def _estimate(
        self, objective: AbstractObjective, batch: Batch | None, theta: Tensor, number: int
    ) -> Tensor:
        draw = generator(self.seed, number, theta.device, process_number())
        return bartlett(cast(Objective, objective), batch, draw)


class SophiaH(Sophia):
    """Sophia with Hutchinson's estimate: ĥ = u ⊙ Hu with random signs u.

        every k steps: h ← β₂h + (1−β₂)ĥ;  m ← β₁m + (1−β₁)g;  θ ← θ − ηλθ − η clip(m / max(γh, ε), 1)

    Where the estimate is negative the step is that of the sign, η. One Hessian-vector product every k steps, in
    evaluation mode, on the mean loss of a batch.

    Give `objective` (a model's or a surface), or `model` with its loss, as `Objective` takes them, and call
    `step(batch)` or `step(closure)`: see `step`.

    Parameters
    ----------
    lr η: about that of AdamW or a little less. betas (β₁, β₂). weight_decay λ, decoupled. eps ε.
    gamma γ: such that between a tenth and a half of the entries are not clipped (the paper's advice).
    update_period k. seed: of the signs; estimate number j depends on it and j alone.

    Defaults are the paper's and its authors' code. State: two tensors per parameter. Raises InvalidArgument for a
    hyperparameter out of its range, neither or both of objective and model, and parameters that these do not have;
    NotDifferentiable for half-precision parameters.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.965, 0.99),
        gamma: float = 0.01,
        eps: float = 1e-12,
        weight_decay: float = 0.1,
        update_period: int = 10,
        *,
        objective: AbstractObjective | None = None,
        model: nn.Module | None = None,
        loss_fn: LossFunction | None = None,
        batch_loss: ModelBatchLoss | None = None,
        outputs: ModelOutputs | None = None,
        seed: int = 0,
        **options: Unpack[Options],
    ) -> None:
        source = CurvatureSource("SophiaH", objective, model, loss_fn, batch_loss, outputs)
        super().__init__(params, (lr, betas, gamma, eps, weight_decay, update_period), source, seed, options)

    def _estimate(
        self, objective: AbstractObjective, batch: Batch | None, theta: Tensor, number: int
    ) -> Tensor:
        signs = random_signs(theta, generator(self.seed, number, theta.device))
        if isinstance(objective, Objective):
            return hutchinson(objective, batch, signs)
        return signs * objective.hvp(signs, theta)
