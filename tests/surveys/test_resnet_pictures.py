"""The pictures of ResNets against plain torch, and what an interruption leaves of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call, hessian
from torch.nn.functional import cross_entropy

from thalweg.errors import InvalidArgument, MissingData, RunConflict
from thalweg.problems import ResNet, cifar_images
from thalweg.store import Run, dataset
from thalweg.surveys import NetworkPicture, ResNetPictureSettings, resnet_pictures

WIDTH = 1 / 16
"""One, two and four filters: few enough parameters for a dense Hessian."""
TINY = ResNetPictureSettings(
    depth=8,
    widths=(WIDTH,),
    epochs=3,
    samples=64,
    slice_samples=24,
    curvature_samples=10,
    resolution=5,
    span=0.5,
    curvature_resolution=3,
    seed=1,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    content = {}
    for split, number in (("train", 64), ("test", 20)):
        labels = draw.integers(0, 10, number, dtype=np.uint8)
        # The brightness tells the class, so that there is something to learn.
        noise = draw.integers(0, 30, (number, 32, 32, 3), dtype=np.uint8)
        content |= {f"x_{split}": noise + 20 * labels[:, None, None, None], f"y_{split}": labels}
    file = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(file, **content)
    return file


@pytest.fixture(scope="module")
def whole(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> list[NetworkPicture]:
    return resnet_pictures(TINY, archive, tmp_path_factory.mktemp("whole"))


def trained(network: NetworkPicture) -> tuple[ResNet, dict[str, np.ndarray]]:
    model = ResNet(8, width=WIDTH, skip=network.skip).eval()
    with Run.read(network.path) as run:
        weights, plane = run.tensors("epoch-0003") or {}, run.tensors("plane") or {}
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model, plane


def loss_at(model: ResNet, theta: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean loss with the parameters in `theta`, one after the other, and the model's own statistics."""
    shapes = {name: p.shape for name, p in model.named_parameters()}
    pieces = theta.split([shape.numel() for shape in shapes.values()])
    own = {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}
    buffers = {name: buffer.to(theta.dtype) for name, buffer in model.named_buffers() if "num" not in name}
    return cross_entropy(functional_call(model, own | buffers, (x.to(theta.dtype),)), y)


def test_the_maps_are_those_of_plain_torch(whole: list[NetworkPicture], archive: Path) -> None:
    assert [network.skip for network in whole] == [True, False]
    x, y = cifar_images(archive).train
    for network in whole:
        model, plane = trained(network)
        center, directions = (torch.from_numpy(plane[name]).double() for name in ("center", "directions"))
        alpha = network.loss.axes["alpha"]
        assert alpha == pytest.approx(np.linspace(-0.5, 0.5, 5))
        assert network.samples == (24, 10)
        for i, j in itertools.product((0, 2, 4), repeat=2):
            theta = center + directions @ torch.tensor([alpha[i], alpha[j]])
            due = float(loss_at(model, theta, x[:24], y[:24]))
            # Single precision through eight layers, of losses of order 1.
            assert network.loss.values["loss"][i, j] == pytest.approx(due, rel=1e-3)


def test_directions_are_as_long_as_the_filters(whole: list[NetworkPicture]) -> None:
    for network in whole:
        model, plane = trained(network)
        sizes = [p.numel() for p in model.parameters()]
        pieces = torch.from_numpy(plane["directions"]).split(sizes)
        for p, d in zip(model.parameters(), pieces, strict=True):
            if p.dim() == 1:
                assert not d.any()
                continue
            lengths = p.detach().flatten(1).norm(dim=1)[:, None].expand(-1, 2)
            torch.testing.assert_close(d.reshape(len(p), -1, 2).norm(dim=1), lengths)


def test_curvature_is_that_of_dense_hessians(whole: list[NetworkPicture], archive: Path) -> None:
    x, y = cifar_images(archive).train
    for network, (i, j) in zip(whole, ((1, 1), (2, 0)), strict=True):
        model, plane = trained(network)
        center, directions = (torch.from_numpy(plane[name]).double() for name in ("center", "directions"))
        found = network.curvature
        theta = center + directions @ torch.tensor([found.axes["alpha"][i], found.axes["beta"][j]])
        matrix = hessian(lambda t, model=model: loss_at(model, t, x[:10], y[:10]))(theta)
        values = torch.linalg.eigvalsh(matrix)
        # A hundredth of the larger one, and single precision.
        room = 0.02 * float(values.abs().max())
        assert found.values["lambda_max"][i, j] == pytest.approx(float(values[-1]), abs=room)
        assert found.values["lambda_min"][i, j] == pytest.approx(float(values[0]), abs=room)
        basis = torch.linalg.qr(directions).Q
        inside = torch.linalg.eigvalsh(basis.T @ matrix @ basis)
        assert found.values["plane_lambda_max"][i, j] == pytest.approx(float(inside[1]), rel=1e-2)


def test_the_number_is_the_mean_of_the_map(whole: list[NetworkPicture]) -> None:
    for network in whole:
        largest, smallest = (network.curvature.values[name] for name in ("lambda_max", "lambda_min"))
        due = np.where(smallest < 0, np.abs(smallest / largest), 0)
        assert np.array_equal(network.ratios, due)
        assert network.nonconvexity is not None
        assert network.nonconvexity.ratio == pytest.approx(due.mean())


def test_training_and_what_came_of_it(whole: list[NetworkPicture], archive: Path) -> None:
    images = cifar_images(archive)
    for network in whole:
        assert network.training["steps"] == 3
        assert network.training["schedule"] == "cosine(rate=0.1, steps=3, final=0.0)"
        model, _ = trained(network)
        for split, (x, y) in (("train", images.train), ("test", images.test)):
            with torch.no_grad():
                right = (model(x).argmax(1) == y).double().mean().item()
            assert network.quality[split]["accuracy"]["value"] == pytest.approx(right)
            assert network.quality[split]["loss"]["samples"] == len(y)
        assert network.sharpness is not None
        assert network.sharpness["value"] > 0


def test_a_run_can_be_exported_and_read_by_other_commands(whole: list[NetworkPicture]) -> None:
    with Run.read(whole[0].path) as run:
        found = dataset(run, "loss-24")
        assert np.array_equal(found["loss"], whole[0].loss.values["loss"])
        assert np.array_equal(found["alpha"], whole[0].loss.axes["alpha"])
        assert "lambda_min" in dataset(run, "curvature-10")


class Interrupting:
    """Raises as Ctrl-C does, at the so many'th step of any stage."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.stages: list[str] = []

    def stage(self, label: str) -> None:
        self.stages.append(label)

    def advance(self, done: int, total: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def numbers(network: NetworkPicture) -> dict[str, Any]:
    with Run.read(network.path) as run:
        weights = run.tensors("epoch-0003") or {}
        return {
            "weights": {name: array.tobytes() for name, array in weights.items()},
            "training": (network.training, run.series("training")),
            "quality": network.quality,
            "loss": network.loss.values["loss"].tolist(),
            "curvature": {name: values.tolist() for name, values in network.curvature.values.items()},
            "nonconvexity": network.nonconvexity,
            "sharpness": network.sharpness,
        }


def test_interrupted_again_and_again_it_ends_with_the_same_numbers(
    whole: list[NetworkPicture], archive: Path, tmp_path: Path
) -> None:
    interruptions = 0
    while True:
        try:
            found = resnet_pictures(TINY, archive, tmp_path, progress=Interrupting(15 + interruptions))
            break
        except KeyboardInterrupt:
            interruptions += 1
    # Of two networks with 3 epochs, 25 points and 9 points each.
    assert interruptions >= 3
    for one, other in zip(found, whole, strict=True):
        assert numbers(one) == numbers(other)
        with Run.read(one.path) as run:
            for grid in ("loss-24.evaluated", "curvature-10.evaluated"):
                assert run.evaluations(grid) == len(run.points(grid)) > 0


def test_what_is_there_is_not_computed_again(archive: Path, tmp_path: Path) -> None:
    one = replace(TINY, skips=(True,))
    resnet_pictures(one, archive, tmp_path)
    again = resnet_pictures(one, archive, tmp_path)[0]
    assert (again.loss.evaluations, again.curvature.evaluations) == (0, 0)
    # Of the finer grid every second point along each axis is there.
    finer = resnet_pictures(replace(one, curvature_resolution=5), archive, tmp_path)[0]
    assert (finer.loss.evaluations, finer.curvature.evaluations) == (0, 25 - 9)
    # Other images are another function, of the same network.
    fewer = resnet_pictures(replace(one, slice_samples=20), archive, tmp_path)[0]
    assert (fewer.loss.evaluations, fewer.curvature.evaluations) == (25, 0)
    # Nor does another variant concern it.
    first, second = resnet_pictures(replace(one, widths=(WIDTH, 2 * WIDTH)), archive, tmp_path)
    assert (first.loss.evaluations, second.loss.evaluations) == (0, 25)
    assert first.parameters < second.parameters
    assert second.name == "width 0.125, with skip connections"
    with pytest.raises(RunConflict, match="seed"):
        resnet_pictures(replace(one, seed=2), archive, tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"depth": 21}, r"depth must be 6k \+ 2 .*, got 21"),
        ({"widths": ()}, "widths must be different values"),
        ({"widths": (1.0, 1.0)}, "widths must be different values"),
        ({"widths": (-1.0,)}, "width must be finite and above 0, got -1"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        ({"rtol": -1.0}, "rtol must be finite and at least 0"),
        ({"curvature_resolution": 2}, "curvature_resolution must be an integer of at least 3, got 2"),
    ],
)
def test_bad_settings(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        replace(TINY, **changes)


def test_images_that_are_not_there(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingData):
        resnet_pictures(TINY, tmp_path / "absent.npz", tmp_path / "out")
    with pytest.raises(InvalidArgument, match="samples must be between 1 and 64, got 65"):
        resnet_pictures(replace(TINY, samples=65), archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
