"""Torch's own table of optimizers, their configurations and erroneous arguments, beside ours of the same name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

import thalweg.optim as ours

CLASSES: dict[str, Any] = {
    "SGD": ours.SGD,
    "Adagrad": ours.AdaGrad,
    "RMSprop": ours.RMSProp,
    "Adam": ours.Adam,
    "AdamW": ours.AdamW,
}
# Where our default is the lecture's and not torch's.
DEFAULTS: dict[str, dict[str, Any]] = {"RMSprop": {"alpha": 0.99}}

SKIPS = {
    "test_complex, test_complex_2d": "complex parameters are refused: torch.view_as_real gives the same path",
    "test_fused*": "fused is accepted and without effect: there is one implementation",
    "test_foreach*, test_defaults_changed_to_foreach, test_set_default_dtype_works_with_foreach": "the same of foreach",
    "test_peak_memory_foreach": "the same of foreach",
    "test_differentiable*": "differentiable=True is refused",
    "test_mixed_device_dtype, test_state_dict_with_cuda_params, *_multigpu, *_capturable*": "need graphics cards",
    "test_grad_scaling_autocast_fused_optimizers": "needs fused; GradScaler is tested in test_contract.py",
    "error: lr as Tensor doesn't work with foreach & not capturable": "tensors are read as numbers: it works",
    "error: betas must be either both floats or both Tensors": "tensors are read as numbers: it works",
    r"error: betas\[0\] as a Tensor is not supported for capturable=False and foreach=True": "the same",
}
"""What is not restated, and why; rows that begin with "error" are erroneous arguments, by torch's description."""


class Suite:
    """Torch's table of an optimizer beside ours of the same name."""

    def __init__(self, info: Any) -> None:
        self.info = info
        self.name: str = info.name
        self.cls = CLASSES[self.name]
        self.defaults = DEFAULTS.get(self.name, {})

    def options(self, device: str = "cpu") -> list[dict[str, Any]]:
        """Constructor arguments of every configuration, complete, so that both sides mean the same."""
        return [self.defaults | given.kwargs for given in self.info.optim_inputs_func(device=device)]

    def pair(self, params: Any, clones: Any, options: dict[str, Any]) -> tuple[Any, Any]:
        """Our optimizer of the first parameters and torch's loop over tensors for the second."""
        return self.cls(params, **options), self.info.optim_cls(clones, **options, foreach=False)


def affine(
    dtype: torch.dtype = torch.float32, contiguous: bool = True
) -> tuple[nn.Parameter, nn.Parameter, torch.Tensor]:
    """A weight, a bias and an input, the same at every call."""
    generator = torch.Generator().manual_seed(1)
    weight, bias, x = (
        torch.randn(*shape, generator=generator, dtype=dtype) for shape in ((10, 5), (10,), (5,))
    )
    if not contiguous:
        weight, bias = torch.stack([weight, weight], -1)[..., 0], torch.stack([bias, bias], -1)[..., 0]
    return nn.Parameter(weight), nn.Parameter(bias), x


def closure_of(optimizer: Any, weight: Any, bias: Any, x: torch.Tensor) -> Any:
    """What clears the gradients, computes them, and returns the loss."""

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (weight.mv(x) + bias).pow(2).sum()
        loss.backward()
        return loss

    return closure


def drive(optimizer: Any, schedulers: Any, closure: Any, steps: int) -> None:
    for _ in range(steps):
        loss = optimizer.step(closure)
        for scheduler in schedulers:
            scheduler.step(*([loss.detach()] if isinstance(scheduler, ReduceLROnPlateau) else []))


def same(a: Any, b: Any, **tolerance: Any) -> None:
    torch.testing.assert_close(a, b, **tolerance)


def states_match(mine: Any, theirs: Any, **tolerance: Any) -> None:
    """Every tensor that torch keeps for a parameter, ours has too, and the same."""
    ours_, torchs = mine.state_dict()["state"], theirs.state_dict()["state"]
    for key, held in torchs.items():
        for name, value in held.items():
            if isinstance(value, torch.Tensor):
                same(ours_[key][name], value, **tolerance)


def contents(saved: dict[str, Any]) -> str:
    """All that a state dictionary says, parameter names and the order of keys apart."""
    unsaid = ("param_names", "differentiable")
    groups = [
        {key: group[key] for key in sorted(group) if key not in unsaid} for group in saved["param_groups"]
    ]
    state = [{key: held[key] for key in sorted(held)} for held in saved["state"].values()]
    return repr((groups, state))
