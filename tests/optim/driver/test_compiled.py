"""Compiled steps: equal to uncompiled ones, built once, and never in the way.

Two kernels are compiled for the whole module, AdamW in float32 and SGD with momentum in float64, a dozen seconds each.
"""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.optim.training import build, update_alone
from torch import Tensor

from thalweg.optim.driver import kernel as kernels

# (rule, options, dtype) of the kernels.
ADAMW: tuple[str, dict[str, Any], torch.dtype] = ("adamw", {"weight_decay": 0.1}, torch.float32)
SGD: tuple[str, dict[str, Any], torch.dtype] = ("sgd", {"momentum": 0.9, "dampening": 0.2}, torch.float64)
SHAPES = ((40, 30), (7,), (3, 2, 2), (), (0,))


def loaded() -> dict[str, Any]:
    """What this process has loaded, by digest; None where it fell back."""
    return vars(kernels)["_loaded"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of its own, with both kernels in it."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THALWEG_CACHE", str(path))
        patch.setattr(kernels, "_loaded", {})
        for name, options, dtype in (ADAMW, SGD):
            walk(name, dtype, 1, compile=True, **options)
    built = sorted(file.name.split("-")[0] for file in (path / "kernels").glob("*.pt2"))
    if built != ["adamw", "sgd"]:
        pytest.skip("no compiler here")
    return path


@pytest.fixture
def cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What another process finds: nothing loaded, a copy of the cache folder; building is an error."""
    shutil.copytree(folder, tmp_path / "cache")
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernels, "_loaded", {})

    def build_again(*args: Any) -> None:
        raise RuntimeError("built again")

    monkeypatch.setattr(kernels, "_build", build_again)
    yield tmp_path / "cache" / "kernels"
    assert None not in loaded().values(), "fell back to uncompiled steps"


def leaves(dtype: torch.dtype, shapes: Any = SHAPES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes
    ]


def step(optimizer: Any, params: list[Tensor], t: int) -> None:
    generator = torch.Generator().manual_seed(100 + t)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
    optimizer.step()


def walk(name: str, dtype: torch.dtype, steps: int, **options: Any) -> list[Tensor]:
    params = leaves(dtype)
    optimizer = build(name, params, **options)
    for t in range(steps):
        step(optimizer, params, t)
    return [p.detach() for p in params] + [
        value for p in params for value in optimizer.state[p].values() if isinstance(value, Tensor)
    ]


def few_ulps(a: list[Tensor], b: list[Tensor], steps: int) -> None:
    for p, q in zip(a, b, strict=True):
        # A compiler may fuse a product and a sum into one rounding: a few units for each step, of numbers up to 4.
        unit = torch.finfo(p.dtype).eps
        torch.testing.assert_close(p, q, rtol=2 * steps * unit, atol=4 * steps * unit)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("layout", ["packed", "mixed", "alone"])
@pytest.mark.parametrize(("name", "options", "dtype"), [ADAMW, SGD], ids=["adamw", "sgd"])
def test_compiled_is_uncompiled_to_a_few_units(
    name: str, options: dict[str, Any], dtype: torch.dtype, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_alone(monkeypatch, {"packed": 65_536, "mixed": 100, "alone": 0}[layout], 64)
    few_ulps(
        walk(name, dtype, 10, compile=True, **options), walk(name, dtype, 10, compile=False, **options), 10
    )


@pytest.mark.usefixtures("cache")
def test_a_parameter_of_any_layout_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    update_alone(monkeypatch, 0, 64)
    name, options, dtype = ADAMW
    points = []
    for compiled in (True, False):
        p, q, r = leaves(dtype, [(4, 3, 5, 5), (6, 9), (8, 6)])
        # Channels last, transposed, with gaps.
        params = [
            p.detach().to(memory_format=torch.channels_last).requires_grad_(),
            q.detach().T.requires_grad_(),
            r.detach()[::2, 1:].requires_grad_(),
        ]
        optimizer = build(name, params, compile=compiled, **options)
        for t in range(3):
            step(optimizer, params, t)
        points.append([p.detach() for p in params])
    few_ulps(points[0], points[1], 3)


@pytest.mark.usefixtures("cache")
def test_rates_and_groups_share_a_kernel() -> None:
    name, options, dtype = ADAMW
    points = []
    for compiled in (True, False):
        params = leaves(dtype)
        groups = [{"params": [p], "lr": 10.0**-place} for place, p in enumerate(params)]
        optimizer = build(name, groups, compile=compiled, **options)
        for t in range(4):
            optimizer.param_groups[0] |= {
                "lr": 0.1 / (t + 1),
                "weight_decay": 0.01 * t,
                "betas": (0.5, 0.9),
                "eps": 1e-5,
            }
            step(optimizer, params, t)
        points.append([p.detach() for p in params])
    few_ulps(points[0], points[1], 4)
    assert len(loaded()) == 1


def test_the_default_compiles_from_a_million_parameters(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, options, dtype = ADAMW
    small, large = leaves(dtype, [(999_999,)]), leaves(dtype, [(999_999,), (1,)])
    for params, loads in ((small, 0), (large, 1)):
        optimizer = build(name, params, **options)
        step(optimizer, params, 0)
        assert len(loaded()) == loads
    few_ulps([large[0].detach()], [small[0].detach()], 1)


def test_another_process_loads_what_was_built(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    name, options, dtype = ADAMW
    before = {file.name: file.stat().st_mtime_ns for file in cache.glob("*.pt2")}
    with caplog.at_level(logging.INFO, "thalweg"):
        walk(name, dtype, 2, compile=True, **options)
    assert not caplog.records
    assert {file.name: file.stat().st_mtime_ns for file in cache.glob("*.pt2")} == before


def test_a_copied_optimizer_compiles_too(cache: Path) -> None:
    name, options, dtype = ADAMW
    params = leaves(dtype)
    optimizer = build(name, params, compile=True, **options)
    step(optimizer, params, 0)
    other = copy.deepcopy(optimizer)
    copied = [p for group in other.param_groups for p in group["params"]]
    step(optimizer, params, 1)
    step(other, copied, 1)
    assert all(torch.equal(p, q) for p, q in zip(params, copied, strict=True))
    assert len(loaded()) == 1


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty"])
def test_a_damaged_file_is_built_again(
    damage: str, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, options, dtype = ADAMW
    (file,) = cache.glob("adamw-*.pt2")
    whole = file.read_bytes()
    file.write_bytes(
        {"garbage": b"no archive at all" * 99, "truncated": whole[: len(whole) // 2], "empty": b""}[damage]
    )
    calls: list[str] = []

    def rebuild(called: str, path: Path, *args: Any) -> None:
        calls.append(called)
        path.write_bytes(whole)

    monkeypatch.setattr(kernels, "_build", rebuild)
    few_ulps(walk(name, dtype, 3, compile=True, **options), walk(name, dtype, 3, compile=False, **options), 3)
    assert calls == ["adamw"]


@pytest.fixture
def nothing_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernels, "_loaded", {})
    return tmp_path


def test_without_a_compiler_steps_run_uncompiled(
    nothing_loaded: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("g++ was not found\nand a long\ntraceback")

    monkeypatch.setattr(kernels, "_build", fail)
    name, options, dtype = ADAMW
    with caplog.at_level(logging.INFO, "thalweg"):
        first = walk(name, dtype, 3, compile=True, **options)
        walk(name, dtype, 3, compile=True, **options)
    assert [record.getMessage() for record in caplog.records] == [
        "adamw is not compiled, steps run uncompiled and slower: g++ was not found"
    ]
    assert all(
        torch.equal(p, q) for p, q in zip(first, walk(name, dtype, 3, compile=False, **options), strict=True)
    )


def test_a_cache_folder_that_cannot_be_written_is_no_obstacle(
    nothing_loaded: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (nothing_loaded / "file").write_text("")
    monkeypatch.setenv("THALWEG_CACHE", str(nothing_loaded / "file"))
    name, options, dtype = ADAMW
    first = walk(name, dtype, 2, compile=True, **options)
    assert len(caplog.records) == 1
    assert all(
        torch.equal(p, q) for p, q in zip(first, walk(name, dtype, 2, compile=False, **options), strict=True)
    )


def test_uncompiled_steps_touch_no_cache(nothing_loaded: Path) -> None:
    name, options, dtype = ADAMW
    walk(name, dtype, 2, compile=False, **options)
    assert not (nothing_loaded / "cache").exists()
    assert not loaded()


@pytest.mark.usefixtures("cache")
def test_state_of_another_type_is_read_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    update_alone(monkeypatch, 0, 64)
    name, options, dtype = ADAMW
    points = []
    for compiled in (True, False):
        (p,) = params = leaves(dtype, [(64,)])
        optimizer = build(name, params, compile=compiled, **options)
        step(optimizer, params, 0)
        optimizer.state[p]["exp_avg"] = optimizer.state[p]["exp_avg"].double()
        step(optimizer, params, 1)
        points.append([p.detach()])
    few_ulps(points[0], points[1], 2)


@pytest.mark.usefixtures("cache")
def test_state_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a checkpoint of a model whose layers had other sizes, which torch's load_state_dict lets pass."""
    update_alone(monkeypatch, 0, 64)
    name, options, dtype = ADAMW
    (p,) = params = leaves(dtype, [(64,)])
    optimizer = build(name, params, compile=True, **options)
    step(optimizer, params, 0)
    # Halves of longer tensors, so that what is written past the end is seen and harms nobody.
    whole = {key: torch.zeros(64, dtype=dtype) for key in ("exp_avg", "exp_avg_sq")}
    for key, value in whole.items():
        optimizer.state[p][key] = value[:32]
    with pytest.raises((RuntimeError, ValueError)):
        step(optimizer, params, 1)
    assert not any(value.any() for value in whole.values())
