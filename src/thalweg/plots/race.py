"""Several optimizers on one surface: where they went, and how fast the loss fell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from thalweg.errors import InvalidArgument
from thalweg.numbers import number
from thalweg.plots.arrays import Floats
from thalweg.plots.canvas import literal
from thalweg.plots.descent_curve import descent_curve
from thalweg.plots.descent_losses import descent_losses
from thalweg.plots.descents import MOST_STRETCHED, descents

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from thalweg.optim.descent import Descent
    from thalweg.surfaces import Surface

_POINTS = {1: 801, 2: 241}
_MAP, _BAR, _LOSSES = 3.6, 1.2, 4.6
"""Inches: the height of the map, the width of its colour bar, and that of the losses."""
_SMALL = 0.6
_ROOM = 0.2
"""The part of the domain, in both directions, below which a map is of the paths alone; and its margin around them."""


def race(surface: Surface, runs: Mapping[str, Descent], title: str | None = None) -> Figure:
    """A figure of what `descend` found on a surface: the paths at the left, loss against step at the right.

    Paths are drawn on contours of a surface of two coordinates and on the curve of one of one; of others only the
    losses are shown. The map holds the surface's domain and all starts; where all paths and known minima lie in a small
    part of it, that part.

    Parameters
    ----------
    runs: by label; a run at several rates makes one path for each, with the rate behind its label. All keep the same
        steps. title: the surface's name if not given.

    Raises InvalidArgument when there is no run, or one is of another surface.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    paths, losses = _labelled(runs, surface)
    steps = next(iter(runs.values())).steps.cpu().numpy()
    lowest = surface.global_minimum
    if surface.size > 2:
        figure = Figure(figsize=(5.6, 4.2), layout="constrained")
        descent_losses(losses, figure.add_subplot(), lowest=lowest, steps=steps)
    else:
        ranges = _extent(surface, paths)
        # A map of one scale in both directions is to fill its place.
        shape = float(np.ptp(ranges[0]) / np.ptp(ranges[1])) if surface.size == 2 else 1.35
        wide = _MAP * shape + _BAR if 1 / MOST_STRETCHED < shape < MOST_STRETCHED else 1.35 * _MAP
        figure = Figure(figsize=(wide + _LOSSES, 4.8), layout=ConstrainedLayoutEngine(w_pad=0.12))
        left, right = figure.subplots(1, 2, width_ratios=(wide, _LOSSES))
        _draw_paths(surface, paths, losses, ranges, left)
        descent_losses(losses, right, lowest=lowest, steps=steps, legend=False)
        keys, labels = left.get_legend_handles_labels()
        figure.legend(keys, labels, loc="outside lower center", ncols=min(len(keys), 4))
    figure.suptitle(literal(surface.name if title is None else title))
    return figure


def _labelled(runs: Mapping[str, Descent], surface: Surface) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Paths (b, t, n) and losses (b, t) by label."""
    paths: dict[str, Floats] = {}
    losses: dict[str, Floats] = {}
    for label, run in runs.items():
        path, loss = run.path.double().cpu().numpy(), run.loss.double().cpu().numpy()
        if path.shape[-1] != surface.size:
            raise InvalidArgument(
                f"runs[{label!r}] must be of {surface.name}, of {surface.size} coordinates, got {path.shape[-1]}"
            )
        if isinstance(run.lr, tuple):
            for rate, *pair in zip(run.lr, path, loss, strict=True):
                name = f"{label}, η = {number(rate, 3)}"
                paths[name], losses[name] = pair
        else:
            paths[label], losses[label] = path, loss
    if not paths:
        raise InvalidArgument("runs must hold at least one descent")
    return paths, losses


def _draw_paths(
    surface: Surface, paths: dict[str, Floats], losses: dict[str, Floats], ranges: Floats, ax: Axes
) -> None:
    import torch

    axes = [np.linspace(low, high, _POINTS[surface.size]) for low, high in ranges]
    at = torch.as_tensor(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, surface.size))
    values = surface.losses(at.to(surface.device, surface.dtype)).cpu().numpy()
    wells = _minima(surface)
    if surface.size == 1:
        flat = {label: path[..., 0] for label, path in paths.items()}
        descent_curve(axes[0], values, flat, losses, ax, minima=wells[:, 0], legend=False)
    else:
        field = values.reshape(len(axes[0]), len(axes[1]))
        descents(axes[0], axes[1], field, paths, ax, minima=wells, legend=False)


def _minima(surface: Surface) -> Floats:
    return np.array([point.location.cpu().numpy() for point in surface.minima]).reshape(-1, surface.size)


def _extent(surface: Surface, paths: dict[str, Floats]) -> Floats:
    """The ranges (n, 2) of the map: the domain, widened for starts beyond it, or a small part that holds all."""
    box = surface.domain.double().cpu().numpy()
    margin = 0.05 * np.ptp(box, axis=1)
    starts = np.concatenate([path[:, 0] for path in paths.values()])
    low, high = starts.min(axis=0), starts.max(axis=0)
    lower = np.where(low <= box[:, 0], low - margin, box[:, 0])
    upper = np.where(high >= box[:, 1], high + margin, box[:, 1])
    whole = np.stack([lower, upper], axis=1)

    places = np.concatenate([*(path.reshape(-1, surface.size) for path in paths.values()), _minima(surface)])
    places = places[np.isfinite(places).all(axis=1)]
    if surface.size != 2 or not len(places):
        return whole
    low, high = places.min(axis=0), places.max(axis=0)
    # As high as it is wide, in sizes of the domain, and never a speck.
    side = max(float(((high - low) * (1 + 2 * _ROOM) / np.ptp(whole, axis=1)).max()), 0.05)
    half = side * np.ptp(whole, axis=1) / 2
    part = np.stack([(low + high) / 2 - half, (low + high) / 2 + half], axis=1)
    return part if side < _SMALL else whole
