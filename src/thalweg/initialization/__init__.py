"""Initializing models, and seeing whether signals and gradients get through them."""

from thalweg.initialization.audit import SignalAudit, audit
from thalweg.initialization.faults import Fault
from thalweg.initialization.gains import gain
from thalweg.initialization.initialize import Initialization, ParameterInitialization, initialize
from thalweg.initialization.propagation import LayerSignal
from thalweg.initialization.symmetry import IdenticalUnits, SymmetryAudit, symmetry

__all__ = [
    "Fault",
    "IdenticalUnits",
    "Initialization",
    "LayerSignal",
    "ParameterInitialization",
    "SignalAudit",
    "SymmetryAudit",
    "audit",
    "gain",
    "initialize",
    "symmetry",
]
