from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.initialization.models import Branches, state, unchanged
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.initialization import SymmetryAudit, initialize, symmetry
from thalweg.problems.character_gpt import CharacterGPT
from thalweg.problems.resnet import ResNet

SIZES = (5, 8, 6, 3)


def perceptron(activation: Callable[[], nn.Module], seed: int = 0) -> nn.Sequential:
    a, b, c, d = SIZES
    model = nn.Sequential(
        nn.Linear(a, b), activation(), nn.Linear(b, c), activation(), nn.Linear(c, d)
    ).double()
    initialize(model, seed=seed)
    return model


def filled(model: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(40, SIZES[0], generator=draw, dtype=torch.float64), torch.arange(40) % SIZES[-1]


def trained(model: nn.Module, steps: int = 20) -> nn.Module:
    """Plain SGD, as a user does it."""
    x, y = batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def spread(model: nn.Module, name: str, group: tuple[int, ...]) -> float:
    rows = model.get_parameter(name).detach()[list(group)]
    return float((rows - rows[0]).abs().max())


def groups(found: SymmetryAudit) -> dict[str, tuple[tuple[int, ...], ...]]:
    return {entry.layer: entry.groups for entry in found.symmetric}


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
@pytest.mark.parametrize(("value", "start"), [(0.0, "all zero"), (0.1, "all equal")])
def test_equal_layers_are_found_and_stay_equal_when_trained(
    activation: Callable[[], nn.Module], value: float, start: str
) -> None:
    model = filled(perceptron(activation), value)
    found = symmetry(model, batch()[0])
    assert found.verdict == "symmetric"
    assert groups(found) == {"0": (tuple(range(8)),), "2": (tuple(range(6)),)}
    assert {entry.start for entry in found.symmetric} == {start}
    assert [entry.layer for entry in found.harmless] == ["4"]
    trained(model)
    for entry in found.symmetric:
        # Equal up to rounding in double precision, twenty times.
        assert spread(model, entry.parameter, entry.groups[0]) < 1e-12
    assert spread(model, "4.weight", (0, 1, 2)) > 1e-3 or not model.get_parameter("4.weight").any()


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(0, 7), min_size=2, max_size=5, unique=True),
    st.booleans(),
    st.integers(0, 1000),
)
def test_duplicated_units_stay_so_exactly_when_what_leaves_them_is_equal_too(
    units: list[int], outgoing: bool, seed: int
) -> None:
    model = perceptron(nn.Tanh, seed)
    with torch.no_grad():
        for name in ("0.weight", "0.bias"):
            parameter = model.get_parameter(name)
            parameter[units] = parameter[units[0]].clone()
        if outgoing:
            model[2].weight[:, units] = model[2].weight[:, units[:1]].clone()
    found = symmetry(model, batch()[0])
    group = tuple(sorted(units))
    assert groups(found) == ({"0": (group,)} if outgoing else {})
    assert [entry.start for entry in (found.symmetric if outgoing else found.harmless)] == ["identical units"]
    trained(model)
    if outgoing:
        assert spread(model, "0.weight", group) < 1e-12
    else:
        assert spread(model, "0.weight", group) > 1e-6


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_random_weights_are_no_symmetry_and_part(activation: Callable[[], nn.Module]) -> None:
    model = perceptron(activation)
    found = symmetry(model, batch()[0])
    assert found.verdict == "broken"
    assert not found.symmetric
    assert not found.harmless
    trained(model)
    assert all(torch.unique(model[i].weight, dim=0).shape[0] == model[i].out_features for i in (0, 2, 4))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_a_head_of_zeros_over_distinct_features_is_harmless(activation: Callable[[], nn.Module]) -> None:
    model = perceptron(activation)
    nn.init.zeros_(model[4].weight)
    found = symmetry(model, batch()[0])
    assert found.verdict == "broken"
    assert [(entry.layer, entry.start) for entry in found.harmless] == [("4", "all zero")]
    trained(model)
    assert spread(model, "4.weight", (0, 1, 2)) > 1e-3


def test_zeros_before_a_relu_are_stuck_and_before_a_tanh_they_are_not() -> None:
    for activation, stuck in ((nn.ReLU, True), (nn.Tanh, False)):
        model = perceptron(activation)
        nn.init.zeros_(model[0].weight)
        found = symmetry(model, batch()[0])
        assert (found.verdict == "symmetric") is stuck
        entries = found.symmetric if stuck else found.harmless
        assert entries[0].moves is not stuck
        trained(model)
        assert bool(model[0].weight.any()) is not stuck


def test_zero_ends_of_residual_branches_are_harmless() -> None:
    torch.manual_seed(0)
    model = CharacterGPT(20, layers=2, width=16, heads=2, context=8, tied=False)
    for name, parameter in model.named_parameters():
        if name.endswith(("contract.weight", "attention.output.weight", "head.weight")):
            nn.init.zeros_(parameter)
    found = symmetry(model)
    assert found.verdict == "broken"
    assert len(found.harmless) == 5
    branches = Branches(3, 6)
    for outer in branches.outer:
        nn.init.zeros_(outer.get_parameter("weight"))
    assert symmetry(branches).verdict == "broken"


def test_new_channels_that_start_at_zero_before_a_relu_are_stuck() -> None:
    """A parameter-free shortcut pads new channels with zeros; a zero branch added to them never gets a gradient."""
    model = ResNet(8, width=0.25, batchnorm=False)
    for name, parameter in model.named_parameters():
        if name.endswith("conv2.weight"):
            nn.init.zeros_(parameter)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = symmetry(model, x)
    # From 4 to 8 channels with two new ones on each side, then from 8 to 16.
    assert groups(found)["blocks.1.conv2"] == ((0, 1, 6, 7),)
    assert [entry.layer for entry in found.harmless] == ["blocks.0.conv2"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), torch.arange(4)).backward()
        optimizer.step()
    weight = model.get_parameter("blocks.1.conv2.weight")
    assert not weight[[0, 1, 6, 7]].any()
    assert bool(weight[2:6].any())


def test_an_equal_convolution_between_equal_ones() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(80, 2),
    )
    nn.init.constant_(model[0].weight, 0.1)
    nn.init.zeros_(model[0].bias)
    x = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert symmetry(model, x).verdict == "broken"
    nn.init.constant_(model[3].weight, 0.1)
    assert groups(symmetry(model, x)) == {"0": ((0, 1, 2, 3),)}


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_layers(kind: Callable[..., nn.Module]) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = kind(3, 8, batch_first=True)
            self.head = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.memory(x)[0][:, -1])

    model = Model()
    assert symmetry(model).verdict == "broken"
    filled(model, 0.1)
    nn.init.constant_(model.head.weight, 0.2)
    found = symmetry(model)
    assert {entry.parameter for entry in found.symmetric} == {"memory.weight_ih_l0", "memory.weight_hh_l0"}
    assert all(entry.groups[0] == tuple(range(8)) for entry in found.symmetric)
    model(torch.randn(2, 5, 3)).sum().backward()
    assert model.get_parameter("memory.weight_hh_l0").grad is not None


def test_what_x_does_not_reach_and_what_is_frozen() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.frozen = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)
            nn.init.zeros_(self.unused.weight)
            nn.init.zeros_(self.unused.bias)
            self.frozen.requires_grad_(False)
            nn.init.zeros_(self.frozen.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.frozen(torch.relu(self.used(x)))

    found = symmetry(Model(), torch.randn(5, 3))
    assert found.verdict == "undetermined"
    assert [entry.layer for entry in found.unreached] == ["unused"]


def test_without_an_input_nothing_is_rehearsed() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.layer(x + y)

    model = Two()
    assert symmetry(model).verdict == "broken"
    filled(model, 0)
    found = symmetry(model)
    assert (found.verdict, found.rehearsed) == ("undetermined", False)
    assert "pass x" in str(found)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.ReLU(), nn.Linear(4, 2))
    nn.init.zeros_(model[4].weight)
    nn.init.zeros_(model[4].bias)
    model(torch.randn(6, 4)).sum().backward()
    before, gradient = state(model), model[0].weight.grad
    torch.manual_seed(5)
    random = torch.get_rng_state()
    first, second = symmetry(model, torch.ones(3, 4)), symmetry(model, torch.ones(3, 4))
    assert first == second
    assert unchanged(model, before)
    assert model.training
    assert model[0].weight.grad is gradient
    assert torch.equal(random, torch.get_rng_state())


def test_the_report_reads() -> None:
    text = str(symmetry(filled(perceptron(nn.Tanh), 0.1), batch()[0]))
    assert text.splitlines()[0].startswith("symmetric: units that start identical stay identical")
    assert "0.weight: all equal; units 0–7; identical still after" in text
    assert "4.weight: all equal; units 0–2; harmless" in text


def test_bad_input() -> None:
    with pytest.raises(InvalidArgument, match="model has no parameters"):
        symmetry(nn.Sequential(nn.ReLU()))
    with pytest.raises(
        InvalidArgument, match=r"^x: the model refused this Tensor of shape \(2, 9\): [^\n]*$"
    ):
        symmetry(nn.Linear(4, 2), torch.zeros(2, 9))
