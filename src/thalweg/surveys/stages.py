"""The measurements of a survey, each from the objective and what earlier ones left in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from thalweg.curvature import (
    Eigenpairs,
    SymmetricOperator,
    classify,
    eigenpairs,
    hessian,
    sharpness,
    spectral_density,
    stable_rate,
    trace,
)
from thalweg.errors import InvalidArgument
from thalweg.landscape import (
    Normalization,
    Plane,
    Slice,
    axis_plane,
    eigen_plane,
    evaluate,
    honesty,
    line_through,
    random_plane,
    trajectory_plane,
)
from thalweg.landscape.slices import describe
from thalweg.objective import Objective
from thalweg.store import Run
from thalweg.surfaces import Surface
from thalweg.surveys import as_json
from thalweg.surveys.settings import Settings
from thalweg.surveys.subject import Subject, path_points

Advance = Callable[[int, int], None]


@dataclass
class Survey:
    """A survey under way: the subject, how closely to look, where results go, and whom to tell of progress."""

    subject: Subject
    settings: Settings
    run: Run
    advance: Advance | None = None
    _operator: SymmetricOperator | None = None

    @property
    def operator(self) -> SymmetricOperator:
        """The Hessian at the point, its linearization shared by all measurements."""
        if self._operator is None:
            self._operator = hessian(self.subject.objective, self.subject.theta)
        return self._operator

    def pairs(self) -> Eigenpairs:
        """The eigenpairs as the run folder holds them."""
        found: Any = self.run.result("eigenpairs")
        arrays = self.run.tensors("eigenvectors")
        assert found is not None, "the eigenpairs are measured before they are used"
        assert arrays is not None
        like = self.subject.objective.point
        return Eigenpairs(
            torch.tensor(found["values"], dtype=torch.float64).to(like),
            torch.from_numpy(arrays["vectors"]).to(like),
            torch.tensor(found["residuals"], dtype=torch.float64).to(like),
            torch.tensor(found["converged"]),
            found["products"],
            "both",
        )

    def close(self) -> None:
        """Free the linearization."""
        if self._operator is not None:
            self._operator.close()


def quality(survey: Survey) -> dict[str, Any]:
    """Loss and accuracy on training and test data, with their standard errors."""
    subject = survey.subject
    if not isinstance(subject.objective, Objective):
        loss = float(subject.objective.loss(subject.theta))
        return {"train": {"loss": {"value": loss, "stderr": 0.0, "samples": None}}}
    found: dict[str, Any] = {}
    for name, objective in (("train", subject.objective), ("test", subject.test)):
        if objective is not None:
            with objective.at(subject.theta) as here:
                found[name] = {key: asdict(value) for key, value in here.measure(subject.metrics).items()}
    return found


def gradient(survey: Survey) -> dict[str, Any]:
    """The gradient's norm and the point's."""
    assert survey.operator.here is not None
    norm = float(survey.operator.here.gradient().norm())
    return {"norm": norm, "point_norm": float(survey.subject.theta.norm())}


def extreme_eigenpairs(survey: Survey) -> dict[str, Any]:
    """The top and bottom eigenpairs; their vectors go to the run's tensors "eigenvectors"."""
    k = min(survey.settings.k, survey.subject.objective.size)
    pairs = eigenpairs(survey.operator, k, "both", survey.settings.tol, seed=survey.settings.seed)
    survey.run.put_tensors("eigenvectors", {"vectors": pairs.vectors.contiguous()})
    return as_json.of_eigenpairs(pairs) | {"tol": survey.settings.tol}


def hessian_trace(survey: Survey) -> dict[str, Any]:
    """The Hessian's trace with its standard error."""
    pairs = survey.pairs()
    # Of an indefinite Hessian the trace can cancel: an error small against the spectrum's edge is good enough.
    atol = 0.02 * float(pairs.values.abs().max())
    return asdict(
        trace(survey.operator, rtol=survey.settings.trace_rtol, atol=atol, seed=survey.settings.seed)
    )


def density(survey: Survey) -> dict[str, Any]:
    """The spectral density with its band, and what follows from it."""
    settings = survey.settings
    found = spectral_density(survey.operator, settings.probes, settings.steps, seed=settings.seed)
    return as_json.of_density(found) | {"steps": settings.steps}


def classification(survey: Survey) -> dict[str, Any]:
    """What kind of point it is, with the evidence."""
    subject = survey.subject
    return as_json.of_classification(classify(subject.objective, subject.theta, pairs=survey.pairs()))


def sharpnesses(survey: Survey) -> list[dict[str, Any]]:
    """Sharpness by one-step ascent and by random directions; λmax and the trace are stages of their own."""
    subject, settings = survey.subject, survey.settings
    kinds = ("sam", "average")
    return [
        asdict(sharpness(subject.objective, kind, subject.theta, rho=settings.rho, seed=settings.seed))
        for kind in kinds
    ]


def stability(survey: Survey) -> dict[str, Any]:
    """The largest stable rate of the optimizer that was used, or of gradient descent, against the rate used."""
    pairs, training = survey.pairs(), survey.subject.training
    known = training is not None and training.optimizer in ("sgd", "momentum", "nesterov")
    optimizer = training.optimizer if training is not None and known else "sgd"
    momentum = training.momentum if training is not None and known else 0.0
    decay = training.weight_decay if training is not None and known else 0.0
    edge = stable_rate(float(pairs.values[0]), float(pairs.residuals[0]), optimizer, momentum, decay)
    used = training.lr if training is not None and known else None
    ratio = None if used is None else used / edge.rate
    return asdict(edge) | {"optimizer": optimizer, "used": used, "ratio": ratio}


def slice_line(survey: Survey) -> dict[str, Any] | None:
    """A line: random and normalized for a model, from start to end for a surface, None where these are the same."""
    subject = survey.subject
    if isinstance(subject.objective, Surface):
        if torch.equal(subject.path[0], subject.theta):
            survey.run.note("no slice along a line: the descent did not leave its start")
            return None
        return _slice(
            survey,
            "line",
            "From the start to the point reached",
            line_through(subject.path[0], subject.theta),
        )
    return _slice(survey, "line", f"Along a random direction, {_scaling(survey)}", _random(survey, 1))


def slice_domain(survey: Survey) -> dict[str, Any] | None:
    """All of a two-dimensional surface, None for anything else."""
    subject = survey.subject
    if not (_is_map(survey) and isinstance(subject.objective, Surface)):
        return None
    plane = axis_plane(subject.objective, domain=subject.objective.domain)
    return _slice(survey, "domain", "The surface with the path down", plane, subject.path)


def slice_random(survey: Survey) -> dict[str, Any] | None:
    """A plane along two random directions; None of one dimension, and of a surface of two, which is shown whole."""
    if _is_map(survey) or survey.subject.objective.size < 2:
        return None
    title = f"Plane of two random directions, {_scaling(survey)}"
    return _slice(survey, "random", title, _random(survey, 2))


def slice_trajectory(survey: Survey) -> dict[str, Any] | None:
    """The plane that holds most of the training path; None when there is no path that spans one."""
    subject = survey.subject
    path = subject.path
    if path and not torch.equal(path[-1], subject.theta):
        # The plane goes through the point that is measured, which need not be the last checkpoint.
        path = [*path, subject.theta]
    points = path_points(path)
    if len(points) < 3 or _is_map(survey):
        return None
    try:
        plane = trajectory_plane(subject.objective, points)
    except InvalidArgument as error:
        survey.run.note(f"no slice along the path: {error}")
        return None
    return _slice(survey, "trajectory", "Plane of the training path (principal directions)", plane, points)


def slice_eigen(survey: Survey) -> dict[str, Any] | None:
    """The plane of the two stiffest directions."""
    subject = survey.subject
    if subject.objective.size <= 2:
        return None
    # Half of the pairs are from the bottom: of two, one.
    pairs = survey.pairs() if survey.settings.k > 2 else None
    plane = eigen_plane(subject.objective, center=subject.theta, pairs=pairs, seed=survey.settings.seed)
    return _slice(survey, "eigen", "Plane of the two stiffest directions", plane)


def _is_map(survey: Survey) -> bool:
    return isinstance(survey.subject.objective, Surface) and survey.subject.objective.size == 2


def _random(survey: Survey, dim: int) -> Plane:
    subject = survey.subject
    return random_plane(
        subject.objective, _normalization(survey), survey.settings.seed, center=subject.theta, dim=dim
    )


def _normalization(survey: Survey) -> Normalization:
    """The one asked for, or "none" where that would leave nothing of a direction."""
    subject, wanted = survey.subject, survey.settings.normalization
    scaled = [block for block in subject.objective.blocks if wanted != "filter" or block.kind != "vector"]
    usable = any(bool(subject.theta[block.span].any()) for block in scaled)
    return wanted if usable else "none"  # pyright: ignore[reportReturnType] - checked by Settings


def _scaling(survey: Survey) -> str:
    normalization = _normalization(survey)
    return "of unit length" if normalization == "none" else f"{normalization}-normalized"


def _slice(
    survey: Survey, grid: str, title: str, plane: Plane, path: list[Tensor] | None = None
) -> dict[str, Any]:
    subject, settings = survey.subject, survey.settings
    resolution = settings.line_resolution if plane.dim == 1 else settings.plane_resolution(subject.objective)
    # A map of the accuracy would take every point, a line has few.
    metrics = subject.metrics if plane.dim == 1 else ("loss",)
    found = evaluate(
        subject.objective,
        plane,
        resolution,
        settings.span,
        # Where many points cost as much as one there is nothing to save.
        None if subject.objective.batched else settings.rtol,
        metrics,
        also=subject.metrics,
        run=survey.run,
        grid=grid,
        progress=survey.advance,
    )
    found = _with_honesty(survey, found)
    describe(survey.run, grid, found)
    described: dict[str, Any] = {
        "title": title,
        "axes": {name: values.tolist() for name, values in found.axes.items()},
        "metrics": list(found.dataset.data_vars),
        "kind": plane.kind,
        "labels": list(plane.labels),
        "facts": dict(plane.facts),
        "limits": list(found.limits),
        "caption": list(found.caption),
        "points": found.evaluated.size,
        "evaluations": int(found.evaluated.sum()),
        "error": found.error,
        "origin": plane.center.tolist() if plane.kind == "axes" else None,
        "path": None,
        "distances": None,
        "path_loss": None,
    }
    if path is not None:
        coordinates, distances = plane.path, plane.distances
        if coordinates is None or distances is None:
            coordinates, distances = plane.project(torch.stack(path))
        described["path"] = coordinates.tolist()
        described["distances"] = distances.tolist()
        described["path_loss"] = _path_losses(survey, path)
    elif plane.path is not None:
        described["path"] = plane.path.tolist()
    return described


def _with_honesty(survey: Survey, found: Slice) -> Slice:
    """The slice with what it hides, where it goes through the point whose eigenpairs are known and hides anything."""
    center, theta = found.plane.theta, survey.subject.theta
    if found.plane.dim >= theta.numel() or not torch.equal(center, theta):
        return found
    hidden = honesty(survey.subject.objective, found.plane, pairs=survey.pairs(), operator=survey.operator)
    return replace(found, known=hidden)


def _path_losses(survey: Survey, path: list[Tensor]) -> list[float]:
    """The true loss at each point of the path, kept point by point like a slice's.

    Of epochs trained here it is the one that was recorded, under the batch-norm statistics of its time.
    """
    recorded = survey.run.series("training")
    if len(recorded) == len(path) and survey.subject.training is not None:
        return [row["loss"] for row in recorded]
    known = survey.run.points("path")
    losses: list[float] = []
    for i, theta in enumerate(path):
        values = known.get((i,))
        if values is None:
            values = {"loss": float(survey.subject.objective.loss(theta))}
            survey.run.put_point("path", (i,), values)
        losses.append(values["loss"])
    return losses


STAGES: dict[str, tuple[str, Callable[[Survey], Any]]] = {
    "quality": ("losses and accuracies", quality),
    "gradient": ("gradient", gradient),
    "eigenpairs": ("extreme eigenpairs", extreme_eigenpairs),
    "trace": ("trace", hessian_trace),
    "density": ("spectral density", density),
    "classification": ("kind of critical point", classification),
    "sharpness": ("sharpness", sharpnesses),
    "stability": ("largest stable rate", stability),
    "slice.line": ("slice along a line", slice_line),
    "slice.domain": ("map of the surface", slice_domain),
    "slice.random": ("slice along a random plane", slice_random),
    "slice.trajectory": ("slice along the training path", slice_trajectory),
    "slice.eigen": ("slice along eigenvectors", slice_eigen),
}
"""Name of the result, what it is called on the screen, and what computes it; in this order."""
