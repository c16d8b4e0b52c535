"""Following a forward pass operation by operation, below autograd and whatever way the model is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from thalweg.initialization.flow import (
    RESIDUAL,
    LayerUse,
    Node,
    Stream,
    Tag,
    normalizes,
    previous_stream,
    residual_operands,
)
from thalweg.initialization.operations import (
    ADDITIONS,
    GATES,
    LOOKUPS,
    NORMS,
    PRODUCTS,
    TRANSPARENT,
    WEIGHTED,
    activation_of,
    weight_position,
)
from thalweg.initialization.saturation import dead_units, saturated


class Tracer(TorchDispatchMode):
    """Within the block, records in `uses` every use of a parameter of `model` as the weight of a layer.

    It sees the operations that a model is made of, not its modules: `F.relu(x)`, `x.relu()` and `nn.ReLU` are one
    operation, and so are a `nn.Linear` and `x @ weight.T`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.uses: list[LayerUse] = []
        self._nodes: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._count = 0
        self._read = 0
        for name, parameter in model.named_parameters():
            self._nodes[parameter] = self._new("parameter", (), sources=frozenset((name,)))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise torch imports its compiler at the first operation, which takes seconds.
        return False

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operation and record where its results come from."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        before = [self._node(tensor) for tensor in tensors]
        factors = [
            self._node(args[i]) if i < len(args) and isinstance(args[i], Tensor) else None for i in (0, 1, 2)
        ]
        result = func(*args, **(kwargs or {}))
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if before and outputs:
            operation = str(func._overloadpacket.__name__).rstrip("_")  # pyright: ignore[reportFunctionMemberAccess]
            for output, node in zip(
                outputs, self._derived(operation, before, factors, args, outputs), strict=True
            ):
                self._nodes[output] = node
        return result

    def _node(self, tensor: Tensor) -> Node:
        node = self._nodes.get(tensor)
        if node is None:
            node = self._nodes[tensor] = self._new("input", ())
        return node

    def _new(
        self,
        operation: str,
        inputs: tuple[Node, ...],
        *,
        sources: frozenset[str] | None = None,
        tags: tuple[Tag, ...] = (),
    ) -> Node:
        node = Node(self._count, operation, inputs, sources, tags=tags)
        self._count += 1
        node.ancestors = 1 << node.index
        for parent in node.data:
            node.ancestors |= parent.ancestors
            node.layers |= parent.layers
        node.start = next((parent.start for parent in node.data if parent.start is not None), None)
        return node

    def _derived(
        self,
        operation: str,
        before: list[Node],
        factors: list[Node | None],
        args: tuple[Any, ...],
        outputs: list[Tensor],
    ) -> list[Node]:
        inputs = tuple(before)
        data = [node for node in inputs if node.sources is None]
        if not data:
            sources = frozenset[str]().union(*(node.sources or frozenset() for node in inputs))
            return [self._new(operation, inputs, sources=sources) for _ in outputs]
        if operation in WEIGHTED:
            layer = self._weighted(operation, factors, args)
            if layer is not None:
                return [layer for _ in outputs]
        activation = activation_of(operation, args)
        if activation is not None:
            return [self._activated(activation, inputs, data, outputs[0]) for _ in outputs]
        if operation in NORMS:
            return [self._normalized(operation, inputs, data[0].tags) for _ in outputs]
        if len(data) == 2 and operation in ADDITIONS:
            return [self._added(operation, inputs, data[0], data[1])]
        if len(data) == 2 and operation in PRODUCTS:
            return [self._multiplied(operation, inputs, data[0], data[1])]
        tags = _union(data) if operation in TRANSPARENT | ADDITIONS | PRODUCTS else ()
        if operation in PRODUCTS and len(args) > 1 and isinstance(args[1], (int, float)) and args[1]:
            factor = abs(args[1]) if operation == "mul" else 1 / abs(args[1])
            tags = tuple(Tag(t.use, t.activation, t.normalized, t.scale * factor) for t in tags)
        if "split" in operation and len({output.shape for output in outputs}) == 1:
            _note_packing(tags, outputs)
        return [self._new(operation, inputs, tags=tags) for _ in outputs]

    def _weighted(self, operation: str, factors: list[Node | None], args: tuple[Any, ...]) -> Node | None:
        left, right = weight_position(operation)
        pair = [(factors[i], args[i]) for i in (left, right) if factors[i] is not None]
        weights = [(node, tensor) for node, tensor in pair if node is not None and node.sources]
        signals = [node for node, _ in pair if node is not None and node.sources is None]
        if len(weights) != 1 or len(signals) != 1:
            return None
        (node, weight), signal = weights[0], signals[0]
        sources = node.sources or frozenset()
        name = next(iter(sources)) if len(sources) == 1 else None
        convolution = operation == "convolution"
        contracted, free = _dimensions(operation, weight, weight is args[left], args)
        use = LayerUse(
            name,
            len(self.uses),
            contracted,
            free,
            taps=weight[0, 0].numel() if convolution else 1,
            lookup=operation in LOOKUPS,
            channels_first=convolution,
        )
        self.uses.append(use)
        for earlier in _bits(signal.layers & ~self._read):
            self.uses[earlier].consumed = True
        self._read |= signal.layers
        layer = self._new("layer", (signal,), tags=(Tag(use),))
        layer.layers |= 1 << use.number
        use.start = layer.start = layer.start or use
        return layer

    def _activated(
        self, activation: tuple[str, float], inputs: tuple[Node, ...], data: list[Node], output: Tensor
    ) -> Node:
        name, slope = activation
        tags: list[Tag] = []
        for tag in _union(data):
            if tag.activation is None and tag.use.activation in (None, RESIDUAL):
                tag.use.activation, tag.use.slope, tag.use.normalized = name, slope, tag.normalized
                tag.use.dead = dead_units(name, output, tag.use)
                tag.use.saturated = saturated(name, output)
            tags.append(Tag(tag.use, tag.activation or name, tag.normalized, tag.scale))
        return self._new(name, inputs, tags=tuple(tags))

    def _normalized(self, operation: str, inputs: tuple[Node, ...], tags: tuple[Tag, ...]) -> Node:
        tags = tuple(Tag(tag.use, tag.activation, True, tag.scale) for tag in tags)
        node = self._new(operation, inputs, tags=tags)
        node.start = None
        return node

    def _added(self, operation: str, inputs: tuple[Node, ...], a: Node, b: Node) -> Node:
        found = residual_operands(a, b)
        if found is None:
            return self._new(operation, inputs, tags=_union([a, b]))
        stream_node, branch = found
        node = self._new(operation, (stream_node, branch))
        node.start = stream_node.start or branch.start
        node.stream = stream = previous_stream(stream_node) or Stream()
        # A branch may hold additions of its own, on a stream that began where it left the outer one.
        stream.length += 1
        for tag in branch.tags:
            use = tag.use
            if use.stream is None:
                use.stream, use.scale, use.rescaled = stream, tag.scale, tag.normalized
                use.activation = use.activation or RESIDUAL
        if branch.tags:
            for number in _bits(branch.layers & ~stream_node.layers):
                self.uses[number].branch_end = self.uses[number].branch_end or branch.tags[0].use
        return node

    def _multiplied(self, operation: str, inputs: tuple[Node, ...], a: Node, b: Node) -> Node:
        for scaled, factor in ((a, b), (b, a)):
            if normalizes(scaled, factor):
                return self._normalized("normalize", inputs, scaled.tags)
        opened = {tag.use: tag for node in (a, b) for tag in node.tags if tag.activation is None}
        for tag in (tag for node in (a, b) for tag in node.tags):
            written_out = GATES.get(tag.activation or "")
            if tag.use in opened and written_out is not None and tag.use.activation == tag.activation:
                tag.use.activation, tag.use.saturated = written_out, None
        tags = [tag for tag in _union([a, b]) if tag.activation is not None or tag.use.activation is None]
        return self._new(operation, inputs, tags=tuple(tags))


def _dimensions(operation: str, weight: Tensor, left: bool, args: tuple[Any, ...]) -> tuple[int, int]:
    """The contracted and the free dimension of a weight, for a convolution its input and output channels."""
    if operation == "convolution":
        transposed = len(args) > 6 and bool(args[6])
        return (weight.shape[0], weight.shape[1]) if transposed else (weight.shape[1], weight.shape[0])
    if weight.dim() == 1:
        return weight.shape[0], 1
    # As the right factor of a matrix product a weight is contracted over its last dimension but one.
    contracted, free = (-1, -2) if operation == "linear" or (left and operation not in LOOKUPS) else (-2, -1)
    return weight.shape[contracted], weight.shape[free]


def _union(nodes: Iterable[Node]) -> tuple[Tag, ...]:
    return tuple(dict.fromkeys(tag for node in nodes for tag in node.tags))


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def _note_packing(tags: tuple[Tag, ...], parts: list[Tensor]) -> None:
    for tag in tags:
        dimension = 1 if tag.use.channels_first else -1
        width = parts[0].shape[dimension] if parts[0].dim() > 1 else 0
        if tag.activation is None and width * len(parts) == tag.use.outputs:
            tag.use.packed = len(parts)


@torch.no_grad()
def trace(model: nn.Module, run: Callable[[], Any]) -> list[LayerUse]:
    """The uses of the model's weights in `run()`, in their order."""
    with Tracer(model) as tracer:
        run()
    return tracer.uses
