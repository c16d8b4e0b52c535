"""Every architecture of the zoo, small, with parameters among which no two are alike by accident."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from thalweg import problems
from thalweg.problems.character_gpt import CharacterGPT, next_character_loss
from thalweg.problems.deep_linear import DeepLinear
from thalweg.problems.digits import DigitsConv
from thalweg.problems.mlp import MLP
from thalweg.problems.recurrent import Recurrent
from thalweg.problems.resnet import ResNet

Loss = Callable[[Tensor, Tensor], Tensor]
Subject = tuple[nn.Module, Tensor, Tensor, Loss]
"""A model, inputs, targets and the loss."""


def unlike(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """What `build` gives, with noise on all parameters and buffers, so that biases and norms are not all equal."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    buffer.add_(torch.rand_like(buffer))
    return model


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _classes(*shape: int, classes: int = 10) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(2))


def _images(**options: bool) -> Subject:
    model = unlike(lambda: ResNet(8, width=0.5, **options))
    return model, _normal(6, 3, 16, 16), _classes(6), cross_entropy


def _text(tied: bool) -> Subject:
    model = unlike(lambda: CharacterGPT(11, layers=2, width=16, heads=2, context=8, tied=tied))
    return model, _classes(5, 8, classes=11), _classes(5, 8, classes=11), next_character_loss


def _table(name: str) -> Subject:
    problem = problems.get(name)
    x, y = problem.train
    return unlike(problem.model), x[:50], y[:50], cross_entropy


ZOO: dict[str, Callable[[], Subject]] = {
    "mlp": lambda: (
        unlike(lambda: MLP((64, 12, 9, 10), "gelu")),
        _normal(20, 64),
        _classes(20),
        cross_entropy,
    ),
    "mlp with batch-norm": lambda: (
        unlike(lambda: MLP((64, 12, 9, 10), batchnorm=True, dropout=0.2)),
        _normal(20, 64),
        _classes(20),
        cross_entropy,
    ),
    "conv": lambda: (unlike(lambda: DigitsConv(5)), _normal(9, 64), _classes(9), cross_entropy),
    "conv without batch-norm": lambda: (
        unlike(lambda: DigitsConv(5, "tanh", batchnorm=False)),
        _normal(9, 64),
        _classes(9),
        cross_entropy,
    ),
    "resnet": lambda: _images(),
    "resnet without skips": lambda: _images(skip=False),
    "resnet without batch-norm": lambda: _images(batchnorm=False),
    "plain without either": lambda: _images(skip=False, batchnorm=False),
    "tied gpt": lambda: _text(True),
    "gpt": lambda: _text(False),
    "deep linear": lambda: (unlike(lambda: DeepLinear(7, 3)), _normal(20, 7), _normal(20, 3), mse_loss),
    "rnn": lambda: (unlike(lambda: Recurrent(2, 1, width=8)), _normal(6, 9, 2), _normal(6, 1), mse_loss),
    "gru": lambda: (
        unlike(lambda: Recurrent(2, 1, cell="gru", width=8)),
        _normal(6, 9, 2),
        _normal(6, 1),
        mse_loss,
    ),
    "wine": lambda: _table("wine"),
    "breast cancer": lambda: _table("breast_cancer"),
}
