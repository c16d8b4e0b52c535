from __future__ import annotations

import pytest
import torch

from cli.conftest import Command
from thalweg import optim
from thalweg.cli.optimizers import state_bytes


def test_all_are_listed(thalweg: Command) -> None:
    found = thalweg("optimizers")
    assert (found.status, found.err) == (0, "")
    listed = {line.split()[0] for line in found.out.splitlines() if line and not line.startswith(" ")}
    assert {*optim.names(), "steepest_descent", "sam", "asam", "gsam", "efficient_sam", "switch"} <= listed
    assert "adam  8 bytes of state a parameter" in found.out
    assert "θ ← θ − ηg" in found.out
    assert "betas=(0.9, 0.999)" in found.out
    assert "arXiv:1412.6980" in found.out


@pytest.mark.parametrize(
    ("name", "size"),
    # float32 state tensors of the papers: none, a velocity, a second moment, two moments.
    [
        ("gradient_descent", 0),
        ("sgd", 0),
        ("momentum", 4),
        ("adagrad", 4),
        ("adam", 8),
        ("adamw", 8),
        ("lion", 4),
    ],
)
def test_measured_memory(name: str, size: int) -> None:
    assert state_bytes(name) == size


def test_memory_that_cannot_be_measured_is_not_said(thalweg: Command) -> None:
    entries = {entry["name"]: entry for entry in thalweg("optimizers", "--json").json["optimizers"]}
    assert entries["sam"]["state_bytes"] is None
    assert entries["adam"]["state_bytes"] == 8
    assert entries["adam"]["defaults"]["betas"] == [0.9, 0.999]
    assert all(
        entry["equation"] and entry["source"] for entry in entries.values() if entry["family"] != "others"
    )


def test_one_with_its_ancestors(thalweg: Command) -> None:
    found = thalweg("optimizers", "adamw")
    assert "Adam → AdamW" in found.out
    assert "weight decay outside the adaptive step" in found.out
    assert "weight_decay: 0.0 → 0.01" in found.out
    assert "lion: sign of the momentum" in found.out
    both = thalweg("optimizers", "adam", "--json").json
    assert [entry["from"] for entry in both["differences"]] == ["rmsprop", "momentum"]
    assert "adamw" in both["children"]
    root = thalweg("optimizers", "gradient_descent", "--json").json
    assert root["differences"] == []


def test_unknown(thalweg: Command) -> None:
    assert "did you mean adam" in thalweg("optimizers", "adm").line


def test_one_of_another_package(thalweg: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from thalweg.optim.names import registry

    monkeypatch.setitem(registry._factories, "other", torch.optim.Adam)
    # Its count of steps is a tensor and no part of it.
    assert state_bytes("other") == 8
    assert thalweg("optimizers", "other").out.startswith("other  8 bytes of state a parameter")
    assert "Others" in thalweg("optimizers").out
