from __future__ import annotations

import copy
import math
import re
from typing import Any

import pytest

from thalweg.surveys.verdict import verdict

NAN = math.nan


def measured(value: float, stderr: float = 0.01, samples: int = 100) -> dict[str, Any]:
    return {"value": value, "stderr": stderr, "samples": samples}


def results(**changes: Any) -> dict[str, Any]:
    """What a survey of a trained classifier at a minimum leaves, with some of it changed."""
    made: dict[str, Any] = {
        "target": {"name": "net", "kind": "problem"},
        "training": {"source": "trained here", "diverged": False},
        "quality": {
            "train": {"loss": measured(0.1), "accuracy": measured(0.99)},
            "test": {"loss": measured(0.101), "accuracy": measured(0.97, 0.013)},
        },
        "eigenpairs": {"values": [20.0, 10.0, 0.2, 0.1]},
        "density": {"size": 50, "fraction_negative": {"value": 0.0, "stderr": 0.0}},
        "classification": {
            "kind": "minimum", "index": 0, "index_at_least": False, "near_zero": 0, "gradient_norm": 1e-9,
        },
        "stability": {"rate": 0.1, "optimizer": "sgd", "used": 0.05, "ratio": 0.5},
        "slice.trajectory": None,
    }  # fmt: skip
    made = copy.deepcopy(made)
    for name, change in changes.items():
        made[name] = (made[name] or {}) | change
    return made


SURFACE = {"kind": "surface", "name": "bowl"}
SURFACE_QUALITY = {"train": {"loss": measured(0.25, 0.0)}}


def surface(**changes: Any) -> dict[str, Any]:
    made = results(
        target=SURFACE,
        training={"source": "descended"},
        stability={"rate": 0.1, "optimizer": "sgd", "used": None, "ratio": None},
        **changes,
    )
    made["quality"] = SURFACE_QUALITY
    return made


def kind(name: str, **changes: Any) -> dict[str, Any]:
    return {"classification": {"kind": name} | changes}


NO_TEST = {"train": {"loss": measured(0.5, 0.02)}}

SENTENCES: dict[str, tuple[dict[str, Any], str]] = {
    "minimum": (
        results(),
        r"net classifies 97\.0% ± 1\.3% of the test data \w+; it is a minimum; full-batch gradient descent is "
        r"stable here up to a rate of 0\.1, and 0\.05 was used \(0\.5 of it\)\.",
    ),
    "maximum": (surface(**kind("maximum", index=2)), r"bowl has the loss 0\.25 .*; it is a maximum; .*"),
    "saddle, one way": (
        results(**kind("saddle", index=1)),
        r".*; it sits at a saddle, where 1 direction curves downward; .*",
    ),
    "saddle": (
        results(**kind("saddle", index=3, index_at_least=True)),
        r".*; it sits at a saddle, where at least 3 directions curve downward; .*",
    ),
    "not critical": (
        results(**kind("not critical", gradient_norm=0.0123)),
        r".*; it is not at a critical point, for its gradient is not zero \(norm 0\.012\); .*",
    ),
    "not critical, curving down": (
        results(**kind("not critical", gradient_norm=2.0, index=1)),
        r".*; it is still on its way down, for its gradient is not zero \(norm 2\) and 1 direction curves "
        r"downward; .*",
    ),
    "undetermined": (
        results(**kind("undetermined", near_zero=4)),
        r".*; its kind of critical point is open: 4 eigenvalues cannot be told from zero; .*",
    ),
    "undetermined, one": (
        results(**kind("undetermined", near_zero=1)),
        r".*; its kind of critical point is open: 1 eigenvalue cannot be told from zero; .*",
    ),
    "diverged": (
        results(training={"diverged": True}),
        r"net did not settle: training diverged, and this is its last finite point; .*",
    ),
    "surface": (
        surface(),
        r"bowl has the loss 0\.25 where its descent ended; it is a minimum; .* up to a rate of 0\.1\.",
    ),
    "surface without a minimum": (
        surface() | {"training": {"diverged": True}},
        r"bowl did not settle: its descent found no critical point, .*",
    ),
    "no curvature": (
        results(stability={"rate": math.inf, "used": 0.05, "ratio": 0.0}),
        r".*; no direction curves upward, so no learning rate is too large here\.",
    ),
    "momentum": (
        results(stability={"optimizer": "momentum", "used": None, "ratio": None}),
        r".*; full-batch momentum is stable here up to a rate of 0\.1\.",
    ),
    "nesterov": (results(stability={"optimizer": "nesterov"}), r".*; full-batch Nesterov's method is stable .*"),
    "loss alone": (results() | {"quality": NO_TEST}, r"net has a training loss of 0\.50* ± 0\.020*; .*"),
    "loss without an error": (
        results() | {"quality": {"train": {"loss": measured(0.5, NAN)}}},
        r"net has a training loss of 0\.5; .*",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SENTENCES)
def test_sentence(case: str) -> None:
    given, expected = SENTENCES[case]
    found = verdict(given)
    assert re.fullmatch(expected, found["sentence"])
    for text in (found["sentence"], *found["findings"]):
        assert not re.search(r"\b(nan|inf|None)\b", text)
        assert text.endswith(".")
        assert "  " not in text
        assert ".." not in text
        # One thing is singular, others are plural.
        assert not re.search(r"\b1 (directions|eigenvalues)\b|\b[02-9] (direction|eigenvalue)\b", text)


def findings(**changes: Any) -> str:
    return "\n".join(verdict(results(**changes))["findings"])


def test_generalization_gap() -> None:
    def quality(test: float, stderr: float = 0.01) -> dict[str, Any]:
        return {"quality": {"train": {"loss": measured(0.1)}, "test": {"loss": measured(test, stderr)}}}

    # The error of the difference of two numbers known to 0.01 is 0.0141.
    assert re.search(r"The test loss is 0\.90* ± 0\.014 above the training loss", findings(**quality(1.0)))
    assert re.search(r"The test loss is 0\.090* ± 0\.014 below the training loss", findings(**quality(0.01)))
    assert re.search(r"agree within their errors \(difference 0\.020? ± 0\.014\)", findings(**quality(0.12)))
    assert re.search(
        r"agree within their errors \(difference [-−]0\.020? ± 0\.014\)", findings(**quality(0.08))
    )
    unknown = findings(**quality(1.0, NAN))
    assert "test loss" not in unknown
    assert "nan" not in unknown


def test_curvature_on_both_sides() -> None:
    assert "The curvature ranges from 0.1 to 20" in findings()
    assert "downward curvature" not in findings()
    saddle = findings(eigenpairs={"values": [20.0, -5.0]})
    assert re.search(r"The curvature ranges from [-−]5 to 20 ", saddle)
    assert "The steepest downward curvature is 25.0% of the steepest upward one." in saddle
    # Without an upward one there is nothing to compare with.
    assert "steepest" not in findings(eigenpairs={"values": [-1.0, -5.0]})


def test_rate_above_the_stable_one() -> None:
    assert "above the stable one" in findings(stability={"ratio": 1.2, "used": 0.12})
    assert "above the stable one" not in findings()
    assert "above the stable one" not in findings(stability={"ratio": None, "used": None})


def test_share_of_negative_eigenvalues_only_where_there_are_many() -> None:
    share = {"fraction_negative": {"value": 0.25, "stderr": 0.02, "threshold": 0.003}}
    assert "25.0% ± 2.0% of all eigenvalues are below −0.003" in findings(density=share)
    assert "of all eigenvalues" not in findings(density=share | {"size": 2})


def test_training_path() -> None:
    facts = {"facts": {"variance_explained": 0.987, "random_walk_explains": 0.71}}
    text = "Two directions hold 99% of the training path (a random walk would show 71%)."
    assert text in findings(**{"slice.trajectory": facts})
    assert "Two directions" not in findings()
