"""The gradient noise scale while a model trains, from norms that training computes anyway."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from thalweg.checks import below_one, positive
from thalweg.curvature.noise.estimate import Moments, NoiseScale, noise_scale
from thalweg.curvature.noise.from_batches import pair_estimates
from thalweg.errors import InvalidArgument


class OnlineNoiseScale:
    """A running noise scale from squared norms of the gradients of a small and of a big batch at each step.

    The small batch is one of those that make up the big one: a micro-batch of gradient accumulation, or the batch of
    one rank before gradients are averaged. Numerator and denominator of the noise scale are averaged over steps with
    weights that fall by `decay` with each, and divided only then; their spread over steps, which holds the drift of the
    gradient as well, gives the error.

    Parameters
    ----------
    small, big: samples in the batches, small < big.
    decay: what a step's weight keeps at the next one, in [0, 1).

    Raises
    ------
    InvalidArgument: sizes that are not positive or not in order, or a decay out of its range.

    Source: McCandlish et al. (2018), appendix A.1.

    With gradients accumulated over k micro-batches, the first of them is the small batch:

    >>> meter = OnlineNoiseScale(small=8, big=32)
    >>> # for step, micros in enumerate(loader_of_4_micro_batches):
    >>> #     for i, micro in enumerate(micros):
    >>> #         (loss(micro) / 4).backward()
    >>> #         if i == 0:
    >>> #             first = 4**2 * squared_norm(model.parameters())
    >>> #     meter.update(first, squared_norm(model.parameters()))
    """

    def __init__(self, small: float, big: float, decay: float = 0.99) -> None:
        self.small, self.big = _checked(small, big)
        below_one("decay", decay)
        self.decay = decay
        self.steps = 0
        self.skipped = 0
        self._gradients = 0.0
        self._weight = 0.0
        self._squared_weight = 0.0
        # Plain numbers: on so few, torch takes longer than some models' steps.
        self._mean = [0.0, 0.0]
        self._scatter = [0.0, 0.0, 0.0]

    def update(
        self,
        small_norm: float | Tensor | Sequence[float | Tensor],
        big_norm: float | Tensor,
        *,
        small: float | None = None,
        big: float | None = None,
    ) -> None:
        """Take in one step: ‖g‖² of the small batch, or of several for their mean, and of the big one.

        Both are of mean gradients, before clipping. `small` and `big` are the sizes at this step, where they change.
        Norms that are not finite, as mixed precision has at times, are counted in `skipped` and left out.
        """
        sizes = _checked(self.small if small is None else small, self.big if big is None else big)
        several = small_norm if isinstance(small_norm, Sequence) else [small_norm]
        if not several:
            raise InvalidArgument(
                "small_norm must hold the squared norm of at least one small batch, got none"
            )
        norms = (sum(float(norm) for norm in several) / len(several), float(big_norm))
        if min(norms) < 0:
            raise InvalidArgument(f"squared norms must not be negative, got {norms[0]:g} and {norms[1]:g}")
        if not all(map(math.isfinite, norms)):
            self.skipped += 1
            return
        found = pair_estimates(*norms, *sizes)
        self.steps += 1
        self._gradients += sizes[1]
        self._weight = self.decay * self._weight + 1
        self._squared_weight = self.decay**2 * self._squared_weight + 1
        trace, square = (new - old for new, old in zip(found, self._mean, strict=True))
        self._mean = [self._mean[0] + trace / self._weight, self._mean[1] + square / self._weight]
        products, share = (trace * trace, trace * square, square * square), 1 - 1 / self._weight
        self._scatter = [
            self.decay * old + share * new for old, new in zip(self._scatter, products, strict=True)
        ]

    @property
    def effective_steps(self) -> float:
        """How many equal steps would average as well as the weighted ones: at most (1+decay)/(1−decay)."""
        return self._weight**2 / self._squared_weight if self.steps else 0.0

    def estimate(self, rtol: float = 0.1) -> NoiseScale:
        """The noise scale now, converged where its standard error is at most rtol times its value.

        Raises InvalidArgument before the second step, for one has no spread.
        """
        positive("rtol", rtol)
        if self.effective_steps <= 1:
            raise InvalidArgument(
                f"the noise scale needs two steps or more that count, got {self.steps} with a decay of {self.decay}"
            )
        over = self._weight * (self.effective_steps - 1)
        first, mixed, second = (value / over for value in self._scatter)
        mean = torch.tensor(self._mean, dtype=torch.float64)
        covariance = torch.tensor([[[first, mixed], [mixed, second]]], dtype=torch.float64)
        moments = Moments(mean[:1], mean[1:], covariance, self.effective_steps - 1)
        return noise_scale(
            moments,
            (),
            gradients=round(self._gradients),
            converged=moments.met(rtol),
            method="online",
            sizes=(round(self.small), round(self.big)),
        )

    def state_dict(self) -> dict[str, Any]:
        """All that a continued run needs: numbers and lists of numbers."""
        return {
            "decay": self.decay,
            "steps": self.steps,
            "skipped": self.skipped,
            "gradients": self._gradients,
            "weight": self._weight,
            "squared_weight": self._squared_weight,
            "mean": list(self._mean),
            "scatter": list(self._scatter),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for name in self.state_dict():
            if name not in state:
                raise InvalidArgument(f"state lacks {name!r}: it must be what state_dict() gave")
        self.decay, self.steps, self.skipped = state["decay"], state["steps"], state["skipped"]
        self._gradients = state["gradients"]
        self._weight, self._squared_weight = state["weight"], state["squared_weight"]
        self._mean = list(state["mean"])
        self._scatter = list(state["scatter"])


def squared_norm(gradients: Iterable[Tensor]) -> float:
    """Σ‖g‖² over tensors; of parameters, over the gradients that they have.

    Raises InvalidArgument where parameters have no gradient at all.
    """
    every = [tensor.grad if isinstance(tensor, torch.nn.Parameter) else tensor for tensor in gradients]
    found = [tensor.detach() for tensor in every if tensor is not None]
    if not found:
        raise InvalidArgument("gradients: no parameter has one, call backward() before")
    norms = [torch.linalg.vector_norm(tensor) for tensor in found]
    return float(torch.stack([norm.to("cpu", torch.float64) for norm in norms]).square().sum())


def _checked(small: float, big: float) -> tuple[float, float]:
    positive("small", small)
    positive("big", big)
    if not small < big:
        raise InvalidArgument(f"small must be below big, got {small} and {big}")
    return small, big
