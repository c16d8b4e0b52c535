"""Slices that say on which data they were evaluated, and what error that is."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr

from landscape.models import cancer, classifier, mixed
from thalweg import surfaces
from thalweg.errors import InvalidArgument, RunConflict
from thalweg.landscape import axis_plane, evaluate, line_through, random_line, random_plane
from thalweg.objective import Objective
from thalweg.store import Run


def losses_at(objective: Objective, theta: torch.Tensor) -> torch.Tensor:
    """The loss of each sample, of a copy of the model at θ."""
    model = copy.deepcopy(objective.model).eval()
    torch.nn.utils.vector_to_parameters(theta, model.parameters())
    batches = [batch for _, batch in objective.batches]
    *inputs, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return F.cross_entropy(model(*inputs), y, reduction="none").detach()


def check(found, objective: Objective) -> None:
    """Losses and standard errors at the center and the highest point, against torch."""
    highest = np.unravel_index(np.nanargmax(found.values["loss"]), found.values["loss"].shape)
    place = [axis[i] for axis, i in zip(found.axes.values(), highest, strict=True)]
    for name, coordinates in (("center", [0.0] * found.plane.dim), ("highest", place)):
        losses = losses_at(objective, found.plane.at(coordinates))
        measured = found.sampling.losses[name]
        assert measured.value == pytest.approx(float(losses.mean()), rel=1e-10)
        assert measured.stderr == pytest.approx(float(losses.std()) / math.sqrt(len(losses)), rel=1e-10)


def test_all_of_the_data() -> None:
    objective = classifier()
    found = evaluate(objective, random_plane(objective), 5)
    sampling = found.sampling
    assert (sampling.samples, sampling.of, sampling.seed, sampling.batchnorm) == (100, 100, None, None)
    check(found, objective)
    assert str(sampling).startswith("Evaluated on all 100 samples; with its sampling error the loss is ")
    assert "batch-norm" not in str(sampling)


def test_a_sample_stands_for_the_data() -> None:
    objective = classifier()
    plane = random_plane(objective)
    part = objective.sample(40, seed=5)
    found = evaluate(objective, plane, 5, samples=40, seed=5)
    np.testing.assert_array_equal(found.values["loss"], evaluate(part, plane, 5).values["loss"])
    for i, a in enumerate(found.axes["alpha"]):
        exact = losses_at(part, plane.at([a, 0.0])).mean()
        assert found.values["loss"][i, 2] == pytest.approx(float(exact), rel=1e-10)
    check(found, part)
    assert "40 of 100 samples, drawn with seed 5" in found.caption[0]
    attributes = found.attributes()
    assert (attributes["samples"], attributes["samples_of"], attributes["samples_seed"]) == (40, 100, 5)
    # The seed of the directions is another matter.
    assert attributes["seed"] == 0


def test_the_whole_data_lie_within_the_sampling_error() -> None:
    """At the center, in two standard errors for some nineteen of twenty seeds, of which 40 are drawn."""
    objective = classifier()
    line = random_line(objective)
    whole = float(objective.loss())
    within = 0
    for seed in range(40):
        center = evaluate(objective, line, 3, samples=40, seed=seed).sampling.losses["center"]
        within += abs(center.value - whole) <= 2 * center.stderr
    assert within >= 36


@pytest.mark.parametrize(
    ("batchnorm", "words"), [("eval", "own running statistics"), ("recalibrate", "statistics re-estimated")]
)
def test_the_choice_of_batch_norm_is_told(batchnorm, words) -> None:
    plain = mixed()
    objective = plain.with_batchnorm(batchnorm)
    found = evaluate(objective, random_plane(objective), 3)
    assert found.sampling.batchnorm == found.attributes()["batchnorm"] == batchnorm
    assert words in found.caption[0]
    if batchnorm == "eval":
        check(found, objective)


def test_a_loss_that_does_not_split_has_no_sampling_error() -> None:
    model, (x, y) = classifier().model, cancer(50)
    objective = Objective(
        model, data=[(x, y)], batch_loss=lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])
    )
    sampling = evaluate(objective, random_plane(objective), 3).sampling
    assert math.isnan(sampling.losses["center"].stderr)
    assert sampling.losses["center"].value == pytest.approx(float(objective.loss()))
    assert str(sampling) == "Evaluated on all 50 samples."


def test_where_the_loss_is_nowhere_finite_there_is_none_either() -> None:
    objective = classifier()
    far = torch.full_like(objective.point, 1e200)
    sampling = evaluate(objective, line_through(far, 2 * far), 3).sampling
    assert list(sampling.losses) == ["center"]
    assert math.isnan(sampling.losses["center"].stderr)


def test_surfaces_have_no_data() -> None:
    surface = surfaces.booth()
    found = evaluate(surface, axis_plane(surface), 5)
    assert found.sampling is None
    assert found.caption == ("All 25 points evaluated.",)
    assert "samples" not in found.attributes()
    with pytest.raises(InvalidArgument, match="samples is for a model on data: booth has none"):
        evaluate(surface, axis_plane(surface), 5, samples=10)


def test_points_of_another_sample_are_refused(tmp_path) -> None:
    objective = classifier()
    plane = random_plane(objective)
    with Run.open(tmp_path / "run", kind="slice", settings={}) as run:
        evaluate(objective, plane, 3, samples=40, run=run)
        assert evaluate(objective, plane, 3, samples=40, run=run).evaluations == 0
        for other in ({"samples": 41}, {"samples": 40, "seed": 1}, {}):
            with pytest.raises(RunConflict, match="holds points of another slice"):
                evaluate(objective, plane, 3, run=run, **other)


@pytest.mark.parametrize("rtol", [None, 0.01])
def test_metrics_taken_along_are_known_where_the_loss_was_evaluated(tmp_path, rtol) -> None:
    objective = classifier(torch.nn.Tanh)
    plane = random_plane(objective)
    with Run.open(tmp_path / "run", kind="slice", settings={}) as run:
        found = evaluate(objective, plane, 25, 0.5, rtol, also=["accuracy"], run=run)
        assert evaluate(objective, plane, 25, 0.5, rtol, also=["accuracy"], run=run).evaluations == 0
    alone = evaluate(objective, plane, 25, 0.5, rtol)
    np.testing.assert_array_equal(found.values["loss"], alone.values["loss"])
    assert found.evaluated.all() == (rtol is None)
    exact = evaluate(objective, plane, 25, 0.5, metrics=["accuracy"]).values["accuracy"]
    np.testing.assert_array_equal(found.values["accuracy"], np.where(found.evaluated, exact, np.nan))
    assert isinstance(found.dataset, xr.Dataset)
    for bad, told in (("accuracy", 'also must be a list such as ["accuracy"]'), (["beauty"], "got 'beauty'")):
        with pytest.raises(InvalidArgument) as caught:
            evaluate(objective, plane, 25, also=bad)
        assert told in str(caught.value)
