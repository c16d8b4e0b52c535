"""Who descends from whom among optimizers: the rules, and the change that makes each of its parent."""

from thalweg.optim.lineage.edges import EDGES
from thalweg.optim.lineage.node import FAMILIES, Edge, Family, Node
from thalweg.optim.lineage.nodes import NODES

__all__ = ["EDGES", "FAMILIES", "NODES", "Edge", "Family", "Node"]
