"""Whatever is found in networks put together at random leaves their output as it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.landscape.symmetry.models import unlike
from torch import Tensor, nn

from thalweg.landscape.symmetry.structure import groups_of
from thalweg.landscape.symmetry.trace import follow
from thalweg.landscape.symmetry.verification import changes_output

ORDER = torch.randperm(12, generator=torch.Generator().manual_seed(0))

# Functions of 12 units h (b, 12) and a layer of 12, seen also as 3 heads of 4.
STEPS: dict[str, Callable[[Tensor, nn.Linear], Tensor]] = {
    "relu": lambda h, layer: h.relu(),
    "softmax": lambda h, layer: h.softmax(-1),
    "layer": lambda h, layer: layer(h),
    "residual": lambda h, layer: h + layer(h.tanh()),
    "weights first": lambda h, layer: h @ (layer.weight.t() @ layer.weight),
    "normalized": lambda h, layer: F.layer_norm(h, (12,), layer.bias),
    "in groups": lambda h, layer: F.group_norm(h, 3),
    "gated": lambda h, layer: torch.cat([h[:, :6] * h[:, 6:].sigmoid(), h[:, 6:]], 1),
    "heads": lambda h, layer: h.view(-1, 3, 4).softmax(-1).reshape(-1, 12),
    "attention": lambda h, layer: (
        (h.view(-1, 3, 4) @ h.view(-1, 3, 4).mT).softmax(-1) @ h.view(-1, 3, 4)
    ).reshape(-1, 12),
    "transposed": lambda h, layer: h.view(-1, 3, 4).mT.reshape(-1, 12),
    "one for all heads": lambda h, layer: F.linear(h.view(-1, 3, 4), layer.weight[:4, :4]).reshape(-1, 12),
    "head by head": lambda h, layer: torch.cat(
        [(number + 1) * head.softmax(-1) for number, head in enumerate(h.view(-1, 3, 4).unbind(1))], 1
    ),
    "shifted": lambda h, layer: F.pad(h[:, 2:10], (1, 3)),
    "halves exchanged": lambda h, layer: h + torch.cat([h[:, 6:], h[:, :6]], 1),
    "stacked": lambda h, layer: torch.stack([h, layer(h)], 1).amax(1),
    "reordered": lambda h, layer: h.index_select(1, ORDER),
    "repeated": lambda h, layer: h[:, :3, None].expand(-1, 3, 4).reshape(-1, 12) + h,
    "outer product": lambda h, layer: (h[:, :4, None] * h[:, None, 4:7]).reshape(-1, 12),
    "in place": lambda h, layer: h.clone().add_(h.mean(1, keepdim=True)).mul_(2),
    "into zeros": lambda h, layer: torch.zeros(len(h), 12).index_copy_(1, ORDER[:3], h[:, :3]) + h,
}


class Steps(nn.Module):
    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 12), nn.Linear(12, 3)
        self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in names)
        self.names = names

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for name, layer in zip(self.names, self.layers, strict=True):
            h = STEPS[name](h, layer)
        return self.last(h)


@given(st.lists(st.sampled_from(list(STEPS)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_groups_of_random_networks_leave_the_output_as_it_is(names: list[str]) -> None:
    model = unlike(lambda: Steps(names))
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    groups = groups_of(follow(model, x))
    for seed in range(2):
        assert not changes_output(model, x, groups, seed)
