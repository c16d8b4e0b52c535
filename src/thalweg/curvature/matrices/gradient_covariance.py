"""The covariance of the samples' gradients around zero, or around their mean."""

from __future__ import annotations

from torch import Tensor

from thalweg.curvature.matrices.fisher import model_point
from thalweg.curvature.operator import SymmetricOperator
from thalweg.objective import AbstractObjective, require_objective
from thalweg.objective.output_matrices import SampleGradients


def gradient_covariance(
    obj: AbstractObjective, theta: Tensor | None = None, centered: bool = False
) -> SymmetricOperator:
    """The mean of gₙgₙᵀ over the N samples at θ; with `centered` less ggᵀ, g the gradient of the objective.

    gₙ is the gradient of all that sample n (row n of axis 0, all its tokens) puts into the loss, times N, so that
    their mean is g and a sample with more kept tokens, or a heavier class, has a larger one. It takes no gradient
    sample by sample: gₙ = Jₙᵀuₙ, and uₙ comes from one gradient of the loss in the model's output.

    Exact for a loss that is a sum over samples. Where samples depend on each other in the model (batch statistics),
    gₙ is the derivative of term n with all its dependences.

    Raises
    ------
    NotDifferentiable: an objective that is no model with data.
    InvalidArgument: at the first product, an output whose axis 0 does not count samples.
    """
    require_objective(obj)
    here = model_point(obj, theta, "gradient covariance")
    matrix = SampleGradients()

    def product(v: Tensor) -> Tensor:
        image = here.output_product(v, matrix)
        if not centered:
            return image
        g = here.gradient()
        along = g @ v
        return image - (g * along if v.dim() == 1 else g[:, None] * along)

    return SymmetricOperator(
        product,
        obj.size,
        dtype=obj.dtype,
        device=obj.device,
        name="centered gradient covariance" if centered else "gradient covariance",
        here=here,
        blocks=obj.blocks,
    )
