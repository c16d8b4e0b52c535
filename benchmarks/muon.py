"""Muon's step against torch.optim.Muon's, and both against pytorch_optimizer's, in one run."""

import importlib.util
from collections.abc import Callable

import torch
from torch import nn

import thalweg as tw
from benchmarks.row import Row
from benchmarks.timing import median_seconds


def measure() -> list[Row]:
    rows: list[Row] = []
    for width in (32, 128):
        # Four layers of a transformer: queries, keys, values and output, and the two of the feed-forward part.
        shapes = 4 * [*4 * [(width, width)], (4 * width, width), (width, 4 * width)]
        params = [nn.Parameter(torch.randn(shape)) for shape in shapes]
        for p in params:
            p.grad = torch.randn_like(p)
        calls: dict[str, Callable[[], object]] = {"ours": tw.optim.Muon(params, lr=1e-3).step}
        if hasattr(torch.optim, "Muon"):
            calls["torch's"] = torch.optim.Muon(params, lr=1e-3).step
        if importlib.util.find_spec("pytorch_optimizer"):
            import pytorch_optimizer

            group = {"params": params, "use_muon": True}
            calls["pytorch_optimizer's"] = pytorch_optimizer.Muon([group], lr=1e-3).step
        for call in calls.values():
            call()
        ours, *others = median_seconds(list(calls.values()), 5)
        rows.append(Row("P6", f"Muon, 4 layers of width {width}: a step, ms", ours * 1e3, None))
        for name, seconds in zip(list(calls)[1:], others, strict=True):
            budget = 1.0 if name == "torch's" else None
            rows.append(Row("P6", f"the same in times {name}", ours / seconds, budget))
    return rows
