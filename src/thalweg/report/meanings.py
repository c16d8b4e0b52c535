"""What each number of a run is called and what it means."""

from __future__ import annotations

_LOSS = "mean over the data, in the loss function's unit"
_SHARE = "share of the data classified rightly, 0 to 1"
_CURVATURE = "loss per squared unit of θ"

MEANINGS: dict[str, tuple[str, str]] = {
    "target.parameters": ("parameters", "length of θ"),
    "target.samples": ("training samples", "over which the loss is averaged"),
    "target.test_samples": ("test samples", "held out"),
    "target.minima": ("known minimum", "coordinates of θ"),
    "training.lr": ("learning rate", "of the optimizer"),
    "training.momentum": ("momentum", "of the optimizer"),
    "training.weight_decay": ("weight decay", "of the optimizer"),
    "training.batch_size": ("batch size", "samples per step"),
    "training.epochs": ("epochs", "passes over the training data"),
    "training.steps": ("steps", "of the optimizer"),
    "training.diverged": ("diverged", "whether it left the finite numbers or did not settle"),
    "quality.train.loss": ("training loss", _LOSS),
    "quality.train.accuracy": ("training accuracy", _SHARE),
    "quality.test.loss": ("test loss", _LOSS),
    "quality.test.accuracy": ("test accuracy", _SHARE),
    "gradient.norm": ("gradient norm ‖∇L‖", "loss per unit of θ"),
    "gradient.point_norm": ("norm of the point ‖θ‖", "units of θ"),
    "eigenpairs.values": ("Hessian eigenvalue", f"{_CURVATURE}; ± its residual ‖Hv − λv‖"),
    "eigenpairs.products": ("Hessian products", "Hessian-vector products spent on the eigenvalues"),
    "eigenpairs.tol": ("tolerance", "of a residual, relative to the largest eigenvalue"),
    "trace": ("Hessian trace", f"sum of the eigenvalues, {_CURVATURE}; ± one standard error"),
    "trace.products": ("Hessian products", "Hessian-vector products spent on the trace"),
    "trace.converged": ("converged", "whether the wanted error was reached"),
    "density.width": ("smoothing width", "standard deviation of the Gaussian, in units of λ"),
    "density.size": ("dimension", "rows of the Hessian"),
    "density.probes": ("probes", "random start vectors"),
    "density.steps": ("Lanczos steps", "per probe"),
    "density.products": ("Hessian products", "Hessian-vector products spent on the density"),
    "density.moments": (
        "spectral moment",
        "mean of the power of λ over all eigenvalues, tr(Hᵏ)/n; ± one standard error",
    ),
    "density.fraction_negative": (
        "share of negative eigenvalues",
        "below a threshold near zero, above which signs are open, 0 to 1; ± one standard error",
    ),
    "classification.index": ("index", "eigenvalues that are negative beyond their error"),
    "classification.index_at_least": (
        "index is a lower bound",
        "whether more may be negative among those not computed",
    ),
    "classification.near_zero": ("eigenvalues near zero", "those within error of zero"),
    "classification.gradient_norm": ("gradient norm ‖∇L‖", "loss per unit of θ"),
    "classification.gradient_tolerance": (
        "gradient tolerance",
        "the norm up to which the gradient counts as zero",
    ),
    "classification.smallest": ("smallest eigenvalue", _CURVATURE),
    "classification.largest": ("largest eigenvalue", _CURVATURE),
    "classification.error": ("error of an eigenvalue", "what one must exceed to count as not zero"),
    "stability.rate": ("largest stable rate", "of full-batch steps along the stiffest direction"),
    "stability.lambda_max": ("largest eigenvalue λmax", _CURVATURE),
    "stability.used": ("rate that was used", "of the optimizer"),
    "stability.ratio": ("rate used over largest stable one", "above 1 the stiffest direction is unstable"),
    "slice.points": ("points", "of the slice's grid"),
    "slice.evaluations": ("points evaluated", "of these; the others are interpolated"),
    "slice.error": ("relative error", "largest of an interpolated point; 0 when every point was evaluated"),
    "slice.lowest": ("lowest loss", "on the slice"),
    "slice.highest": ("highest loss", "on the slice"),
    "slice.missing": ("points without a finite loss", "of the slice"),
    "slice.distance": ("largest distance from the plane", "of a checkpoint, in units of θ"),
    "slice.facts.variance_explained": (
        "variance explained",
        "share of the path's squared distances to its end that the plane holds",
    ),
    "slice.facts.random_walk_explains": (
        "a random walk would explain",
        "the same share for a walk of as many points in high dimension",
    ),
    "slice.facts.largest_distance": ("largest distance from the plane", "of a checkpoint, in units of θ"),
    "slice.facts.seed": ("seed", "of the directions"),
    "slice.facts.variance_explained_1": ("variance explained by α", "of the same"),
    "slice.facts.variance_explained_2": ("variance explained by β", "of the same"),
    "slice.facts.lambda_1": ("eigenvalue along α", _CURVATURE),
    "slice.facts.lambda_2": ("eigenvalue along β", _CURVATURE),
    "slice.facts.distance_ab": ("distance from start to end", "units of θ"),
    "slice.facts.distance_ac": ("distance from first to third point", "units of θ"),
}
"""By place: the result's name and the keys within it, lists without their index."""


def meaning_of(place: str) -> tuple[str, str]:
    """Name and meaning of the number at `place`; of one that is not known, its own key and nothing."""
    return MEANINGS.get(place) or (place.split(".")[-1].replace("_", " "), "")
