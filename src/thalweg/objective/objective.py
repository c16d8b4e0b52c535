"""A PyTorch model, its loss function and its data, as one function of a flat vector θ."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from thalweg.checks import whole
from thalweg.errors import InvalidArgument, OutOfMemory
from thalweg.objective.abstract import AbstractObjective, Block
from thalweg.objective.batch_loss import BatchLoss, LossFunction, ModelBatchLoss, ModelOutputs, loss_count
from thalweg.objective.batches import Batch, Batches, batch_size, make_batches
from thalweg.objective.evaluator import Evaluator
from thalweg.objective.fit import check_additive, check_fit
from thalweg.objective.here import ModelHere
from thalweg.objective.identity import content, identity
from thalweg.objective.linearization import Layers, graph_bytes
from thalweg.objective.metrics import check_metrics
from thalweg.objective.parameters import Parameters, Selection
from thalweg.objective.preserved import (
    batchnorms,
    kept_activations,
    preserved,
    preserved_rng,
    uncompiled,
)
from thalweg.objective.sampling import Drawn, sampled
from thalweg.objective.stochastic import check_deterministic
from thalweg.objective.weighted_sum import is_out_of_memory, weighted_sum

BatchNorm: TypeAlias = Literal["eval", "batch", "recalibrate"]

T = TypeVar("T")

DEFAULT_MEMORY_BUDGET = 2 * 2**30
"""Bytes; a constant rather than a share of the free memory, so that a continued run decides as before."""


class Objective(AbstractObjective):
    """The mean loss of a model over a data set, as a function of its parameters.

    The model is evaluated in evaluation mode (dropout off); it, its gradients, buffers and mode, and every
    random state are as before after each call, also after an exception. The point is the model's own: when
    the model trains on, `obj.point` moves with it.

    Parameters
    ----------
    model: any module.
    loss_fn: `loss_fn(output, target)` gives the mean loss of a batch. A torch loss with `reduction="sum"` or
        one loss per sample will do too: the objective is always the mean over all samples. The model is called
        with all elements of a batch but the last, or with the keywords of a dict of inputs.
    data: `(x, y)` tensors, a list of batches, a Dataset or a DataLoader. Batches are weighted by their size.
    batch_loss: `batch_loss(model, batch)` gives the mean loss, for batches of any shape. With neither it nor
        `loss_fn`, `model(**batch).loss` is taken.
    outputs: `outputs(model, batch)` gives `(output, target)`; Gauss-Newton and accuracy need it with batch_loss.
    parameters: None for all trainable ones, name patterns (`"layers.3.*"`), or a predicate of name and parameter.
    batchnorm: "eval" uses the running statistics as they are; "batch" the statistics of each batch;
        "recalibrate" re-estimates them at every point and holds them fixed in derivatives.
    microbatch: most samples evaluated at once. It is halved by itself when memory runs out.
    memory_budget: bytes that may be held between products and for cached data (2 GiB when None).
    batch_size: samples per batch where `data` has no batches of its own; 512 or 1 MiB when None, whichever is more.
    count: how many terms the mean loss of a batch averages, when it is not the number of samples (masked
        tokens, for example); torch's class-weighted and index-ignoring losses are recognised.

    Raises
    ------
    InvalidArgument: an argument, or the data, cannot be used.
    StochasticObjective: two evaluations at one point differ; the module or loader at fault is named.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction | None = None,
        data: Any = None,
        *,
        batch_loss: ModelBatchLoss | None = None,
        outputs: ModelOutputs | None = None,
        parameters: Selection = None,
        batchnorm: BatchNorm = "eval",
        microbatch: int | None = None,
        memory_budget: int | None = None,
        batch_size: int | None = None,
        count: Callable[[Batch], float] | None = None,
        name: str | None = None,
    ) -> None:
        _check_arguments(model, data, batchnorm, microbatch, memory_budget, batch_size)
        self.model = _unwrapped(model)
        self.name = name or type(self.model).__name__
        self.batchnorm: BatchNorm = batchnorm
        self.memory_budget = DEFAULT_MEMORY_BUDGET if memory_budget is None else memory_budget
        self.notes: list[str] = []
        self._parameters = Parameters(self.model, parameters)
        self._keys = [f"model.{name}" for name in self._parameters.names]
        self.module = BatchLoss(self.model, loss_fn, batch_loss, outputs)
        # Of a batch_loss nothing is known but that it is a mean.
        counted = None if loss_fn is None and batch_loss is not None else loss_count(loss_fn)
        with preserved_rng():
            self.batches: Batches = make_batches(
                data,
                count or counted or _samples,
                device=self.device,
                dtype=self.dtype,
                batch_size=batch_size,
                microbatch=microbatch,
                cache_bytes=self.memory_budget // 2,
            )
            self.notes += self.batches.notes
            samples = self.batches.samples
        if microbatch is not None and batchnorm == "batch" and microbatch < self.batches.largest_whole:
            raise InvalidArgument(
                'microbatch cannot be used with batchnorm="batch": splitting a batch changes its statistics; '
                "give the data in batches of the size you mean"
            )
        self.samples: int = samples
        self.drawn: Drawn | None = None
        self._checked_deterministic = False
        self._differentiates_inside = False
        self._bytes_per_sample: float | None = None
        self.layers = Layers()

    def __repr__(self) -> str:
        return f"Objective({self.name}: {self.size} parameters, {self.samples} samples, {self.dtype}, {self.device})"

    @property
    def size(self) -> int:
        """Number n of selected parameters; a tied one counts once."""
        return self._parameters.size

    @property
    def point(self) -> Tensor:
        """The model's selected parameters now, shape (n,); a copy."""
        return self._parameters.point

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of θ: the parameters' own, or the widest where they differ."""
        return self._parameters.dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters, on which everything is evaluated."""
        return self._parameters.device

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The selected parameters, in the order in which they make up θ."""
        return self._parameters.blocks

    def at(self, theta: Tensor | None = None) -> ModelHere:
        """The objective at θ (n,), the model's own point when None, keeping what the memory budget allows.

        Use it as a context manager when more than one quantity is wanted at a point.
        """
        return ModelHere(self, self.checked_point(theta))

    def with_batchnorm(self, batchnorm: BatchNorm) -> Objective:
        """The same objective, of the same model, with other batch-norm statistics; raises as the constructor does."""
        if batchnorm == self.batchnorm:
            return self
        _check_batchnorm(self.model, batchnorm)
        other = copy.copy(self)
        other.batchnorm = batchnorm
        other._checked_deterministic = False
        return other

    def sample(self, samples: int, seed: int = 0) -> Objective:
        """The same objective, of the same model, on `samples` of its data, drawn at random without replacement.

        `drawn` says of how many, and with which seed. All the data are the objective itself.
        Raises InvalidArgument for fewer than one or more than there are, of a sample, or for batchnorm="batch".
        """
        if whole("samples", samples) > self.samples:
            raise InvalidArgument(
                f"samples must be at most the {self.samples:,} of the data, got {samples:,}"
            )
        if samples == self.samples:
            return self
        if self.drawn is not None:
            raise InvalidArgument("this objective is a sample already: draw from the one of all the data")
        if self.batchnorm == "batch":
            raise InvalidArgument(
                'samples cannot be drawn with batchnorm="batch", whose statistics are those of the batches as they '
                'are: use "eval" or "recalibrate"'
            )
        other = copy.copy(self)
        with preserved_rng():
            other.batches = sampled(self.batches, samples, seed)
        other.samples = samples
        other.drawn = Drawn(samples, self.samples, seed)
        other._checked_deterministic = False
        return other

    @contextmanager
    def evaluator(
        self, metrics: Sequence[str] = ("loss",), points: int = 1, *, compile: bool | None = None
    ) -> Generator[Callable[[Tensor], dict[str, float]]]:
        """A function from θ (n,) to its metrics; inside the context the model itself is moved.

        `points` says how many are to come: for many the forward pass is compiled where that pays, or as
        `compile` says.
        """
        check_metrics(metrics)
        if "gradient_norm" in metrics or self.batchnorm == "recalibrate":
            with super().evaluator(metrics, points) as values:
                yield values
        else:
            self._check_deterministic()
            with Evaluator(self, metrics, points, compile=compile) as values:
                yield values

    def set_point(self, theta: Tensor) -> None:
        """Write θ (n,) into the model's parameters."""
        self._parameters.write(self.checked_point(theta))

    def flatten(self, state: dict[str, Tensor]) -> Tensor:
        """The θ (n,) that a state dictionary holds.

        Raises InvalidArgument naming the parameters that are missing or have another shape.
        """
        return self._parameters.flatten(state)

    def state(self, theta: Tensor) -> dict[str, Tensor]:
        """The selected parameters at θ (n,) by name, as a state dictionary holds them."""
        pieces = self._parameters.pieces(self.checked_point(theta))
        return dict(zip(self._parameters.names, pieces, strict=True))

    def fingerprint(self) -> str:
        """Digest of data, architecture, loss, frozen parameters and buffers: all that the loss depends on but θ."""
        digest = hashlib.sha256()
        for part in (self.model, self.batchnorm, self.dtype, self._parameters.names):
            digest.update(repr(part).encode())
        module = self.module
        # By identity: a tied parameter is in the state under several names.
        moving = self._parameters.ids
        for part in identity([module.loss_fn, module.batch_loss, module.outputs, self.batches.count], moving):
            digest.update(part)
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor) and id(tensor) not in moving:
                digest.update(name.encode())
                digest.update(content(tensor))
        with preserved_rng():
            digest.update(self.batches.fingerprint(by_batch=self.batchnorm == "batch").encode())
        return digest.hexdigest()

    # What `ModelHere` is made of: one batch, and the sum over all of them.

    def at_batch(
        self,
        theta: Tensor,
        batch: Batch,
        statistics: dict[str, Tensor],
        quantity: Callable[[BatchLoss, Batch], Any] | None = None,
    ) -> Any:
        """`quantity` of one batch at θ, the mean loss when None, differentiable in θ; call it inside `evaluating()`."""
        pieces = self._parameters.pieces(theta)
        swapped = dict(zip(self._keys, pieces, strict=True)) | statistics
        return functional_call(self.module, swapped, (batch, quantity))

    def sum_over_batches(self, term: Callable[[int, Batch], Tensor], *, derivatives: bool) -> Tensor:
        """Σ weight · term over all batches, in evaluation mode; on running out of memory in smaller batches."""
        self._check_deterministic()

        def total() -> Tensor:
            with self.evaluating(derivatives=derivatives):
                return weighted_sum(self.batches, term)

        return self.within_memory(total)

    def within_memory(self, work: Callable[[], T], *, whole: bool = False) -> T:
        """The result of `work`; each time memory runs out the batches are halved and it is done again.

        With `whole` the work needs whole batches. Raises OutOfMemory when they cannot be halved.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
                    raise
                self._halve_microbatch(error, whole or self.batchnorm == "batch")

    @contextmanager
    def evaluating(self, *, derivatives: bool) -> Generator[None]:
        """The model in evaluation mode and left as it was; with `derivatives`, kernels that have second ones."""
        with (
            preserved(self.model, batch_statistics=self.batchnorm == "batch"),
            torch.inference_mode(False),
            torch.set_grad_enabled(derivatives or self._differentiates_inside),
            torch.autocast(self.device.type, enabled=False),
        ):
            if not derivatives:
                yield
                return
            # Fused attention and cuDNN's recurrent layers have no second derivative.
            with (
                sdpa_kernel(SDPBackend.MATH),
                torch.backends.cudnn.flags(enabled=not self._recurrent()),
                uncompiled(),
                kept_activations(),
            ):
                yield

    def graph_bytes(self, batch: Batch, statistics: dict[str, Tensor]) -> float:
        """Estimated memory of a kept gradient graph for this batch, from one measurement scaled by size."""
        if self._bytes_per_sample is None:
            held = graph_bytes(lambda theta: self.at_batch(theta, batch, statistics), self.point, self.layers)
            self._bytes_per_sample = held / batch_size(batch)
        return self._bytes_per_sample * batch_size(batch)

    def kept_bytes(self) -> float:
        """Estimated memory of keeping the gradient graphs of all batches, which `at` does within the budget."""
        with self.evaluating(derivatives=True):
            _, batch = next(iter(self.batches))
            return self.graph_bytes(batch, {}) / batch_size(batch) * self.samples

    def _recurrent(self) -> bool:
        return any(isinstance(module, nn.RNNBase) for module in self.model.modules())

    def _check_deterministic(self) -> None:
        def evaluate_twice() -> None:
            with self.evaluating(derivatives=False):
                _, batch = next(iter(self.batches))
                check_fit(self.module, batch)
                check_deterministic(self.model, lambda: self.module(batch), self.dtype)
                if self.batches.microbatch is not None and self.batchnorm == "eval":
                    check_additive(self.module, batch, self.batches.count)

        if self._checked_deterministic:
            return
        try:
            self.within_memory(evaluate_twice)
        except RuntimeError as error:
            # The loss of a physics-informed network holds derivatives of its output.
            if "does not require grad" not in str(error) or self._differentiates_inside:
                raise
            self._differentiates_inside = True
            self.within_memory(evaluate_twice)
        self._checked_deterministic = True

    def _halve_microbatch(self, error: BaseException, whole: bool) -> None:
        halved = self.batches.halved()
        if halved is None or whole:
            size = self.batches.largest_whole if whole else self.batches.largest
            reason = (
                f'batchnorm="{self.batchnorm}" needs whole batches' if whole else "one sample does not fit"
            )
            raise OutOfMemory(
                f"memory ran out with {size} samples at once, and {reason}"
                + (": give the data in smaller ones" if whole else "")
            ) from error
        self.batches = halved
        # Whether the loss of a batch is the mean of its parts' matters from here on.
        self._checked_deterministic = False
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.notes.append(f"memory ran out: evaluated in microbatches of {halved.microbatch} from here on")


def _samples(batch: Batch) -> float:
    return float(batch_size(batch))


def _unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module inside torch.compile's and data-parallel wrappers, which cannot be differentiated twice."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if inner is None:
            return model
        model = cast("nn.Module", inner)


def _check_arguments(
    model: object, data: object, batchnorm: str, microbatch: object, memory_budget: object, size: object
) -> None:
    if not isinstance(model, nn.Module):
        raise InvalidArgument(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if data is None:
        raise InvalidArgument("data is missing: pass (x, y), a list of batches, a Dataset or a DataLoader")
    _check_batchnorm(model, batchnorm)
    for name, value in (("microbatch", microbatch), ("batch_size", size)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise InvalidArgument(f"{name} must be an integer of at least 1, got {value!r}")
    if memory_budget is not None and (not isinstance(memory_budget, (int, float)) or memory_budget < 0):
        raise InvalidArgument(f"memory_budget must be a number of bytes, got {memory_budget!r}")


def _check_batchnorm(model: nn.Module, batchnorm: str) -> None:
    if batchnorm not in get_args(BatchNorm):
        raise InvalidArgument(f'batchnorm must be "eval", "batch" or "recalibrate", got {batchnorm!r}')
    if batchnorm == "recalibrate" and not batchnorms(model):
        raise InvalidArgument(
            'batchnorm="recalibrate" needs batch-norm layers with running statistics: use "eval"'
        )
