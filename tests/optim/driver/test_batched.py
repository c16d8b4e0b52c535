"""The compiled batched driver against the uncompiled one, which other tests hold against the torch driver."""

import shutil

import pytest
import torch

import thalweg as tw
from thalweg.optim.driver import kernel as kernels


@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler here")
def test_compiled_descents_equal_uncompiled_ones(tmp_path, monkeypatch):
    """Ackley's backward pass reuses what exp() returned, which the compiler cannot follow by itself."""
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    monkeypatch.setattr(kernels, "_loaded", {})
    starts = torch.linspace(-3, 3, 128, dtype=torch.float64).view(64, 2)
    options = {"steps": 40, "lr": [0.01, 0.02], "noise": 0.1, "seed": 1}
    plain = tw.optim.descend(tw.surfaces.ackley(), "adam", starts, compile=False, **options)
    compiled = tw.optim.descend(tw.surfaces.ackley(), "adam", starts, compile=True, **options)
    assert len(list((tmp_path / "kernels").glob("*.pt2"))) == 2
    # exp() and sqrt() differ in the last place, 1e-16; 40 steps of Adam do not make 1e5 of it.
    torch.testing.assert_close(compiled.path, plain.path, rtol=1e-11, atol=1e-11)
    assert (compiled.outcome.kind == plain.outcome.kind).all()
