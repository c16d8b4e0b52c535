"""The selected parameters of a model as one flat vector."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

import torch
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.objective.abstract import Block

Selection: TypeAlias = str | Sequence[str] | Callable[[str, nn.Parameter], bool] | None
"""Which parameters: None for all trainable ones, name patterns such as "layers.*.weight", or a predicate."""


class Parameters:
    """The parameters of a model that `selection` names, in their order the pieces of θ (n,).

    names, blocks: one for each of them, a tied one once under its first name. size: n. dtype: their own type, or the
    widest where they differ. device: on which all of them are.

    They are looked up whenever they are wanted, for loading a state by assignment puts others in their place.

    Raises InvalidArgument where there are none, or not all are real numbers on one device; later, where one is gone or
    has another shape, type or device than at first.
    """

    def __init__(self, model: nn.Module, selection: Selection) -> None:
        chosen = _select(model, selection)
        self._model = model
        self._like = [(tuple(p.shape), p.dtype) for p in chosen.values()]
        self._sizes = [p.numel() for p in chosen.values()]
        self.names = list(chosen)
        self.blocks = _blocks(model, chosen)
        self.size = sum(self._sizes)
        self.dtype = functools.reduce(torch.promote_types, (dtype for _, dtype in self._like))
        self.device = next(iter(chosen.values())).device

    @property
    def ids(self) -> set[int]:
        """What `id` says of the parameters, which of tied ones is the same."""
        return {id(parameter) for parameter in self._now()}

    @property
    def point(self) -> Tensor:
        """The θ (n,) that they hold now; a copy."""
        return self._flat(self._now())

    def write(self, theta: Tensor) -> None:
        """Make θ (n,) what they hold."""
        with torch.no_grad():
            for parameter, piece in zip(self._now(), self.pieces(theta), strict=True):
                parameter.copy_(piece)

    def pieces(self, theta: Tensor) -> list[Tensor]:
        """θ (n,) in their shapes and types; differentiable at the price of one copy."""
        pieces = theta.split_with_sizes(self._sizes)
        return [piece.view(shape).to(dtype) for piece, (shape, dtype) in zip(pieces, self._like, strict=True)]

    def flatten(self, state: dict[str, Tensor]) -> Tensor:
        """The θ (n,) of a state dictionary; InvalidArgument names what it lacks or holds in another shape."""
        if not isinstance(state, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass models
            raise InvalidArgument(
                f"state must be a dictionary as model.state_dict() gives it, got {type(state).__name__}"
            )
        missing = [name for name in self.names if name not in state]
        if missing:
            raise InvalidArgument(
                f"checkpoint lacks {len(missing)} of {len(self.names)} parameters ({', '.join(missing[:4])}); "
                f"it holds {', '.join(list(state)[:4])}, ..."
            )
        for name, (shape, _) in zip(self.names, self._like, strict=True):
            if tuple(state[name].shape) != shape:
                raise InvalidArgument(
                    f"checkpoint: {name} has shape {tuple(state[name].shape)}, the model's has {shape}"
                )
        return self._flat(state[name].to(self.device) for name in self.names)

    def _now(self) -> list[nn.Parameter]:
        found: list[nn.Parameter] = []
        for name, (shape, dtype) in zip(self.names, self._like, strict=True):
            try:
                parameter = self._model.get_parameter(name)
            except AttributeError:
                raise InvalidArgument(
                    f"the model has no parameter {name} any more: make the objective of it anew"
                ) from None
            if (parameter.shape, parameter.dtype, parameter.device) != (shape, dtype, self.device):
                now = f"{tuple(parameter.shape)}, {parameter.dtype} on {parameter.device}"
                raise InvalidArgument(
                    f"the model's parameter {name} was {shape}, {dtype} on {self.device} and is {now}: "
                    "make the objective of it anew"
                )
            found.append(parameter)
        return found

    def _flat(self, tensors: Iterable[Tensor]) -> Tensor:
        return torch.cat([tensor.detach().reshape(-1).to(self.dtype) for tensor in tensors])


def _select(model: nn.Module, selection: Selection) -> dict[str, nn.Parameter]:
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        held = sum(1 for _ in model.parameters())
        raise InvalidArgument(
            f"model has no trainable parameters ({held} frozen): set requires_grad=True on those to look at"
        )
    chosen = {name: p for name, p in trainable.items() if _wanted(name, p, selection)}
    if not chosen:
        some = ", ".join(list(trainable)[:6])
        raise InvalidArgument(
            f"parameters={selection!r} selects none of the {len(trainable)} trainable ones ({some}, ...)"
        )
    for name, parameter in chosen.items():
        if not parameter.is_floating_point():
            raise InvalidArgument(
                f"parameter {name} is {parameter.dtype}: only real floating-point ones can be used"
            )
    devices = {p.device for p in chosen.values()}
    if len(devices) > 1:
        raise InvalidArgument(
            f"parameters are on {len(devices)} devices ({devices}): select those of one device"
        )
    return chosen


def _wanted(name: str, parameter: nn.Parameter, selection: Selection) -> bool:
    if selection is None:
        return True
    if callable(selection):
        return selection(name, parameter)
    if not isinstance(selection, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - users may pass others
        raise InvalidArgument(
            f"parameters must be None, name patterns or a predicate, got {type(selection).__name__}"
        )
    patterns = [selection] if isinstance(selection, str) else list(selection)
    if not all(isinstance(pattern, str) for pattern in patterns):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f"parameters must be None, name patterns or a predicate, got {selection!r}")
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _blocks(model: nn.Module, chosen: dict[str, nn.Parameter]) -> tuple[Block, ...]:
    """Where each chosen parameter sits in θ, and how a direction in it is to be normalized."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    found: list[Block] = []
    offset = 0
    for name, parameter in chosen.items():
        kind = "vector" if parameter.dim() < 2 else "embedding" if id(parameter) in embeddings else "filters"
        found.append(Block(name, tuple(parameter.shape), offset, kind))
        offset += parameter.numel()
    return tuple(found)
