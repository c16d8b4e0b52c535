"""The selected parameters of a model as one flat vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

import torch
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.objective.abstract import Block

Selection: TypeAlias = str | Sequence[str] | Callable[[str, nn.Parameter], bool] | None
"""Which parameters: None for all trainable ones, name patterns such as "layers.*.weight", or a predicate."""


def select(model: nn.Module, selection: Selection) -> dict[str, nn.Parameter]:
    """The trainable parameters of `model` that `selection` names; a tied one once, under its first name."""
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
    patterns = [selection] if isinstance(selection, str) else selection
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def flatten(tensors: Iterable[Tensor], dtype: torch.dtype) -> Tensor:
    """One vector (n,) of all entries, a copy."""
    return torch.cat([tensor.detach().reshape(-1).to(dtype) for tensor in tensors])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The pieces of `vector` (n,) in the shapes and types of `like`; differentiable at the price of one copy."""
    pieces = torch.split(vector, [tensor.numel() for tensor in like])
    return [piece.view(tensor.shape).to(tensor.dtype) for piece, tensor in zip(pieces, like, strict=True)]


def blocks(model: nn.Module, chosen: dict[str, nn.Parameter]) -> tuple[Block, ...]:
    """Where each chosen parameter sits in θ, and how a direction in it is to be normalized."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    found: list[Block] = []
    offset = 0
    for name, parameter in chosen.items():
        kind = "vector" if parameter.dim() < 2 else "embedding" if id(parameter) in embeddings else "filters"
        found.append(Block(name, tuple(parameter.shape), offset, kind))
        offset += parameter.numel()
    return tuple(found)
