"""A run folder of a survey that never was."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from thalweg.store import Run

HOSTILE = "<script>alert(1)</script>"


def results(name: str = "bowl") -> dict[str, Any]:
    """What a survey of a small model stores, besides its slices; every number differs from the others."""
    return {
        "target": {
            "name": name,
            "kind": "problem",
            "description": "A bowl with a cut.",
            "source": "made up",
            "parameters": 17226,
            "blocks": [{"name": "linear.weight", "shape": [4, 3], "kind": "filters"}],
            "samples": 1437,
            "test_samples": 361,
            "dtype": "float32",
            "device": "cpu",
            "batchnorm": "eval",
            "notes": ["dropout is off"],
            "equation": None,
            "minima": [],
        },
        "training": {
            "source": "trained here",
            "optimizer": "momentum",
            "lr": 0.0517,
            "momentum": 0.91,
            "weight_decay": 1.3e-5,
            "batch_size": 63,
            "epochs": 19,
            "steps": 457,
            "diverged": False,
        },
        "quality": {
            "train": {"loss": {"value": 0.0022897, "stderr": 0.00020955, "samples": 1397}},
            "test": {
                "loss": {"value": 0.12977, "stderr": math.nan, "samples": 353},
                "accuracy": {"value": 0.96388, "stderr": 0.0098329, "samples": 347},
            },
        },
        "gradient": {"norm": 0.010683, "point_norm": 12.9742},
        "eigenpairs": {
            "values": [0.65768, 0.55156, 0.31864, -0.0021, -0.0043],
            "residuals": [1.1e-6, 6.1e-7, 0.00012, 4.1e-5, 0.0009],
            "converged": [True, True, True, True, False],
            "products": 118,
            "tol": 0.00107,
        },
        "trace": {
            "value": 4.95146,
            "stderr": 0.09085,
            "products": 36,
            "converged": True,
            "method": "hutch++",
        },
        "density": {
            "grid": np.linspace(-0.1, 0.8, 64),
            "density": np.exp(-0.5 * (np.linspace(-0.1, 0.8, 64) / 0.02) ** 2) * 60 + 1e-12,
            "stderr": np.full(64, 0.002),
            "width": 0.00662,
            "size": 17226,
            "probes": 7,
            "steps": 47,
            "products": 329,
            "moments": [{"value": 0.000241 * (i + 1), "stderr": 1.9e-5 * (i + 1)} for i in range(4)],
            "fraction_negative": {"value": 0.0133, "stderr": 0.0038, "threshold": 0.002},
        },
        "classification": {
            "kind": "not critical",
            "index": 2,
            "index_at_least": True,
            "near_zero": 3,
            "gradient_norm": 0.010683,
            "gradient_tolerance": 8.533e-5,
            "smallest": -0.0043,
            "largest": 0.65768,
            "error": 0.00026542,
            "text": "not critical: the gradient is not zero",
        },
        "sharpness": [
            {"kind": "sam", "value": 0.0012957, "error": 0.0, "meaning": "rise after a step uphill"},
            {"kind": "average", "value": 2.005e-6, "error": 1.022e-6, "meaning": "mean rise at random"},
        ],
        "stability": {
            "rate": 5.77782,
            "error": 0.0101,
            "lambda_max": 0.65768,
            "formula": "2(1+α)/λmax",
            "optimizer": "momentum",
            "used": 0.0517,
            "ratio": 0.00895,
        },
        "verdict": {
            "sentence": "The bowl is nearly empty.",
            "findings": ["Its floor is flat.", "It has a cut."],
        },
        "provenance": {
            "command": "thalweg survey bowl",
            "seed": 11,
            "versions": {"torch": "2.13.0", "thalweg": "0.1.0"},
            "threads": 1,
            "data": "sha256 d17dde27",
            "created": "2026-11-24T11:27:51.535+00:00",
        },
    }


def loss_of(a: float, b: float) -> float:
    """A valley with a hole in one corner where the loss is no number."""
    return math.nan if a > 0.7 and b > 0.7 else 0.01 + 4 * a * a + 20 * (b - 0.5 * a) ** 2


def put_plane(run: Run, grid: str, n: int, *, path: bool, **changes: Any) -> None:
    axis = np.linspace(-1, 1, n)
    for i, a in enumerate(axis):
        for j, b in enumerate(axis):
            run.put_point(grid, (i, j), {"loss": loss_of(a, b), "accuracy": 1 / (1 + a * a + b * b)})
    track = [[-0.8, 0.6], [-0.3, 0.1], [0.0, 0.0]]
    described = {
        "title": f"Plane {grid}",
        "axes": {"alpha": axis, "beta": axis},
        "metrics": ["loss", "accuracy"],
        "kind": grid,
        "labels": ["first direction", "second direction"],
        "facts": {"variance_explained": 0.93714, "normalization": "filter", "seed": 11},
        "limits": [f"The plane {grid} is a shadow."],
        "path": track if path else None,
        "distances": [0.61, 0.22, 0.0] if path else None,
        "path_loss": [loss_of(a, b) * 1.1 for a, b in track] if path else None,
        "evaluations": n * n,
        "error": 0.0,
    }
    run.put_result(f"slice.{grid}", described | changes, seconds=2.5)


def put_line(run: Run) -> None:
    axis = np.linspace(-1, 1, 21)
    for i, a in enumerate(axis):
        run.put_point("line", (i,), {"loss": loss_of(a, 0.0), "accuracy": 1 / (1 + a * a)})
    described = {
        "title": "Along a line",
        "axes": {"alpha": axis},
        "metrics": ["loss", "accuracy"],
        "kind": "random",
        "labels": ["random direction"],
        "facts": {},
        "limits": ["A line is a thin thing."],
        "path": None,
        "distances": None,
        "path_loss": None,
        "evaluations": 21,
        "error": 0.0,
    }
    run.put_result("slice.line", described, seconds=0.5)
