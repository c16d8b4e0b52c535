"""Whether a model's signals and gradients get through its layers, on real data and before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.initialization.draw import generator
from thalweg.initialization.faults import Fault, Verdict, find_faults
from thalweg.initialization.initialize import check_parameters
from thalweg.initialization.propagation import LayerSignal, layer_signals, slope_per_layer
from thalweg.initialization.sample import call, first_line, undisturbed
from thalweg.initialization.signals import Recorder, layer_modules, random_cotangent
from thalweg.numbers import number

BatchNorm: TypeAlias = Literal["batch", "eval"]


@dataclass(frozen=True)
class SignalAudit:
    """How signals and gradients pass the layers of a model.

    layers: one entry per call of a layer, in order. faults: all that were found, the worst first.
    verdict: of the worst, "vanishing", "exploding" or "not finite", or "healthy". first_bad: name of the layer where
    the worst first happens, going forward or, for the gradient, back from the output; None when healthy.
    reason: in words, of the worst and then of the others. forward_slope: least-squares slope of log2 of the
    output's mean square per layer; backward_slope: the same of the gradient's, per layer back from the output.
    batchnorm: how batch-norm layers normalized. followed: whether the operations between the layers were seen.
    """

    layers: tuple[LayerSignal, ...]
    verdict: Verdict
    first_bad: str | None
    reason: str
    forward_slope: float
    backward_slope: float
    batchnorm: BatchNorm
    followed: bool
    faults: tuple[Fault, ...] = ()

    def __str__(self) -> str:
        head = ("layer", "mean output²", "mean gradient²", "‖weight gradient‖", "activation")
        rows = [head, *(_row(layer, layer.name == self.first_bad) for layer in self.layers)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(w) if i in (0, 4) else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        forward, back = (
            "–" if slope != slope else number(slope, 2) for slope in (self.forward_slope, self.backward_slope)
        )
        slopes = f"slope of log2 of the mean square per layer: {forward} forward, {back} back"
        return "\n".join([*(line.rstrip() for line in lines), slopes, f"{self.verdict}: {self.reason}"])


def audit(
    model: nn.Module,
    x: Any,
    *,
    loss_fn: Callable[[Any, Any], Tensor] | None = None,
    target: Any = None,
    batch_loss: Callable[[nn.Module, Any], Tensor] | None = None,
    batchnorm: BatchNorm = "batch",
    limit: float = 1e3,
    seed: int | torch.Generator = 0,
) -> SignalAudit:
    """Measure output and gradient of every layer on a batch and name those at which either is lost or blows up.

    A layer is bad when the root mean square of its output is below 1/limit or above `limit` times that of the first
    layer since the signal was last normalized; when all its units are zero after a ReLU for every sample; when the
    part of its output that differs between samples has shrunk by that much (saturating sigmoids pass on a constant);
    or when the gradient at its output, per unit and summed over pixels or tokens, is that much smaller or larger
    than at the last layer's, inside a residual branch than at the branch's last.

    What ends the model or a residual branch may be small or zero: a head of zeros learns in the first step (the
    gradient is then started at its input), and a branch that is switched off loses nothing.

    Parameters
    ----------
    x: a batch on which model(x) works (model(**x) for a dict); real data shows what training will see.
    loss_fn, target: the gradient is that of loss_fn(model(x), target), its mean if it is not a scalar.
    batch_loss: or that of batch_loss(model, x). Without either it is that of ⟨r, model(x)⟩, r standard normal from
        `seed`.
    batchnorm: "batch": batch-norm layers use the batch's statistics, as in training; "eval": their running ones.
        Dropout is off in both.
    limit: a factor in scale, above 1.

    The model's parameters, gradients, buffers and mode, and the global random state are as before.

    Raises
    ------
    InvalidArgument: a model without layers or parameters, an x that it refuses, a loss that fails, other bad arguments.

    Sources: Glorot & Bengio (2010); He et al. (2015); Poole et al. (2016), Schoenholz et al. (2017) on samples that
    become alike.
    """
    _check(model, loss_fn, batch_loss, batchnorm, limit)
    draw = generator(seed)

    def forward() -> Any:
        return call(model, x) if batch_loss is None else _loss("batch_loss", partial(batch_loss, model, x))

    def quantity(output: Any) -> Tensor | None:
        if batch_loss is not None:
            return output
        return (
            random_cotangent(output, draw)
            if loss_fn is None
            else _loss("loss_fn", partial(loss_fn, output, target))
        )

    with undisturbed(model, batchnorm), torch.enable_grad():
        recorder, output = _recorded(model, forward)
        total = quantity(output)
    if not recorder.passages:
        raise InvalidArgument("x: model(x) called none of the model's layers, so there is nothing to measure")
    with torch.enable_grad():
        _start_behind_zero_heads(recorder, total, draw)
    passages = recorder.passages
    signals = layer_signals(passages)
    faults = find_faults(signals, passages, limit)
    return SignalAudit(
        signals,
        faults[0].verdict if faults else "healthy",
        faults[0].first if faults else None,
        _reason(faults, limit),
        slope_per_layer([signal.mean_square for signal in signals]),
        slope_per_layer([signal.gradient or 0.0 for signal in reversed(signals)]),
        batchnorm,
        recorder.follow,
        faults,
    )


def _reason(faults: Sequence[Fault], limit: float) -> str:
    if not faults:
        return f"no layer is beyond a factor of {number(limit)} in scale, forward or back"
    worst, *others = (fault.reason for fault in faults)
    return f"{worst}. Also {'. And '.join(others)}" if others else worst


def _recorded(model: nn.Module, forward: Callable[[], Any]) -> tuple[Recorder, Any]:
    """The recorded calls of the layers and the result; not followed between the layers where that fails."""
    try:
        recorder = Recorder(model)
        with recorder.watching():
            return recorder, forward()
    except Exception:
        recorder = Recorder(model, follow=False)
        with recorder.watching():
            return recorder, forward()


def _start_behind_zero_heads(recorder: Recorder, total: Tensor | None, draw: torch.Generator) -> None:
    """Differentiate `total`; a head of zeros passes no gradient on, so a random one is started at its input."""
    for passage in recorder.passages:
        ends = passage.use is None or not passage.use.consumed
        if passage.silent and ends and passage.input is not None:
            started = random_cotangent(passage.input, draw)
            total = started if total is None or started is None else total + started
    if total is not None:
        recorder.propagate_back(total)


def _loss(argument: str, loss: Callable[[], Any]) -> Tensor:
    try:
        value = loss()
    except InvalidArgument:
        raise
    except Exception as error:
        raise InvalidArgument(f"{argument}: it failed on this batch: {first_line(error)}") from error
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise InvalidArgument(f"{argument} must return a floating-point tensor, got {type(value).__name__}")
    return value.mean()


def _check(model: nn.Module, loss_fn: object, batch_loss: object, batchnorm: str, limit: float) -> None:
    check_parameters(model)
    if not layer_modules(model):
        raise InvalidArgument(
            f"model: {type(model).__name__} has no layer with weights (two dimensions or more)"
        )
    if loss_fn is not None and batch_loss is not None:
        raise InvalidArgument("give loss_fn with target, or batch_loss, not both")
    if batchnorm not in get_args(BatchNorm):
        raise InvalidArgument(f'batchnorm must be "batch" or "eval", got {batchnorm!r}')
    if not limit > 1:
        raise InvalidArgument(f"limit must be above 1, got {limit}")


def _row(layer: LayerSignal, bad: bool) -> tuple[str, ...]:
    notes = [layer.activation or ""]
    if layer.dead:
        notes.append(f"{layer.dead:.0%} dead")
    if layer.saturated:
        notes.append(f"{layer.saturated:.0%} saturated")
    if bad:
        notes.append("<- first bad")
    gradient = "–" if layer.gradient is None else number(layer.gradient, 3)
    weight = "–" if layer.weight_gradient is None else number(layer.weight_gradient, 3)
    return layer.name, number(layer.mean_square, 3), gradient, weight, " ".join(filter(None, notes))
