"""Efficient SAM: a sparser ascent, and a second gradient on the samples whose loss it raised most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from thalweg.errors import ShapeMismatch
from thalweg.objective.batches import Batch, batch_size, plain
from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.sharpness.ascent import sam_point
from thalweg.optim.sharpness.sharpness_aware import Found, Group, SharpnessAware


class EfficientSAM(SharpnessAware):
    """Efficient SAM around any optimizer; it needs the loss of each sample, so it steps with a batch.

    ::

        def losses(model, batch):
            x, y = batch
            return cross_entropy(model(x), y, reduction="none")

        opt = EfficientSAM(SGD(model.parameters(), lr=0.1), model, losses)
        loss = opt.step((x, y))

    Two savings: each weight is perturbed with probability β only, by 1/β times as much (stochastic weight
    perturbation), and the second gradient is taken on the share γ of the batch whose loss rose most
    (sharpness-sensitive data selection). To know which rose, the batch passes forward once more without a
    gradient. The selected samples pass through batch-norm layers as a batch of their own; running statistics
    are updated in the first pass only. With dropout the rise of a loss contains that of the mask.

    Parameters
    ----------
    base: the optimizer that takes the steps; its groups may set `rho` each for themselves.
    losses: losses(model, batch) -> loss of each sample, shape (B,).
    rho: length ρ of SAM's ascent, which this one's equals on average over the masks.
    beta: probability β, in (0, 1]. gamma: share γ, in (0, 1]; at least one sample is selected.
    seed: of the masks; they depend on the step, and continue after load_state_dict.

    A batch is any nesting of tuples, lists and dicts of tensors whose first axis counts samples; tensors of
    another length go whole to every pass. The norm in the ascent is that of the whole gradient.

    Attributes: `samples`, `sample_backward_passes` and `extra_forward_passes` count samples, backward passes
    of samples and forward passes of samples beyond those of the two gradients.

    Raises InvalidArgument as `SAM` does, and for a `beta` or `gamma` that is not in (0, 1].

    Source: Du et al. (2022), Efficient sharpness-aware minimization for improved training of neural networks,
    algorithm 1; the authors' code draws one mask value for a whole tensor.
    """

    samples: int
    sample_backward_passes: int
    extra_forward_passes: int

    def __init__(
        self,
        base: Optimizer,
        model: nn.Module,
        losses: Callable[[Any, Batch], Tensor],
        rho: float = 0.05,
        beta: float = 0.5,
        gamma: float = 0.5,
        *,
        seed: int = 0,
    ) -> None:
        check.share(beta, "beta")
        check.share(gamma, "gamma")
        check.nonnegative(seed, "seed")
        super().__init__(base, model, rho=rho)
        self.losses, self.beta, self.gamma, self.seed = losses, beta, gamma, seed
        self.samples = self.sample_backward_passes = self.extra_forward_passes = 0
        self._draws: dict[torch.device, torch.Generator] = {}

    @property
    def cost(self) -> float:
        """Backward passes of samples per sample so far: about 1 + γ, 2 for SAM; NaN before the first step."""
        return self.sample_backward_passes / self.samples if self.samples else float("nan")

    def step(self, batch: Batch) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - it selects samples
        """Take a step of the base with the gradient of the selected samples at the perturbed point.

        Returns the mean loss of the whole batch at θ, shape (), detached. Gradients need not be cleared
        before. θ is put back, to the last bit, before the base steps, and also when a pass fails.

        Raises ShapeMismatch unless `losses` gives one loss for each sample; InvalidArgument between `ascend`
        and `restore`, and under a GradScaler.
        """
        self._refuse_scaler("efficient SAM; use autocast to bfloat16, which needs none, or SAM")
        self._refuse_ascended("step(batch)")
        batch = plain(batch)
        size = batch_size(batch)
        self.zero_grad()
        before = self._backward(batch, size)
        self.ascend()
        try:
            chosen = self._chosen(batch, before)
            if chosen is not None:
                batch = _selected(batch, chosen, size)
            used = len(self._backward(batch, size if chosen is None else len(chosen)))
        except BaseException:
            self.restore()
            raise
        self.samples += size
        self.sample_backward_passes += size + used
        self.extra_forward_passes += 0 if chosen is None else size
        self._descend()
        return before.mean()

    def restore(self) -> None:
        """Put the parameters back to where they were before `ascend`, without a step."""
        super().restore()
        self._draws = {}

    def _backward(self, batch: Batch, size: int) -> Tensor:
        with torch.enable_grad():
            losses = self._by_sample(self.losses(self.model, batch), size)
            losses.mean().backward()
        return losses.detach()

    def _chosen(self, batch: Batch, before: Tensor) -> Tensor | None:
        """Indices, in order, of the samples whose loss rose most; None for all of them."""
        count = max(1, round(self.gamma * len(before)))
        if count == len(before):
            return None
        with torch.no_grad():
            rise = self._by_sample(self.losses(self.model, batch), len(before)) - before
        return rise.topk(count).indices.sort().values

    def _by_sample(self, losses: Tensor, size: int) -> Tensor:
        if losses.shape != (size,):
            raise ShapeMismatch(
                f'losses must return the loss of each sample (reduction="none"), shape ({size},), '
                f"got {tuple(losses.shape)}"
            )
        return losses

    def _remember(self, found: Found) -> None:
        # Drawn where the parameters are, from a seed for this step: nothing but the count need be saved.
        entropy = np.random.SeedSequence((self.seed, self.gradient_evaluations))
        seed = int(entropy.generate_state(1, np.uint64)[0] >> 1)
        devices = {p.device for _, p, _ in found}
        self._draws = {device: torch.Generator(device).manual_seed(seed) for device in devices}

    def _point(self, p: Tensor, g: Tensor, norm: Tensor, rho: float, group: Group) -> Tensor:
        mask = torch.empty(p.shape, dtype=torch.bool, device=p.device)
        mask.bernoulli_(self.beta, generator=self._draws[p.device])
        return torch.where(mask, sam_point(p, g, norm, rho / self.beta), p)

    def _record(self) -> dict[str, int]:
        counts = ("samples", "sample_backward_passes", "extra_forward_passes")
        return {**super()._record(), **{name: getattr(self, name) for name in counts}}


def _selected(batch: Batch, chosen: Tensor, size: int) -> Batch:
    def piece(leaf: Any) -> Any:
        whole = not isinstance(leaf, Tensor) or not leaf.dim() or leaf.shape[0] != size
        return leaf if whole else leaf[chosen.to(leaf.device)]

    return tree_map(piece, batch)
