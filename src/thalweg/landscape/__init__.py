"""Seeing: slices of an objective along lines and planes that say what they cannot show."""

from thalweg.landscape.connectivity.curve import bezier_path, curved_path, polygon_path
from thalweg.landscape.connectivity.line import interpolate
from thalweg.landscape.connectivity.path import Path
from thalweg.landscape.difference import Difference, difference
from thalweg.landscape.fitting_error import FittingError, fitting_error
from thalweg.landscape.honesty import Honesty, honesty
from thalweg.landscape.nonconvexity import NonConvexity, nonconvexity
from thalweg.landscape.normalization import Normalization, Treatment, normalized, treatments
from thalweg.landscape.overparameterization.flat_walk import FlatWalk, flat_walk
from thalweg.landscape.overparameterization.zero_modes import ZeroModes, zero_modes
from thalweg.landscape.plane import Plane
from thalweg.landscape.planes import (
    axis_plane,
    eigen_plane,
    gradient_plane,
    line_through,
    plane_through,
    random_line,
    random_plane,
)
from thalweg.landscape.sampling import Sampling
from thalweg.landscape.slices import Slice, evaluate
from thalweg.landscape.stack import Stack, stack
from thalweg.landscape.symmetry.align import Alignment, align
from thalweg.landscape.symmetry.graph import PermutationGraph, permutations
from thalweg.landscape.symmetry.permute import Equivalents, equivalents, permute
from thalweg.landscape.trajectory import trajectory_informed_plane, trajectory_plane

__all__ = [
    "Alignment",
    "Difference",
    "Equivalents",
    "FittingError",
    "FlatWalk",
    "Honesty",
    "NonConvexity",
    "Normalization",
    "Path",
    "PermutationGraph",
    "Plane",
    "Sampling",
    "Slice",
    "Stack",
    "Treatment",
    "ZeroModes",
    "align",
    "axis_plane",
    "bezier_path",
    "curved_path",
    "difference",
    "eigen_plane",
    "equivalents",
    "evaluate",
    "fitting_error",
    "flat_walk",
    "gradient_plane",
    "honesty",
    "interpolate",
    "line_through",
    "nonconvexity",
    "normalized",
    "permutations",
    "permute",
    "plane_through",
    "polygon_path",
    "random_line",
    "random_plane",
    "stack",
    "trajectory_informed_plane",
    "trajectory_plane",
    "treatments",
    "zero_modes",
]
