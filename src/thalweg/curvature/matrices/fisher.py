"""The Fisher information matrix of a model's predictions: exact, by drawn labels, and the empirical one."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg import checks
from thalweg.curvature.operator import SymmetricOperator
from thalweg.errors import InvalidArgument, NotDifferentiable, ShapeMismatch
from thalweg.objective import AbstractObjective, require_objective
from thalweg.objective.here import ModelHere
from thalweg.objective.output_matrices import EmpiricalFisher, ExactFisher, OutputMatrix, SampledFisher

FisherKind: TypeAlias = Literal["exact", "sampled", "empirical"]


class MonteCarloFisher(SymmetricOperator):
    """A Fisher matrix F̂ of drawn labels, the same for every product, that can tell its distance from the exact F."""

    def __init__(self, obj: AbstractObjective, here: ModelHere, samples: int, seed: int) -> None:
        self.samples, self.seed = samples, seed
        self._point = here
        matrix = SampledFisher(seed, samples)
        super().__init__(
            lambda v: here.output_product(v, matrix),
            obj.size,
            dtype=obj.dtype,
            device=obj.device,
            name="sampled Fisher matrix",
            here=here,
            blocks=obj.blocks,
        )

    def error(self, v: Tensor) -> float:
        """Standard error of the product with v (n,): √E‖F̂v − Fv‖² over ‖F̂v‖, from the spread over `samples`.

        It takes `samples` products; 0 where they all agree. Raises InvalidArgument for fewer than two samples.
        """
        if self.samples < 2:
            raise InvalidArgument(
                f"samples must be at least 2 for an error from their spread, got {self.samples}: "
                'pass fisher(obj, kind="sampled", samples=2) or more'
            )
        if v.dim() != 1:
            raise ShapeMismatch(f"v must have shape ({self.shape[0]},), got {tuple(v.shape)}")
        self.products += self.samples
        mean, squares = torch.zeros_like(v), 0.0
        for draw in range(self.samples):
            # Welford: the mean and the sum of squares around it, without holding all products.
            image = self._point.output_product(v, SampledFisher(self.seed, 1, draw))
            change = image - mean
            mean += change / (draw + 1)
            squares += float(change @ (image - mean))
        norm = float(mean.norm())
        return (squares / (self.samples * (self.samples - 1))) ** 0.5 / norm if norm else 0.0


def fisher(
    obj: AbstractObjective,
    theta: Tensor | None = None,
    *,
    kind: FisherKind = "exact",
    samples: int = 1,
    seed: int = 0,
) -> SymmetricOperator:
    """The Fisher matrix Σ cᵢ E[∇ log p(y|xᵢ) ∇ log p(y|xᵢ)ᵀ] of the model's predictions p at θ, cᵢ the loss's weights.

    The loss is taken as Σ cᵢ (−log p(yᵢ|xᵢ)), so that reductions, class weights, smoothing and ignored targets weigh
    as they do in it. A datum i is one class scored: each token, each pixel. For cross-entropy p is the softmax of the
    output, for nll_loss its exponential, for binary cross-entropy with logits each entry is a coin, and for squared
    error a Gaussian around the output: of variance ½ where the loss is (z − y)² summed over a row's entries, of D/2
    where it is their mean (`MSELoss()`). There a datum is a row, all entries along the last axis.

    - "exact": the expectation over y in closed form. It equals the generalized Gauss-Newton matrix for these losses
      (Martens 2020, section 9), for nll_loss that of the logits. A loss with the same slopes as one of them, such as
      cross-entropy after a reshape, is recognised.
    - "sampled": the mean over `samples` labels drawn for each datum; a `MonteCarloFisher`, with mean "exact" and an
      `error(v)`. Labels depend on `seed` and the datum's place in the data, not on how the data are cut into batches.
    - "empirical": the true labels in place of drawn ones. It is no estimate of the Fisher matrix away from a perfect
      fit (Kunstner et al. 2019). Of a loss without a likelihood it is the uncentred gradient covariance.

    Parameters
    ----------
    samples: labels drawn for each datum, at least 1; "sampled" alone uses it, and `seed`.

    Raises
    ------
    InvalidArgument: an unknown kind, or "exact" and "sampled" for a loss without a known likelihood; a model whose
        output is not known (batch_loss without outputs).
    NotDifferentiable: an objective that is no model with data.
    """
    require_objective(obj)
    checks.one_of("kind", kind, get_args(FisherKind))
    checks.whole("samples", samples)
    here = model_point(obj, theta, "Fisher matrix")
    if kind == "empirical":
        return output_operator(obj, here, EmpiricalFisher())
    here.require_likelihood()
    if kind == "sampled":
        return MonteCarloFisher(obj, here, samples, seed)
    return output_operator(obj, here, ExactFisher())


def output_operator(obj: AbstractObjective, here: ModelHere, matrix: OutputMatrix) -> SymmetricOperator:
    """JᵀMJ as an operator, J the Jacobian of the model's output and M that of `matrix`."""
    return SymmetricOperator(
        lambda v: here.output_product(v, matrix),
        obj.size,
        dtype=obj.dtype,
        device=obj.device,
        name=f"{matrix.name} matrix",
        here=here,
        blocks=obj.blocks,
    )


def model_point(obj: AbstractObjective, theta: Tensor | None, quantity: str) -> ModelHere:
    """`obj.at(theta)` of a model with data; raises NotDifferentiable for another objective."""
    here = obj.at(theta)
    if not isinstance(here, ModelHere):
        raise NotDifferentiable(
            f"{obj.name} has no {quantity}: it is no model with data, use its Hessian or Gauss-Newton matrix"
        )
    return here
