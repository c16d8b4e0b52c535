"""Tensor files come back as they were written, or are refused, or are absent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thalweg.errors import InvalidArgument, UnsafeFile
from thalweg.store import Run
from thalweg.store import tensors as tensors_module
from thalweg.store.database import Database

dtypes = st.sampled_from(
    ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ">f8", ">i4"]
)


class Killed(BaseException):
    pass


@pytest.fixture
def run(tmp_path):
    with Run.open(tmp_path / "a", kind="survey", settings={}) as run:
        yield run


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Run.open(tmp_path_factory.mktemp("shared") / "a", kind="survey", settings={}) as run:
        yield run


# No deadline: how long a commit takes is the disk's affair.
@settings(deadline=None)
@given(
    array=arrays.arrays(dtypes, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)),
    transpose=st.booleans(),
)
def test_arrays_round_trip(shared, array, transpose):
    array = array.T if transpose else array
    shared.put_tensors("x", {"layer.weight": array})
    (back,) = shared.tensors("x").values()
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, array)


def test_torch_tensors_are_taken(run):
    import torch

    weight = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    run.put_tensors(
        "x", {"p": torch.nn.Parameter(weight), "t": weight.T, "h": weight.bfloat16(), "s": weight.sum()}
    )
    back = run.tensors("x")
    np.testing.assert_array_equal(back["p"], weight.numpy())
    np.testing.assert_array_equal(back["t"], weight.T.numpy())
    np.testing.assert_array_equal(back["h"], weight.bfloat16().float().numpy())
    assert back["h"].dtype == np.float32
    assert back["s"].shape == ()


def test_names_are_listed_and_absent_ones_are_none(run):
    run.put_tensors("b", {})
    run.put_tensors("a", {"x": np.zeros(1)})
    assert run.tensor_names() == ["a", "b"]
    assert run.tensors("b") == {}
    assert run.tensors("c") is None


@pytest.mark.parametrize(
    "value", [np.array(["text"]), np.array([object()]), np.ones(1, complex), [[1], [2, 3]]]
)
def test_what_is_no_array_of_numbers_is_refused(run, value):
    with pytest.raises(InvalidArgument, match=r"x\.w "):
        run.put_tensors("x", {"w": value})
    assert run.tensor_names() == []


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:-1] + b"\7", lambda b: b"\x80\4."]
)
def test_a_changed_file_is_refused_and_can_be_replaced(run, damage):
    run.put_tensors("x", {"w": np.ones(3)})
    file = run.path / "tensors" / "x.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UnsafeFile, match=r"x\.safetensors was changed or cut short"):
        run.tensors("x")
    run.put_tensors("x", {"w": np.zeros(3)})
    assert run.tensors("x")["w"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("linked", ["tensors", "tensors/x.safetensors"])
def test_a_link_that_leaves_the_folder_is_refused(run, tmp_path, linked):
    run.put_tensors("x", {"w": np.ones(3)})
    link, outside = run.path / linked, tmp_path / "outside"
    link.rename(outside)
    link.symlink_to(outside)
    for use in (lambda: run.tensors("x"), lambda: run.put_tensors("x", {}), run.tensor_names):
        with pytest.raises(UnsafeFile, match="leads out of the run folder"):
            use()


def test_a_file_without_a_record_is_absent_and_can_be_written(run):
    run.put_tensors("x", {"w": np.ones(3)})
    run._database.execute("DELETE FROM tensors")
    assert run.tensors("x") is None
    assert run.tensor_names() == []
    run.put_tensors("x", {"w": np.zeros(3)})
    assert run.tensors("x")["w"].tolist() == [0, 0, 0]


def test_a_missing_file_is_absent(run):
    run.put_tensors("x", {"w": np.ones(3)})
    (run.path / "tensors" / "x.safetensors").unlink()
    assert run.tensors("x") is None
    assert run.tensor_names() == []


def killed_before_the_rename(monkeypatch):
    def killed(path):
        raise Killed

    monkeypatch.setattr(tensors_module, "replacing", killed)


def killed_after_the_rename(monkeypatch):
    execute = Database.execute

    def killed(self, sql, *arguments):
        if sql.startswith("DELETE"):
            raise Killed
        return execute(self, sql, *arguments)

    monkeypatch.setattr(Database, "execute", killed)


@pytest.mark.parametrize(
    ("kill", "before", "after"),
    [
        (killed_before_the_rename, None, None),
        (killed_before_the_rename, 0, 0),
        (killed_after_the_rename, None, 1),
        (killed_after_the_rename, 0, 1),
    ],
)
def test_a_kill_while_writing_leaves_the_old_or_the_new(run, monkeypatch, kill, before, after):
    if before is not None:
        run.put_tensors("x", {"w": np.array(before)})
    with monkeypatch.context() as patch:
        kill(patch)
        with pytest.raises(Killed):
            run.put_tensors("x", {"w": np.array(1)})
    run.close()
    with Run.open(run.path, kind="survey", settings={}) as again:
        found = again.tensors("x")
        assert found == (None if after is None else {"w": after})
        again.put_tensors("x", {"w": np.array(2)})
        assert again.tensors("x") == {"w": 2}


def test_temporary_files_of_a_killed_writer_are_removed(run):
    run.put_tensors("x", {"w": np.ones(3)})
    (run.path / "tensors" / ".y.safetensors.0badcafe.tmp").write_bytes(b"half")
    run.close()
    with Run.open(run.path, kind="survey", settings={}) as again:
        assert [entry.name for entry in (again.path / "tensors").iterdir()] == ["x.safetensors"]
