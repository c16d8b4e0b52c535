"""Permutation symmetry: units that can be exchanged, equivalent networks, and aligning one network with another."""

from thalweg.landscape.symmetry.align import Alignment, align
from thalweg.landscape.symmetry.graph import PermutationGraph, permutations
from thalweg.landscape.symmetry.group import Group
from thalweg.landscape.symmetry.permute import Equivalents, equivalents, permute

__all__ = [
    "Alignment",
    "Equivalents",
    "Group",
    "PermutationGraph",
    "align",
    "equivalents",
    "permutations",
    "permute",
]
