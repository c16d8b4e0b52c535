"""Optimizers by name."""

from __future__ import annotations

from typing import Any

import torch

from thalweg.errors import InvalidArgument, UnknownName
from thalweg.optim.adagrad import AdaGrad
from thalweg.optim.adam import Adam
from thalweg.optim.adamw import AdamW
from thalweg.optim.gradient_descent import GradientDescent
from thalweg.optim.lion import Lion
from thalweg.optim.momentum import Momentum
from thalweg.optim.muon import Muon
from thalweg.optim.nesterov import Nesterov
from thalweg.optim.rmsprop import RMSProp
from thalweg.optim.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from thalweg.optim.sgd import SGD
from thalweg.optim.sharpness.asam import ASAM
from thalweg.optim.sharpness.efficient_sam import EfficientSAM
from thalweg.optim.sharpness.gsam import GSAM
from thalweg.optim.sharpness.sam import SAM
from thalweg.optim.sophia import SophiaG, SophiaH
from thalweg.optim.steepest_descent import SteepestDescent
from thalweg.optim.switch import Switch
from thalweg.registry import Registry

registry: Registry[torch.optim.Optimizer] = Registry("optimizer", "thalweg.optimizers")
for _name, _class in {
    "gradient_descent": GradientDescent,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "sgd": SGD,
    "adagrad": AdaGrad,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
    "lion": Lion,
    "muon": Muon,
    "sophia_g": SophiaG,
    "sophia_h": SophiaH,
    "schedule_free_sgd": ScheduleFreeSGD,
    "schedule_free_adamw": ScheduleFreeAdamW,
}.items():
    registry.register(_name, _class)


OTHERS: dict[str, type[Any]] = {
    "sam": SAM,
    "asam": ASAM,
    "gsam": GSAM,
    "efficient_sam": EfficientSAM,
    "switch": Switch,
    "steepest_descent": SteepestDescent,
}
"""What is built from something else than parameters: another optimizer, or an objective."""


def get(name: str) -> type[Any]:
    """The optimizer class called `name`, as in `tw.optim.get("lion")(model.parameters(), lr=1e-4)`.

    Also the wrappers ("sam", "switch", ...) and "steepest_descent", which are built from other things and therefore
    not among `names()`. Installed packages add their own by entry points in the group "thalweg.optimizers".
    Raises UnknownName, with the nearest known names, if there is none.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f"name must be a string, got {name!r}")
    if name in OTHERS:
        return OTHERS[name]
    found = registry.factory(name)
    if not isinstance(found, type):
        raise UnknownName(f"optimizer {name!r} is offered by a package, but is no class: {found!r}")
    return found


def names() -> list[str]:
    """Names of all optimizers that take parameters, sorted."""
    return registry.names()
