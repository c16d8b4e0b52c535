"""Which units are found exchangeable, and that whatever is not understood stays where it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.landscape.symmetry.models import ZOO, unlike
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.landscape import permutations
from thalweg.landscape.symmetry.structure import groups_of
from thalweg.landscape.symmetry.trace import follow
from thalweg.landscape.symmetry.verification import changes_output


class Function(nn.Module):
    """Layers 4-6 and 6-3 with `between` applied to the hidden units."""

    def __init__(self, between, width: int = 6, out: int | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.last = nn.Linear(out or width, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x)))


def sizes(model: nn.Module, x: Tensor | None = None) -> list[int]:
    """The sizes of the groups that the trace alone finds, each seen to leave the output as it is."""
    torch.manual_seed(0)
    x = torch.randn(5, 4) if x is None else x
    groups = groups_of(follow(model, x))
    assert not changes_output(model, x, groups)
    return [group.size for group in groups]


EXCHANGEABLE = {
    "relu": F.relu,
    "softmax": lambda h: h.softmax(-1),
    "layer norm": lambda h: F.layer_norm(h, (6,)),
    "norm": lambda h: h / h.norm(dim=-1, keepdim=True),
    "rms by hand": lambda h: h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6),
    "minus the largest": lambda h: h - h.amax(-1, keepdim=True),
    "standardized": lambda h: (h - h.mean(1, keepdim=True)) / h.std(1, keepdim=True),
    "transposed twice": lambda h: (h.t() * 2).t(),
    "reshaped": lambda h: h.reshape(5, 3, 2).reshape(5, 6),
    "einsum": lambda h: torch.einsum("bi,bi->bi", h, h),
    "masked": lambda h: h.masked_fill(h < 0, 0.0),
    "in place": lambda h: h.clone().mul_(2).relu_(),
    "twice": lambda h: torch.where(h > 0, h, h.exp() - 1),
    "a zero state": lambda h: torch.zeros_like(h) + h,
}


def _written(h: Tensor) -> Tensor:
    out = torch.zeros(5, 6)
    out[:, :3] = h[:, :3]
    return out + h


def _written_unit_by_unit(h: Tensor) -> Tensor:
    out = torch.zeros(6)
    view = out.view(2, 3)
    for unit in range(6):
        out[unit] = h[:, unit].sum() * (unit + 1)
    return h * view.view(6)


# What the operation does depends on the units' order.
ORDERED = {
    "cumulative sum": lambda h: h.cumsum(-1),
    "rolled": lambda h: h + h.roll(1, -1),
    "reversed": lambda h: h + h.flip(-1),
    "times its number": lambda h: h * torch.arange(6.0),
    "sorted": lambda h: h.sort(-1).values,
    "picked": lambda h: h + h[:, :1] * h[:, 1:2],
    "every other": lambda h: h * h[:, ::2].sum(-1, keepdim=True) + h[:, [0, 2]].sum(),
    "fourier": lambda h: torch.fft.fft(h).real,
    "the largest's number": lambda h: h * h.max(-1, keepdim=True).indices,
    "a convolution over units": lambda h: F.avg_pool1d(h[:, None], 3, 1, 1)[:, 0],
    "written into zeros": _written,
    "written into zeros one by one": _written_unit_by_unit,
    "cut and joined otherwise": lambda h: h.reshape(5, 2, 3).transpose(1, 2).reshape(5, 6) + h,
}


@pytest.mark.parametrize("name", EXCHANGEABLE)
def test_equivariant_functions_leave_units_free(name: str) -> None:
    expected = [3] if name == "reshaped" else [6]
    found = sizes(unlike(lambda: Function(EXCHANGEABLE[name])))
    # Cut into 3 pairs and joined again nothing happened, but the trace keeps the pairs together.
    assert found == expected


@pytest.mark.parametrize("name", ORDERED)
def test_functions_of_order_pin_units(name: str) -> None:
    model = unlike(lambda: Function(ORDERED[name]))
    assert 6 not in sizes(model)
    # The oracle: a permutation of all hidden units does change the output.
    x, order = torch.randn(5, 4), torch.tensor([3, 0, 5, 1, 2, 4])
    before = model(x)
    with torch.no_grad():
        model.first.weight.copy_(model.first.weight[order])
        model.first.bias.copy_(model.first.bias[order])
        model.last.weight.copy_(model.last.weight[:, order])
    assert not torch.allclose(model(x), before, atol=1e-3)


PARTS = {
    "gated in halves": (lambda h: F.silu(h[:, :3]) * h[:, 3:], 3, [3]),
    "glu": (lambda h: F.glu(h), 3, [3]),
    "two functions": (lambda h: torch.cat([h[:, :4].relu(), h[:, 4:].tanh()], 1), 6, [4, 2]),
    # What multiplies the zeros may be permuted, too.
    "padded": (lambda h: F.pad(h, (2, 2)), 10, [6, 4]),
    "one taken out": (lambda h: h * h[:, :1], 6, [5]),
    "maxout": (lambda h: h.reshape(5, 3, 2).amax(-1), 3, [3]),
    "grouped norm": (lambda h: F.group_norm(h, 2), 6, [2]),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_layers(name: str) -> None:
    between, out, expected = PARTS[name]
    assert sizes(unlike(lambda: Function(between, out=out))) == expected


class Vision(nn.Module):
    """Attention with its queries, keys and values packed as (3, heads, dimensions), a class token, a gated layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.norm = nn.LayerNorm(8)
        self.packed = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1)
        packed = self.packed(self.norm(x)).reshape(len(x), -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        query, key, value = packed.unbind(0)
        weights = (query @ key.transpose(-2, -1) / 2).softmax(-1)
        x = x + self.out((weights @ value).transpose(1, 2).flatten(2))
        return self.head(x[:, 0])


def test_attention_written_out_with_packed_heads() -> None:
    model, x = unlike(Vision), torch.randn(3, 5, 4)
    groups = groups_of(follow(model, x))
    assert not changes_output(model, x, groups)
    assert [group.size for group in groups] == [8, 2]
    assert [[inner.size for inner in unit] for unit in groups[1].inner] == [[4, 4], [4, 4]]


def test_pytorchs_own_transformer_layer() -> None:
    layer = unlike(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 2))
    )
    groups = groups_of(follow(layer, torch.randn(5, 3, 4)))
    assert not changes_output(layer, torch.randn(5, 3, 4), groups)
    assert [group.size for group in groups] == [8, 2, 16]
    assert [inner.size for inner in groups[1].inner[0]] == [4, 4]


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(4, 6, num_layers=2, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.memory(x)[0][:, -1])


def test_two_layers_of_lstm() -> None:
    assert sizes(unlike(Lstm), torch.randn(3, 7, 4)) == [6, 6]


def test_depthwise_convolutions_are_channels_and_grouped_ones_are_pinned() -> None:
    def network(groups: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=groups), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)
        )

    x = torch.randn(2, 3, 4, 4)
    assert sizes(unlike(lambda: network(6)), x) == [6]
    assert sizes(unlike(lambda: network(1)), x) == [6, 6]
    assert sizes(unlike(lambda: network(2)), x) == []


def test_the_residual_streams_of_a_resnet() -> None:
    model, x, _, _ = ZOO["resnet"]()
    graph = permutations(model, x)
    stream = graph.groups[0].places
    # The first stage's channels go on through the zero-padded shortcuts to the head, with all norms on the way.
    for place in [("conv.weight", 0), ("blocks.0.conv2.weight", 0), ("blocks.1.norm2.running_mean", 0)]:
        assert place in stream
    assert stream["head.weight", 1].shape == (8, 1)
    assert stream["head.weight", 1].ravel().tolist() == list(range(12, 20))


def test_an_unknown_operation_is_named() -> None:
    graph = permutations(unlike(lambda: Function(lambda h: h.cumsum(-1))))
    assert graph.groups == ()
    assert graph.count == 1
    assert "cumsum is not understood" in graph.pinned["first.weight", 0]


class Auxiliary(Function):
    """In training a second head, which looks at the hidden units in their order."""

    def __init__(self) -> None:
        super().__init__(torch.relu)
        self.extra = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.between(self.first(x))
        if self.training:
            hidden = hidden + self.extra(hidden).cumsum(-1)
        return self.last(hidden)


def test_parts_that_work_only_in_training_count() -> None:
    assert sizes(unlike(Auxiliary)) == []


def test_parameters_without_use_are_pinned() -> None:
    model = unlike(lambda: Function(torch.relu))
    model.idle = nn.Linear(3, 7)
    graph = permutations(model, torch.randn(3, 4))
    assert [group.size for group in graph.groups] == [6]
    assert graph.pinned["idle.weight", 0] == "x does not reach it"


def test_declared_groups() -> None:
    model = unlike(lambda: Function(lambda h: h.cumsum(-1) - h.cumsum(-1) + h))
    places = [("first.weight", 0), ("first.bias", 0), ("last.weight", -1)]
    assert permutations(model).groups == ()
    graph = permutations(model, declared={"hidden": places})
    assert [(group.name, group.size, group.count) for group in graph.groups] == [("hidden", 6, 720)]
    with pytest.raises(InvalidArgument, match="declared: permuting 'hidden' changes the model's output"):
        permutations(model, declared={"hidden": places[:2]})
    with pytest.raises(InvalidArgument, match="declared: 'hidden' names 'first', which is no parameter"):
        permutations(model, declared={"hidden": [("first", 0)]})
    with pytest.raises(
        InvalidArgument, match=r"declared: 'hidden' names axis 2 of first.weight, whose shape is"
    ):
        permutations(model, declared={"hidden": [("first.weight", 2)]})
    with pytest.raises(
        InvalidArgument, match="declared: 'hidden' has 4 units, which do not divide the 6 of axis 0"
    ):
        permutations(model, declared={"hidden": [("first.weight", 0), ("first.weight", 1)]})


def test_declared_channels_before_a_flattened_layer() -> None:
    model, _, _, _ = ZOO["conv without batch-norm"]()
    places = [("conv2.weight", 0), ("conv2.bias", 0), ("head.weight", 1)]
    assert permutations(model, declared={"channels": places}).groups[0].size == 10


def test_no_input_can_be_made_up() -> None:
    class Two(Function):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return super().forward(x + y)

    with pytest.raises(InvalidArgument, match="x: none was given and none could be made up"):
        permutations(Two(torch.relu))
    assert [
        g.size for g in permutations(Two(torch.relu), {"x": torch.ones(2, 4), "y": torch.ones(2, 4)}).groups
    ] == [6]
