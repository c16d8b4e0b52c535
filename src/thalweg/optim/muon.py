"""Muon: orthogonalized momentum for matrices, with AdamW for all other parameters (Jordan et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias, Unpack, cast, get_args

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.optim.adam import check_adam
from thalweg.optim.adamw import AdamW
from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.driver.optimizer import Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import rate
from thalweg.optim.newton_schulz import COEFFICIENTS, orthogonalize

AdjustLr: TypeAlias = Literal["original", "match_rms_adamw"]
Pairs: TypeAlias = list[tuple[str | None, Tensor]]
"""Parameters with their names, None where they were given without."""

EMBEDDINGS_AND_HEADS = (
    *("*embed*", "emb", "*_emb", "wte", "wpe", "positions"),
    *("head", "lm_head", "*_head", "classifier", "vocab_projector", "logits", "output.weight"),
)
"""Names of modules and parameters that hold embeddings or the output layer in common models."""

AT_ONCE = {"cpu": 1 << 16}
"""Elements of equal matrices that go through one batched product; larger ones gain nothing from it on a processor."""
AT_ONCE_ELSEWHERE = 1 << 25


def direction(g: Tensor, buffer: Tensor, momentum: float, nesterov: bool) -> Tensor:
    """Bring B ← μB + (1−μ)g into `buffer`; what is orthogonalized: B, or with Nesterov's momentum (1−μ)g + μB.

    Jordan's B ← μB + g is 1/(1−μ) times as long, and orthogonalizing divides by the norm.
    """
    buffer.lerp_(g, 1 - momentum)
    return g.lerp(buffer, momentum) if nesterov else buffer


def scale(rows: int, columns: int, adjust_lr_fn: AdjustLr | None) -> float:
    """s in θ ← θ − η·s·O: √max(1, rows/columns), or 0.2√max(rows, columns) for "match_rms_adamw"."""
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


class Muon(RuleOptimizer):
    """Muon: B ← μB + (1−μ)g; θ ← (1 − ηλ)θ − η·s·O for matrices, O ≈ UVᵀ of (1−μ)g + μB; AdamW for the rest.

    Give `model.named_parameters()`: then parameters with less than two axes go to AdamW, and so do embeddings and
    output layers, found by the patterns `adamw_names` (as in `fnmatch`, compared with the whole name and with each
    part of it between dots). Given `model.parameters()`, without names, everything with two or more axes is a matrix.
    A group with the key "use_muon" decides for itself. Convolutions are flattened to (outputs, all else).

    Groups are split, so that matrices and the rest are in groups of their own and schedulers reach both. A group may
    have any of the arguments below, also "adamw_lr" and so on for the part that goes to AdamW.

    Parameters
    ----------
    lr, weight_decay, momentum, nesterov, ns_coefficients, eps, ns_steps: as in torch.optim.Muon, and its defaults;
        η, λ (decoupled), μ, Nesterov's momentum, and the arguments of `orthogonalize`.
    adjust_lr_fn: "original" or None: s = √max(1, rows/columns), with rates such as 0.02 (then give `adamw_lr`, such
        as 3e-4); "match_rms_adamw": s = 0.2√max(rows, columns), with AdamW's rates and decay (Liu et al. 2025).
    ns_dtype: type of the orthogonalization; None: bfloat16 as in torch, float32 for all but small matrices on a
        processor that only emulates bfloat16 (`iteration_dtype`).
    adamw_lr, adamw_weight_decay: for the rest; None: those of the matrices. adamw_betas, adamw_eps: AdamW's.
    adamw_names: patterns of names of matrices that are AdamW's.

    State: one tensor per matrix, two per other parameter; exchanged with torch.optim.Muon where all are matrices.
    Raises InvalidArgument for a hyperparameter out of its range and for "use_muon" on parameters with one axis.
    """

    columns = False
    # What is driven elementwise; matrices never come to it.
    rule = AdamW.rule

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: AdjustLr | None = None,
        *,
        ns_dtype: torch.dtype | None = None,
        adamw_lr: float | None = None,
        adamw_betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        adamw_weight_decay: float | None = None,
        adamw_names: Sequence[str] = EMBEDDINGS_AND_HEADS,
        **options: Unpack[Options],
    ) -> None:
        self._adamw = {
            "lr": adamw_lr,
            "betas": adamw_betas,
            "eps": adamw_eps,
            "weight_decay": adamw_weight_decay,
        }
        self._adamw_names = (adamw_names,) if isinstance(adamw_names, str) else tuple(adamw_names)
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "ns_dtype": ns_dtype,
            "use_muon": True,
        }
        self._check_matrices(defaults)
        super().__init__(params, defaults, **options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        if group["use_muon"]:
            self._check_matrices(group)
        else:
            check_adam(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: as two, where some of its parameters are matrices and others go to AdamW."""
        before = len(self.param_groups)
        try:
            for part in self._parts(param_group):
                super().add_param_group(part)
        except Exception:
            del self.param_groups[before:]
            raise

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled."""
        return super().__getstate__() | {"_adamw": self._adamw, "_adamw_names": self._adamw_names}

    def _parts(self, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """One group for the matrices and one for the rest, each with its hyperparameters; without empty ones."""
        group = dict(given)
        pairs = _pairs(group.pop("params"), group.pop("param_names", None))
        chosen = group.pop("use_muon", None)
        own = {name: group.pop(f"adamw_{name}", None) for name in self._adamw}
        for use_muon in (True, False):
            part = [
                (name, p)
                for name, p in pairs
                if (self._is_matrix(name, p) if chosen is None else bool(chosen)) == use_muon
            ]
            if not part and (pairs or use_muon):
                continue
            made: dict[str, Any] = {**group, "params": [p for _, p in part], "use_muon": use_muon}
            if part and part[0][0] is not None:
                made["param_names"] = [name for name, _ in part]
            if use_muon:
                _require_axes(part)
            else:
                made |= {name: self._adamw_value(name, own, group, chosen is not None) for name in own}
                made["amsgrad"] = False
            yield made

    def _adamw_value(self, name: str, own: dict[str, Any], group: dict[str, Any], chosen: bool) -> Any:
        """A hyperparameter of AdamW: from "adamw_…" of the group, from the group, from the optimizer."""
        shared = name in ("lr", "weight_decay")
        found = (
            own[name],
            group.get(name) if chosen else None,
            self._adamw[name],
            group.get(name) if shared else None,
            self.defaults[name] if shared else None,
        )
        return next(value for value in found if value is not None)

    def _is_matrix(self, name: str | None, p: Tensor) -> bool:
        parts = [] if name is None else [name, *name.split(".")]
        return p.dim() >= 2 and not any(
            fnmatchcase(part, pattern) for part in parts for pattern in self._adamw_names
        )

    def _check_matrices(self, group: dict[str, Any]) -> None:
        check.rate(group["lr"])
        check.nonnegative(group["weight_decay"], "weight_decay")
        check.averaging(group["momentum"], "momentum")
        check.positive(group["eps"], "eps")
        steps, coefficients = group["ns_steps"], group["ns_coefficients"]
        if not isinstance(steps, int) or not 1 <= steps < 100:
            raise InvalidArgument(f"ns_steps must be an integer from 1 to 99, got {steps!r}")
        if not isinstance(coefficients, (tuple, list)) or len(cast("Sequence[Any]", coefficients)) != 3:
            raise InvalidArgument(f"ns_coefficients must be three numbers a, b, c, got {coefficients!r}")
        if group["adjust_lr_fn"] not in (None, *get_args(AdjustLr)):
            raise InvalidArgument(
                f'adjust_lr_fn must be "original", "match_rms_adamw" or None, got {group["adjust_lr_fn"]!r}'
            )
        dtype = group["ns_dtype"]
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise InvalidArgument(f"ns_dtype must be a floating-point torch.dtype or None, got {dtype!r}")

    def _step_group(self, place: int, group: dict[str, Any]) -> None:
        if not group["use_muon"]:
            super()._step_group(place, group)
            return
        for matrices in _batches([p for p in group["params"] if p.grad is not None]):
            self._step_matrices(group, matrices)

    def _step_matrices(self, group: dict[str, Any], matrices: list[Tensor]) -> None:
        """One step of matrices that are equal in shape, type and device."""
        directions: list[Tensor] = []
        for p in matrices:
            held = self.state[p]
            g = _dense(p)
            if held.get("momentum_buffer") is None:
                held["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            held["step"] = held.get("step", 0) + 1
            moved = direction(
                -g if group["maximize"] else g, held["momentum_buffer"], group["momentum"], group["nesterov"]
            )
            directions.append(moved.reshape(len(p), -1))
        whole = torch.stack(directions) if len(directions) > 1 else directions[0]
        made = orthogonalize(
            whole, group["ns_steps"], group["ns_coefficients"], group["eps"], group["ns_dtype"]
        )
        lr = rate(group)
        rows, columns = directions[0].shape
        length = lr * scale(rows, columns, group["adjust_lr_fn"])
        for p, o in zip(matrices, made.unbind() if len(directions) > 1 else [made], strict=True):
            p.mul_(1 - lr * group["weight_decay"])
            p.add_(o.reshape(p.shape), alpha=-length)

    def _compiles(self) -> bool:
        if self._size is None:
            # Only what AdamW updates would be compiled.
            rest = [group["params"] for group in self.param_groups if not group["use_muon"]]
            self._size = sum(p.numel() for params in rest for p in params)
        return super()._compiles()


def _pairs(params: Any, names: Sequence[str] | None) -> Pairs:
    """Names and parameters of a group, however torch's optimizers take them."""
    members = [params] if isinstance(params, Tensor) else list(params)
    if names is not None:
        return list(zip(names, members, strict=True))
    return [member if isinstance(member, tuple) else (None, member) for member in members]


def _require_axes(pairs: Pairs) -> None:
    for place, (name, p) in enumerate(pairs):
        if p.dim() < 2:
            raise InvalidArgument(
                f"use_muon needs parameters with at least 2 axes, {name or f'number {place}'} has shape "
                f"{tuple(p.shape)}: leave it to AdamW"
            )


def _dense(p: Tensor) -> Tensor:
    g = cast(Tensor, p.grad)
    if g.layout != torch.strided:
        raise InvalidArgument(
            f"Muon does not take sparse gradients, that of a matrix of shape {tuple(p.shape)} is: use sparse=False in "
            f"the embedding, or name it in adamw_names"
        )
    return g


def _batches(matrices: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Matrices that may be orthogonalized together: equal in shape, type and device, and not too many elements."""
    equal: dict[tuple[Any, ...], list[Tensor]] = {}
    for p in matrices:
        equal.setdefault((p.shape, p.dtype, p.device), []).append(p)
    for (shape, _, device), members in equal.items():
        count = max(1, AT_ONCE.get(device.type, AT_ONCE_ELSEWHERE) // max(1, math.prod(shape)))
        for start in range(0, len(members), count):
            yield members[start : start + count]
