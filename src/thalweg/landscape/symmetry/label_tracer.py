"""Following labels through a forward pass, below autograd and whatever way the model is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from thalweg.landscape.symmetry.atoms import ANY, Atoms
from thalweg.landscape.symmetry.labels import Labels, compact, constant_labels, fresh_labels
from thalweg.landscape.symmetry.layer_rules import LAYER_RULES, attention, pointwise
from thalweg.landscape.symmetry.seen import Event, Followed, state
from thalweg.landscape.symmetry.shape_rules import SHAPE_RULES


class LabelTracer(TorchDispatchMode):
    """Within the block, gives every tensor labels. What an unknown operation touches is fixed."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.found = Followed(Atoms())
        self._labels: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._names: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._data: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        # Constants that were written into: neither they nor views of them are constant any more.
        self._written: list[Tensor] = []
        self._signals = 0
        for name, tensor in state(model).items():
            labels = fresh_labels(self.found.atoms, tensor.shape)
            self._labels[tensor], self._names[tensor] = labels, name
            self.found.events.append(Event(labels, name=name))

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
        """Run the operation and label its results."""
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for tensor in inputs:
            if tensor in self._names:
                self.found.reached.add(self._names[tensor])
        before = _Before(self, inputs)
        known = self._rule(func)
        result = func(*args, **(kwargs or {}))
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if not results:
            return result
        found = None
        keywords = [leaf for leaf in tree_leaves(kwargs or {}) if isinstance(leaf, Tensor)]
        unsafe = before.overwrites_constant(func)
        if unsafe:
            self._written.append(inputs[0])
        if unsafe or _reshapes_in_place(func) or (keywords and known is not attention):
            known = None
        if known is not None:
            # Arguments that a rule did not expect are as good as an unknown operation.
            with suppress(Exception):
                found = known(self.found.atoms, before.read, (*args, *keywords), results)
        if found is None or not all(map(_fits, found, results)):
            self._unknown(func, before)
            found = [constant_labels(tensor.shape) for tensor in results]
        found += [constant_labels(tensor.shape) for tensor in results[len(found) :]]
        data = any(self.is_data(tensor) for tensor in inputs)
        for tensor, labels in zip(results, found, strict=True):
            self._label(func, tensor, compact(self.found.atoms, labels), data)
        return result

    def labels_of(self, tensor: Tensor) -> Labels:
        """A tensor's labels; those of one that came from outside, or was drawn, are fixed."""
        labels = self._labels.get(tensor) or constant_labels(tensor.shape)
        if self._written and any((label == ANY).any() for label in labels):
            storage = tensor.untyped_storage().data_ptr()
            if any(storage == written.untyped_storage().data_ptr() for written in self._written):
                return constant_labels(tensor.shape)
        return labels

    def is_data(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on the model's input rather than on parameters and constants alone."""
        return bool(self._data.get(tensor, tensor not in self._labels))

    def _label(self, func: Callable[..., Any], tensor: Tensor, labels: Labels, data: bool) -> None:
        self._labels[tensor], self._data[tensor] = labels, data
        computed = data and tensor.is_floating_point() and _name(func) not in SHAPE_RULES
        self.found.events.append(Event(labels, data, signal=self._signals if computed else None))
        if computed:
            self.on_signal(self._signals, tensor)
            self._signals += 1

    def on_signal(self, number: int, value: Tensor) -> None:
        """Called with every computed signal."""

    def _rule(self, func: Callable[..., Any]) -> Any:
        name = _name(func)
        rule = SHAPE_RULES.get(name) or LAYER_RULES.get(name)
        tags = getattr(func, "tags", ())
        if rule is None and torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags:
            return pointwise
        return rule

    def _unknown(self, func: Callable[..., Any], before: _Before) -> None:
        reason = f"the operation {_name(func)} is not understood"
        for labels in before.labels:
            for label in labels:
                self.found.atoms.fix(label, reason)


class _Before:
    """The labels of an operation's arguments before it ran."""

    def __init__(self, tracer: LabelTracer, tensors: list[Tensor]) -> None:
        self.labels = [tracer.labels_of(tensor) for tensor in tensors]
        self._tensors = tensors

    def read(self, tensor: Tensor) -> Labels:
        """A copy of the list of a tensor's labels, which a rule may change."""
        for labels, candidate in zip(self.labels, self._tensors, strict=True):
            if candidate is tensor:
                return list(labels)
        return constant_labels(tensor.shape)

    def overwrites_constant(self, func: Callable[..., Any]) -> bool:
        """Whether it writes into a tensor whose labels rely on its being constant along an axis."""
        if not _writes(func) or not self._tensors:
            return False
        refilled = _name(func) in ("fill", "zero") and not self._tensors[0]._is_view()  # pyright: ignore[reportPrivateUsage]
        return not refilled and any((label == ANY).any() for label in self.labels[0])


def _writes(func: Callable[..., Any]) -> bool:
    return bool(getattr(getattr(func, "_schema", None), "is_mutable", False))


def _reshapes_in_place(func: Callable[..., Any]) -> bool:
    # Rules of these need the shape before; those of transposing do not.
    return _writes(func) and _name(func) in SHAPE_RULES and _name(func) not in ("transpose", "t")


def _fits(labels: Labels, tensor: Tensor) -> bool:
    """Whether there is a label for each axis that broadcasts to the tensor's shape and has its atoms or none."""
    return len(labels) == tensor.dim() and all(
        label.ndim == tensor.dim()
        and all(n in (1, size) for n, size in zip(label.shape, tensor.shape, strict=True))
        for label in labels
    )


def _name(func: Callable[..., Any]) -> str:
    return str(func._overloadpacket.__name__).rstrip("_")  # pyright: ignore[reportFunctionMemberAccess]
