"""Curves and spectra in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg import plots
from thalweg.numbers import number, with_error
from thalweg.report.exhibit import Exhibit, csv_text, facts_of
from thalweg.report.image import svg


def training_exhibit(rows: Sequence[Mapping[str, float]], step: str, title: str) -> Exhibit:
    """Losses and accuracies over `step`s."""
    axes = plots.learning_curves(rows, step=step)
    names = list(dict.fromkeys(key for row in rows for key in row))
    ends = [
        f"{name.replace('_', ' ')} from {number(rows[0][name])} to {number(rows[-1][name])}"
        for name in ("loss", "test_loss", "accuracy", "test_accuracy")
        if name in rows[0] and name in rows[-1]
    ]
    return Exhibit(
        "training",
        title,
        [(svg(axes), f"Curves over {len(rows)} {step}s: {'; '.join(ends)}.")],
        ["The loss axis is logarithmic."] if axes.get_yscale() == "log" else [],
        tables=[("Values", csv_text({name: [row.get(name, "") for row in rows] for name in names}))],
    )


def line_exhibit(described: dict[str, Any]) -> Exhibit:
    """Loss and accuracy along a line slice as `collect` describes it."""
    (alpha,) = described["axes"].values()
    values = described["values"]
    loss = np.array(values["loss"], dtype=np.float64)
    accuracy = values.get("accuracy")
    label = (described.get("labels") or ["α"])[0]
    path = described.get("path")
    marks = {"the point": 0.0} if not path else {"start": path[0][0], "end": path[-1][0]}
    axes = plots.line_slice(
        alpha,
        loss,
        None if accuracy is None else np.array(accuracy, dtype=np.float64),
        label=f"α: {label}" if label != "α" else label,
        marks={name: place for name, place in marks.items() if alpha[0] <= place <= alpha[-1]},
    )
    usable = np.isfinite(loss)
    ends = ""
    if usable.any():
        low, high = np.where(usable, loss, np.inf).argmin(), np.where(usable, loss, -np.inf).argmax()
        ends = (
            f" It is lowest, {number(float(loss[low]))}, at {number(alpha[low])} "
            f"and highest, {number(float(loss[high]))}, at {number(alpha[high])}."
        )
    remarks = ["The loss axis is logarithmic."] if axes.get_yscale() == "log" else []
    if not usable.all():
        remarks.append(
            f"At {(~usable).sum()} of {loss.size} points the loss is not a finite number (hatched)."
        )
    return Exhibit(
        f"slice-{described['name']}",
        described.get("title") or f"Slice “{described['name']}”",
        [(svg(axes), f"Loss over α, {label}, from {number(alpha[0])} to {number(alpha[-1])}.{ends}")],
        described.get("caption", []) + remarks,
        described.get("limits", []),
        facts_of(described),
        [("Values", csv_text({"alpha": alpha} | values))],
    )


def eigenvalue_exhibit(found: Mapping[str, Any], size: int | None) -> Exhibit:
    """The eigenvalues from both ends with their residuals."""
    values, residuals = found["values"], found["residuals"]
    converged = found.get("converged") or [True] * len(values)
    axes = plots.eigenvalues(values, residuals, converged, size=size)
    remarks = [
        "Bars are residuals ‖Hv − λv‖, most of them smaller than the marks: within each lies an eigenvalue of H."
    ]
    if axes.get_yscale() == "log":
        remarks.append("The axis is logarithmic.")
    elif axes.get_yscale() == "symlog":
        remarks.append("The axis is logarithmic on both sides of zero and linear near it.")
    limits = (
        []
        if size is None or size <= len(values)
        else [
            f"{size - len(values):,} eigenvalues between the two ends were not computed one by one: "
            "the density shows them together."
        ]
    )
    negative = sum(value < 0 for value in values)
    return Exhibit(
        "eigenvalues",
        "Hessian eigenvalues from both ends of the spectrum",
        [
            (
                svg(axes),
                f"{len(values)} eigenvalues from {number(values[0])} down to {number(values[-1])}, "
                f"{negative} of them negative.",
            )
        ],
        remarks,
        limits,
        tables=[("Values", csv_text({"eigenvalue": values, "residual": residuals, "converged": converged}))],
    )


def density_exhibit(found: Mapping[str, Any], eigenvalues: Sequence[float] | None) -> Exhibit:
    """The spectral density with its band."""
    grid, density = found["grid"], found["density"]
    stderr, width, size = found.get("stderr"), found.get("width"), found.get("size")
    axes = plots.spectral_density(grid, density, stderr, eigenvalues, width=width, size=size)
    peak = int(np.argmax(density))
    negative = found.get("fraction_negative")
    share = (
        f" The share of negative eigenvalues is {with_error(negative['value'], negative['stderr'])}."
        if negative
        else ""
    )
    limits = [
        "The mass near zero is smeared over both signs by the smoothing: a sharp split at zero cannot be seen."
    ]
    if width is not None:
        limits.insert(
            0,
            f"Smoothed by a Gaussian of standard deviation {number(width, 3)}: finer structure does not show.",
        )
    columns = {"eigenvalue": grid, "density": density} | ({"stderr": stderr} if stderr else {})
    return Exhibit(
        "density",
        "Density of the Hessian's eigenvalues",
        [
            (
                svg(axes),
                f"Density on a logarithmic axis over eigenvalues from {number(grid[0])} to {number(grid[-1])}, "
                f"highest, {number(density[peak])}, at {number(grid[peak])}.{share}",
            )
        ],
        ["The axis is logarithmic; the band is one standard error over the random probes."],
        limits,
        [
            (name, number(found[name]))
            for name in ("probes", "steps", "products")
            if found.get(name) is not None
        ],
        [("Values", csv_text(columns))],
    )
