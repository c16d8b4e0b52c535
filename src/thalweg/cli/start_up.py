"""Commands that begin sooner."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

_GUARDED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


@contextmanager
def optimizers_without_compiler() -> Generator[None]:
    """Within the block torch's optimizers do not import torch's compiler, which takes a second and a half.

    They do so at the first call of some methods, only to keep the compiler off them. No command compiles a whole step
    of training, so nothing is lost; what else is compiled is as before.
    """
    from torch.optim import Optimizer

    guarded = {name: getattr(Optimizer, name) for name in _GUARDED}
    for name, method in guarded.items():
        setattr(Optimizer, name, getattr(method, "__wrapped__", method))
    try:
        yield
    finally:
        for name, method in guarded.items():
            setattr(Optimizer, name, method)
