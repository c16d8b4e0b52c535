"""Seeing: slices of an objective along lines and planes that say what they cannot show."""

from thalweg.landscape.connectivity.curve import bezier_path, curved_path, polygon_path
from thalweg.landscape.connectivity.line import interpolate
from thalweg.landscape.connectivity.path import Path
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
    "Path",
    "Plane",
    "Slice",
    "axis_plane",
    "bezier_path",
    "curved_path",
    "eigen_plane",
    "evaluate",
    "interpolate",
    "line_through",
    "normalized",
    "plane_through",
    "polygon_path",
    "random_line",
    "random_plane",
    "trajectory_plane",
]
