from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from thalweg.errors import InvalidArgument, RunConflict, UnknownName
from thalweg.problems import Problem, Training
from thalweg.schedules import cosine
from thalweg.store import Run
from thalweg.surveys import resolve, train, train_into
from thalweg.surveys.minibatches import minibatches
from thalweg.surveys.optimizers import make_optimizer
from thalweg.surveys.training import epochs, weights

EPOCHS = 3


def data(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 6, generator=draw)
    return x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0.5).long()


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def batchnorm() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


MODELS: dict[str, Callable[[], nn.Module]] = {"plain": plain, "batchnorm": batchnorm, "dropout": dropout}


def problem(model: str = "plain", optimizer: str = "momentum", form: str = "tensors") -> Problem:
    """Made anew for each training, as in a process that continues."""
    x, y = data(37, 0)
    forms: dict[str, Any] = {
        "tensors": (x, y),
        "dataset": TensorDataset(x, y),
        "batches": [(x[i : i + 8], y[i : i + 8]) for i in range(0, 37, 8)],
        "loader": DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True),
        "generator": DataLoader(
            TensorDataset(x, y), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(5)
        ),
    }
    training = Training(optimizer, lr=0.02, momentum=0.8, weight_decay=1e-3, batch_size=8, epochs=EPOCHS)
    return Problem("small", MODELS[model], cross_entropy, forms[form], data(11, 1), training)


def trained(
    folder: Path, task: Problem, *, advance: Any = None, seed: int = 2, model: nn.Module | None = None
) -> tuple[nn.Module, dict[str, Any], list[dict[str, float]], list[dict[str, Tensor]]]:
    model = model or task.make_model(seed)
    # Whatever was drawn before must not matter.
    torch.rand(1)
    with Run.open(folder, kind="train", settings={}) as run:
        how = train(task, model, run, seed=seed, advance=advance)
        return model, how, run.series("training"), [weights(run, name) for name in epochs(run)]


def same_bits(one: Any, other: Any) -> bool:
    """Whether state dictionaries, or lists of them, hold the same numbers."""
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_bits, one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


TORCH: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "gradient_descent": lambda p: torch.optim.SGD(p, lr=0.02, weight_decay=1e-3),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02, weight_decay=1e-3),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=1e-3),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.02, alpha=0.9, momentum=0.8, weight_decay=1e-3),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.02, weight_decay=1e-3),
}
EVERY = [*TORCH, "nesterov", "lion", "schedule_free_sgd", "schedule_free_adamw"]


@pytest.mark.parametrize("optimizer", TORCH)
def test_optimizers_are_torchs_of_the_same_settings(optimizer: str) -> None:
    models = [plain().double() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    mine = make_optimizer(problem("plain", optimizer).training, models[0])
    for own, model in ((mine, models[0]), (TORCH[optimizer](models[1].parameters()), models[1])):
        for epoch in range(EPOCHS):
            for x, y in minibatches(data(37, 0), 8, 2, epoch):
                own.zero_grad()
                cross_entropy(model(x.double()), y).backward()
                own.step()
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        # 15 steps in double precision; RMSProp divides by root mean squares near 1e-3, which multiplies rounding.
        assert torch.allclose(p, q, rtol=1e-9, atol=1e-11)


def test_settings_go_to_the_hyperparameters_that_there_are() -> None:
    def group(name: str, **settings: Any) -> dict[str, Any]:
        training = Training(name, lr=0.03, **({"momentum": 0.7, "weight_decay": 0.2} | settings))
        return make_optimizer(training, plain()).param_groups[0]

    for name in EVERY:
        assert (group(name)["lr"], group(name)["weight_decay"]) == (0.03, 0.2)
        assert group(name, weight_decay=0.0)["weight_decay"] == 0
    for name in ("momentum", "nesterov", "rmsprop"):
        assert group(name)["momentum"] == 0.7
        assert group(name, momentum=0.0)["momentum"] == 0
    assert group("sgd")["momentum"] == 0
    assert group("schedule_free_sgd")["momentum"] == 0.7
    assert group("schedule_free_sgd", momentum=0.0)["momentum"] == 0.9
    assert "momentum" not in group("adam")


def test_a_name_that_is_none_is_found_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown optimizer 'adamv': did you mean adam"):
        train_into(problem(optimizer="adamv"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        *(("plain", name) for name in EVERY),
        *(("batchnorm", name) for name in ("adam", "sgd", "schedule_free_sgd")),
    ],
)
def test_equals_a_plain_loop_bit_for_bit(tmp_path: Path, model: str, optimizer: str) -> None:
    task = problem(model, optimizer)
    mine = task.make_model(2)
    start = {name: tensor.clone() for name, tensor in mine.state_dict().items()}
    states = [start]
    own = make_optimizer(task.training, mine)
    rows = []
    for epoch in range(1, EPOCHS + 1):
        mine.train()
        own.train()
        for x, y in minibatches(task.train, 8, 2, epoch):
            own.zero_grad()
            cross_entropy(mine(x), y).backward()
            own.step()
        own.eval()
        x, y = data(37, 0)
        if (model, optimizer) == ("batchnorm", "schedule_free_sgd"):
            # All samples are one batch: the statistics of the average are those of a pass with momentum 1.
            mine[1].momentum, count = 1.0, mine[1].num_batches_tracked.clone()
            with torch.no_grad():
                mine(x)
            mine[1].momentum, mine[1].num_batches_tracked = 0.1, count
        mine.eval()
        with torch.no_grad():
            rows.append((float(cross_entropy(mine(x), y)), float((mine(x).argmax(1) == y).double().mean())))
        states.append({name: tensor.clone() for name, tensor in mine.state_dict().items()})

    found, how, series, kept = trained(tmp_path, task)
    assert same_bits(kept, states)
    assert same_bits(found.state_dict(), mine.state_dict())
    assert [row["step"] for row in series] == list(range(EPOCHS + 1))
    for row, (loss, accuracy) in zip(series[1:], rows, strict=True):
        # Means of 37 terms of order 1 in single precision, perhaps added in another order: some 2⁻²⁴ each.
        assert row["loss"] == pytest.approx(loss, rel=1e-6)
        assert row["accuracy"] == pytest.approx(accuracy, rel=1e-6)
        assert row["lr"] == 0.02
        assert {"test_loss", "test_accuracy"} <= row.keys()
    assert how["steps"] == 5 * EPOCHS
    assert (how["source"], how["diverged"], how["optimizer"]) == ("trained here", False, optimizer)


def test_curves_and_weights_are_those_of_the_iterate(tmp_path: Path) -> None:
    # torch's SGD keeps the look-ahead point y = θ + αv in the parameters, with v = −η times its buffer.
    task = problem("plain", "nesterov")
    mine = task.make_model(2)
    own = torch.optim.SGD(mine.parameters(), lr=0.02, momentum=0.8, nesterov=True, weight_decay=0)
    task = replace(task, training=replace(task.training, weight_decay=0.0))
    for epoch in range(1, EPOCHS + 1):
        for x, y in minibatches(task.train, 8, 2, epoch):
            own.zero_grad()
            cross_entropy(mine(x), y).backward()
            own.step()
    with torch.no_grad():
        for p in mine.parameters():
            p += 0.8 * 0.02 * own.state[p]["momentum_buffer"]
        x, y = data(37, 0)
        loss = cross_entropy(mine(x), y).item()
    _, _, series, kept = trained(tmp_path, task)
    # Single precision over 15 steps.
    assert series[-1]["loss"] == pytest.approx(loss, rel=1e-5)
    for name, tensor in mine.state_dict().items():
        assert torch.allclose(kept[-1][name], tensor, rtol=1e-4, atol=1e-6)


def test_dropout_is_on_in_training_and_off_in_the_curves(tmp_path: Path) -> None:
    task = problem("dropout")
    _, _, series, kept = trained(tmp_path / "a", task)
    without = replace(
        task, model=lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Identity(), nn.Linear(16, 3))
    )
    assert not same_bits(kept, trained(tmp_path / "b", without)[3])
    evaluated = dropout().eval()
    evaluated.load_state_dict(kept[-1])
    x, y = data(37, 0)
    assert series[-1]["loss"] == pytest.approx(cross_entropy(evaluated(x), y).item(), rel=1e-6)


def test_a_schedule_sets_the_rate_of_each_step_as_torchs_does(tmp_path: Path) -> None:
    # Without momentum: under a schedule the velocity of "momentum" is another than torch's.
    task = problem("batchnorm", "sgd")
    steps = 5 * EPOCHS
    mine = task.make_model(2)
    own = torch.optim.SGD(mine.parameters(), lr=0.05, weight_decay=1e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(own, T_max=steps)
    first_rates = [0.05]
    for epoch in range(1, EPOCHS + 1):
        first_rates.append(own.param_groups[0]["lr"])
        mine.train()
        for x, y in minibatches(task.train, 8, 2, epoch):
            own.zero_grad()
            cross_entropy(mine(x), y).backward()
            own.step()
            falling.step()

    def run(folder: Path, advance: Any = None) -> tuple[nn.Module, dict[str, Any], list[dict[str, float]]]:
        model = task.make_model(2)
        with Run.open(folder, kind="train", settings={}) as run:
            how = train(task, model, run, seed=2, schedule=cosine(0.05, steps), advance=advance)
            return model, how, run.series("training")

    found, how, series = run(tmp_path / "whole")
    for name, tensor in mine.state_dict().items():
        # Single precision over 15 steps.
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    assert how["schedule"] == "cosine(rate=0.05, steps=15, final=0.0)"
    # A row has the rate that its epoch began with.
    assert [row["lr"] for row in series] == pytest.approx(first_rates)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", Stop(2))
    again, _, rows = run(tmp_path / "broken")
    assert same_bits(again.state_dict(), found.state_dict())
    assert rows == series


class Stop:
    """Interrupts a training after an epoch, as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, done: int, total: int) -> None:
        assert total == EPOCHS
        if done == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("model", "optimizer", "form"),
    [
        ("plain", "momentum", "tensors"),
        ("plain", "adam", "tensors"),
        ("batchnorm", "momentum", "tensors"),
        ("batchnorm", "adam", "dataset"),
        ("dropout", "momentum", "tensors"),
        ("dropout", "adam", "batches"),
        ("dropout", "sgd", "loader"),
        ("dropout", "nesterov", "generator"),
        ("plain", "adamw", "tensors"),
        ("plain", "rmsprop", "tensors"),
        ("plain", "adagrad", "tensors"),
        ("plain", "gradient_descent", "tensors"),
        ("dropout", "lion", "tensors"),
        ("batchnorm", "nesterov", "tensors"),
        ("batchnorm", "schedule_free_sgd", "loader"),
        ("dropout", "schedule_free_adamw", "tensors"),
        ("batchnorm", "muon", "tensors"),
        ("batchnorm", "sophia_g", "dataset"),
        ("dropout", "sophia_h", "batches"),
    ],
)
def test_interrupted_after_any_epoch_continues_to_the_same_bits(
    tmp_path: Path, model: str, optimizer: str, form: str
) -> None:
    _, how, series, kept = trained(tmp_path / "whole", problem(model, optimizer, form))
    for epoch in range(1, EPOCHS):
        folder = tmp_path / f"after-{epoch}"
        with pytest.raises(KeyboardInterrupt):
            trained(folder, problem(model, optimizer, form), advance=Stop(epoch))
        seen: list[int] = []
        found = trained(
            folder, problem(model, optimizer, form), advance=lambda done, _, seen=seen: seen.append(done)
        )
        assert seen == list(range(epoch + 1, EPOCHS + 1))
        assert found[1] == how
        assert found[2] == series
        assert same_bits(found[3], kept)
        assert same_bits(found[0].state_dict(), kept[-1])


def test_interrupted_within_epochs_again_and_again(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", problem("dropout", "adam"))
    left = 0

    def failing(output: Tensor, target: Tensor) -> Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return cross_entropy(output, target)

    # An epoch takes 5 losses, and 2 more for its row besides those that look for randomness: 25 are enough for
    # one epoch but not for all.
    task = replace(problem("dropout", "adam"), loss_fn=failing)
    interrupted = 0
    while True:
        left = 25
        try:
            found = trained(tmp_path / "broken", task)
            break
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted >= 1
    assert found[1] == whole[1]
    assert found[2] == whole[2]
    assert same_bits(found[3], whole[3])


def test_trained_again_does_nothing(tmp_path: Path) -> None:
    first = trained(tmp_path, problem())
    again = trained(tmp_path, problem(), advance=lambda *_: pytest.fail("an epoch was trained again"))
    assert same_bits(again[0].state_dict(), first[0].state_dict())
    assert again[1:3] == first[1:3]


def test_no_epochs(tmp_path: Path) -> None:
    task = problem()
    model, how, series, kept = trained(tmp_path, replace(task, training=replace(task.training, epochs=0)))
    assert same_bits(model.state_dict(), task.make_model(2).state_dict())
    assert (how["steps"], how["diverged"], len(series), len(kept)) == (0, False, 1, 1)


@pytest.mark.parametrize("form", ["batches", "loader"])
def test_steps_are_the_batches_that_were_taken(tmp_path: Path, form: str) -> None:
    task = problem(form=form)
    # The batches are there already: the setting does not matter.
    task = replace(task, training=replace(task.training, batch_size=1))
    assert trained(tmp_path, task)[1]["steps"] == 5 * EPOCHS


def test_divergence_is_recorded_and_leaves_finite_weights(tmp_path: Path) -> None:
    task = replace(problem(), training=Training("sgd", lr=1e6, batch_size=8, epochs=50))
    # A linear model on squares: each step multiplies the error by about −10⁶, past 10³⁸ within ten steps.
    task = replace(
        task,
        model=lambda: nn.Linear(6, 1),
        loss_fn=lambda output, target: (output[:, 0] - target).square().mean(),
        metrics=("loss",),
    )
    model, how, series, kept = trained(tmp_path, task)
    assert how["diverged"] is True
    assert how["steps"] == 5 * (len(kept) - 1)
    assert not math.isfinite(series[-1]["loss"])
    assert all(math.isfinite(row["loss"]) for row in series[:-1])
    assert len(series) == len(kept) + 1 < 50
    assert same_bits(model.state_dict(), kept[-1])
    for state in kept:
        assert all(tensor.isfinite().all() for tensor in state.values())
    again = trained(tmp_path, task)
    assert again[1] == how
    assert repr(again[2]) == repr(series)


def test_loss_that_overflows_with_finite_weights_is_a_divergence(tmp_path: Path) -> None:
    x, y = torch.full((4, 1), 1.0), torch.zeros(4)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return (output[:, 0] - target).pow(4).mean()

    def one() -> nn.Module:
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, 1.0)
        return model

    # θ = 1 and the rate 10¹²: the only step of an epoch goes to −4·10¹², where θ⁴ exceeds the largest float.
    task = Problem(
        "steep", one, loss, (x, y), None, Training("sgd", lr=1e12, batch_size=4, epochs=1), ("loss",)
    )
    for _ in range(2):
        model, how, series, kept = trained(tmp_path, task)
        assert how["diverged"] is True
        assert how["steps"] == 0
        assert series[-1]["loss"] == math.inf
        assert len(kept) == 1
        assert model.weight.item() == 1.0


def test_modes_gradients_and_random_states_are_as_before(tmp_path: Path) -> None:
    task = problem("batchnorm")
    model = task.make_model(2)
    model.eval()
    model[1].train()
    model[3].weight.requires_grad = False
    given = torch.full_like(model[0].weight, 7.0)
    model[0].weight.grad = given
    frozen = model[3].weight.clone()
    modes = [module.training for module in model.modules()]
    with Run.open(tmp_path, kind="train", settings={}) as run:
        state = torch.get_rng_state()
        train(task, model, run, seed=2)
    assert [module.training for module in model.modules()] == modes
    assert model[0].weight.grad is given
    assert torch.equal(given, torch.full_like(given, 7.0))
    assert model[1].weight.grad is None
    assert torch.equal(model[3].weight, frozen)
    assert torch.equal(torch.get_rng_state(), state)


def test_shared_weights_stay_shared(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
            self.second.weight = self.first.weight
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))

    task = replace(problem(), model=Tied)
    whole = trained(tmp_path / "whole", task)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", task, advance=Stop(2))
    model, *_ = trained(tmp_path / "broken", task)
    assert model.first.weight is model.second.weight
    assert same_bits(model.state_dict(), whole[0].state_dict())


class TestTrainInto:
    def test_leaves_curves_weights_and_quality(self, tmp_path: Path) -> None:
        task = problem()
        found = train_into(task, tmp_path / "run", seed=2)
        assert found.path == tmp_path / "run"
        assert list(found.results) == ["target", "provenance", "training", "quality"]
        model, how, series, kept = trained(tmp_path / "own", task)
        assert found.results["training"] == how
        with Run.read(found.path) as run:
            assert run.kind == "train"
            assert run.series("training") == series
            assert same_bits([weights(run, name) for name in epochs(run)], kept)
        model.eval()
        for split, (x, y) in (("train", task.train), ("test", task.test)):
            measured = found.results["quality"][split]
            assert measured["loss"]["value"] == pytest.approx(cross_entropy(model(x), y).item(), rel=1e-6)
            assert measured["loss"]["samples"] == len(y)

    def test_again_and_with_other_settings(self, tmp_path: Path) -> None:
        first = train_into(problem(), tmp_path / "run", seed=2)
        assert train_into(problem(), tmp_path / "run", seed=2).results == first.results
        with pytest.raises(RunConflict, match="seed was 2, now 3"):
            train_into(problem(), tmp_path / "run", seed=3)
        with pytest.raises(RunConflict, match=r"training.epochs was"):
            train_into(problem(), tmp_path / "run", seed=2, training=Training(epochs=9))

    def test_only_problems(self, tmp_path: Path) -> None:
        with pytest.raises(
            InvalidArgument, match="target 'booth' is a surface, only a problem can be trained"
        ):
            train_into("booth", tmp_path / "run")
        assert not (tmp_path / "run").exists()
        assert resolve("booth").problem is None

    def test_folder_by_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert train_into(problem(), training=Training(epochs=0)).path == Path("runs/small-training")
        assert (tmp_path / "runs" / "small-training" / "run.sqlite").is_file()
