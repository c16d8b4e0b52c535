"""Optimizers: each update rule once, run on models (as torch optimizers) and on surfaces (`descend`)."""

from thalweg.optim.adagrad import AdaGrad
from thalweg.optim.adam import Adam
from thalweg.optim.adamw import AdamW
from thalweg.optim.basins import Basins, basins
from thalweg.optim.descent import Descent, descend
from thalweg.optim.driver.optimizer import RuleOptimizer
from thalweg.optim.driver.rule import Rule
from thalweg.optim.genealogy import Genealogy, genealogy
from thalweg.optim.gradient_descent import GradientDescent
from thalweg.optim.guidance import Recommendation, Task
from thalweg.optim.guide import guide
from thalweg.optim.layer_groups import layer_groups
from thalweg.optim.lion import Lion
from thalweg.optim.momentum import Momentum
from thalweg.optim.muon import Muon
from thalweg.optim.names import get, names
from thalweg.optim.nesterov import Nesterov
from thalweg.optim.outcomes import Outcome, Outcomes
from thalweg.optim.rmsprop import RMSProp
from thalweg.optim.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from thalweg.optim.sgd import SGD
from thalweg.optim.sharpness.asam import ASAM
from thalweg.optim.sharpness.efficient_sam import EfficientSAM
from thalweg.optim.sharpness.gsam import GSAM
from thalweg.optim.sharpness.sam import SAM
from thalweg.optim.sophia import SophiaG, SophiaH
from thalweg.optim.steepest_descent import SteepestDescent
from thalweg.optim.switch import Plateau, Switch

Adagrad = AdaGrad
RMSprop = RMSProp

__all__ = [
    "ASAM",
    "GSAM",
    "SAM",
    "SGD",
    "AdaGrad",
    "Adagrad",
    "Adam",
    "AdamW",
    "Basins",
    "Descent",
    "EfficientSAM",
    "Genealogy",
    "GradientDescent",
    "Lion",
    "Momentum",
    "Muon",
    "Nesterov",
    "Outcome",
    "Outcomes",
    "Plateau",
    "RMSProp",
    "RMSprop",
    "Recommendation",
    "Rule",
    "RuleOptimizer",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "SophiaG",
    "SophiaH",
    "SteepestDescent",
    "Switch",
    "Task",
    "basins",
    "descend",
    "genealogy",
    "get",
    "guide",
    "layer_groups",
    "names",
]
