"""What is put into a run comes back, bit for bit, and nothing else gets in."""

import math
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.errors import InvalidArgument, MissingData, RunConflict, ThalwegError
from thalweg.store import Run
from thalweg.store.encoding import encode

SETTINGS = {"resolution": 51, "span": 1.0, "layers": [3, 4], "seed": None}
HOSTILE_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "/etc/x",
    "a/b",
    "a\\b",
    ".hidden",
    "a\n",
    "a b",
    "ä",
    "a\0",
    "x" * 201,
]

floats = st.floats(allow_nan=True, allow_infinity=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def bits(value):
    """`value` with floats as their bits, so that == sees signs of zero and NaN; all NaNs are one."""
    match value:
        case float():
            return "nan" if math.isnan(value) else struct.pack("<d", value)
        case dict():
            return {key: bits(item) for key, item in value.items()}
        case list():
            return [bits(item) for item in value]
        case _:
            return (type(value), value)


@pytest.fixture
def run(tmp_path):
    with Run.open(tmp_path / "a", kind="survey", settings=SETTINGS) as run:
        yield run


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Run.open(tmp_path_factory.mktemp("shared") / "a", kind="survey", settings={}) as run:
        yield run


def test_import_needs_neither_torch_nor_xarray():
    code = "import sys, thalweg.store; print({'torch', 'xarray', 'pandas', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_a_new_run_knows_what_it_is(run, tmp_path):
    assert (run.kind, run.settings, run.resumed, run.path) == ("survey", SETTINGS, False, tmp_path / "a")
    assert run.created.endswith("+00:00")
    with Run.read(run.path) as reader:
        assert (reader.kind, reader.settings, reader.created) == (run.kind, run.settings, run.created)


# No deadline: how long a commit takes is the disk's affair.
@settings(deadline=None)
@given(value=json_values)
def test_results_round_trip(shared, value):
    shared.put_result("value", value, seconds=1.5)
    assert bits(shared.result("value")) == bits(value)
    assert bits(shared.results()["value"]) == bits(value)
    assert shared.seconds()["value"] == 1.5


@settings(deadline=None)
@given(index=st.lists(st.integers(0, 10**6), min_size=1, max_size=2).map(tuple), loss=floats, norm=floats)
def test_points_round_trip(shared, index, loss, norm):
    before = shared.evaluations("loss")
    shared.put_point("loss", index, {"loss": loss, "norm": norm})
    assert bits(shared.points("loss")[index]) == bits({"loss": loss, "norm": norm})
    assert shared.evaluations("loss") == before + 1


@settings(deadline=None)
@given(rows=st.dictionaries(st.integers(-(2**63), 2**63 - 1), floats, min_size=1, max_size=5))
def test_series_come_sorted_by_step(shared, rows):
    name = f"series-{abs(hash(str(rows)))}"
    for step, loss in rows.items():
        shared.put_row(name, step, {"loss": loss})
    assert bits(shared.series(name)) == bits([{"step": step, "loss": rows[step]} for step in sorted(rows)])


def test_results_convert_numpy_and_keep_their_first_order(run):
    run.put_result("b", {"matrix": np.eye(2, dtype=np.float32), "count": np.int64(3), "flags": (np.True_,)})
    run.put_result("a", None)
    run.put_result("b", run.result("b"))
    assert run.results() == {
        "b": {"matrix": [[1.0, 0.0], [0.0, 1.0]], "count": 3, "flags": [True]},
        "a": None,
    }
    assert list(run.results()) == ["b", "a"]
    assert run.result("c") is None


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, {1, 2}]}, r"name\.a\[1\] .*got set"),
        ({"a": {1: 2}}, r"name\.a must have strings as keys, got 1"),
        ({"a": 1j}, r"name\.a .*got complex"),
        (np.array([None, object()]), r"name\[1\] .*got object"),
    ],
)
def test_what_is_not_json_is_refused_by_its_place(value, place):
    with pytest.raises(InvalidArgument, match=place):
        encode(value, "name")


def test_points_are_replaced_sorted_and_counted(run):
    for index in [(2, 1), (0, 3), (2, 1), (10, 0)]:
        run.put_point("loss", tuple(np.array(index)), {"loss": float(sum(index))})
    assert list(run.points("loss")) == [(0, 3), (2, 1), (10, 0)]
    assert run.evaluations("loss") == 4
    assert run.grids() == ["loss"]
    assert run.points("other") == {}
    assert run.evaluations("other") == 0


def test_series_rows_are_replaced(run):
    run.put_row("train", 1, {"loss": 2.0})
    run.put_row("train", 1, {"loss": 3.0, "rate": 0.1})
    assert run.series("train") == [{"step": 1, "loss": 3.0, "rate": 0.1}]
    assert run.series_names() == ["train"]
    assert run.series("other") == []


def test_notes_keep_their_order(run):
    run.note("math attention is used")
    run.note("unpaired \udc80")
    assert run.notes() == ["math attention is used", "unpaired \udc80"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_could_leave_the_folder_are_refused(run, name):
    writes = [
        lambda: run.put_result(name, 1),
        lambda: run.put_point(name, (0,), {}),
        lambda: run.put_row(name, 0, {}),
        lambda: run.put_tensors(name, {}),
        lambda: run.tensors(name),
    ]
    for write in writes:
        with pytest.raises(InvalidArgument, match="must be 1 to 200 letters"):
            write()


def test_wrong_values_are_refused_by_name(run):
    with pytest.raises(InvalidArgument, match=r"train\.loss must be a number, got 'high'"):
        run.put_row("train", 0, {"loss": "high"})
    with pytest.raises(InvalidArgument, match="'step'"):
        run.put_row("train", 0, {"step": 1})
    with pytest.raises(InvalidArgument, match=r"got \(0, -1\)"):
        run.put_point("loss", (0, -1), {"loss": 1})
    with pytest.raises(InvalidArgument, match="seconds must be finite"):
        run.put_result("a", 1, seconds=math.nan)


def test_the_same_command_continues(run):
    run.put_point("loss", (1,), {"loss": 1.0})
    run.close()
    with Run.open(run.path, kind="survey", settings={**SETTINGS, "layers": (3, 4)}) as again:
        assert again.resumed
        assert again.created == run.created
        again.put_point("loss", (1,), {"loss": 1.0})
        assert again.evaluations("loss") == 2


def test_settings_with_nan_continue(tmp_path):
    for _ in range(2):
        Run.open(tmp_path / "a", kind="survey", settings={"span": math.nan}).close()


def test_another_run_in_the_folder_is_a_conflict(run):
    run.close()
    settings = {"resolution": 25, "span": 1.0, "layers": [3, 4], "new": "x" * 64}
    remedy = "choose another --out, or delete the folder"
    with pytest.raises(RunConflict) as conflict:
        Run.open(run.path, kind="train", settings=settings)
    assert str(conflict.value) == f'{run.path} holds another run (kind was "survey", now "train"): {remedy}'
    with pytest.raises(RunConflict) as conflict:
        Run.open(run.path, kind="survey", settings=settings)
    assert str(conflict.value) == (
        f"{run.path} holds another run (resolution was 51, now 25, seed was null, now not set, other new): {remedy}"
    )
    with Run.open(run.path, kind="survey", settings=SETTINGS):
        pass


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunConflict, match=r"holds other files \(thesis.tex\)"):
        Run.open(tmp_path, kind="survey", settings={})
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_path_that_cannot_be_a_folder(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InvalidArgument, match="is a file"):
        Run.open(file, kind="survey", settings={})
    with pytest.raises(InvalidArgument, match="Not a directory"):
        Run.open(file / "a", kind="survey", settings={})


def test_wrong_settings_write_nothing(tmp_path):
    with pytest.raises(InvalidArgument, match=r"settings\.rate"):
        Run.open(tmp_path / "a", kind="survey", settings={"rate": object()})
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("content", [None, b""])
def test_reading_needs_a_run(tmp_path, content):
    if content is not None:
        (tmp_path / "run.sqlite").write_bytes(content)
    with pytest.raises(MissingData, match="holds no run"):
        Run.read(tmp_path)


def test_a_reader_cannot_write_and_a_closed_run_says_so(run):
    with Run.read(run.path) as reader, pytest.raises(InvalidArgument, match="open for reading only"):
        reader.put_result("a", 1)
    run.close()
    run.close()
    with pytest.raises(ThalwegError, match="closed"):
        run.put_result("a", 1)


def test_a_moved_run_can_be_read_and_continued(run, tmp_path):
    run.put_point("loss", (1, 2), {"loss": 1.0})
    run.put_tensors("point", {"theta": np.arange(3)})
    run.close()
    for folder in (
        shutil.copytree(run.path, tmp_path / "copy ?#%41"),
        shutil.move(run.path, tmp_path / "moved"),
    ):
        with Run.read(folder) as reader:
            assert reader.points("loss") == {(1, 2): {"loss": 1.0}}
            assert reader.tensors("point")["theta"].tolist() == [0, 1, 2]
        with Run.open(folder, kind="survey", settings=SETTINGS) as again:
            assert again.resumed
