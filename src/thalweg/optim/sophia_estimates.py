"""Estimates of a Hessian's diagonal on one batch: Hutchinson's, and Gauss-Newton-Bartlett's with sampled labels."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from thalweg.objective import Objective
from thalweg.objective.batch_loss import BatchLoss
from thalweg.objective.batches import Batch
from thalweg.objective.linearization import (
    KeptHessian,
    difference_product,
    gradient,
    is_missing_second_derivative,
    require_full_precision,
)
from thalweg.optim.sampled_gradient import sampled_output_gradient


def hutchinson(objective: Objective, batch: Batch, signs: Tensor) -> Tensor:
    """ĥ = u ⊙ Hu on a batch at the objective's point, shape (n,); its mean over random signs u (n,) is diag H.

    H is the Hessian of the mean loss, by double backward, or by central differences of gradients where the model has
    no second derivative (said in `objective.notes`). With more than one process it is the mean over all of them,
    which must give the same signs. Raises NotDifferentiable for half-precision parameters.

    Sources: Hutchinson (1989); Liu et al. (2024), algorithm 1.
    """
    require_full_precision(objective.dtype, "Hutchinson's estimate")

    def loss(theta: Tensor) -> Tensor:
        return objective.at_batch(theta, batch, {})

    theta = objective.point
    with objective.evaluating(derivatives=True):
        try:
            product = KeptHessian(loss, theta)(signs)
        except RuntimeError as error:
            if not is_missing_second_derivative(error):
                raise
            product, _ = difference_product(lambda point: gradient(loss, point), theta, signs)
            note = f"no second derivative ({str(error).splitlines()[0]}): Sophia's estimates are finite differences"
            if note not in objective.notes:
                objective.notes.append(note)
    total, count = sum_over_processes(product)
    return signs * total / count


def bartlett(objective: Objective, batch: Batch, draw: torch.Generator) -> Tensor:
    """ĥ = B·ĝ² on a batch at the objective's point, shape (n,); its mean is the diagonal of the Gauss-Newton matrix.

    ĝ is the gradient of the mean loss of B terms with labels drawn from the model's predictions. B is read off the
    loss (see `sampled_output_gradient`): tokens for language models, without those that are masked. With more than
    one process, ĝ and B are those of all batches together, and each must draw its own labels.

    Raises InvalidArgument for a loss without a likelihood, or where the model's output is not known.
    Sources: Liu et al. (2024), algorithm 2; Bartlett (1953).
    """
    with objective.evaluating(derivatives=False), torch.enable_grad():
        theta = objective.point.requires_grad_()
        output, target = objective.at_batch(theta, batch, {}, BatchLoss.output_target)
        if not output.requires_grad:
            return torch.zeros_like(theta)
        s = sampled_output_gradient(lambda z: objective.module.output_loss(z, target), output, draw)
        (g,) = torch.autograd.grad(output, theta, s, materialize_grads=True)
    total, count = sum_over_processes(g)
    return (total / math.sqrt(count)).square()


def random_signs(like: Tensor, draw: torch.Generator) -> Tensor:
    """Independent signs ±1 in the shape, type and device of `like`; the generator must be on that device."""
    return torch.empty_like(like).bernoulli_(0.5, generator=draw).mul_(2).sub_(1)


def generator(seed: int, number: int, device: torch.device, process: int = 0) -> torch.Generator:
    """The random numbers of estimate `number`: the same whenever it is made, so that no state needs saving."""
    (mixed,) = np.random.SeedSequence([seed, number, process]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(mixed) >> 1)


def sum_over_processes(v: Tensor) -> tuple[Tensor, int]:
    """The sum of v over the processes of torch.distributed's default group, and how many they are."""
    count = processes()
    if count > 1:
        dist.all_reduce(v)
    return v, count


def processes() -> int:
    """How many processes torch.distributed trains with, 1 without it."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_number() -> int:
    """This process's rank, 0 without torch.distributed."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
