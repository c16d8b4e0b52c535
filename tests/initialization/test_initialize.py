from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.initialization.models import Functional, chain, state, unchanged
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from thalweg.errors import InvalidArgument
from thalweg.initialization import initialize
from thalweg.problems.character_gpt import CharacterGPT


def reasons(model: nn.Module, **arguments: Any) -> dict[str, str]:
    report = initialize(model, **arguments)
    return {entry.name: entry.reason for entry in report.parameters}


@pytest.mark.parametrize(
    ("scheme", "oracle"),
    [
        ("xavier", lambda w: nn.init.xavier_normal_(w)),
        ("he", lambda w: nn.init.kaiming_normal_(w)),
        ("orthogonal", lambda w: nn.init.orthogonal_(w, gain=math.sqrt(2))),
    ],
)
@pytest.mark.parametrize("module", [nn.Linear(300, 100), nn.Conv2d(32, 64, 3)])
def test_the_papers_schemes_draw_what_torch_draws(scheme: Any, oracle: Any, module: nn.Module) -> None:
    model = nn.Sequential(module, nn.ReLU())
    entry = initialize(model, scheme, 0)["0.weight"]
    ours = module.get_parameter("weight").detach()
    expected = oracle(torch.empty_like(ours))
    # The deviation of k normal entries has relative error 1/√(2k) ≤ 0.6 %; five of those for two samples.
    assert float(ours.std()) == pytest.approx(float(expected.std()), rel=0.03)
    assert entry.std == pytest.approx(float(expected.std()), rel=0.03)
    assert entry.scheme == scheme
    assert not module.get_parameter("bias").any()


def test_auto_finds_activations_in_any_style() -> None:
    model = Functional()
    report = initialize(model, x=torch.randn(4, 5))
    assert report.traced
    found = {entry.name: (entry.scheme, entry.reason.split(" follows")[0]) for entry in report.parameters}
    assert found["leaky.weight"] == ("he", "leaky_relu")
    assert found["written_gelu.weight"] == ("he", "gelu")
    assert found["matrix"] == ("he", "silu")
    assert found["normed.weight"] == ("he", "relu")
    assert "a normalization" in report["normed.weight"].reason
    assert found["packed.weight"] == ("xavier", "linear")
    assert found["clamped.weight"] == ("he", "relu")
    assert found["squashed.weight"] == ("xavier", "tanh")
    assert found["head.weight"] == ("xavier", "linear")
    assert found["bias"][0] == "zero"
    assert report["leaky.weight"].std == pytest.approx(math.sqrt(2 / (1 + 0.3**2) / 5))
    # The bare matrix is used as h @ W: its rows are the inputs.
    assert report["matrix"].std == pytest.approx(report["matrix"].gain / math.sqrt(7))
    assert report["packed.weight"].std == pytest.approx(math.sqrt(2 / (12 + 3)))
    assert report["squashed.weight"].gain == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("activation", "scheme", "gain"),
    [
        (nn.ReLU(), "he", math.sqrt(2)),
        (nn.ReLU(inplace=True), "he", math.sqrt(2)),
        (nn.ReLU6(), "he", math.sqrt(2)),
        (nn.LeakyReLU(0.5), "he", math.sqrt(2 / 1.25)),
        (nn.PReLU(init=0.1), "he", math.sqrt(2 / 1.01)),
        (nn.SELU(), "lecun", 1.0),
        (nn.Tanh(), "xavier", 5 / 3),
        (nn.Sigmoid(), "xavier", 1.0),
        (nn.Softmax(dim=-1), "xavier", 1.0),
        (nn.Identity(), "xavier", 1.0),
    ],
)
@pytest.mark.parametrize("traced", [True, False])
def test_modules_as_activations(activation: nn.Module, scheme: str, gain: float, traced: bool) -> None:
    class Needy(nn.Sequential):
        """Takes two arguments, so that no input can be made up."""

        def forward(self, input: Tensor, other: Tensor) -> Tensor:
            return super().forward(input + other)

    kind = nn.Sequential if traced else Needy
    report = initialize(kind(nn.Linear(6, 6), nn.Dropout(0.5), activation, nn.Linear(6, 2)))
    assert report.traced is traced
    entry = report["0.weight"]
    assert (entry.scheme, entry.gain) == (scheme, pytest.approx(gain))
    assert ("functional ones, residual branches" in report.how) is not traced


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["auto", "xavier", "he", "orthogonal"]),
)
def test_a_seed_gives_the_same_weights_and_leaves_the_global_state(
    seed: int, inputs: int, outputs: int, scheme: Literal["auto", "xavier", "he", "orthogonal"]
) -> None:
    torch.manual_seed(seed)
    first, second = (nn.Sequential(nn.Linear(inputs, 5), nn.ReLU(), nn.Linear(5, outputs)) for _ in range(2))
    before = torch.get_rng_state()
    initialize(first, scheme, seed)
    initialize(second, scheme, torch.Generator().manual_seed(seed))
    assert torch.equal(before, torch.get_rng_state())
    assert unchanged(second, state(first))


def test_norms_embeddings_gates_and_the_unknown() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 16, padding_idx=3)
            self.norm = nn.LayerNorm(16)
            self.memory = nn.LSTM(16, 8, batch_first=True)
            self.scale = nn.Parameter(torch.full((8,), 0.3))
            self.head = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.memory(self.norm(self.embedding(x)))[0][:, -1] * self.scale)

    model = Model()
    nn.init.constant_(model.norm.weight, 5)
    report = initialize(model)
    assert report.traced
    assert model.norm.weight.tolist() == [1] * 16
    assert not model.embedding.weight[3].any()
    # 784 normal entries: relative error of the deviation 1/√1568 = 2.5 %.
    assert float(model.embedding.weight.detach()[torch.arange(50) != 3].std()) == pytest.approx(1, abs=0.13)
    forget = model.get_parameter("memory.bias_ih_l0")
    assert forget.tolist() == [0] * 8 + [1] * 8 + [0] * 16
    assert not model.get_parameter("memory.bias_hh_l0").any()
    assert report["memory.weight_hh_l0"].scheme == "orthogonal"
    assert report["scale"].scheme == "left"
    assert model.scale.tolist() == pytest.approx([0.3] * 8)


def test_frozen_and_parametrized_ones_are_left_and_said() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4), nn.ReLU(), parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 1)
    )
    model[0].requires_grad_(False)
    before = state(model)
    report = initialize(model, x=torch.randn(3, 4))
    assert "frozen" in report["0.weight"].reason
    assert "parametrization" in report["2.parametrizations.weight.original1"].reason
    after = model.state_dict()
    kept = ["0.weight", "0.bias", "2.parametrizations.weight.original1"]
    assert all(torch.equal(after[name], before[name]) for name in kept)
    assert not torch.equal(after["3.weight"], before["3.weight"])


def test_a_tied_weight_is_drawn_once_and_fits_its_head() -> None:
    model = CharacterGPT(30, layers=1, width=16, heads=2, context=8, tied=True)
    report = initialize(model, x=torch.randint(30, (3, 8)))
    assert model.head.weight is model.embedding.weight
    assert report["embedding.weight"].std == 0.25
    assert report["positions.weight"].std == 0.25
    assert "shared by 2 modules" in report["embedding.weight"].reason
    assert not any(entry.name == "head.weight" for entry in report.parameters)


def test_attention_and_recurrent_layers_are_told_from_their_modules() -> None:
    report = initialize(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True))
    assert report["self_attn.in_proj_weight"].std == pytest.approx(math.sqrt(2 / 32))
    assert report["linear1.weight"].std == pytest.approx(math.sqrt(2 / 16))
    assert "3 packed" in report["self_attn.in_proj_weight"].reason
    cell = initialize(nn.GRUCell(4, 8), "he")
    assert cell["weight_ih"].std == pytest.approx(math.sqrt(2 / 4))


def test_stacked_experts_as_a_batched_product() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Parameter(torch.zeros(3, 10, 20))
            self.down = nn.Parameter(torch.zeros(3, 20, 10))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x @ self.up) @ self.down

    model = Experts()
    report = initialize(model, x=torch.randn(3, 7, 10))
    assert report["up"].std == pytest.approx(math.sqrt(2 / 10))
    assert report["down"].std == pytest.approx(math.sqrt(2 / 30))
    initialize(model, "orthogonal", x=torch.randn(3, 7, 10))
    gram = model.up @ model.up.mT
    torch.testing.assert_close(gram, 2 * torch.eye(10).expand(3, 10, 10), atol=1e-5, rtol=0)


def test_the_model_keeps_mode_gradients_and_buffers() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    model(torch.randn(5, 4)).sum().backward()
    model[1].eval()
    gradients = [parameter.grad for parameter in model.parameters()]
    copies = [gradient.clone() for gradient in gradients if gradient is not None]
    mean = model.get_buffer("1.running_mean").clone()
    initialize(model)
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert all(
        torch.equal(p.grad, g) for p, g in zip(model.parameters(), copies, strict=True) if p.grad is not None
    )
    assert torch.equal(model.get_buffer("1.running_mean"), mean)


def test_half_precision_and_double() -> None:
    for dtype in (torch.bfloat16, torch.float64):
        model = chain(nn.ReLU, 2, 8).to(dtype)
        initialize(model, "orthogonal")
        assert model[0].weight.dtype == dtype
        assert bool(model[0].weight.any())


def test_the_report_reads() -> None:
    text = str(initialize(chain(nn.ReLU, 2, 8, 3, bias=True)))
    lines = text.splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("0.weight")
    assert "relu follows" in lines[0]
    assert "made-up input of shape (16, 8)" in lines[-1]


def test_bad_input() -> None:
    model = chain(nn.ReLU, 1, 4)
    before = state(model)
    with pytest.raises(
        InvalidArgument, match="scheme must be one of auto, xavier, he, orthogonal, residual, got 'kaiming'"
    ):
        initialize(model, "kaiming")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidArgument, match="model has no parameters"):
        initialize(nn.Sequential(nn.ReLU()))
    with pytest.raises(
        InvalidArgument, match=r"^x: the model refused this Tensor of shape \(2, 5\): RuntimeError: [^\n]*$"
    ):
        initialize(model, x=torch.zeros(2, 5))
    with pytest.raises(InvalidArgument, match="no residual branch"):
        initialize(model, "residual")
    with pytest.raises(InvalidArgument, match="has no shape yet"):
        initialize(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(InvalidArgument, match="seed must be an integer"):
        initialize(model, seed="0")  # pyright: ignore[reportArgumentType]
    assert unchanged(model, before)
    with pytest.raises(KeyError):
        initialize(model)["nothing"]
