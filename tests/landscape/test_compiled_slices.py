"""The compiled forward pass gives the numbers of the uncompiled one."""

from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F

from landscape.models import cancer, relu_network
from thalweg.landscape import random_line
from thalweg.objective import Objective

COMPILER = next((name for name in ("g++", "clang++", "c++", "cl") if shutil.which(name)), None)


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler, so nothing is compiled")
def test_compiled_and_uncompiled_passes_agree():
    x, y = cancer(90)
    # Batches of one size: another one would be compiled anew.
    batches = [(x[i : i + 45], y[i : i + 45]) for i in (0, 45)]
    objective = Objective(relu_network(), F.cross_entropy, batches)
    line = random_line(objective)
    points = [line.at([t]) for t in (-1.0, -0.3, 0.0, 0.7)]
    before = objective.point
    metrics = ["loss", "accuracy"]
    with objective.evaluator(metrics, len(points), compile=False) as evaluator:
        plain = [evaluator(point) for point in points]
        assert not evaluator.compiled
    with objective.evaluator(metrics, len(points), compile=True) as evaluator:
        compiled = [evaluator(point) for point in points]
        assert evaluator.compiled, objective.notes
    for one, other in zip(plain, compiled, strict=True):
        # Sums over 45 samples and up to 30 inputs in another order.
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-13)
        assert one["accuracy"] == other["accuracy"]
    assert torch.equal(objective.point, before)
    # Few points of a small model are not compiled.
    with objective.evaluator(metrics, 100) as evaluator:
        assert not evaluator.compiled


def test_a_compiled_pass_that_gives_other_numbers_is_not_used(monkeypatch: pytest.MonkeyPatch):
    # As code from torch's cache does that was generated for processors with wider registers.
    monkeypatch.setattr(torch, "compile", lambda call: lambda batch: 0.99 * call(batch))
    objective = Objective(relu_network(), F.cross_entropy, cancer(20))
    with objective.evaluator(["loss"], 10, compile=True) as evaluator:
        assert not evaluator.compiled
        assert evaluator(objective.point)["loss"] == float(objective.loss())
    assert "gave other numbers" in objective.notes[-1]
