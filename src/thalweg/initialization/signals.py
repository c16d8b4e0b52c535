"""Measuring what passes the layers of a model on one batch, forward and back."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.rnn import RNNCellBase
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils._pytree import tree_leaves, tree_map

from thalweg.initialization.fans import CONVOLUTIONS
from thalweg.initialization.flow import LayerUse
from thalweg.initialization.sample import module_has_matrix
from thalweg.initialization.tracer import Tracer

_RECURRENT = (nn.RNNBase, RNNCellBase)
_LAYERS = (
    nn.Linear,
    *CONVOLUTIONS,
    nn.Bilinear,
    nn.Embedding,
    nn.EmbeddingBag,
    *_RECURRENT,
    nn.MultiheadAttention,
)


@dataclass(eq=False)
class Passage:
    """One call of a layer: its output, as autograd saw it, and how its weights were used (none: not followed).

    `silent` when all its weights are zero; its input is then kept, so that a gradient can be started there.
    """

    name: str
    module: nn.Module
    output: Tensor
    mean_square: float
    spread: float
    uses: list[LayerUse]
    silent: bool
    input: Tensor | None = None
    gradient: float | None = None
    weight_gradient: float | None = None

    @property
    def use(self) -> LayerUse | None:
        """The use that gave the output; None for a recurrent layer, which computes on with what its weights give."""
        return self.uses[-1] if self.uses and not isinstance(self.module, _RECURRENT) else None

    @property
    def gradient_energy(self) -> float | None:
        """The gradient's square per sample and unit: its mean square times the positions (pixels, tokens) of a unit.

        Pooling and strides spread a gradient over positions or gather it; this sum hardly changes.
        """
        shape = self.output.shape
        units = shape[1 if isinstance(self.module, CONVOLUTIONS) and len(shape) > 2 else -1] if shape else 1
        positions = self.output.numel() / max(1, units * shape[0]) if len(shape) > 1 else 1.0
        return None if self.gradient is None else self.gradient * positions


@dataclass
class Recorder:
    """Within `watching()`, every call of a layer of the model is recorded in `passages`, in order."""

    model: nn.Module
    follow: bool = True
    passages: list[Passage] = field(default_factory=list)

    @contextmanager
    def watching(self) -> Generator[None]:
        """Record while the block runs the model."""
        tracer = Tracer(self.model) if self.follow else None
        entered: dict[nn.Module, list[int]] = {}
        layers = layer_modules(self.model)

        def enter(module: nn.Module, _: Any) -> None:
            entered.setdefault(module, []).append(len(tracer.uses) if tracer else 0)

        def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            uses = tracer.uses[entered[module].pop() :] if tracer else []
            return self._record(layers[module], module, inputs, output, uses)

        with ExitStack() as stack:
            for module in layers:
                stack.callback(module.register_forward_pre_hook(enter).remove)
                stack.callback(module.register_forward_hook(leave).remove)
            following: AbstractContextManager[Any] = nullcontext() if tracer is None else tracer
            with following:
                yield

    def _record(
        self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any, uses: list[LayerUse]
    ) -> Any:
        first = next((leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)), None)
        if first is None or not first.is_floating_point():
            return output
        # What follows may write into the output in place; and a frozen layer's must still get a gradient.
        probe = first if first.requires_grad else first.detach().requires_grad_()
        weights = [p.detach() for p in module.parameters() if p.dim() > 1]
        silent = not any(bool(weight.any()) for weight in weights)
        read = next((leaf for leaf in inputs if isinstance(leaf, Tensor) and leaf.requires_grad), None)
        mean_square, spread = _sizes(first.detach())
        self.passages.append(
            Passage(name, module, probe, mean_square, spread, uses, silent, read if silent else None)
        )
        passed = probe.clone()
        return passed if output is first else _with_first(output, first, passed)

    def propagate_back(self, total: Tensor) -> None:
        """Fill in the gradients of `total`, shape (), at every output and weight; the parameters keep theirs."""
        parameters = [p for passage in self.passages for p in passage.module.parameters()]
        wanted = [p for p in dict.fromkeys(parameters) if p.requires_grad and p.dim() > 1]
        outputs = [passage.output for passage in self.passages]
        if not total.requires_grad:
            return
        gradients = torch.autograd.grad(total, [*outputs, *wanted], allow_unused=True)
        # With allow_unused some are None, whatever the annotation says.
        found = cast("Sequence[Tensor | None]", gradients)
        by_weight = zip(wanted, found[len(outputs) :], strict=True)
        squares = {p: _square_sum(gradient) for p, gradient in by_weight if gradient is not None}
        for passage, gradient in zip(self.passages, found, strict=False):
            if gradient is not None:
                passage.gradient = float(gradient.detach().double().square().mean())
            own = [squares[p] for p in passage.module.parameters() if p in squares]
            passage.weight_gradient = sum(own) ** 0.5 if own else None


def layer_modules(model: nn.Module) -> dict[nn.Module, str]:
    """The layers of `model` and their names: torch's, and modules of any other kind with weights of their own.

    Modules of another kind that hold further layers are left out: their output is not that of their own weights.
    """
    found: dict[nn.Module, str] = {}
    hidden: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module in hidden or isinstance(module, ParametrizationList):
            continue
        if isinstance(module, _LAYERS):
            found[module] = name or type(module).__name__
            hidden.update(module.modules())
        elif module_has_matrix(module) and not any(
            isinstance(inner, _LAYERS) or module_has_matrix(inner)
            for inner in module.modules()
            if inner is not module
        ):
            found[module] = name or type(module).__name__
    return found


def random_cotangent(output: Any, draw: torch.Generator) -> Tensor | None:
    """⟨r, output⟩ with standard normal r over all floating-point tensors of `output`; None when there are none."""
    leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    terms = [
        (leaf * torch.randn(leaf.shape, generator=draw).to(leaf)).sum()
        for leaf in leaves
        if leaf.requires_grad
    ]
    return sum(terms[1:], terms[0]) if terms else None


def _sizes(output: Tensor) -> tuple[float, float]:
    """The mean square, and the part of it that differs from sample to sample."""
    values = output.double()
    mean_square = float(values.square().mean())
    if values.dim() < 2 or values.shape[0] < 2 or not mean_square > 0:
        return mean_square, float("nan")
    return mean_square, float(values.var(dim=0, correction=0).mean()) / mean_square


def _square_sum(gradient: Tensor) -> float:
    return float(
        (gradient.coalesce().values() if gradient.is_sparse else gradient).detach().double().square().sum()
    )


def _with_first(output: Any, first: Tensor, replacement: Tensor) -> Any:
    return tree_map(lambda leaf: replacement if leaf is first else leaf, output)
