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
from thalweg.plots.descents import descents

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from thalweg.optim.descent import Descent
    from thalweg.surfaces import Surface

_POINTS = {1: 801, 2: 241}


def race(surface: Surface, runs: Mapping[str, Descent], title: str | None = None) -> Figure:
    """A figure of what `descend` found on a surface: the paths at the left, loss against step at the right.

    Paths are drawn on contours of a surface of two coordinates and on the curve of one of one; of others only the
    losses are shown. The picture holds the surface's domain and all starts.

    Parameters
    ----------
    runs: by label; a run at several rates makes one path for each, with the rate behind its label. All keep the same
        steps. title: the surface's name if not given.

    Raises InvalidArgument when there is no run, or one is of another surface.
    """
    from matplotlib.figure import Figure

    paths, losses = _labelled(runs, surface)
    steps = next(iter(runs.values())).steps.cpu().numpy()
    lowest = surface.global_minimum
    if surface.size > 2:
        figure = Figure(figsize=(5.6, 4.2), layout="constrained")
        descent_losses(losses, figure.add_subplot(), lowest=lowest, steps=steps)
    else:
        figure = Figure(figsize=(10.4, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        _draw_paths(surface, paths, losses, left)
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


def _draw_paths(surface: Surface, paths: dict[str, Floats], losses: dict[str, Floats], ax: Axes) -> None:
    import torch

    starts = np.concatenate([path[:, 0] for path in paths.values()])
    axes = [np.linspace(low, high, _POINTS[surface.size]) for low, high in _extent(surface, starts)]
    at = torch.as_tensor(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, surface.size))
    values = surface.losses(at.to(surface.device, surface.dtype)).cpu().numpy()
    wells = np.array([point.location.cpu().numpy() for point in surface.minima]).reshape(-1, surface.size)
    if surface.size == 1:
        flat = {label: path[..., 0] for label, path in paths.items()}
        descent_curve(axes[0], values, flat, losses, ax, minima=wells[:, 0], legend=False)
    else:
        field = values.reshape(len(axes[0]), len(axes[1]))
        descents(axes[0], axes[1], field, paths, ax, minima=wells, legend=False)


def _extent(surface: Surface, starts: Floats) -> Floats:
    """The domain (n, 2), widened where starts (b, n) do not lie within it."""
    box = surface.domain.double().cpu().numpy()
    margin = 0.05 * np.ptp(box, axis=1)
    low, high = starts.min(axis=0), starts.max(axis=0)
    lower = np.where(low <= box[:, 0], low - margin, box[:, 0])
    upper = np.where(high >= box[:, 1], high + margin, box[:, 1])
    return np.stack([lower, upper], axis=1)
