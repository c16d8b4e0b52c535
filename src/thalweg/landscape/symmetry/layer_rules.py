"""Operations that compute, by their names in ATen without a trailing underscore."""

from __future__ import annotations

from thalweg.landscape.symmetry.product_rules import (
    attention,
    constant,
    convolution,
    embedding,
    gated,
    linear,
    pointwise,
    product,
    untouched,
)
from thalweg.landscape.symmetry.rule import Rule
from thalweg.landscape.symmetry.statistics_rules import (
    batch_norm,
    extreme,
    group_norm,
    layer_norm,
    norm,
    pooling,
    reduction,
    softmax,
)

LAYER_RULES: dict[str, Rule] = {
    "mm": product("ik", "kj", "ij"),
    "addmm": product("ij", "ik", "kj", "ij"),
    "bmm": product("bik", "bkj", "bij"),
    "baddbmm": product("bij", "bik", "bkj", "bij"),
    "mv": product("ik", "k", "i"),
    "addmv": product("i", "ik", "k", "i"),
    "dot": product("k", "k", ""),
    "linear": linear,
    "convolution": convolution,
    **dict.fromkeys(("copy", "where", "masked_fill", "_prelu_kernel", "log_sigmoid_forward"), pointwise),
    **dict.fromkeys(("sum", "mean", "amax", "amin", "prod", "any", "all", "logsumexp"), reduction),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), reduction),
    **dict.fromkeys(("linalg_vector_norm", "norm"), norm),
    **dict.fromkeys(("max", "min"), extreme),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), softmax),
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), layer_norm),
    **dict.fromkeys(
        (
            "native_batch_norm",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
            "cudnn_batch_norm",
            "miopen_batch_norm",
        ),
        batch_norm,
    ),
    "native_group_norm": group_norm,
    "embedding": embedding,
    **dict.fromkeys(
        ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_fused_attention_overrideable"),
        attention,
    ),
    **dict.fromkeys(
        (
            "max_pool2d_with_indices",
            "max_pool3d_with_indices",
            "avg_pool2d",
            "avg_pool3d",
            "_adaptive_avg_pool2d",
            "_adaptive_avg_pool3d",
            "adaptive_max_pool2d",
            "upsample_nearest2d",
            "upsample_bilinear2d",
        ),
        pooling,
    ),
    "glu": gated,
    **dict.fromkeys(
        ("zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like"), constant
    ),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty", "scalar_tensor"), constant),
    **dict.fromkeys(("fill", "zero", "_local_scalar_dense"), untouched),
}
