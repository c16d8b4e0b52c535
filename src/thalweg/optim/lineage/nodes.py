"""All rules in the lecture's order."""

from thalweg.optim.lineage.adaptive import ADAPTIVE
from thalweg.optim.lineage.curvature import CURVATURE
from thalweg.optim.lineage.gradients import GRADIENTS
from thalweg.optim.lineage.matrix import MATRIX
from thalweg.optim.lineage.node import Node
from thalweg.optim.lineage.sharpness import SHARPNESS

_ORDER = (
    "gradient_descent",
    "sgd",
    "steepest_descent",
    "momentum",
    "nesterov",
    "adagrad",
    "rmsprop",
    "adam",
    "adamw",
    "lion",
    "sophia_g",
    "sophia_h",
    "schedule_free_sgd",
    "schedule_free_adamw",
    "switch",
    "newton",
    "saddle_free_newton",
    "lbfgs",
    "gauss_newton",
    "levenberg_marquardt",
    "kfac",
    "ekfac",
    "shampoo",
    "soap",
    "muon",
    "natural_gradient",
    "sam",
    "asam",
    "gsam",
    "efficient_sam",
)
_BY_NAME = {node.name: node for node in (*GRADIENTS, *ADAPTIVE, *CURVATURE, *MATRIX, *SHARPNESS)}

NODES: tuple[Node, ...] = tuple(_BY_NAME[name] for name in _ORDER)
