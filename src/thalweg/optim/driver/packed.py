"""Many small parameters updated as one: their state in one buffer, gathered and scattered around each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from thalweg.optim.driver.flat import Advance

_copy_all: Any = torch._foreach_copy_  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

StateOf: TypeAlias = Mapping[Tensor, dict[str, Any]]


class Packed:
    """Parameters of one type and device whose state lies in one buffer per name.

    The state that an optimizer hands out are views of the buffers. `names` are those of the rule's state, None for what
    is not kept.
    """

    def __init__(self, params: Sequence[Tensor], names: Sequence[str | None], state: StateOf) -> None:
        self.params = list(params)
        total = sum(p.numel() for p in params)
        self._point = torch.empty(total, dtype=params[0].dtype, device=params[0].device)
        self._gradient = torch.empty_like(self._point)
        self._points = self._views(self._point)
        self._gradients = self._views(self._gradient)
        self._state: list[Tensor | None] = []
        for name in names:
            if name is None:
                self._state.append(None)
                continue
            buffer = torch.empty(total, dtype=state[params[0]][name].dtype, device=params[0].device)
            views = self._views(buffer)
            _copy_all(views, [state[p][name] for p in params])
            self._state.append(buffer)
            for p, view in zip(params, views, strict=True):
                state[p][name] = view

    def step(self, gradients: Sequence[Tensor], advance: Advance) -> None:
        """Apply `advance`, which updates point and state in place, to all parameters at once."""
        _copy_all(self._points, self.params)
        _copy_all(self._gradients, gradients)
        advance(self._point, self._gradient, self._state)
        _copy_all(self.params, self._points)

    def _views(self, buffer: Tensor) -> list[Tensor]:
        parts = buffer.split([p.numel() for p in self.params])
        return [part.view(p.shape) for part, p in zip(parts, self.params, strict=True)]
