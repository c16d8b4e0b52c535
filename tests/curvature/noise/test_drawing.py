"""Draws with replacement: every sample as often as chance has it, whatever form the data has."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg.curvature.noise.drawing import draw_samples
from thalweg.objective import Objective


def counted(data, count=4000):
    """How often each of 10 samples, which know their number, was drawn; and the pieces they came in."""
    objective = Objective(nn.Linear(1, 1), nn.MSELoss(), data)
    pieces = draw_samples(objective, count, torch.Generator().manual_seed(0))
    numbers = torch.cat([piece.batch[1][:, 0] for piece in pieces]).long()
    positions = torch.cat([piece.positions for piece in pieces])
    assert torch.equal(positions.sort().values, torch.arange(count))
    return torch.bincount(numbers, minlength=10), pieces, numbers[positions.argsort()]


def test_any_form_of_data_gives_the_same_draws():
    x, y = torch.arange(10.0)[:, None], torch.arange(10.0)[:, None]
    whole = counted((x, y))
    batches = counted([(x[:3], y[:3]), (x[3:7], y[3:7]), (x[7:], y[7:])])
    loader = counted(DataLoader(TensorDataset(x, y), batch_size=4))
    for counts, pieces, order in (whole, batches, loader):
        assert len(pieces) == 1
        # 4000 draws of 10: 400 ± 19, six times that.
        assert int((counts - 400).abs().max()) < 114
        assert torch.equal(order, whole[2])
    # No order is left in the draws: a sorted one would have correlation 1; 1/√4000 by chance, four times.
    assert abs(float(torch.corrcoef(torch.stack([whole[2].double(), torch.arange(4000.0)]))[0, 1])) < 0.064


def test_batches_of_different_shapes_stay_apart():
    x = [torch.ones(3, 2), torch.ones(4, 5)]
    objective = Objective(
        nn.Linear(1, 1),
        data=[(x[0], torch.arange(3)), (x[1], torch.arange(3, 7))],
        batch_loss=lambda model, batch: model(batch[0].mean(1, keepdim=True)).square().mean(),
    )
    pieces = draw_samples(objective, 50, torch.Generator().manual_seed(1))
    assert [piece.batch[0].shape[1] for piece in pieces] == [2, 5]
    assert sum(len(piece.positions) for piece in pieces) == 50
    few = [piece.between(10, 14) for piece in pieces]
    assert sum(0 if part is None else len(part[1]) for part in few) == 4
