"""The metrics of a slice, as they are typed and as they are read."""

from __future__ import annotations

from thalweg.checks import one_of
from thalweg.errors import InvalidArgument

WORDS = {
    "gradient_norm": "norm of the gradient",
    "lambda_max": "λmax of the Hessian",
    "lambda_min": "λmin of the Hessian",
    "plane_lambda_max": "λmax in the plane",
    "plane_lambda_min": "λmin in the plane",
}
"""By name, what stands beside an axis; other names stand for themselves."""


def metric_names(text: str, option: str) -> list[str]:
    """The metrics with commas between that `option` was given; raises InvalidArgument for one that is none."""
    from thalweg.landscape.pointwise import CURVATURES
    from thalweg.objective.metrics import METRICS

    known = (*METRICS, *CURVATURES)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InvalidArgument(f"{option} must name one or more of {', '.join(known)}, got {text!r}")
    for name in names:
        one_of(option, name, known)
    return names
