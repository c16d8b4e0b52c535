"""The thing looked at: a point θ with a loss, a gradient and Hessian-vector products."""

from thalweg.objective.abstract import AbstractObjective, Block, Here, require_objective
from thalweg.objective.metrics import Measurement
from thalweg.objective.objective import BatchNorm, Objective

__all__ = ["AbstractObjective", "BatchNorm", "Block", "Here", "Measurement", "Objective", "require_objective"]
