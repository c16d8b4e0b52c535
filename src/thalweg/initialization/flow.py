"""The graph of a forward pass: which tensors come from which, and which layers a signal has passed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from thalweg.initialization.gains import LINEAR
from thalweg.initialization.operations import IN_PLACE_ALONG, NORMS, PRODUCTS, RECIPROCAL_SCALES

RESIDUAL = "residual addition"


@dataclass(eq=False)
class Stream:
    """A residual stream: the `length` additions that one signal passes without being normalized in between."""

    length: int = 0


@dataclass(eq=False)
class LayerUse:
    """One use of a weight in a forward pass, and what becomes of its output.

    parameter: the weight's name, None when it is computed from several. number: its place in the order of use.
    inputs, outputs: the contracted and the free dimension of the weight,
    channels for a convolution with `taps` of each. activation, slope: what follows.
    normalized: a normalization comes before that. packed: equal parts that the output is split into.
    start: the first use since the signal was last normalized, itself for such a one. consumed: another layer reads
    the output. stream: the residual stream that it is the last of a branch to write to, its output times `scale`,
    `rescaled` when a normalization stands before the addition; branch_end: the last layer of its branch.
    dead, saturated: fractions of units that are zero in the whole batch, of outputs at a saturated end.
    """

    parameter: str | None
    number: int
    inputs: int
    outputs: int
    taps: int = 1
    lookup: bool = False
    channels_first: bool = False
    activation: str | None = None
    slope: float = 0.0
    normalized: bool = False
    packed: int = 1
    consumed: bool = False
    start: LayerUse | None = None
    stream: Stream | None = None
    scale: float = 1.0
    rescaled: bool = False
    branch_end: LayerUse | None = None
    dead: float | None = None
    saturated: float | None = None

    @property
    def following(self) -> str:
        """The activation, "linear" when none was seen."""
        return LINEAR if self.activation in (None, RESIDUAL) else str(self.activation)


@dataclass(frozen=True)
class Tag:
    """A layer whose output a tensor still carries: the activation passed, a normalization passed, constant factors."""

    use: LayerUse
    activation: str | None = None
    normalized: bool = False
    scale: float = 1.0


@dataclass(eq=False)
class Node:
    """A tensor of the forward pass.

    sources: the parameters it is made of, when it is made of parameters alone, else None. ancestors, layers: bit
    sets of the nodes and the layer uses that it depends on. stream: of a residual addition.
    """

    index: int
    operation: str
    inputs: tuple[Node, ...] = ()
    sources: frozenset[str] | None = None
    ancestors: int = 0
    layers: int = 0
    tags: tuple[Tag, ...] = ()
    start: LayerUse | None = None
    stream: Stream | None = None
    data: tuple[Node, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.data = tuple(node for node in self.inputs if node.sources is None)

    def descends_from(self, other: Node) -> bool:
        """Whether this tensor depends on the other, or is it."""
        return bool(self.ancestors >> other.index & 1)


def along_stream(node: Node) -> Iterator[Node]:
    """The node and those before it that are the same residual stream, up to the first that is computed anew."""
    while True:
        yield node
        passes = node.operation in IN_PLACE_ALONG or (node.operation in PRODUCTS and len(node.data) == 1)
        if node.stream is None and not (passes and node.data):
            return
        node = node.data[0]


def residual_operands(a: Node, b: Node) -> tuple[Node, Node] | None:
    """(stream, branch) when one summand is an earlier state of what the other was computed from by layers.

    The stream may also have been projected: one layer, normalized or not, on a state that the branch starts from.
    """
    for stream, branch in ((a, b), (b, a)):
        states = list(along_stream(stream))
        last = states[-1]
        if last.operation in NORMS and last.data:
            states += along_stream(last.data[0])
            last = states[-1]
        if last.operation == "layer" and last.data:
            states += along_stream(last.data[0])
        for state in states:
            if state is not branch and branch.descends_from(state) and branch.layers & ~stream.layers:
                return stream, branch
    return None


def previous_stream(node: Node) -> Stream | None:
    """The residual stream that the signal at `node` belongs to, unless it was normalized since."""
    while True:
        if node.stream is not None:
            return node.stream
        if node.operation in NORMS or node.operation == "normalize" or not node.data:
            return None
        node = node.data[0]


def normalizes(scaled: Node, factor: Node) -> bool:
    """Whether `factor`, in scaled · factor or scaled / factor, is a size computed from `scaled` itself."""
    states = set(along_stream(scaled))
    while factor.operation in IN_PLACE_ALONG and factor.data:
        factor = factor.data[0]
    if factor.operation not in RECIPROCAL_SCALES:
        return False
    return any(factor.descends_from(state) and state is not factor for state in states)
