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
        # By bucket: those of several are averaged on several threads, and a running sum would lose some.
        self.own: dict[int, Tensor] = {}
        self.mean: dict[int, Tensor] = {}

    def update(self) -> None:
        """Give the meter the norms of this backward pass; call it after each on every rank: it exchanges one number.

        A pass in which no gradients were exchanged, as under `no_sync`, is left out.
        """
        if not self.own:
            return
        own, mean = _total(self.own), _total(self.mean)
        self.own, self.mean = {}, {}
        dist.all_reduce(own, group=self.group)
        self.meter.update(float(own) / dist.get_world_size(self.group), float(mean))


def rank_norms(
    state: RankNorms,
    bucket: dist.GradBucket,  # pyright: ignore[reportPrivateImportUsage]
) -> torch.futures.Future[torch.Tensor]:
    """Average gradients over ranks, as is done without a hook, and note their norms before and after in `state`."""
    buffer, place = bucket.buffer(), bucket.index()
    state.own[place] = _square(buffer)
    buffer.div_(dist.get_world_size(state.group))
    work: Any = dist.all_reduce(buffer, group=state.group, async_op=True)

    def averaged(future: torch.futures.Future[Any]) -> Tensor:
        mean = future.value()[0]
        state.mean[place] = _square(mean)
        return mean

    return work.get_future().then(averaged)


def _total(squares: dict[int, Tensor]) -> Tensor:
    """Their sum, in the order of the buckets whatever the order in which they came."""
    return torch.stack([squares[place] for place in sorted(squares)]).sum()


def _square(gradient: Tensor) -> Tensor:
    # float32: half precision overflows, and not every device has float64.
    return torch.linalg.vector_norm(
        gradient.detach(), dtype=torch.promote_types(gradient.dtype, torch.float32)
    ).square()
