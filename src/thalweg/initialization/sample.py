"""Running a model once, on a batch or on one made up from its first layer, without leaving a trace in it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.initialization.flow import LayerUse
from thalweg.initialization.tracer import trace
from thalweg.objective.preserved import preserved, uncompiled

_LENGTHS = (8, 2, 32, 64, 128)
# So many that hardly a unit is dead because of the samples rather than its weights.
_SAMPLES = 16
_IMAGES = (32, 28, 64, 224, 16, 8, 96, 128)


@contextmanager
def undisturbed(model: nn.Module, batchnorm: str = "batch") -> Generator[None]:
    """Run `model` without dropout, its batch-norm layers on the batch ("batch") or their statistics ("eval").

    Mode, buffers and random state are as before afterwards. Transformer layers take the path through their
    modules, not the fused one, which shows nothing, and compiled ones run uncompiled.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with uncompiled(), preserved(model, batch_statistics=batchnorm == "batch"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def call(model: nn.Module, x: Any) -> Any:
    """model(x), model(**x) for a dict; an error of the model becomes one line about `x`."""
    try:
        return model(**x) if isinstance(x, dict) else model(x)
    except Exception as error:
        shape = f" of shape {tuple(x.shape)}" if isinstance(x, Tensor) else ""
        raise InvalidArgument(
            f"x: the model refused this {type(x).__name__}{shape}: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def follow(model: nn.Module, run: Callable[[], Any]) -> list[LayerUse] | None:
    """The uses of weights in `run()`, which runs the model; None when it runs, but not while being followed."""
    with undisturbed(model):
        try:
            return trace(model, run)
        except Exception:
            with torch.no_grad():
                run()
            return None


def made_up_input(model: nn.Module) -> tuple[Any, list[LayerUse]] | None:
    """An input that the model takes, guessed from its first layer, and the uses of weights on it."""
    for x in _guesses(model):
        with undisturbed(model):
            try:
                return x, trace(model, lambda x=x: model(x))
            except Exception:
                continue
    return None


def _guesses(model: nn.Module) -> Iterator[Tensor]:
    layers = [module for module in model.modules() if module_has_matrix(module)]
    # A model's own bare parameters come before its first layer; what it takes is more often the layer's input.
    for module in sorted(layers[:4], key=lambda module: module is model):
        yield from _inputs_of(module, torch.Generator().manual_seed(0))


def module_has_matrix(module: nn.Module) -> bool:
    """Whether a parameter of two or more dimensions belongs to the module itself."""
    return any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))


def _inputs_of(module: nn.Module, draw: torch.Generator) -> Iterator[Tensor]:
    weight = next(parameter for parameter in module.parameters(recurse=False) if parameter.dim() > 1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw).to(weight.detach())

    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        for length in _LENGTHS:
            yield torch.randint(module.num_embeddings, (_SAMPLES, length), generator=draw).to(weight.device)
    elif isinstance(module, nn.Conv1d):
        yield from (normal(_SAMPLES, module.in_channels, length) for length in _LENGTHS[::-1])
    elif isinstance(module, nn.Conv2d):
        yield from (normal(2, module.in_channels, size, size) for size in _IMAGES)
    elif isinstance(module, nn.Conv3d):
        yield from (normal(2, module.in_channels, size, size, size) for size in (16, 32, 8))
    else:
        width = int(getattr(module, "input_size", getattr(module, "embed_dim", weight.shape[-1])))
        yield normal(_SAMPLES, width)
        yield from (normal(_SAMPLES, length, width) for length in _LENGTHS)
        # A bare matrix may be used from either side.
        if not isinstance(module, nn.Linear) and weight.shape[0] != width:
            yield normal(_SAMPLES, weight.shape[0])
