"""The traces of A and A² from the same random probes, on the range of a sketch and off it."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.curvature.estimators.left_out import Form, shared, values
from thalweg.curvature.estimators.sketch import Sketch
from thalweg.curvature.estimators.stopping import standard_error


class QuadraticForms:
    """Values whose mean is tr(aA + bA²): exact on the sketch's range, a quadratic form of a probe off it.

    The probes that made the sketch count too, each measured off the range of the others, where they are
    `exchangeable`. For b ≠ 0 the sketch must hold images.
    """

    def __init__(self, sketch: Sketch, *, exchangeable: bool = True) -> None:
        self._sketch = sketch
        self._exchangeable = exchangeable
        self._first: list[Tensor] = []
        self._second: list[Tensor] = []

    def add(self, probes: Tensor) -> None:
        """Take further probes (n, b), off the whole range."""
        v = self._sketch.deflate(probes)
        image = self._sketch.operator @ v
        self._first.append(_scalar_products(v, image))
        self._second.append(_scalar_products(image, image))

    def mean(self, a: float, b: float) -> tuple[float, float]:
        """The mean and its standard error; without error where the sketch holds all of the range."""
        sketch = self._sketch
        form = _form(sketch, a, b)
        whole = form.within.trace()
        if sketch.exhausted:
            return float(whole), 0.0
        found = [whole + a * v + b * w for v, w in zip(self._first, self._second, strict=True)]
        common = torch.zeros((), dtype=torch.float64)
        if self._exchangeable and sketch.columns:
            left_out = values(sketch, form)
            common = shared(sketch, form, left_out).clamp(min=0)
            found.append(left_out)
        sample = torch.cat(found)
        mean = sample.mean()
        squares = (sample - mean).square().sum() + common
        return float(mean), float(standard_error(squares, sample.numel()))


def _form(sketch: Sketch, a: float, b: float) -> Form:
    """aA + bA² by the sketch's matrices: QᵀAΩ = R and, as Y = QR, QᵀA²Ω = HR and ΩᵀA²Ω = RᵀR."""
    h, r = sketch.projected, sketch.coefficients
    form = Form(a * h, a * r, a * (sketch.inside * r).sum(0))
    if not b:
        return form
    return Form(form.within + b * sketch.gram, form.across + b * h @ r, form.own + b * r.square().sum(0))


def _scalar_products(v: Tensor, w: Tensor) -> Tensor:
    """Those of each column of v with the same of w, summed in float64; a column at a time takes less memory."""
    return torch.stack([(v[:, i] * w[:, i]).sum(dtype=torch.float64) for i in range(v.shape[1])]).cpu()
