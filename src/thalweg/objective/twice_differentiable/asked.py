"""Which derivatives a backward pass is run for."""

from __future__ import annotations

from typing import Any

import torch


def asked(ctx: Any, inputs: int) -> tuple[bool, ...]:
    """For each of the first inputs, tensors, of an autograd function: whether its derivative will be used.

    `ctx.needs_input_grad` is true also of those that lead nowhere in this pass: for a product with the output's
    Jacobian that is most of the arithmetic of a layer's second derivative.
    """
    nodes = [node for node, _ in ctx.next_functions[:inputs]]
    return tuple(
        need and _leads_on(node) for need, node in zip(ctx.needs_input_grad[:inputs], nodes, strict=True)
    )


def _leads_on(node: Any) -> bool:
    # PyTorch does not say it of leaves, which hold their variable; of the rest it says it to its own checkpointing.
    return node is not None and (
        hasattr(node, "variable") or torch._C._will_engine_execute_node(node)  # pyright: ignore[reportPrivateUsage]
    )
