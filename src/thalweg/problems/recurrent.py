"""A recurrent network that must remember: the adding problem."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from thalweg.errors import InvalidArgument
from thalweg.problems.problem import Problem, Training

CELLS: dict[str, type[nn.RNN] | type[nn.GRU]] = {"rnn": nn.RNN, "gru": nn.GRU}


class Recurrent(nn.Module):
    """A recurrent layer and a linear read-out of its last state: (b, steps, inputs) to (b, outputs).

    `cell` is "rnn" (tanh units) or "gru". Raises InvalidArgument for another cell.
    """

    def __init__(self, inputs: int, outputs: int, *, cell: str = "rnn", width: int = 32) -> None:
        if cell not in CELLS:
            raise InvalidArgument(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        super().__init__()
        self.memory = CELLS[cell](inputs, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The read-out (b, outputs) after the last step."""
        states, _ = self.memory(x)
        return self.head(states[:, -1])


def adding_sequences(count: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences of the adding problem: x (count, steps, 2) and y (count, 1), float32.

    Channel 0 holds uniform numbers in [0, 1), channel 1 marks one step in each half with 1; y is the sum of
    the two marked numbers. Its variance is 1/6, the loss of always answering 1.

    References: S. Hochreiter, J. Schmidhuber: Long Short-Term Memory, Neural Computation 9, 1997;
    in the form of Q. Le, N. Jaitly, G. Hinton, arXiv:1504.00941.
    """
    values = torch.rand(count, steps, generator=generator)
    half = steps // 2
    early = torch.randint(half, (count, 1), generator=generator)
    late = torch.randint(half, steps, (count, 1), generator=generator)
    marks = torch.zeros_like(values).scatter_(1, torch.cat([early, late], dim=1), 1.0)
    return torch.stack([values, marks], dim=-1), (values * marks).sum(dim=1, keepdim=True)


def recurrent(
    cell: str = "rnn",
    width: int = 32,
    *,
    steps: int = 20,
    samples: int = 2000,
    test_samples: int = 500,
    seed: int = 0,
) -> Problem:
    """The adding problem of `steps` steps for a recurrent network; mean squared error.

    The longer the sequence, the more the gradient of a tanh network vanishes; a GRU copes. `seed` draws the
    sequences, as `adding_sequences` describes them. Raises InvalidArgument for fewer than two steps.
    """
    if steps < 2:
        raise InvalidArgument(f"steps must be at least 2, got {steps}")
    if samples < 1 or test_samples < 1:
        raise InvalidArgument(f"samples and test_samples must be at least 1, got {samples}, {test_samples}")
    x, y = adding_sequences(samples + test_samples, steps, torch.Generator().manual_seed(seed))
    return Problem(
        name="recurrent",
        model=lambda: Recurrent(2, 1, cell=cell, width=width),
        loss_fn=mse_loss,
        train=(x[:samples], y[:samples]),
        test=(x[samples:], y[samples:]),
        training=Training("adam", lr=5e-3, batch_size=50, epochs=30),
        metrics=("loss",),
        description=f"adding problem over {steps} steps, {cell.upper()} of width {width}",
        source="S. Hochreiter, J. Schmidhuber 1997; Q. Le, N. Jaitly, G. Hinton 2015",
    )
