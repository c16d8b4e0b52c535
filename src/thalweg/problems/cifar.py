"""CIFAR-10 images, from a small archive of arrays or from the published binary files."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.errors import InvalidArgument, UnsafeFile
from thalweg.problems.data_file import find_data_file

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class CifarImages:
    """Normalized images and their classes.

    `train` and `test` are (x, y): x float32 of shape (n, 3, 32, 32), y int64 of shape (n,). `mean` and
    `std`, of shape (3,), are those of the training pixels of each channel on the scale 0 to 1; they were
    subtracted and divided by. `classes` holds the names of the ten classes.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    mean: Tensor
    std: Tensor
    classes: tuple[str, ...]


def cifar_images(path: str | os.PathLike[str] | None = None) -> CifarImages:
    """Load CIFAR-10 images, normalized per channel by the training images.

    `path` is an .npz archive with uint8 images `x_train`, `x_test` (n, 32, 32, 3), labels `y_train`,
    `y_test` (n,) and `classes`; or the folder of the binary version of CIFAR-10 (data_batch_1.bin …
    test_batch.bin); or a folder that holds cifar10_subset.npz. Without it the folder THALWEG_DATA is
    searched for cifar10_subset.npz. Raises MissingData, InvalidArgument for other content, and UnsafeFile
    for an archive that holds pickled objects.

    References: A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    if path is not None and (Path(path) / "test_batch.bin").is_file():
        content = _read_binary(Path(path))
    else:
        file = find_data_file(
            "cifar10_subset.npz",
            path,
            content="CIFAR-10 images as arrays",
            remedy="The whole of CIFAR-10 serves too: unpack "
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz and pass path=cifar-10-batches-bin.",
        )
        content = _read_npz(file)
    x_train, y_train, x_test, y_test, classes = content
    train, test = _channels_first(x_train), _channels_first(x_test)
    std, mean = torch.std_mean(train, dim=(0, 2, 3), correction=0, keepdim=True)
    return CifarImages(
        train=(train.sub_(mean).div_(std), torch.tensor(y_train, dtype=torch.int64)),
        test=(test.sub_(mean).div_(std), torch.tensor(y_test, dtype=torch.int64)),
        mean=mean.flatten(),
        std=std.flatten(),
        classes=classes,
    )


def _channels_first(images: Bytes) -> Tensor:
    return torch.tensor(images).permute(0, 3, 1, 2).float().div_(255).contiguous()


def _read_npz(path: Path) -> tuple[Bytes, Bytes, Bytes, Bytes, tuple[str, ...]]:
    try:
        archive = np.load(path, allow_pickle=False)
        names: list[str] = list(getattr(archive, "files", ()))
        arrays: dict[str, NDArray[Any]] = {name: archive[name] for name in names}
    except (zipfile.BadZipFile, EOFError) as error:
        raise InvalidArgument(f"{path}: not a whole .npz archive: {error}") from error
    except ValueError as error:
        # NumPy takes every format that it does not know for a pickle.
        raise UnsafeFile(f"{path}: refused, not a plain archive of arrays: {error}") from error
    wanted = ("x_train", "y_train", "x_test", "y_test")
    if missing := [name for name in wanted if name not in arrays]:
        present = ", ".join(arrays) or "none"
        raise InvalidArgument(f"{path}: the archive lacks {', '.join(missing)}; its arrays: {present}")
    for name in ("train", "test"):
        x, y = arrays[f"x_{name}"], arrays[f"y_{name}"]
        if x.dtype != np.uint8 or x.shape != (len(y), 32, 32, 3) or y.ndim != 1:
            raise InvalidArgument(
                f"{path}: x_{name} must be uint8 of shape (n, 32, 32, 3) with n labels, "
                f"got {x.dtype} {x.shape} with labels {y.shape}"
            )
    classes = tuple(str(name) for name in arrays.get("classes", CLASSES))
    x_train, y_train, x_test, y_test = (arrays[name] for name in wanted)
    return x_train, y_train, x_test, y_test, classes


def _read_binary(folder: Path) -> tuple[Bytes, Bytes, Bytes, Bytes, tuple[str, ...]]:
    batches = sorted(folder.glob("data_batch_*.bin"))
    if not batches:
        raise InvalidArgument(f"{folder}: there is test_batch.bin but no data_batch_1.bin … to train on")
    parts = [_records(batch) for batch in batches]
    x_train, y_train = (np.concatenate(part) for part in zip(*parts, strict=True))
    x_test, y_test = _records(folder / "test_batch.bin")
    return x_train, y_train, x_test, y_test, CLASSES


def _records(path: Path) -> tuple[Bytes, Bytes]:
    # A record is one byte of label and the red, green and blue planes, 1024 bytes each, row by row.
    content = np.fromfile(path, dtype=np.uint8)
    if not content.size or content.size % 3073:
        raise InvalidArgument(f"{path}: must hold records of 3073 bytes, got {content.size} bytes")
    records = content.reshape(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]
