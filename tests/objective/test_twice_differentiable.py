"""The layers with own second derivatives against PyTorch's, by finite differences and by double backward."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from thalweg.errors import NotDifferentiable
from thalweg.objective import Objective
from thalweg.objective.twice_differentiable import TwiceDifferentiable


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


CONVOLUTIONS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1-D": (F.conv1d, (2, 2, 7), (3, 2, 3), {}),
    "2-D": (F.conv2d, (2, 2, 5, 4), (3, 2, 3, 2), {"padding": 1}),
    "2-D, stride": (F.conv2d, (2, 2, 6, 5), (3, 2, 3, 3), {"stride": 2, "padding": (1, 0)}),
    "2-D, dilation": (F.conv2d, (1, 2, 6, 6), (2, 2, 2, 2), {"dilation": (2, 3)}),
    "2-D, groups": (F.conv2d, (2, 4, 4, 4), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    "2-D, depthwise": (F.conv2d, (2, 3, 4, 4), (3, 1, 3, 3), {"groups": 3}),
    "2-D, same": (F.conv2d, (1, 2, 4, 4), (2, 2, 3, 3), {"padding": "same"}),
    "2-D, unbatched": (F.conv2d, (2, 4, 4), (2, 2, 3, 3), {}),
    "3-D": (F.conv3d, (1, 2, 3, 4, 3), (2, 2, 2, 2, 2), {"stride": (1, 2, 1)}),
}


def same_as_torchs(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Value, first and second derivatives; the value and slope against PyTorch's own, all against differences."""

    def better(*tensors: Tensor) -> Tensor:
        with TwiceDifferentiable():
            return function(*tensors)

    mine, reference = better(*inputs), function(*inputs)
    torch.testing.assert_close(mine, reference)
    slope = torch.randn_like(mine)
    for a, b in zip(
        torch.autograd.grad(mine, inputs, slope), torch.autograd.grad(reference, inputs, slope), strict=True
    ):
        torch.testing.assert_close(a, b)
    assert gradcheck(better, inputs)
    assert gradgradcheck(better, inputs)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions(name: str, bias: bool) -> None:
    torch.manual_seed(0)
    function, x, weight, options = CONVOLUTIONS[name]
    biases = [draw(weight[0])] if bias else []
    same_as_torchs(lambda *t: function(*t, **options), draw(*x), draw(*weight), *biases)


@pytest.mark.parametrize("frozen", ["input", "weight"])
def test_a_convolution_of_which_one_side_is_constant(frozen: str) -> None:
    torch.manual_seed(0)
    x, weight = draw(2, 2, 5, 5), draw(3, 2, 3, 3)
    if frozen == "input":
        same_as_torchs(lambda w: F.conv2d(x.detach(), w), weight)
    else:
        same_as_torchs(lambda z: F.conv2d(z, weight.detach()), x)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 2, 2)])
def test_batch_norm_in_evaluation(affine: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    mean, variance = torch.randn(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64) + 0.1
    scales = [draw(3), draw(3)] if affine else []
    same_as_torchs(lambda x, *wb: F.batch_norm(x, mean, variance, *wb), draw(*shape), *scales)


def test_batch_norm_with_the_statistics_of_the_batch_is_pytorchs() -> None:
    x, mean, variance = draw(4, 3), torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    with TwiceDifferentiable():
        mine = F.batch_norm(x, mean, variance, training=True)
    torch.testing.assert_close(mine.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert not mean.equal(torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str) -> None:
    torch.manual_seed(0)
    same_as_torchs(lambda x: F.gelu(x, approximate=approximate), 2 * draw(12))


@pytest.mark.parametrize("function", [torch.tanh, torch.sigmoid, F.tanh, F.sigmoid])
def test_activations(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    same_as_torchs(function, 2 * draw(12))


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_matrix_products(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    same_as_torchs(F.linear, draw(*shape), draw(2, 3), *([draw(2)] if bias else []))


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5)])
def test_layer_norm(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    same_as_torchs(lambda x, *wb: F.layer_norm(x, (5,), *wb), draw(*shape), draw(5), draw(5))


def test_layer_norm_with_a_constant_input_or_no_affine_part() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 5, dtype=torch.float64)
    same_as_torchs(lambda *wb: F.layer_norm(x, (5,), *wb), draw(5), draw(5))
    same_as_torchs(lambda x: F.layer_norm(x, (5,)), draw(4, 5))
    same_as_torchs(lambda x: F.layer_norm(x, (2, 3)), draw(4, 2, 3))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["1-D", "2-D", "matrix"])
def test_batch_norm_after_a_layer_is_made_one_with_it(kind: str, bias: bool) -> None:
    torch.manual_seed(0)
    mean, variance = torch.randn(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64) + 0.1
    functions: dict[str, Callable[..., Tensor]] = {"1-D": F.conv1d, "2-D": F.conv2d, "matrix": F.linear}
    x, weight = {
        "1-D": ((2, 2, 5), (3, 2, 3)),
        "2-D": ((2, 2, 4, 4), (3, 2, 3, 3)),
        "matrix": ((4, 2), (3, 2)),
    }[kind]

    def layer(x: Tensor, w: Tensor, scale: Tensor, shift: Tensor, *b: Tensor) -> Tensor:
        return F.batch_norm(functions[kind](x, w, *b), mean, variance, scale, shift)

    same_as_torchs(layer, draw(*x), draw(*weight), draw(3), draw(3), *([draw(3)] if bias else []))


def test_batch_norm_of_a_changed_output_or_over_another_axis_is_not() -> None:
    torch.manual_seed(0)
    mean, variance = torch.randn(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64) + 0.1

    def changed(x: Tensor, w: Tensor) -> Tensor:
        return F.batch_norm(F.linear(x, w).mul_(2), mean, variance)

    def across(x: Tensor, w: Tensor) -> Tensor:
        return F.batch_norm(F.linear(x, w), mean, variance)

    same_as_torchs(changed, draw(4, 2), draw(3, 2))
    same_as_torchs(across, draw(2, 3, 2), draw(3, 2))


@pytest.mark.parametrize("mask", ["none", "causal", "boolean", "additive", "nothing"])
@pytest.mark.parametrize("heads", [(2,), (2, 3)])
def test_attention(mask: str, heads: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    allowed = torch.rand(4, 5) > 0.3
    allowed[:, 0] = True
    if mask == "nothing":
        allowed[1] = False
    options: dict[str, Any] = {
        "none": {"scale": 0.7},
        "causal": {"is_causal": True},
        "boolean": {"attn_mask": allowed},
        "additive": {"attn_mask": torch.randn(4, 5, dtype=torch.float64)},
        "nothing": {"attn_mask": allowed},
    }[mask]
    q, k, v = draw(*heads, 4, 3), draw(*heads, 5, 3), draw(*heads, 5, 2)
    with sdpa_kernel(SDPBackend.MATH):
        same_as_torchs(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options), q, k, v)


def test_attention_that_is_not_taken_is_pytorchs() -> None:
    torch.manual_seed(0)
    mask = draw(4, 5)
    q, k, v = draw(2, 4, 3), draw(2, 5, 3), draw(2, 5, 2)
    with sdpa_kernel(SDPBackend.MATH):
        same_as_torchs(lambda q, m: F.scaled_dot_product_attention(q, k.detach(), v.detach(), m), q, mask)
        same_as_torchs(lambda q, k: F.scaled_dot_product_attention(q, k, v[:1].detach()), q, k)


class Viewing(nn.Module):
    """A convolutional network that flattens by a view, which images with channels last do not allow."""

    def __init__(self, flatten: str) -> None:
        super().__init__()
        self.flatten = flatten
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 3, 3))
        self.head = nn.Linear(3 * 4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.head(x.view(len(x), -1) if self.flatten == "view" else x.flatten(1))


@pytest.mark.parametrize("flatten", ["view", "flatten"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_that_views_its_channels_has_the_same_products(flatten: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Viewing(flatten).to(dtype).eval()
    x, y = torch.randn(6, 1, 8, 8, dtype=dtype), torch.randint(0, 3, (6,))
    obj = Objective(model, F.cross_entropy, (x, y))
    v = torch.randn(obj.size, dtype=dtype)

    def loss(*pieces: Tensor) -> Tensor:
        named = dict(zip(dict(model.named_parameters()), pieces, strict=True))
        return F.cross_entropy(torch.func.functional_call(model, named, (x,)), y)

    shapes = [p.shape for p in model.parameters()]
    cut = [t.view(s) for t, s in zip(v.split([s.numel() for s in shapes]), shapes, strict=True)]
    _, expected = torch.autograd.functional.hvp(
        loss, tuple(p.detach() for p in model.parameters()), tuple(cut)
    )
    with obj.at() as here:
        found = here.hvp(v)
        assert here.strategy == "kept graph"
    torch.testing.assert_close(found, torch.cat([t.flatten() for t in expected]))


class SlopeInside(nn.Module):
    """A network whose output holds its own derivative: its loss's Hessian is a third derivative of the layers."""

    def __init__(self, derivative: str) -> None:
        super().__init__()
        self.derivative = derivative
        self.net = nn.Sequential(nn.Linear(1, 6), nn.GELU(), nn.Linear(6, 1)).double()

    def forward(self, x: Tensor) -> Tensor:
        if self.derivative == "functional":
            return torch.func.vmap(torch.func.grad(lambda t: self.net(t[None])[0]))(x.squeeze(1))[:, None]
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self.net(x).sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("derivative", ["functional", "autograd"])
def test_a_model_that_differentiates_inside_has_its_exact_hessian(derivative: str) -> None:
    torch.manual_seed(0)
    model = SlopeInside(derivative)
    x = torch.randn(9, 1, dtype=torch.float64)
    obj = Objective(model, F.mse_loss, (x, x.cos()))
    point, shapes = obj.point, [p.shape for p in model.parameters()]

    def loss(theta: Tensor) -> Tensor:
        pieces = [t.view(s) for t, s in zip(theta.split([s.numel() for s in shapes]), shapes, strict=True)]
        (inside, cut, outside, offset) = pieces
        # d/dx of W₂ gelu(W₁x + b₁) + b₂, with gelu' in closed form.
        z = x @ inside.T + cut
        normal = torch.distributions.Normal(torch.zeros((), dtype=z.dtype), torch.ones((), dtype=z.dtype))
        bent = normal.cdf(z) + z * normal.log_prob(z).exp()
        return F.mse_loss((bent * inside.T) @ outside.T + 0 * offset, x.cos())

    expected = torch.autograd.functional.hessian(loss, point)
    with obj.at() as here:
        found = here.hvp(torch.eye(obj.size, dtype=torch.float64))
        assert here.strategy == "kept graph"
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_weight_norm_whose_second_derivative_pytorch_has_wrong() -> None:
    torch.manual_seed(0)
    fused: Any = getattr(torch, "_weight_norm")  # noqa: B009 - torch has no public name for it

    def normed(v: Tensor, g: Tensor) -> Tensor:
        with TwiceDifferentiable(cheaper=False):
            return fused(v, g)

    v, g = draw(4, 3), draw(4, 1)
    torch.testing.assert_close(normed(v, g), fused(v, g))
    assert gradgradcheck(normed, (v, g))
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))
    obj = Objective(model.double(), F.mse_loss, (torch.randn(5, 3).double(), torch.randn(5, 2).double()))
    v = torch.randn(obj.size, dtype=torch.float64)
    h = 1e-5
    differences = (obj.gradient(obj.point + h * v) - obj.gradient(obj.point - h * v)) / (2 * h)
    torch.testing.assert_close(obj.hvp(v), differences, rtol=1e-6, atol=1e-8)


class Around(nn.Module):
    """y = inner(x), with a way to call it."""

    def __init__(self, inner: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.inner, x)


def strided(layer: nn.Module, x: Tensor) -> Tensor:
    h = torch.tanh(layer(x))
    return h.as_strided((len(x), 36), (36, 1))


def written_into(layer: nn.Module, x: Tensor) -> Tensor:
    x = x.clone()
    h = F.linear(x, torch.eye(3, 4, dtype=x.dtype))
    x.mul_(3)
    return layer(h)


def of_a_spectrum(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    weight = torch.complex(layer.weight, 2 * layer.weight)
    return torch.tanh(F.linear(torch.fft.fft(x).to(weight.dtype), weight)).real


def with_a_numpy_stride(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    stride: Any = np.int64(2)
    return torch.tanh(F.conv2d(x, layer.weight, layer.bias, stride)).flatten(1)


ODD: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor], tuple[int, ...]]] = {
    "strides taken for granted": (lambda: nn.Conv2d(1, 4, 2), strided, (5, 1, 4, 4)),
    "an input written into before its batch-norm": (lambda: nn.BatchNorm1d(3), written_into, (6, 4)),
    "complex numbers": (lambda: nn.Linear(4, 3), of_a_spectrum, (6, 4)),
    "a layer norm of the data": (lambda: nn.LayerNorm(4), lambda layer, x: layer(x).tanh(), (6, 4)),
    "a stride of NumPy": (lambda: nn.Conv2d(1, 2, 2), with_a_numpy_stride, (5, 1, 4, 4)),
    "what is compiled": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.GELU()),
        lambda layer, x: torch.compile(layer, backend="eager")(x),
        (6, 4),
    ),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odd_models_have_the_products_that_they_have_without_better_layers(
    name: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    make, call, shape = ODD[name]
    model = Around(make(), call).to(dtype).eval()
    x = torch.randn(shape, dtype=dtype)
    with torch.no_grad():
        y = torch.randn_like(model(x))
    obj = Objective(model, F.mse_loss, (x, y))
    v = torch.randn(obj.size, dtype=dtype)

    def loss(*pieces: Tensor) -> Tensor:
        named = dict(zip(dict(model.named_parameters()), pieces, strict=True))
        return F.mse_loss(torch.func.functional_call(model, named, (x,)), y)

    shapes = [p.shape for p in model.parameters()]
    cut = [t.view(s) for t, s in zip(v.split([s.numel() for s in shapes]), shapes, strict=True)]
    _, expected = torch.autograd.functional.hvp(
        loss, tuple(p.detach() for p in model.parameters()), tuple(cut)
    )
    torch.testing.assert_close(obj.hvp(v), torch.cat([t.flatten() for t in expected]))


def test_a_model_that_recomputes_activations_is_refused() -> None:
    """In its backward pass it would have its own parameters."""
    model = Around(nn.Linear(3, 2), lambda layer, x: checkpoint(layer, x, use_reentrant=False).tanh())
    obj = Objective(model, F.mse_loss, (torch.randn(4, 3), torch.randn(4, 2)))
    for measure in (obj.gradient, lambda: obj.hvp(obj.point)):
        with pytest.raises(NotDifferentiable, match="recomputes activations"):
            measure()
    assert float(obj.loss()) > 0


def test_layers_that_do_not_serve_are_tried_once() -> None:
    torch.manual_seed(0)
    obj = Objective(
        SlopeInside("autograd"), F.mse_loss, (torch.randn(9, 1).double(), torch.randn(9, 1).double())
    )
    obj.hvp(obj.point)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    obj.model.register_forward_hook(count)
    obj.hvp(obj.point)
    assert calls == 1
