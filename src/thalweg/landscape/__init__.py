"""Seeing: slices of an objective along lines and planes that say what they cannot show."""

from thalweg.landscape.normalization import Normalization, normalized
from thalweg.landscape.plane import Plane
from thalweg.landscape.planes import (
    axis_plane,
    eigen_plane,
    line_through,
    plane_through,
    random_line,
    random_plane,
    trajectory_plane,
)
from thalweg.landscape.slices import Slice, evaluate

__all__ = [
    "Normalization",
    "Plane",
    "Slice",
    "axis_plane",
    "eigen_plane",
    "evaluate",
    "line_through",
    "normalized",
    "plane_through",
    "random_line",
    "random_plane",
    "trajectory_plane",
]
