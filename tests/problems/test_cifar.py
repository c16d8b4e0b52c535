from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.errors import InvalidArgument, MissingData, UnsafeFile
from thalweg.problems import cifar_images


def arrays(train: int = 6, test: int = 3) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "x_train": generator.integers(0, 256, (train, 32, 32, 3), dtype=np.uint8),
        "y_train": np.arange(train, dtype=np.uint8),
        "x_test": generator.integers(0, 256, (test, 32, 32, 3), dtype=np.uint8),
        "y_test": np.arange(test, dtype=np.uint8),
    }


def saved(path, content):
    np.savez(path, **content)
    return path


def test_normalized_by_the_training_channels(tmp_path):
    content = arrays()
    images = cifar_images(saved(tmp_path / "cifar10_subset.npz", content))
    x, y = images.train
    assert x.shape == (6, 3, 32, 32)
    assert x.dtype == torch.float32
    assert y.tolist() == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.var((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    for (x, _), name in ((images.train, "x_train"), (images.test, "x_test")):
        restored = (x * images.std[:, None, None] + images.mean[:, None, None]) * 255
        assert np.array_equal(restored.round().permute(0, 2, 3, 1).numpy(), content[name])
    assert images.classes[3] == "cat"


def test_binary_version_gives_the_same_images(tmp_path):
    content = arrays()

    def write(name: str, x: np.ndarray, y: np.ndarray) -> None:
        planes = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        np.hstack([y[:, None], planes]).astype(np.uint8).tofile(tmp_path / name)

    write("data_batch_1.bin", content["x_train"][:4], content["y_train"][:4])
    write("data_batch_2.bin", content["x_train"][4:], content["y_train"][4:])
    write("test_batch.bin", content["x_test"], content["y_test"])
    binary = cifar_images(tmp_path)
    archive = cifar_images(saved(tmp_path / "other.npz", content))
    for one, other in zip(binary.train + binary.test, archive.train + archive.test, strict=True):
        assert torch.equal(one, other)

    (tmp_path / "data_batch_2.bin").write_bytes(b"short")
    with pytest.raises(InvalidArgument, match="records of 3073 bytes, got 5 bytes"):
        cifar_images(tmp_path)
    for batch in tmp_path.glob("data_batch_*"):
        batch.unlink()
    with pytest.raises(InvalidArgument, match="there is test_batch"):
        cifar_images(tmp_path)


def test_nothing_there(monkeypatch, tmp_path):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    with pytest.raises(
        MissingData, match=r"cifar10_subset\.npz .* was not found: .*cifar-10-binary\.tar\.gz"
    ):
        cifar_images()
    with pytest.raises(MissingData, match="looked at"):
        cifar_images(tmp_path)


class Trap:
    """A pickle that would call `print` when loaded."""

    def __reduce__(self):
        return print, ("executed",)


def test_pickled_objects_are_refused_and_not_run(tmp_path, capsys):
    hidden = arrays() | {"classes": np.array([Trap()], dtype=object)}
    with pytest.raises(UnsafeFile, match="refused"):
        cifar_images(saved(tmp_path / "hidden.npz", hidden))
    np.array([Trap()], dtype=object).dump(tmp_path / "plain.npz")
    with pytest.raises(UnsafeFile, match="refused"):
        cifar_images(tmp_path / "plain.npz")
    assert "executed" not in capsys.readouterr().out


def test_other_content_is_named(tmp_path):
    content = arrays()
    del content["y_test"]
    with pytest.raises(InvalidArgument, match="lacks y_test; its arrays: x_train, y_train, x_test"):
        cifar_images(saved(tmp_path / "lacking.npz", content))
    flat = arrays()
    flat["x_train"] = flat["x_train"].reshape(6, -1)
    with pytest.raises(InvalidArgument, match=r"x_train must be uint8 .* got uint8 \(6, 3072\)"):
        cifar_images(saved(tmp_path / "flat.npz", flat))
    np.save(tmp_path / "array.npy", content["x_train"])
    with pytest.raises(InvalidArgument, match="its arrays: none"):
        cifar_images(tmp_path / "array.npy")
    whole = saved(tmp_path / "whole.npz", arrays()).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidArgument, match=r"not a whole \.npz archive"):
        cifar_images(tmp_path / "cut.npz")


def test_the_real_subset(data_file):
    images = cifar_images(data_file("cifar10_subset.npz"))
    assert images.train[0].shape == (10_000, 3, 32, 32)
    assert images.test[0].shape == (2_000, 3, 32, 32)
    assert torch.bincount(images.train[1]).tolist() == [1000] * 10
    # Published channel means of all of CIFAR-10; a fifth of it (JPEG copies) comes within a hundredth.
    torch.testing.assert_close(images.mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=0.01, rtol=0)
