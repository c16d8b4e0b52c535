"""Optimizers: each update rule once, run on models (as torch optimizers) and on surfaces (`descend`)."""

from thalweg.optim.adagrad import AdaGrad
from thalweg.optim.adam import Adam
from thalweg.optim.adamw import AdamW
from thalweg.optim.gradient_descent import GradientDescent
from thalweg.optim.lion import Lion
from thalweg.optim.momentum import Momentum
from thalweg.optim.names import get, names
from thalweg.optim.nesterov import Nesterov
from thalweg.optim.optimizer import RuleOptimizer
from thalweg.optim.rmsprop import RMSProp
from thalweg.optim.rule import Rule
from thalweg.optim.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from thalweg.optim.sgd import SGD

Adagrad = AdaGrad
RMSprop = RMSProp

__all__ = [
    "SGD",
    "AdaGrad",
    "Adagrad",
    "Adam",
    "AdamW",
    "GradientDescent",
    "Lion",
    "Momentum",
    "Nesterov",
    "RMSProp",
    "RMSprop",
    "Rule",
    "RuleOptimizer",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "get",
    "names",
]
