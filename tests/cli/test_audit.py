from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Command

MODEL = """
import torch
from torch import nn

def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 6, generator=generator), torch.randint(0, 3, (40,), generator=generator)

def sound():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), nn.functional.cross_entropy, data()

def equal():
    model, *rest = sound()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    return model, *rest

def deep():
    torch.manual_seed(0)
    layers = [nn.Linear(6, 6) for _ in range(20)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.05)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers, nn.Linear(6, 3)), nn.functional.cross_entropy, data()

def batches():
    model, *_ = sound()
    x, y = data()
    def loss(model, batch):
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"])
    return dict(model=model, data=[{"x": x, "y": y}], batch_loss=loss)
"""


@pytest.fixture(autouse=True)
def model_file(thalweg: Command) -> None:
    # After `thalweg`, which goes to an empty folder.
    Path("model.py").write_text(MODEL)


def test_a_problem(thalweg: Command) -> None:
    found = thalweg("audit", "digits")
    assert (found.status, found.err) == (0, "")
    assert "linear1" in found.out
    assert "healthy: " in found.out
    assert "no units stay identical" in found.out
    told = thalweg("audit", "digits", "--json", "--seed", "1").json
    assert told["signals"]["verdict"] == "healthy"
    assert told["symmetry"]["verdict"] == "broken"
    assert told["picture"] is None
    # Another seed, another initialization.
    assert (
        told["signals"]["forward_slope"]
        != thalweg("audit", "digits", "--json").json["signals"]["forward_slope"]
    )


def test_a_model_whose_signal_dies(thalweg: Command) -> None:
    told = thalweg("audit", "model.py:deep", "--json").json["signals"]
    # Each layer scales the signal's standard deviation by 0.05 √6 = 0.12: below 1/1000 after three or four.
    assert told["verdict"] == "vanishing"
    assert told["first_bad"] in ("3", "4", "5")


def test_a_model_without_symmetry_breaking(thalweg: Command) -> None:
    told = thalweg("audit", "model.py:equal", "--json").json["symmetry"]
    assert told["verdict"] == "symmetric"
    assert told["symmetric"][0]["layer"] == "0"
    assert thalweg("audit", "model.py:sound", "--json").json["symmetry"]["verdict"] == "broken"


def test_batches_of_any_shape(thalweg: Command) -> None:
    told = thalweg("audit", "model.py:batches", "--json").json
    assert told["signals"]["verdict"] == "healthy"
    assert told["signals"]["layers"][0]["shape"] == [40, 8]


def test_picture(thalweg: Command) -> None:
    found = thalweg("audit", "model.py:deep", "--out", "a/signals.png")
    assert found.out.endswith("Picture: a/signals.png\n")
    assert Path("a/signals.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("booth",), "booth is a surface and has no layers"),
        (("digitz",), "did you mean digits"),
        (("model.py:nothing",), "model.py has no 'nothing'"),
        (("digits", "--out", "a.txt"), "--out must end in .png, .svg, .pdf, got 'a.txt'"),
    ],
)
def test_errors(thalweg: Command, arguments: tuple[str, ...], told: str) -> None:
    assert told in thalweg("audit", *arguments).line
