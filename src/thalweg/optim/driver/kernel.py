"""Compiled kernels: built once per machine by torch's ahead-of-time compiler, kept on disk, loaded in milliseconds."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import torch
from filelock import FileLock
from torch import Tensor, nn

logger = logging.getLogger("thalweg")

Kernel: TypeAlias = Callable[[list[Tensor]], object]
"""Called with one list of tensors, some of which it writes in place."""

_loaded: dict[str, Kernel | None] = {}


def kernel(
    name: str,
    make: Callable[[], Callable[..., None]],
    example: Sequence[Tensor],
    dynamic: Sequence[dict[int, str]],
    code: str,
) -> Kernel | None:
    """The function that `make` gives, compiled for tensors like `example`; None where it cannot be compiled.

    The function writes its tensor arguments in place and returns nothing; it is made only if it is not in the cache.
    Why it cannot be compiled is logged once. `dynamic` names, for each argument, the axes
    whose length may change between calls; equal names are equal lengths. `code` tells the function from others of
    that name, as `code_of` its parts does.

    The first call on a machine takes about ten seconds, said on the log "thalweg"; later processes load the result
    from the cache folder (`cache_folder`) in milliseconds.
    """
    shapes = [
        (str(t.dtype), str(t.device), t.dim(), sorted(d)) for t, d in zip(example, dynamic, strict=True)
    ]
    digest = hashlib.sha256(repr([name, shapes, code, _machine()]).encode()).hexdigest()[:32]
    if digest not in _loaded:
        try:
            _loaded[digest] = _load(name, digest, make, example, dynamic)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            logger.warning("%s is not compiled, steps run uncompiled and slower: %s", name, reason)
            _loaded[digest] = None
    return _loaded[digest]


def cache_folder() -> Path:
    """Where compiled kernels are kept: $THALWEG_CACHE, else the user's cache folder; made if missing."""
    chosen = os.environ.get("THALWEG_CACHE")
    if chosen:
        folder = Path(chosen) / "kernels"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thalweg" / "kernels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _load(
    name: str,
    digest: str,
    make: Callable[[], Callable[..., None]],
    example: Sequence[Tensor],
    dynamic: Sequence[dict[int, str]],
) -> Kernel:
    # A surface's name is its user's.
    path = cache_folder() / f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)[:60]}-{digest}.pt2"
    place = example[0].device.index
    if path.exists():
        try:
            return _open(path, place)
        except RuntimeError:
            path.unlink(missing_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _build(name, path, make(), example, dynamic)
    return _open(path, place)


def _open(path: Path, place: int | None) -> Kernel:
    # The loader behind torch._inductor.aoti_load_package, without the second that importing torch._inductor takes.
    loader: Any = torch._C._aoti.AOTIModelPackageLoader  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    try:
        return loader(str(path), "model", False, 1, -1 if place is None else place).run
    except TypeError:
        # Another torch's loader takes other arguments.
        package = torch._inductor.aoti_load_package(str(path))  # pyright: ignore[reportPrivateUsage]
        return lambda tensors: package(*tensors)


def _build(
    name: str,
    path: Path,
    function: Callable[..., None],
    example: Sequence[Tensor],
    dynamic: Sequence[dict[int, str]],
) -> None:
    logger.warning("compiling %s: about ten seconds, once on this machine", name)
    begun = time.perf_counter()

    class Module(nn.Module):
        def forward(self, *tensors: Tensor) -> tuple[()]:
            function(*tensors)
            return ()

    lengths = {axis: torch.export.Dim(axis, min=2) for axes in dynamic for axis in axes.values()}
    shapes = tuple({place: lengths[axis] for place, axis in axes.items()} for axes in dynamic)
    made = path.with_suffix(f".{os.getpid()}.pt2")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(Module(), tuple(example), dynamic_shapes=(shapes,))
        torch._inductor.aoti_compile_and_package(  # pyright: ignore[reportPrivateUsage]
            program, package_path=str(made), inductor_configs={"cpp.dynamic_threads": True}
        )
    made.replace(path)
    logger.info("compiled %s in %.1f s", name, time.perf_counter() - begun)


@cache
def _machine() -> tuple[str, ...]:
    """What compiled code depends on beside its source: torch, the processor's instructions, the graphics card."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    capability = torch.backends.cpu.get_cpu_capability()
    return (torch.__version__, platform.machine(), capability, _processor(), card)


def _processor() -> str:
    # Kernels are compiled for this very processor: a home folder may be shared by machines that differ.
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("flags")), platform.processor())
