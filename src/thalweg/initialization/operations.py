"""What the operations of a forward pass do to a signal, by their names in ATen without a trailing underscore."""

from __future__ import annotations

from typing import Any

from torch import Tensor

WEIGHTED = frozenset(
    """
    mm addmm bmm baddbmm mv addmv dot linear matmul convolution embedding _embedding_bag
    _embedding_bag_forward_only _trilinear
    """.split()  # noqa: SIM905 - one word a line would fill pages
)
"""Operations that are a layer when one of their factors is made of parameters alone."""

LOOKUPS = frozenset(("embedding", "_embedding_bag", "_embedding_bag_forward_only"))

NORMS = frozenset(
    """
    native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training _native_batch_norm_legit_functional _batch_norm_with_update
    _batch_norm_no_update cudnn_batch_norm miopen_batch_norm batch_norm layer_norm _fused_rms_norm
    rms_norm
    """.split()  # noqa: SIM905 - one word a line would fill pages
)

RECIPROCAL_SCALES = frozenset(
    ("rsqrt", "sqrt", "reciprocal", "std", "var", "norm", "linalg_vector_norm", "clamp_min", "maximum")
)
"""Multiplied or divided by one of these, computed from itself, a signal is normalized."""

ADDITIONS = frozenset(("add", "sub"))
PRODUCTS = frozenset(("mul", "div"))

IN_PLACE_ALONG = frozenset(
    """
    view _unsafe_view reshape transpose t permute expand squeeze unsqueeze slice clone detach alias
    _to_copy contiguous constant_pad_nd native_dropout avg_pool1d avg_pool2d avg_pool3d
    max_pool2d_with_indices max_pool3d_with_indices upsample_nearest2d upsample_bilinear2d
    """.split()  # noqa: SIM905 - one word a line would fill pages
)
"""Operations a residual stream passes and is still the same stream."""

TRANSPARENT = IN_PLACE_ALONG | frozenset(
    """
    select split split_with_sizes unsafe_split unbind chunk cat stack mean sum neg rsub flip roll index
    index_select gather masked_fill where as_strided lift_fresh _adaptive_avg_pool2d
    _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d im2col reflection_pad1d
    reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
    pixel_shuffle pixel_unshuffle unfold copy upsample_nearest1d upsample_nearest3d upsample_linear1d
    upsample_bicubic2d upsample_trilinear3d amax max channel_shuffle view_as split_copy bernoulli
    """.split()  # noqa: SIM905 - one word a line would fill pages
)
"""Operations that leave open which activation follows a layer."""

_ACTIVATIONS = {
    "relu": "relu",
    "threshold": "relu",
    "leaky_relu": "leaky_relu",
    "rrelu_with_noise": "leaky_relu",
    "_prelu_kernel": "leaky_relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "hardsigmoid": "sigmoid",
    "log_sigmoid_forward": "log_sigmoid",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "mish",
    "celu": "celu",
    "hardswish": "hardswish",
    "softplus": "softplus",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "glu": "glu",
    "sin": "sin",
    "erf": "erf",
}

GATES = {"tanh": "gelu", "erf": "gelu", "sigmoid": "silu"}
"""What x·g(x) is, by the function in g: activations that a model writes out."""


def activation_of(operation: str, arguments: tuple[Any, ...]) -> tuple[str, float] | None:
    """The activation's name and its slope (or alpha), None for an operation that is none."""
    if operation in ("clamp", "clamp_min"):
        return ("relu", 0.0) if _number(arguments, 1, 1.0) == 0 else None
    if operation == "hardtanh":
        return ("relu6", 0.0) if _number(arguments, 1, -1.0) == 0 else ("hardtanh", 0.0)
    if operation == "elu":
        scaled = _number(arguments, 2, 1.0)
        return ("selu", 0.0) if abs(scaled - 1.0507) < 1e-3 else ("elu", _alpha(_number(arguments, 1, 1.0)))
    name = _ACTIVATIONS.get(operation)
    if name is None:
        return None
    if operation == "_prelu_kernel":
        return name, float(arguments[1].float().mean())
    if operation == "rrelu_with_noise":
        return name, (_number(arguments, 2, 1 / 8) + _number(arguments, 3, 1 / 3)) / 2
    if operation == "leaky_relu":
        return name, _number(arguments, 1, 0.01)
    return name, _alpha(_number(arguments, 1, 1.0)) if name == "celu" else 0.0


def weight_position(operation: str) -> tuple[int, int]:
    """Where the two factors of a weighted operation stand among its arguments."""
    if operation in ("addmm", "baddbmm", "addmv"):
        return 1, 2
    return 0, 1


def _alpha(value: float) -> float:
    return 0.0 if value == 1 else value


def _number(arguments: tuple[Any, ...], place: int, default: float) -> float:
    value = arguments[place] if len(arguments) > place else None
    if value is None or (isinstance(value, Tensor) and value.numel() != 1):
        return default
    return float(value)
