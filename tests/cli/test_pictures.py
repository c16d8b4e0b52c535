"""`thalweg pictures` as a person and as a program reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.conftest import Command
from thalweg.store import Run

QUICK = (
    *("pictures", "resnet", "--depth", 8, "--width", 0.0625, "--samples", 64, "--epochs", 1),
    *("--slice-samples", 16, "--curvature-samples", 8, "--resolution", 3, "--curvature-resolution", 3),
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    content = {}
    for split, number in (("train", 64), ("test", 16)):
        content[f"x_{split}"] = draw.integers(0, 256, (number, 32, 32, 3), dtype=np.uint8)
        content[f"y_{split}"] = np.arange(number, dtype=np.uint8) % 10
    folder = tmp_path / "images"
    folder.mkdir()
    np.savez(folder / "cifar10_subset.npz", **content)
    return folder / "cifar10_subset.npz"


def test_more_samples_than_there_are_is_said(thalweg: Command, images: Path) -> None:
    told = thalweg(*QUICK, "--data", images, "--skip", "without", "--slice-samples", 9999)
    assert told.status == 0
    assert "--slice-samples 9,999 is more than are trained on: all 64 images are used." in told.out
    assert "--curvature-samples" not in told.out


def test_both_variants_in_a_table_and_a_figure(thalweg: Command, images: Path, tmp_path: Path) -> None:
    told = thalweg(*QUICK, "--data", images)
    assert (told.status, told.err) == (0, "")
    assert told.out.startswith("ResNet-8, 64 images of CIFAR-10, 1 epoch\n")
    for word in ("with skip connections", "no skip connections", "mean |λmin/λmax|", "test acc.", "±"):
        assert word in told.out
    folder = tmp_path / "runs/resnet8-pictures"
    assert (folder / "pictures.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "pictures.svg").read_text()
    found = json.loads((folder / "pictures.json").read_text())
    assert [network["skip"] for network in found["networks"]] == [True, False]
    for network in found["networks"]:
        with Run.read(tmp_path / network["run"]) as run:
            assert network["training"] == run.result("training")
        ratios = [
            max(0.0, -low) / abs(high)
            for lows, highs in zip(
                *(network["curvature"]["values"][f"lambda_{end}"] for end in ("min", "max")), strict=True
            )
            for low, high in zip(lows, highs, strict=True)
        ]
        assert network["nonconvexity"]["ratio"] == pytest.approx(np.mean(ratios))
        assert network["plane"]["facts"] == {"normalization": "filter", "seed": 0}
    # Again it only reads, and tells the same.
    before = (folder / "skip-width0.0625/run.sqlite").stat().st_size
    assert thalweg(*QUICK, "--data", images).out == told.out
    assert (folder / "skip-width0.0625/run.sqlite").stat().st_size == before


def test_as_json_from_the_environment(
    thalweg: Command, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THALWEG_DATA", str(images.parent))
    found = thalweg(*QUICK, "--skip", "without", "--out", "a", "--seed", 3, "--json")
    assert (found.status, found.err) == (0, "")
    assert found.json == json.loads(Path("a/pictures.json").read_text())
    (network,) = found.json["networks"]
    assert network["network"] == "width 0.0625, no skip connections"
    assert (found.json["settings"]["seed"], network["plane"]["facts"]["seed"]) == (3, 3)
    assert np.shape(network["loss"]["values"]["loss"]) == (3, 3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("resnet", "--skip", "bothh"),
            "--skip must be 'both' or 'with' or 'without', got 'bothh': did you mean 'both'?",
        ),
        (("resnets",), "FAMILY must be 'resnet', got 'resnets': did you mean 'resnet'?"),
        (("resnet", "--depth", "21"), "depth must be 6k + 2 (8, 14, 20, 32, 56 …), got 21"),
        (
            ("resnet", "--width", "1,wide"),
            "--width must be numbers with commas between, such as 1,2, got '1,wide'",
        ),
        (("resnet", "--width", "0"), "width must be finite and above 0, got 0.0"),
        (("resnet", "--lr", "0"), "lr must be finite and above 0, got 0.0"),
        (("resnet", "--resolution", "2"), "resolution must be an integer of at least 3, got 2"),
    ],
)
def test_bad_input_is_one_line(thalweg: Command, arguments: tuple[str, ...], told: str) -> None:
    assert thalweg("pictures", *arguments).line == told


def test_missing_images_are_one_line(
    thalweg: Command, images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    for arguments in ((), ("--data", "absent.npz")):
        line = thalweg("pictures", "resnet", *arguments).line
        assert "pass --data ... or set THALWEG_DATA to the folder that holds it" in line
        assert "path=" not in line
    assert "looked at absent.npz" in line
    assert (
        thalweg("pictures", "resnet", "--data", images).line == "samples must be between 1 and 64, got 4000"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
