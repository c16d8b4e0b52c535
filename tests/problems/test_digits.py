from __future__ import annotations

import pytest
import torch

from thalweg import problems
from thalweg.errors import InvalidArgument
from thalweg.problems.digits import digit_images


def test_all_digits_split_within_classes():
    (x_train, y_train), (x_test, y_test) = digit_images()
    assert x_train.shape == (1437, 64)
    assert x_test.shape == (360, 64)
    # No two of the images are equal, so a shared row would be a leak.
    assert not {row.numpy().tobytes() for row in x_train} & {row.numpy().tobytes() for row in x_test}
    shares = torch.bincount(y_test) / torch.bincount(torch.cat([y_train, y_test]))
    # 174 to 183 images a class: a fifth, off by at most one image from rounding.
    assert torch.all((shares - 0.2).abs() < 1 / 174)


def test_pixels_have_unit_variance_and_keep_their_order():
    from sklearn.datasets import load_digits

    (x_train, _), _ = digit_images()
    assert x_train.mean().item() == pytest.approx(0, abs=1e-5)
    assert x_train.var(correction=0).item() == pytest.approx(1, abs=1e-5)
    # One shift and one scale for all pixels: 17 grey levels stay 17.
    assert len(x_train.unique()) == 17
    assert load_digits().data.max() == 16


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_default_mlp_has_the_stated_layers(activation):
    model = problems.digits(activation=activation).make_model()
    assert sum(p.numel() for p in model.parameters()) == 65 * 128 + 129 * 64 + 65 * 10


def test_conv_takes_flat_and_square_images():
    problem = problems.digits_conv()
    model = problem.make_model()
    x = problem.test[0][:5]
    assert torch.equal(model(x), model(x.view(5, 1, 8, 8)))
    # conv 9·16, its norm 2·16, conv 9·16·32, its norm 2·32, head (32·16 + 1)·10
    assert sum(p.numel() for p in model.parameters()) == 144 + 32 + 4608 + 64 + 5130
    with pytest.raises(InvalidArgument, match="width must be at least 1, got 0"):
        problems.digits_conv(width=0).make_model()


def test_default_training_of_the_mlp_passes_96_percent(trained_accuracy):
    assert trained_accuracy(problems.digits()) >= 0.96


def test_default_training_of_the_conv_net_passes_97_percent(trained_accuracy):
    assert trained_accuracy(problems.digits_conv()) >= 0.97
