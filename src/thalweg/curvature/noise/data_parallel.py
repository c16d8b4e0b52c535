"""The norms that a running noise scale needs, from data-parallel training."""

# Without postponed annotations: DistributedDataParallel compares the hook's with its own types.

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from thalweg.curvature.noise.online import OnlineNoiseScale


class RankNorms:
    """Squared norms of each rank's own gradient and of their mean, taken as gradients are exchanged.

    meter: gets them, with `small` the batch of a rank and `big` that of all. group: the ranks, all of them when None.

    >>> # norms = RankNorms(OnlineNoiseScale(small=32, big=32 * world_size))
    >>> # model.register_comm_hook(norms, rank_norms)     # a DistributedDataParallel model
    >>> # loss.backward(); norms.update(); optimizer.step()
    """

    def __init__(self, meter: OnlineNoiseScale, group: dist.ProcessGroup | None = None) -> None:
        self.meter, self.group = meter, group
        self._own: Tensor | None = None
        self._mean: Tensor | None = None

    def update(self) -> None:
        """Give the meter the norms of this backward pass; call it after each on every rank: it exchanges one number.

        A pass in which no gradients were exchanged, as under `no_sync`, is left out.
        """
        own, mean = self._own, self._mean
        self._own = self._mean = None
        if own is None or mean is None:
            return
        dist.all_reduce(own, group=self.group)
        self.meter.update(float(own) / dist.get_world_size(self.group), float(mean))

    def add(self, own: Tensor | None, mean: Tensor | None) -> None:
        """Add the squared norm of a part of the gradients, of this rank's or of the mean."""
        if own is not None:
            self._own = own if self._own is None else self._own + own
        if mean is not None:
            self._mean = mean if self._mean is None else self._mean + mean


def rank_norms(
    state: RankNorms,
    bucket: dist.GradBucket,  # pyright: ignore[reportPrivateImportUsage]
) -> torch.futures.Future[torch.Tensor]:
    """Average gradients over ranks, as is done without a hook, and note their norms before and after in `state`."""
    buffer = bucket.buffer()
    state.add(_square(buffer), None)
    buffer.div_(dist.get_world_size(state.group))
    work: Any = dist.all_reduce(buffer, group=state.group, async_op=True)

    def averaged(future: torch.futures.Future[Any]) -> Tensor:
        mean = future.value()[0]
        state.add(None, _square(mean))
        return mean

    return work.get_future().then(averaged)


def _square(gradient: Tensor) -> Tensor:
    # float32: half precision overflows, and not every device has float64.
    return torch.linalg.vector_norm(
        gradient.detach(), dtype=torch.promote_types(gradient.dtype, torch.float32)
    ).square()
