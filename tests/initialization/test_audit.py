from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.initialization.models import Bottleneck, Functional, ParallelBlock, chain, state, unchanged
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.initialization import SignalAudit, audit, initialize
from thalweg.problems.character_gpt import CharacterGPT, next_character_loss
from thalweg.problems.recurrent import Recurrent
from thalweg.problems.resnet import ResNet


def batch(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_number_against_autograd() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.ReLU(inplace=True), nn.Linear(6, 3))
    x, y = batch(11, 5), torch.arange(11) % 3
    found = audit(model, x, loss_fn=F.cross_entropy, target=y)

    first = model[0](x)
    second = model[2](torch.tanh(first))
    third = model[4](torch.relu(second))
    outputs = [first, second, third]
    loss = F.cross_entropy(third, y)
    gradients = torch.autograd.grad(loss, outputs, retain_graph=True)
    weights = torch.autograd.grad(loss, [model[i].weight for i in (0, 2, 4)])
    assert [layer.name for layer in found.layers] == ["0", "2", "4"]
    for layer, output, gradient, weight in zip(found.layers, outputs, gradients, weights, strict=True):
        # float32 sums in another order.
        assert layer.mean_square == pytest.approx(float(output.detach().square().mean()), rel=1e-5)
        assert layer.scale == pytest.approx(layer.mean_square**0.5)
        assert layer.spread == pytest.approx(
            float(output.detach().var(dim=0, correction=0).mean() / output.detach().square().mean()), rel=1e-4
        )
        assert layer.gradient == pytest.approx(float(gradient.square().mean()), rel=1e-5)
        assert layer.weight_gradient == pytest.approx(float(weight.norm()), rel=1e-5)
        assert layer.level == pytest.approx(layer.mean_square / found.layers[0].mean_square)
        assert layer.shape == tuple(output.shape)
    assert [layer.activation for layer in found.layers] == ["tanh", "relu", None]
    dead = (torch.relu(second) == 0).all(dim=0).float().mean()
    assert found.layers[1].dead == pytest.approx(float(dead))
    assert found.layers[0].saturated == pytest.approx(float((torch.tanh(first).abs() > 0.98).float().mean()))
    logs = [math.log2(layer.mean_square) for layer in found.layers]
    assert found.forward_slope == pytest.approx((logs[2] - logs[0]) / 2)


def test_batch_loss_and_dictionaries() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, inputs: Tensor, scale: float) -> Tensor:
            return self.layer(inputs) * scale

    model, x, target = Model(), batch(4, 3), batch(4, 2)
    by_loss = audit(model, {"inputs": x, "scale": 2.0}, loss_fn=F.mse_loss, target=target)
    by_batch = audit(model, (x, target), batch_loss=lambda m, b: F.mse_loss(m(b[0], 2.0), b[1]))
    assert by_loss.layers == by_batch.layers


def test_a_deep_sigmoid_network_loses_its_input_and_its_gradient() -> None:
    model = chain(nn.Sigmoid, 12, 64, 10, bias=True)
    initialize(model)
    found = audit(model, batch(32, 64))
    assert found.verdict == "vanishing"
    gradient, signal = found.faults
    assert (gradient.back, signal.back) == (True, False)
    # Each layer leaves about 1/4 of the differences and of the gradient's scale: 10⁻³ after five layers, of 13 from
    # either end, and 4⁻¹² = 6 × 10⁻⁸ at the other end.
    assert gradient.first in {"12", "14", "16"}
    assert signal.first in {"8", "10", "12"}
    assert gradient.worst == "0"
    for fault in found.faults:
        assert 1e-9 < fault.factor < 1e-6
    # Both are as bad; the gradient is told first, with its size, the samples that become alike after it.
    assert (found.first_bad, found.verdict) == (gradient.first, gradient.verdict)
    assert found.reason == f"{gradient.reason}. Also {signal.reason}"
    assert gradient.reason.startswith(
        f"{gradient.first}: going back, the gradient vanishes; at 0 its scale is "
    )
    assert "tells one sample from another" in signal.reason
    assert found.backward_slope < -3
    levels = [layer.gradient_level for layer in found.layers]
    assert levels[0] is not None
    assert levels[0] < 1e-12


@pytest.mark.parametrize(
    ("factor", "verdict", "first_bad"),
    [
        (1.0, "healthy", None),
        (0.1, "vanishing", "6"),
        (10.0, "exploding", "8"),
        (math.nan, "not finite", "0"),
    ],
)
def test_wrongly_scaled_weights(factor: float, verdict: str, first_bad: str | None) -> None:
    model = chain(nn.ReLU, 8, 64)
    initialize(model)
    with torch.no_grad():
        for layer in list(model)[::2]:
            layer.weight.mul_(factor)
    found = audit(model, batch(16, 64))
    assert found.verdict == verdict
    # Layer k (module 2k) has scale factor^k times the first's, up to some ten per cent: just about 10³ at k = 3.
    if factor in (0.1, 10.0):
        assert found.first_bad in {"6", "8"}
    else:
        assert found.first_bad == first_bad


def test_one_bad_layer_is_named() -> None:
    model = chain(nn.ReLU, 6, 32, 4)
    initialize(model)
    with torch.no_grad():
        model[6].weight.mul_(1e-5)
    assert audit(model, batch(16, 32)).first_bad == "6"
    initialize(model)
    with torch.no_grad():
        model[4].weight.abs_().neg_()
    found = audit(model, batch(16, 32).abs())
    assert found.first_bad == "4"
    assert "passes the ReLU" in found.reason
    assert found.layers[2].dead == 1


def test_the_worst_fault_comes_first() -> None:
    class Leak(nn.Module):
        """Passes `scale` times its output on, of which a sliver is differentiable."""

        def __init__(self, scale: float) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(16, 16, bias=False), scale

        def forward(self, x: Tensor) -> Tensor:
            x = self.layer(x)
            return 1e-6 * x + (self.scale - 1e-6) * x.detach()

    def of(scale: float) -> SignalAudit:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 16, bias=False), Leak(scale), nn.Linear(16, 16, bias=False))
        initialize(model, "orthogonal")
        return audit(model, batch(32, 16))

    # Orthogonal layers change no scale: the gradient loses 10⁻⁶ in the middle, the signal gains `scale` behind it.
    found = of(1e4)
    assert [fault.verdict for fault in found.faults] == ["vanishing", "exploding"]
    assert [fault.factor for fault in found.faults] == pytest.approx([1e-6, 1e4], rel=1e-3)
    assert [fault.decades for fault in found.faults] == pytest.approx([6, 4], abs=1e-3)
    assert (found.verdict, found.first_bad) == ("vanishing", "1.layer")
    assert found.reason.endswith(f"Also {found.faults[1].reason}")
    assert found.faults[1].reason.startswith("2: the signal explodes, its scale is 10")
    # Less than a decade apart, the signal comes first.
    assert [fault.verdict for fault in of(2e5).faults] == ["exploding", "vanishing"]
    assert of(10).faults == found.faults[:1]


def test_a_gradient_that_vanishes_while_the_signal_does_not() -> None:
    class Model(nn.Module):
        """Each layer passes its signal on, but only a sliver of it is differentiable."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = 0.01 * layer(x) + 0.99 * layer(x).detach()
            return x

    model = Model()
    initialize(model, "orthogonal")
    found = audit(model, batch(8, 16))
    assert found.verdict == "vanishing"
    assert "going back" in found.reason
    # A factor of 10⁻² in scale per layer, from the last: 10⁻⁴ two layers before it. The second calls get no gradient.
    assert found.first_bad == "layers.1 (call 1)"
    assert found.layers[1].gradient is None


def harmless_head(model: nn.Module) -> nn.Module:
    nn.init.zeros_(model.get_parameter("head.weight"))
    return model


def zero_branches(model: CharacterGPT) -> CharacterGPT:
    for name, parameter in model.named_parameters():
        if name.endswith(("contract.weight", "attention.output.weight")):
            nn.init.zeros_(parameter)
    return model


def zero_gamma(model: ResNet) -> ResNet:
    for name, parameter in model.named_parameters():
        if name.endswith("norm2.weight"):
            nn.init.zeros_(parameter)
    return model


def gpt(**arguments: Any) -> CharacterGPT:
    torch.manual_seed(0)
    return CharacterGPT(30, layers=3, width=32, heads=2, context=32, **arguments)


TOKENS = torch.randint(30, (8, 32), generator=torch.Generator().manual_seed(0))
IMAGES = batch(8, 3, 16, 16)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (gpt(), TOKENS),
        (gpt(tied=False), TOKENS),
        (zero_branches(gpt()), TOKENS),
        (harmless_head(gpt(tied=False)), TOKENS),
        (harmless_head(zero_branches(gpt(tied=False))), TOKENS),
        (ResNet(14, width=0.5), IMAGES),
        (zero_gamma(ResNet(14, width=0.5)), IMAGES),
        (harmless_head(ResNet(14, width=0.5)), IMAGES),
        (ResNet(14, width=0.5, batchnorm=False), IMAGES),
        (nn.Sequential(Bottleneck(3, 8), Bottleneck(8, 8)), IMAGES),
        (nn.Sequential(ParallelBlock(16), ParallelBlock(16)), batch(4, 6, 16)),
        (
            nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32), 6, enable_nested_tensor=False),
            batch(4, 6, 16),
        ),
        (Functional(), batch(16, 5)),
        (Recurrent(2, 1, cell="gru"), batch(8, 10, 2)),
        (Recurrent(2, 1, cell="rnn"), batch(8, 10, 2)),
    ],
)
def test_no_wolf_is_cried(model: nn.Module, x: Tensor) -> None:
    found = audit(model, x)
    assert found.verdict == "healthy", str(found)
    assert found.first_bad is None
    assert found.followed


@pytest.mark.parametrize("model", [gpt(), ResNet(8, width=0.5), ResNet(8, width=0.5, batchnorm=False)])
def test_after_initialize_all_is_well(model: nn.Module) -> None:
    x = TOKENS if isinstance(model, CharacterGPT) else IMAGES
    initialize(model, x=x)
    assert audit(model, x).verdict == "healthy"


def test_a_loss_on_tokens() -> None:
    found = audit(gpt(), TOKENS, loss_fn=next_character_loss, target=TOKENS.roll(-1, 1))
    assert found.verdict == "healthy"
    assert [layer.name for layer in found.layers if layer.activation] == [
        f"blocks.{i}.expand" for i in range(3)
    ]


def test_batchnorm_hides_a_bad_scale_as_in_training() -> None:
    model = nn.Sequential(
        *(m for _ in range(8) for m in (nn.Linear(16, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU())),
        nn.Linear(16, 2),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(0.01)
    x = batch(32, 16)
    assert audit(model, x).verdict == "healthy"
    in_evaluation = audit(model, x, batchnorm="eval")
    assert in_evaluation.batchnorm == "eval"
    # Fresh running statistics, 0 and 1, normalize nothing.
    assert in_evaluation.verdict == "vanishing"
    assert in_evaluation.layers[2].mean_square < 1e-12


@pytest.mark.parametrize("written_out", [False, True])
def test_a_normalization_starts_the_comparison_anew(written_out: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 16)
            self.layer, self.head = nn.Linear(16, 16), nn.Linear(16, 2)
            nn.init.normal_(self.embedding.weight, std=1e-4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.embedding(x)
            if written_out:
                h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-12)
            else:
                h = F.layer_norm(h, (16,), eps=1e-12)
            return self.head(torch.relu(self.layer(h)))

    found = audit(Model(), TOKENS % 10, limit=2e4)
    # The gradient is as much larger before the normalization as the signal is smaller: within this limit.
    assert found.verdict == "healthy"
    assert found.layers[1].level == 1
    assert found.layers[1].mean_square > 1e6 * found.layers[0].mean_square


def test_a_gradient_spread_over_pixels_is_not_a_small_one() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.convolution(x)).mean(dim=(2, 3)))

    model = Model()
    initialize(model, x=batch(4, 1, 160, 160))
    found = audit(model, batch(4, 1, 160, 160))
    first = found.layers[0]
    assert first.gradient is not None
    # The mean over 158² places divides each entry by as much: its square by 6e8, summed over the places by 2.5e4.
    assert first.gradient < 1e-8
    assert first.gradient_level == pytest.approx(158**2 * first.gradient / (found.layers[1].gradient or 0))
    assert found.verdict == "healthy"


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(
        nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(6, 1)
    )
    model(batch(5, 6)).sum().backward()
    model[3].eval()
    before, modes = state(model), [m.training for m in model.modules()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    torch.manual_seed(4)
    random = torch.get_rng_state()
    first, second = audit(model, batch(5, 6), seed=1), audit(model, batch(5, 6), seed=1)
    assert first == second
    assert unchanged(model, before)
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(random, torch.get_rng_state())
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert gradient is not None
        assert torch.equal(parameter.grad, gradient)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_frozen_layers_are_measured_too() -> None:
    model = chain(nn.ReLU, 3, 8)
    free = audit(model, batch(4, 8))
    model[0].requires_grad_(False)
    model[2].requires_grad_(False)
    frozen = audit(model, batch(4, 8))
    assert [layer.gradient for layer in frozen.layers] == pytest.approx(
        [layer.gradient for layer in free.layers]
    )
    assert frozen.layers[0].weight_gradient is None
    model.requires_grad_(False)
    assert audit(model, batch(4, 8)).layers[0].gradient == pytest.approx(free.layers[0].gradient)


def test_models_that_cannot_be_followed_are_measured_by_their_modules() -> None:
    class Script(nn.Module):
        """Refuses to run under a dispatch mode, as some compiled code does."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            from torch.utils._python_dispatch import _get_current_dispatch_mode

            if _get_current_dispatch_mode() is not None:
                raise RuntimeError("not here")
            return self.second(torch.relu(self.first(x)))

    found = audit(Script(), batch(3, 4))
    assert not found.followed
    assert [layer.name for layer in found.layers] == ["first", "second"]
    report = initialize(Script(), x=batch(3, 4))
    assert not report.traced
    assert "could not be followed" in report.how


def test_the_table_reads() -> None:
    model = chain(nn.Sigmoid, 12, 16, 2, bias=True)
    initialize(model)
    lines = str(audit(model, batch(8, 16))).splitlines()
    assert re.split(" {2,}", lines[0]) == [
        "layer",
        "mean output²",
        "mean gradient²",
        "‖weight gradient‖",
        "activation",
    ]
    assert len(lines) == 1 + 13 + 2
    assert sum("<- first bad" in line for line in lines) == 1
    assert lines[-1].startswith("vanishing: ")
    assert "forward" in lines[-2]


def test_bad_input() -> None:
    model = chain(nn.ReLU, 1, 4)
    x = batch(2, 4)
    with pytest.raises(
        InvalidArgument, match=r"^x: the model refused this Tensor of shape \(2, 5\): RuntimeError: [^\n]*$"
    ):
        audit(model, batch(2, 5))
    with pytest.raises(InvalidArgument, match="model has no parameters"):
        audit(nn.Sequential(nn.ReLU()), x)
    with pytest.raises(InvalidArgument, match="has no layer with weights"):
        audit(nn.LayerNorm(4), x)
    with pytest.raises(InvalidArgument, match="loss_fn: it failed on this batch: ValueError"):
        audit(model, x, loss_fn=F.cross_entropy, target=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InvalidArgument, match="batch_loss must return a floating-point tensor, got float"):
        audit(model, x, batch_loss=lambda m, b: 1.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidArgument, match="not both"):
        audit(model, x, loss_fn=F.mse_loss, batch_loss=lambda m, b: m(b).sum())
    with pytest.raises(InvalidArgument, match=r"batchnorm must be .* got 'train'"):
        audit(model, x, batchnorm="train")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidArgument, match=r"limit must be above 1, got 0\.5"):
        audit(model, x, limit=0.5)
