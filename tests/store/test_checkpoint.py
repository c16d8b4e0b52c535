"""Checkpoints of any common make are read; what would execute code is not."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from thalweg.errors import InvalidArgument, MissingData, UnsafeFile
from thalweg.store import checkpoint_files, load_checkpoint


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


class Malicious:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def assert_same(loaded, expected):
    assert list(loaded) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin"])
def test_state_dicts_round_trip(tmp_path, model, suffix):
    file = tmp_path / f"model{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(model.state_dict(), file)
    loaded = load_checkpoint(file)
    assert_same({name: loaded[name] for name in model.state_dict()}, model.state_dict())
    model.load_state_dict(loaded)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize(
    "nesting", [[], ["state_dict"], ["model"], ["model_state_dict"], ["model", "state_dict"]]
)
def test_nestings_and_prefixes_are_taken_off(tmp_path, model, nesting, prefix):
    held = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    for key in nesting:
        held = {"epoch": 3, key: held, "optimizer": {"state": {}}}
    torch.save(held, tmp_path / "model.pt")
    assert_same(load_checkpoint(tmp_path / "model.pt"), model.state_dict())


def test_a_prefix_that_not_every_name_has_is_kept(tmp_path):
    held = {"module.weight": torch.ones(2), "n_averaged": torch.tensor(1)}
    torch.save(held, tmp_path / "model.pt")
    assert_same(load_checkpoint(tmp_path / "model.pt"), held)


@pytest.mark.parametrize("save", ["torch", "pickle 2", "pickle 4"])
def test_code_is_refused_not_executed(tmp_path, save):
    file, trace = tmp_path / "model.pt", tmp_path / "executed"
    held = {"weight": torch.ones(2), "extra": Malicious(trace)}
    if save == "torch":
        torch.save(held, file)
    else:
        file.write_bytes(pickle.dumps({"extra": held["extra"]}, protocol=int(save[-1])))
    with pytest.raises(
        UnsafeFile, match=rf"refused, not executed: .*{os.mkdir.__module__}\.mkdir.*save_file"
    ):
        load_checkpoint(file)
    assert not trace.exists()


def test_a_whole_module_is_refused_with_the_remedy(tmp_path, model):
    torch.save(model, tmp_path / "model.pt")
    with pytest.raises(UnsafeFile, match=r"torch\.nn\.modules\..*model\.state_dict\(\)") as refused:
        load_checkpoint(tmp_path / "model.pt")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("damage", ["half", "junk", "empty"])
def test_damaged_files_are_one_clear_line(tmp_path, model, suffix, damage):
    file = tmp_path / f"model{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(model.state_dict(), file)
    content = file.read_bytes()
    file.write_bytes(
        {"half": content[: len(content) // 2], "junk": b"hello world " * 50, "empty": b""}[damage]
    )
    with pytest.raises(InvalidArgument, match=r"model.* (is empty|may be damaged)") as refused:
        load_checkpoint(file)
    assert "\n" not in str(refused.value)
    # The reader's own advice is to let the file run its code.
    assert "weights_only" not in str(refused.value)
    if suffix == ".pt" and damage != "empty":
        assert "safetensors" in str(refused.value)


def test_the_only_state_dict_is_taken_whatever_its_key(tmp_path, model):
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({"net": model.state_dict(), "optimizer": optimizer, "epoch": 3}, tmp_path / "model.pt")
    assert_same(load_checkpoint(tmp_path / "model.pt"), model.state_dict())
    # A known key goes before others, and one without tensors counts for nothing.
    torch.save(
        {"model": {"depth": 3}, "state_dict": model.state_dict(), "ema": {"w": torch.ones(1)}},
        tmp_path / "a.pt",
    )
    assert_same(load_checkpoint(tmp_path / "a.pt"), model.state_dict())


@pytest.mark.parametrize("keys", [("state_dict", "model"), ("net", "ema")])
def test_of_several_state_dicts_none_is_guessed(tmp_path, model, keys):
    torch.save({key: model.state_dict() for key in keys}, tmp_path / "model.pt")
    with pytest.raises(InvalidArgument, match=rf"model\.pt holds several state dicts \({', '.join(keys)}\)"):
        load_checkpoint(tmp_path / "model.pt")


def test_a_dict_nested_in_itself_ends(tmp_path):
    held = {}
    held["model"] = held
    torch.save(held, tmp_path / "model.pt")
    with pytest.raises(InvalidArgument, match="holds no tensors"):
        load_checkpoint(tmp_path / "model.pt")


def test_what_is_no_checkpoint(tmp_path):
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    (tmp_path / "notes.txt").write_text("notes")
    for name, error, message in [
        ("list.pt", InvalidArgument, "must hold a state dict, got list"),
        ("epoch.pt", InvalidArgument, r"holds no tensors \(its keys: epoch\)"),
        ("notes.txt", InvalidArgument, "must be a .safetensors"),
        ("", InvalidArgument, "is a folder"),
        ("absent.pt", MissingData, "was not found"),
    ]:
        with pytest.raises(error, match=message):
            load_checkpoint(tmp_path / name)


def test_a_trajectory_is_in_natural_order(tmp_path):
    for epoch in (10, 2, 1):
        torch.save({"w": torch.tensor(float(epoch))}, tmp_path / f"epoch_{epoch}.pt")
    save_file({"w": torch.tensor(0.0)}, tmp_path / "0_start.safetensors")
    (tmp_path / "log.txt").touch()
    files = checkpoint_files(tmp_path)
    assert [file.stem for file in files] == ["0_start", "epoch_1", "epoch_2", "epoch_10"]
    assert [load_checkpoint(file)["w"].item() for file in files] == [0, 1, 2, 10]


def test_a_trajectory_needs_two_files(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "one.pt")
    with pytest.raises(MissingData, match=r"at least 2 checkpoint files .*found 1"):
        checkpoint_files(tmp_path)
    with pytest.raises(MissingData, match="is no folder"):
        checkpoint_files(tmp_path / "absent")
