"""A learning rate for each layer from the curvature of its own block of the Hessian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg.checks import one_of, share
from thalweg.curvature.matrices.gauss_newton import ggn
from thalweg.curvature.matrices.grouping import OWN, By, grouped, some
from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.spectrum.eigenpairs import eigenpairs
from thalweg.curvature.stability.edges import stable_rate
from thalweg.errors import InvalidArgument, NotDifferentiable
from thalweg.numbers import number, with_error
from thalweg.objective import AbstractObjective, Block, Objective, require_objective

Matrix: TypeAlias = Literal["hessian", "ggn"]
Rule: TypeAlias = Literal["sgd", "momentum", "nesterov"]


@dataclass(frozen=True)
class LayerRate:
    """A layer, its curvature and the rate that is suggested for it.

    name: of the layer, or the pattern; parameters: names of those in it; size: how many numbers they are.
    lambda_max, residual: largest eigenvalue of the layer's diagonal block, and its error.
    rate: the learning rate; bounded: whether the block curves upward beyond its error. Where it does not, nothing in it
        bounds the rate, and the layer gets that of the stiffest one.
    """

    name: str
    parameters: tuple[str, ...]
    size: int
    lambda_max: float
    residual: float
    rate: float
    bounded: bool


@dataclass(frozen=True)
class LayerRates:
    """Rates in proportion to 1/λmax of each layer's block, scaled so that all layers together are stable.

    layers: in the order of θ. rates: {pattern: rate}, as `thalweg.optim.layer_groups` takes it, in the order it needs.
    coupling, coupling_error: λmax of the Hessian with every block scaled to λmax = 1, and its residual; 1 where layers
        do not interact, at most their number where the Hessian is positive semi-definite.
    uniform: the one rate for all parameters at the same share of its edge.
    decrease, uniform_decrease: by how much one step of gradient descent with either lowers the quadratic model.
    products: Hessian products spent; converged: whether every eigenvalue met its tolerance.
    """

    layers: tuple[LayerRate, ...]
    rates: dict[str, float]
    coupling: float
    coupling_error: float
    uniform: float
    decrease: float
    uniform_decrease: float
    products: int
    converged: bool

    def __str__(self) -> str:
        rows = [
            f"{layer.name} {number(layer.rate, 3)} (λmax {with_error(layer.lambda_max, layer.residual)})"
            for layer in self.layers
        ]
        return f"{', '.join(rows)}; one rate for all: {number(self.uniform, 3)}"


def layer_rates(
    obj: AbstractObjective,
    by: By = "layer",
    *,
    theta: Tensor | None = None,
    optimizer: Rule = "sgd",
    momentum: float = 0.9,
    fraction: float = 0.5,
    matrix: Matrix = "hessian",
    tol: float = 0.01,
    seed: int = 0,
) -> LayerRates:
    """A learning rate for each layer at θ (n,), the objective's own point when None.

    Layer b gets ηᵦ in proportion to 1/λᵦ, with λᵦ the largest eigenvalue of its diagonal block of the Hessian H: what
    bounds the rate of a layer trained alone, whatever the gradient is. The rates along the gradient, gᵀg/gᵀHg of a
    block, are no such bound, and have no value where H curves downward along g. As layers act together, all are scaled
    by the edge of D^(1/2)HD^(1/2) with D = 1/λᵦ on block b: gradient descent is stable for λmax(D^(1/2)HD^(1/2)) < 2.

    Parameters
    ----------
    by: as in `blocks`: "layer", the modules that hold parameters; "parameter"; or name patterns as
        `thalweg.optim.layer_groups` has them, the first that matches counts, and every parameter must match one.
    optimizer: whose edge the rates are scaled by; "sgd", "momentum" or "nesterov" with α = `momentum`.
    fraction: of that edge, in (0, 1]; at one half gradient descent has its largest guaranteed decrease (Nesterov 2004).
    matrix: "hessian", or "ggn" for Gauss-Newton, whose blocks never curve downward.
    tol: of each eigenvalue, see `eigenpairs`; about 20 to 60 products for each layer, as many for all together.

    Raises
    ------
    InvalidArgument: patterns that match nothing or leave parameters out, an unknown name, a fraction out of range.
    NotDifferentiable: no layer curves upward beyond its error, so that no rate follows from the curvature.

    Sources: Schaul et al. (2013), No more pesky learning rates, for a rate per block from its curvature; Cohen et al.
    (2022), section 2, for the edge of a preconditioned Hessian.
    """
    require_objective(obj)
    one_of("optimizer", optimizer, get_args(Rule))
    one_of("matrix", matrix, get_args(Matrix))
    share("fraction", fraction)
    stable_rate(1.0, 0.0, optimizer, momentum)
    theta = obj.checked_point(theta)
    groups = _groups(obj, by)
    with (hessian if matrix == "hessian" else ggn)(obj, theta) as operator:
        found = [_top(operator.restricted(blocks), tol, seed) for blocks in groups.values()]
        bounded = [value > residual for value, residual, _ in found]
        if not any(bounded):
            raise NotDifferentiable(
                "theta: no layer curves upward here beyond its error, so that no rate follows from the curvature"
            )
        stiffest = max(value for value, _, _ in found)
        inverse = torch.empty_like(theta)
        for blocks, (value, _, _), known in zip(groups.values(), found, bounded, strict=True):
            inverse[_indices(blocks, theta)] = 1 / (value if known else stiffest)
        coupling = _top(_scaled(operator, inverse.sqrt()), tol, seed)
        whole = _top(operator, tol, seed)
        # The residuals are added, so that the edge is not passed where they are large.
        scale = fraction * stable_rate(coupling[0] + coupling[1], 0.0, optimizer, momentum).rate
        uniform = fraction * stable_rate(whole[0] + whole[1], 0.0, optimizer, momentum).rate
        slope = obj.gradient(theta)
        falls = [_fall(operator, slope, step) for step in (scale * inverse * slope, uniform * slope)]
        products = operator.products
    rates = {name: scale / (found[i][0] if bounded[i] else stiffest) for i, name in enumerate(groups)}
    layers = tuple(
        LayerRate(
            name,
            tuple(block.name for block in blocks),
            sum(block.size for block in blocks),
            found[i][0],
            found[i][1],
            rates[name],
            bounded[i],
        )
        for i, (name, blocks) in enumerate(groups.items())
    )
    converged = all(done for _, _, done in (*found, coupling, whole))
    return LayerRates(
        layers,
        _patterns(obj, layers) if by == "layer" else rates,
        coupling[0],
        coupling[1],
        uniform,
        falls[0],
        falls[1],
        products,
        converged,
    )


def _top(operator: SymmetricOperator, tol: float, seed: int) -> tuple[float, float, bool]:
    """The largest eigenvalue, its residual, and whether it converged."""
    pairs = eigenpairs(operator, 1, "largest", tol, seed=seed)
    return float(pairs.values[0]), float(pairs.residuals[0]), bool(pairs.converged[0])


def _scaled(operator: SymmetricOperator, scale: Tensor) -> SymmetricOperator:
    def product(v: Tensor) -> Tensor:
        column = scale if v.dim() == 1 else scale[:, None]
        return column * (operator @ (column * v))

    return SymmetricOperator(
        product,
        operator.shape[0],
        dtype=operator.dtype,
        device=operator.device,
        name=f"scaled {operator.name}",
        parts=(operator,),
    )


def _fall(operator: SymmetricOperator, slope: Tensor, step: Tensor) -> float:
    return float(slope.dot(step) - step.dot(operator @ step) / 2)


def _indices(blocks: Sequence[Block], like: Tensor) -> Tensor:
    return torch.cat([torch.arange(b.span.start, b.span.stop, device=like.device) for b in blocks])


def _groups(obj: AbstractObjective, by: By) -> dict[str, list[Block]]:
    """The blocks of each layer or pattern, by name; every one in some."""
    groups = grouped(obj.blocks, by, _names(obj))
    taken = {block.name for group in groups.values() for block in group}
    left = [block.name for block in obj.blocks if block.name not in taken]
    if left:
        raise InvalidArgument(f"by: no pattern matches {some(left)}: add '*' for all the rest")
    return groups


def _patterns(obj: AbstractObjective, layers: Sequence[LayerRate]) -> dict[str, float]:
    """Rates by patterns of which the first that matches a parameter is that of its layer.

    A module's pattern also matches what is in modules below it, and weights tied to some in it: inner modules come
    first, tied weights by their own names before all.
    """
    names = _names(obj)
    tied = {name for name, known in names.items() if len(known) > 1}
    rates = {name: layer.rate for layer in layers for name in layer.parameters if name in tied}
    for layer in sorted(layers, key=lambda layer: -layer.name.count(".")):
        if layer.name == OWN:
            rates |= dict.fromkeys(layer.parameters, layer.rate)
        elif not all(name in tied for name in layer.parameters):
            rates[layer.name] = layer.rate
    return rates


def _names(obj: AbstractObjective) -> dict[str, list[str]]:
    """All names of each parameter, of which tied ones have several, by the first."""
    if not isinstance(obj, Objective):
        return {block.name: [block.name] for block in obj.blocks}
    every: dict[int, list[str]] = {}
    for name, parameter in obj.model.named_parameters(remove_duplicate=False):
        every.setdefault(id(parameter), []).append(name)
    return {known[0]: known for known in every.values()}
