"""The largest learning rate at which an optimizer is stable, from products with the Hessian."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from thalweg.checks import below_one, one_of, whole
from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.spectrum.eigenpairs import eigenpairs
from thalweg.curvature.stability.edges import RULES, Edge, StableRate, edge_of, from_curvature
from thalweg.curvature.stability.reading import TorchOptimizer, recipe_of_optimizer
from thalweg.curvature.stability.recipe import Recipe, recipe_of_rule
from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective, require_objective


def largest_stable_rate(
    obj: AbstractObjective,
    optimizer: str | TorchOptimizer = "sgd",
    *,
    momentum: float | None = None,
    weight_decay: float | None = None,
    eps: float | None = None,
    second_moment: Tensor | None = None,
    batch_size: int | None = None,
    maximize: bool = False,
    theta: Tensor | None = None,
    tol: float = 1e-3,
    seed: int = 0,
) -> StableRate:
    """The rate above which steps diverge along the stiffest direction of the loss's quadratic model at θ.

    Gradient descent: 2/λ, with λ the largest eigenvalue of the Hessian H; momentum α: 2(1+α)/λ; Nesterov:
    (2+2α)/((1+2α)λ). An adaptive optimizer is taken with its P = diag(√v̂ + ε) held fixed, which in truth moves slowly:
    λ is the largest eigenvalue of P⁻¹H, found as that of P^(−1/2)HP^(−1/2), and the edge is (2+2β₁)/((1−β₁)λ) for Adam
    and AdamW, 2/λ for RMSProp and AdaGrad, 2(1+μ)/λ for RMSProp with momentum μ. In the first 1/(1−β₁) steps Adam's
    bias correction takes larger ones than the edge is for.

    Parameters
    ----------
    optimizer: "sgd" or "gradient_descent", "momentum", "nesterov", "adam", "adamw", "rmsprop" or "adagrad"; or a torch
        or Thalweg optimizer of one of these classes on the objective's own parameters. Then everything is read off it,
        weight decay, `maximize` and rates that differ between groups included, and the rate in use is compared.
    momentum: α, β₁ for Adam, μ for RMSProp; 0.9 when None, for RMSProp 0.
    weight_decay, eps: λ and ε, 0 and 1e-8 when None; decay is decoupled for "adamw" only.
    second_moment: v̂ (n,), for AdaGrad the sum of squares. Without it, and where an optimizer has no state, v̂ is
        estimated as the square of the full gradient at θ, or with `batch_size` as the mean square of gradients of that
        many samples, for which each sample's gradient is taken once. The result says so.
    maximize: the loss is climbed.
    theta: point (n,), the objective's own when None. tol: of the eigenvalue, see `eigenpairs`.

    Raises
    ------
    InvalidArgument: an optimizer without a known edge, or not of these parameters; hyperparameters beside an optimizer
        object or out of range; a second moment that is none; ε = 0 where v̂ is 0.

    Sources: Cohen et al. (2021), Gradient descent on neural networks typically occurs at the edge of stability; Cohen
    et al. (2022), Adaptive gradient methods at the edge of stability, section 2 and appendix A.
    """
    # Before the eigenvalue, which may take long, is computed in vain.
    require_objective(obj)
    if momentum is not None:
        below_one("momentum", momentum)
    if batch_size is not None:
        whole("batch_size", batch_size)
    theta = obj.checked_point(theta)
    if isinstance(optimizer, str):
        one_of("optimizer", optimizer, RULES)
        recipe = recipe_of_rule(
            obj,
            optimizer,
            theta,
            momentum=momentum,
            weight_decay=0.0 if weight_decay is None else weight_decay,
            eps=1e-8 if eps is None else eps,
            second=second_moment,
            batch_size=batch_size,
            maximize=maximize,
        )
    else:
        given = {
            "momentum": momentum,
            "weight_decay": weight_decay,
            "eps": eps,
            "second_moment": second_moment,
        }
        beside = [name for name, value in given.items() if value is not None] + ["maximize"] * maximize
        if beside:
            raise InvalidArgument(
                f"{', '.join(beside)}: an optimizer object has its own, name a rule to choose them"
            )
        recipe = recipe_of_optimizer(obj, optimizer, theta, batch_size)
    with hessian(obj, theta) as operator:
        found = _edge(operator, recipe, tol, seed)
    return replace(found, preconditioner=recipe.source, note=recipe.note, used=recipe.used)


def _edge(operator: SymmetricOperator, recipe: Recipe, tol: float, seed: int) -> StableRate:
    edge = edge_of(recipe.rule, recipe.momentum, recipe.dampening)
    scale, diagonal = _scale(recipe), _diagonal(recipe, edge)
    sign = -1 if recipe.maximize else 1

    def product(v: Tensor) -> Tensor:
        image = sign * (operator @ (v if scale is None else _times(scale, v)))
        if scale is not None:
            image = _times(scale, image)
        return image if diagonal is None else image + _times(diagonal, v)

    changed = SymmetricOperator(
        product,
        operator.shape[0],
        dtype=operator.dtype,
        device=operator.device,
        name="preconditioned Hessian",
        parts=(operator,),
    )
    pairs = eigenpairs(changed, 1, "largest", tol, seed=seed)
    hessian = "λmax" if recipe.preconditioner is None else "λmax(P⁻¹H)"
    decay: tuple[float, float, float] = (0.0, 0.0, 0.0)
    if diagonal is None and isinstance(recipe.coupled, float) and isinstance(recipe.direct, float):
        told = recipe.coupled or recipe.direct * (1 + recipe.momentum if recipe.rule == "nesterov" else 1)
        decay = (recipe.coupled, recipe.direct, told)
    found = from_curvature(
        recipe.rule, edge, float(pairs.values[0]), float(pairs.residuals[0]), hessian, *decay
    )
    formula = found.formula if diagonal is None else f"{found.formula}, weight decay included"
    return replace(found, formula=formula, products=operator.products, converged=bool(pairs.converged[0]))


def _scale(recipe: Recipe) -> Tensor | None:
    """√(share/P) (n,), which the Hessian is multiplied with from both sides."""
    if recipe.preconditioner is None:
        return None if recipe.share is None else recipe.share.sqrt()
    share = torch.ones_like(recipe.preconditioner) if recipe.share is None else recipe.share
    if zeros := int(((recipe.preconditioner == 0) & (share > 0)).sum()):
        raise InvalidArgument(f"eps is 0, and so is v̂ of {zeros} parameters: their step has no bound")
    return (share / recipe.preconditioner).sqrt()


def _diagonal(recipe: Recipe, edge: Edge) -> Tensor | None:
    """What weight decay adds to the scaled Hessian; None where it is none, or a number added to its eigenvalue."""
    scale = _scale(recipe)
    coupled = isinstance(recipe.coupled, Tensor) or (recipe.coupled and scale is not None)
    direct = isinstance(recipe.direct, Tensor) or (recipe.direct and recipe.share is not None)
    if not coupled and not direct:
        return None
    like = next(t for t in (scale, recipe.coupled, recipe.direct) if isinstance(t, Tensor))
    ones = torch.ones_like(like)
    share = ones if recipe.share is None else recipe.share
    inner = recipe.coupled * (ones if scale is None else scale.square())
    return inner + recipe.direct * share / edge.curvature


def _times(diagonal: Tensor, v: Tensor) -> Tensor:
    return diagonal * v if v.dim() == 1 else diagonal[:, None] * v
