"""A model's objective at one point, with the graphs kept that fit into the memory budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.objective.abstract import Here
from thalweg.objective.batch_loss import BatchLoss
from thalweg.objective.batches import Batch, Batches, batch_size
from thalweg.objective.batchnorm import recalibrated
from thalweg.objective.likelihood import known_link
from thalweg.objective.linearization import (
    DifferenceJacobian,
    Jacobian,
    KeptHessian,
    KeptJacobian,
    Loss,
    Products,
    difference_product,
    gradient,
    is_missing_second_derivative,
    require_full_precision,
)
from thalweg.objective.metrics import Measurement, measure, values
from thalweg.objective.output_matrices import (
    LossHessian,
    OutputMatrix,
    OutputProducts,
    Outputs,
    SampledFisher,
)

if TYPE_CHECKING:
    from thalweg.objective.objective import Objective


P = TypeVar("P", bound="Products | OutputProducts")


class ModelHere(Here):
    """Loss, gradient and products at θ; see `Objective.at`.

    For each batch the graph of the gradient is kept from the first product on, while the estimated sum of the
    kept graphs stays within the objective's `memory_budget`; the other batches are differentiated twice anew
    for each vector. `strategy` is "kept graph" for both, or "finite differences" where there is no second derivative.
    """

    def __init__(self, objective: Objective, theta: Tensor) -> None:
        self.objective = objective
        with torch.inference_mode(False):
            # A copy: the caller may write into theta, and a tensor made in inference mode cannot be differentiated.
            self.theta = theta.clone()
        self.strategy = "kept graph"
        self.difference_error = 0.0
        self._kept: dict[tuple[str, int], Products | OutputProducts] = {}
        self._kept_for: Batches = objective.batches
        self._held = 0.0
        self._loss: Tensor | None = None
        self._gradient: Tensor | None = None
        self._statistics: dict[str, Tensor] | None = None

    def loss(self) -> Tensor:
        """Mean loss over the data at θ, shape ()."""
        if self._loss is None:
            self._loss = self._sum(self._full_loss, derivatives=False)
        return self._loss.clone()

    def gradient(self) -> Tensor:
        """Gradient of the mean loss at θ, shape (n,)."""
        if self._gradient is None:
            self._gradient = self._gradient_at(self.theta)
        return self._gradient.clone()

    def hvp(self, v: Tensor) -> Tensor:
        """Hessian at θ times v, for v of shape (n,) or (n, k).

        Where the model has no second derivative the product is a central difference of gradients:
        `strategy` says so and `difference_error` holds its largest estimated relative error so far.
        """
        require_full_precision(self.objective.dtype, "a Hessian product")
        v = self.objective.checked_vectors(v)
        if self.strategy == "kept graph":
            try:
                return self._product(
                    v,
                    "hessian",
                    lambda batch: KeptHessian(self._batch_loss(batch), self.theta, self.objective.layers),
                )
            except RuntimeError as error:
                self._fall_back(error)
        return _by_column(self._difference, v)

    def ggnvp(self, v: Tensor) -> Tensor:
        """Generalized Gauss-Newton matrix JᵀHₗJ at θ times v, for v of shape (n,) or (n, k).

        Where the model has no second derivative Jv is a central difference of the output; see `hvp`.
        """
        return self.output_product(v, LossHessian())

    def output_product(self, v: Tensor, matrix: OutputMatrix) -> Tensor:
        """JᵀMJ at θ times v, for v of shape (n,) or (n, k); J is the output's Jacobian, M that of `matrix`.

        J is linearized once for all matrices. Where the model has no second derivative Jv is a central difference
        of the output; see `hvp`.
        """
        name = f"{'an' if matrix.name[0] in 'aeiou' else 'a'} {matrix.name} product"
        require_full_precision(self.objective.dtype, name)
        v = self.objective.checked_vectors(v)
        if self.strategy == "kept graph":
            try:
                build = partial(KeptJacobian, layers=self.objective.layers)
                return self._output_product(v, matrix, "output", build)
            except RuntimeError as error:
                self._fall_back(error)
        build = partial(DifferenceJacobian, report=self._report_difference)
        return self._output_product(v, matrix, "output differences", build)

    def require_likelihood(self) -> None:
        """Raise InvalidArgument where no labels can be drawn from the model's output."""
        objective, loss_fn = self.objective, self.objective.module.loss_fn
        if loss_fn is not None and known_link(loss_fn, 2) is not None:
            return
        self._batchnorm_statistics()

        def look() -> None:
            with objective.evaluating(derivatives=True):
                _, batch = next(iter(objective.batches))
                output, target = self._output_target(self.theta, batch)
                _ = self._outputs(batch, output, target).likelihood

        objective.within_memory(look)

    def values(self, metrics: Sequence[str] = ("loss",)) -> dict[str, float]:
        """Each named metric over the data: "loss", "accuracy", "gradient_norm"."""
        return values(self, metrics)

    def measure(self, metrics: Sequence[str] = ("loss",)) -> dict[str, Measurement]:
        """Each named metric over the data with its standard error over samples."""
        return measure(self, metrics)

    def close(self) -> None:
        """Free the kept graphs."""
        self._kept.clear()
        self._held = 0.0

    def sum(self, quantity: Callable[[BatchLoss, Batch], Tensor]) -> Tensor:
        """The weighted sum over all batches of a quantity of the model at θ, without derivatives."""
        return self._sum(
            lambda _, batch: self.objective.at_batch(
                self.theta, batch, self._batchnorm_statistics(), quantity
            ),
            derivatives=False,
        )

    def _full_loss(self, _: int, batch: Batch) -> Tensor:
        # A model that computes in half precision by itself has a loss in it: what is summed keeps the digits of θ.
        loss = self._batch_loss(batch)(self.theta)
        return loss.to(torch.promote_types(loss.dtype, self.theta.dtype))

    def _batch_loss(self, batch: Batch) -> Loss:
        statistics = self._batchnorm_statistics()
        return lambda theta: self.objective.at_batch(theta, batch, statistics)

    def _fall_back(self, error: RuntimeError) -> None:
        """Go on with finite differences if `error` says that a second derivative is missing, else raise it."""
        if not is_missing_second_derivative(error):
            raise error
        self.close()
        self.strategy = "finite differences"
        note = (
            f"no second derivative ({str(error).splitlines()[0]}): products with the Hessian are central "
            "differences of gradients, and Gauss-Newton's of outputs"
        )
        if note not in self.objective.notes:
            self.objective.notes.append(note)

    def _output_target(self, theta: Tensor, batch: Batch) -> tuple[Tensor, object]:
        statistics = self._batchnorm_statistics()
        return self.objective.at_batch(theta, batch, statistics, BatchLoss.output_target)

    def _outputs(self, batch: Batch, output: Tensor, target: object) -> Outputs:
        module, batches = self.objective.module, self.objective.batches
        output = output.detach().to(torch.promote_types(output.dtype, torch.float32))
        if module.loss_fn is None:
            _check_guess(module.output_loss(output, target), self._batch_loss(batch)(self.theta))
        share = batches.count(batch) / batches.total * batches.samples
        return Outputs(module, output, target, share, batch_size(batch))

    def _output_product(
        self,
        v: Tensor,
        matrix: OutputMatrix,
        way: str,
        linearize: Callable[[Callable[[Tensor], Tensor], Tensor], Jacobian],
    ) -> Tensor:
        def build(batch: Batch) -> OutputProducts:
            targets: list[object] = []

            def output(theta: Tensor) -> Tensor:
                found, target = self._output_target(theta, batch)
                targets[:] = [target]
                return found

            jacobian = linearize(output, self.theta)
            return OutputProducts(jacobian, self._outputs(batch, jacobian.output, targets[0]))

        # How many data come before each batch, so that their labels do not depend on how the data are cut.
        before = 0

        def term(number: int, batch: Batch) -> Tensor:
            nonlocal before
            products = self._products(way, number, batch, build)
            before = before if number else 0
            product = products.of(matrix, before)
            if isinstance(matrix, SampledFisher):
                before += products.outputs.data
            return _by_column(product, v)

        return self._sum(term, derivatives=True)

    def _gradient_at(self, theta: Tensor) -> Tensor:
        return self._sum(lambda _, batch: gradient(self._batch_loss(batch), theta), derivatives=True)

    def _difference(self, v: Tensor) -> Tensor:
        product, error = difference_product(self._gradient_at, self.theta, v)
        self._report_difference(error)
        return product

    def _report_difference(self, error: float) -> None:
        self.difference_error = max(self.difference_error, error)

    def _product(self, v: Tensor, matrix: str, build: Callable[[Batch], Products]) -> Tensor:
        def term(number: int, batch: Batch) -> Tensor:
            return _by_column(self._products(matrix, number, batch, build), v)

        return self._sum(term, derivatives=True)

    def _products(self, matrix: str, number: int, batch: Batch, build: Callable[[Batch], P]) -> P:
        if self._kept_for is not self.objective.batches:
            self.close()
            self._kept_for = self.objective.batches
        key = (matrix, number)
        if key not in self._kept:
            size = self.objective.graph_bytes(batch, self._batchnorm_statistics())
            if self._held + size > self.objective.memory_budget:
                return build(batch)
            self._kept[key] = build(batch)
            self._held += size
        # What is kept under a matrix's name was built for it.
        return cast("P", self._kept[key])

    def _sum(self, term: Callable[[int, Batch], Tensor], *, derivatives: bool) -> Tensor:
        self._batchnorm_statistics()
        return self.objective.sum_over_batches(term, derivatives=derivatives)

    def _batchnorm_statistics(self) -> dict[str, Tensor]:
        """Batch-norm buffers to use at θ: none of our own, unless they are re-estimated here."""
        if self.objective.batchnorm != "recalibrate":
            return {}
        if self._statistics is None:
            self._statistics = self.objective.within_memory(self._recalibrated, whole=True)
        return self._statistics

    def _recalibrated(self) -> dict[str, Tensor]:
        objective = self.objective
        with objective.evaluating(derivatives=False):
            return recalibrated(
                objective.module,
                objective.batches,
                lambda batch, buffers: objective.at_batch(self.theta, batch, buffers),
            )


def _by_column(product: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
    """The product with each column of v (n, k), or with v (n,) itself."""
    if v.dim() == 1:
        return product(v)
    if not v.shape[1]:
        return torch.zeros_like(v)
    return torch.stack([product(column) for column in v.unbind(1)], dim=1)


def _check_guess(guessed: Tensor, given: Tensor) -> None:
    """With outputs but no loss_fn the loss of the output is guessed; it must be the one that is looked at."""
    if not torch.allclose(guessed, given, rtol=1e-4, atol=1e-6):
        raise InvalidArgument(
            f"outputs: neither cross-entropy nor mean squared error of its (output, target) is the loss "
            f"({float(guessed):.6g} against {float(given):.6g}): pass loss_fn(output, target) as well"
        )
