"""What a survey found, in one sentence and a few more."""

from __future__ import annotations

import math
from typing import Any

from thalweg.numbers import number, with_error


def verdict(results: dict[str, Any]) -> dict[str, Any]:
    """One sentence on the point and its surroundings, and the findings behind it, from the other results."""
    sentence = f"{_reached(results)}; {_shape(results)}; {_rate(results)}."
    return {"sentence": sentence, "findings": list(_findings(results))}


def _reached(results: dict[str, Any]) -> str:
    target, quality = results["target"], results["quality"]
    name = target["name"]
    if results["training"].get("diverged"):
        if target["kind"] == "surface":
            return f"{name} did not settle: its descent found no critical point, and this is where it ended"
        return f"{name} did not settle: training diverged, and this is its last finite point"
    best = quality.get("test") or quality["train"]
    split = "test" if "test" in quality else "training"
    if target["kind"] == "surface":
        return f"{name} has the loss {number(best['loss']['value'])} where its descent ended"
    if "accuracy" in best:
        share = best["accuracy"]
        return f"{name} classifies {share['value']:.1%} ± {share['stderr']:.1%} of the {split} data correctly"
    value, stderr = best["loss"]["value"], best["loss"]["stderr"]
    # A loss that does not split into samples has no standard error.
    loss = number(value) if math.isnan(stderr) else with_error(value, stderr)
    return f"{name} has a {split} loss of {loss}"


def _shape(results: dict[str, Any]) -> str:
    kind = results["classification"]
    if kind["kind"] == "not critical":
        slope = f"its gradient is not zero (norm {number(kind['gradient_norm'], 2)})"
        if not kind["index"]:
            return f"it is not at a critical point, for {slope}"
        return f"it is still on its way down, for {slope} and {_directions(kind)} downward"
    if kind["kind"] == "saddle":
        return f"it sits at a saddle, where {_directions(kind)} downward"
    if kind["kind"] == "undetermined":
        count = kind["near_zero"]
        values = "1 eigenvalue" if count == 1 else f"{count} eigenvalues"
        return f"its kind of critical point is open: {values} cannot be told from zero"
    return f"it is a {kind['kind']}"


def _directions(kind: dict[str, Any]) -> str:
    bound = "at least " if kind["index_at_least"] else ""
    return f"{bound}{kind['index']} direction{' curves' if kind['index'] == 1 else 's curve'}"


def _rate(results: dict[str, Any]) -> str:
    edge = results["stability"]
    if results["training"].get("diverged"):
        return "a stable rate means little at such a point"
    if not math.isfinite(edge["rate"]):
        return "no direction curves upward, so no learning rate is too large here"
    steps = {"sgd": "gradient descent", "momentum": "momentum", "nesterov": "Nesterov's method"}[
        edge["optimizer"]
    ]
    limit = f"full-batch {steps} is stable here up to a rate of {number(edge['rate'], 3)}"
    if edge["used"] is None:
        return limit
    return f"{limit}, and {edge['used']:g} was used ({number(edge['ratio'], 2)} of it)"


def _findings(results: dict[str, Any]) -> list[str]:
    found: list[str] = []
    quality, values = results["quality"], results["eigenpairs"]["values"]
    if "test" in quality:
        train, test = quality["train"]["loss"], quality["test"]["loss"]
        gap = test["value"] - train["value"]
        error = math.hypot(train["stderr"], test["stderr"])
        if gap > 2 * error:
            found.append(
                f"The test loss is {with_error(gap, error)} above the training loss: "
                "some of the fit does not carry over."
            )
        elif gap < -2 * error:
            found.append(
                f"The test loss is {with_error(-gap, error)} below the training loss: "
                "the test data are easier, or another kind of data."
            )
        elif error == error:
            found.append(
                f"Training and test loss agree within their errors (difference {with_error(gap, error)})."
            )
    top, bottom = values[0], values[-1]
    found.append(
        f"The curvature ranges from {number(bottom, 3)} to {number(top, 3)} along the directions measured."
    )
    if bottom < 0 < top and -bottom / top >= 5e-4:
        found.append(f"The steepest downward curvature is {-bottom / top:.1%} of the steepest upward one.")
    share = results["density"]["fraction_negative"]
    if results["density"]["size"] > 8 and share["value"] >= 5e-4:
        found.append(
            f"{share['value']:.1%} ± {share['stderr']:.1%} of all eigenvalues are below "
            f"−{number(share['threshold'], 2)}; nearer to zero their signs are open."
        )
    edge = results["stability"]
    if edge["ratio"] is not None and edge["ratio"] > 1:
        found.append(
            "The rate used is above the stable one for full-batch steps: expect the loss to bounce along the "
            "stiffest direction unless noise or a decaying schedule holds it."
        )
    path = results.get("slice.trajectory")
    if path:
        facts = path["facts"]
        found.append(
            f"Two directions hold {facts['variance_explained']:.0%} of the training path "
            f"(a random walk would show {facts['random_walk_explains']:.0%})."
        )
    return found
