from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import thalweg as tw
from thalweg.errors import InvalidArgument, MissingData
from thalweg.optim.genealogy import genealogy
from thalweg.optim.guidance import Recommendation, Task, understand
from thalweg.optim.guidance.recommendation import literal
from thalweg.optim.guidance.task import Goal, Kind
from thalweg.optim.guide import guide
from thalweg.optim.names import get
from thalweg.store import Run

GRAPH = genealogy()
TASKS = st.builds(
    Task,
    kind=st.sampled_from(Kind.__args__),  # type: ignore[attr-defined]
    goal=st.sampled_from(Goal.__args__),  # type: ignore[attr-defined]
    parameters=st.none() | st.integers(1, 10**11),
    samples=st.none() | st.integers(1, 10**9),
    batch_size=st.none() | st.integers(1, 10**6),
    full_batch=st.sampled_from([None, True, False]),
    least_squares=st.booleans(),
    memory_limited=st.booleans(),
    pretrained=st.booleans(),
    transformer=st.booleans(),
    recurrent=st.booleans(),
)

# A model trained with momentum, at a minimum whose eigenvalues are 40, ..., 0.1.
MINIMUM: dict[str, Any] = {
    "target": {"name": "toy", "kind": "problem", "parameters": 1000, "samples": 500},
    "training": {
        "optimizer": "momentum",
        "lr": 0.02,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "batch_size": 32,
        "diverged": False,
    },
    "eigenpairs": {"values": [40.0, 20.0, 0.2, 0.1], "residuals": [1e-3, 1e-3, 1e-4, 1e-4]},
    "trace": {"value": 500.0},
    "classification": {"index": 0},
    "quality": {
        "train": {"loss": {"value": 0.1, "stderr": 0.01}},
        "test": {"loss": {"value": 0.11, "stderr": 0.01}},
    },
}


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    def store(**changed: Any) -> Path:
        with Run.open(tmp_path / "run", kind="survey", settings={}) as run:
            for name, value in (MINIMUM | changed).items():
                if value is not None:
                    run.put_result(name, value)
        return tmp_path / "run"

    return store


def numbers(found: Recommendation, about: str) -> dict[str, float]:
    return {k: v for reason in found.reasons if reason.about == about for k, v in reason.evidence.items()}


@pytest.mark.parametrize(
    ("asked", "optimizer", "source"),
    [
        # The lecture's guide, word for word what it chooses.
        ("", "adamw", "Practical optimizer selection guide"),
        ("a classifier of images with the best test accuracy", "sgd", "Practical optimizer selection guide"),
        ("a recommender", "adagrad", "AdaGrad: strengths"),
        ("bag of words, sparse", "adagrad", "AdaGrad: strengths"),
        ("train a language model, memory is limited", "lion", "Modern alternatives"),
        ("pretrain an LLM fast", "sophia_g", "Modern alternatives"),
        ("an image model without a schedule", "schedule_free_adamw", "Modern alternatives"),
        ("PINN for the Burgers equation", "lbfgs", "Second-order"),
        ("inverse problem", "lbfgs", "Second-order"),
        ("deterministic loss, all data at once", "lbfgs", "Second-order"),
        ("nonlinear least squares", "levenberg_marquardt", "Second-order"),
        ("flat minima for a CNN", "sam", "SAM"),
        ("ViT that generalizes well", "sam", "SAM"),
        ("a vision transformer, quickly", "muon", "Muon"),
        ("a PINN in minibatches", "adamw", "Practical optimizer selection guide"),
        ("text classification", "adamw", "Practical optimizer selection guide"),
        ("tabular data of concrete", "adamw", "Practical optimizer selection guide"),
    ],
)
def test_the_lectures_choice(asked: str, optimizer: str, source: str) -> None:
    found = guide(asked)
    assert found.optimizer == optimizer
    assert source in found.why("optimizer")[0].source
    assert "held-out" in found.validate


def test_the_default_is_the_lectures() -> None:
    found = guide()
    assert (found.optimizer, found.lr, found.weight_decay, found.clipping) == ("adamw", 1e-3, 0.01, None)
    assert "cosine(1e-3" in found.schedule
    assert found.understood == ()
    assert found.available
    assert {other.optimizer for other in found.alternatives} >= {"sgd", "lion", "schedule_free_adamw"}


def test_what_is_not_understood_is_said() -> None:
    found = guide("please help")
    assert (found.optimizer, found.lr) == ("adamw", 1e-3)
    assert "none of these words" in found.understood[0]
    assert "Task: please help" in str(found)


def test_fine_tuning_a_vision_transformer_with_little_memory() -> None:
    found = guide("fine-tune a vision transformer, 86M parameters, little memory")
    assert found.task == Task(
        "vision", parameters=86_000_000, memory_limited=True, pretrained=True, transformer=True
    )
    assert found.optimizer == "lion"
    # The paper's rate; a hundredth of it for pretrained layers, as in the lecture; AdamW's product of rate and decay.
    assert found.lr == 1e-4
    assert found.backbone_lr == pytest.approx(1e-6, rel=1e-12)
    assert found.weight_decay is not None
    assert found.lr * found.weight_decay == pytest.approx(1e-3 * 0.01, rel=1e-12)
    assert found.clipping == 1.0
    # One tensor and two of 86 million numbers of 4 bytes.
    assert any("344 MB in float32, AdamW's 688" in reason.text for reason in found.reasons)
    assert len(found.understood) == 4


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("fine-tuning BERT", Task("language", pretrained=True, transformer=True)),
        ("pretraining GPT-2", Task("language", transformer=True)),
        ("a pre-trained ResNet-50", Task("vision", pretrained=True)),
        ("images, not pretrained", Task("vision")),
        ("not sparse, tabular", Task("tabular")),
        ("an LSTM on text", Task("language", recurrent=True)),
        ("ResNet, 50,000 images, batch size 128", Task("vision", samples=50_000, batch_size=128)),
        ("batches of 32 images", Task("vision", batch_size=32)),
        ("7b parameters, 1.5M examples", Task(parameters=7_000_000_000, samples=1_500_000)),
        ("1e6 params", Task(parameters=1_000_000)),
        ("physics-informed, stochastic", Task("pinn", full_batch=False)),
        ("PDE", Task("pinn", full_batch=True)),
        ("curve fitting", Task("scientific", least_squares=True)),
        ("a click-through model, no tuning", Task("recommender", "no tuning")),
        ("fast", Task(goal="speed")),
        ("a memory of my holiday", Task()),
        ("breakfast", Task()),
    ],
)
def test_descriptions(text: str, task: Task) -> None:
    found, understood = understand(text)
    assert found == task
    assert bool(understood) == (task != Task() or "pretrain" in text)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_any_text_is_answered(text: str) -> None:
    found = guide(text)
    assert found.optimizer in [node.name for node in GRAPH.nodes]
    str(found)


@settings(deadline=None, max_examples=60)
@given(TASKS)
def test_any_task_is_answered(task: Task) -> None:
    found = guide(task)
    assert found.task == task
    assert found.understood == ()
    node = GRAPH.node(found.optimizer)
    assert found.available == node.in_thalweg
    assert bool(found.meanwhile) != found.available
    for about in ("optimizer", "rate", "schedule", "batch", "weight decay"):
        assert found.why(about), about  # type: ignore[arg-type]
    assert bool(found.why("clipping")) == (found.clipping is not None)
    for reason in found.reasons:
        assert reason.source
        assert reason.text.endswith(".")
        # Nothing was measured.
        assert not reason.evidence
    assert found.alternatives
    assert found.optimizer not in [other.optimizer for other in found.alternatives]
    if task.pretrained and found.lr is not None:
        assert found.backbone_lr == found.lr / 100
    else:
        assert found.backbone_lr is None
    # Words are folded at 100 letters; code is not.
    assert all(len(line) <= 100 or "(" in line for line in str(found).splitlines())


@settings(deadline=None, max_examples=60)
@given(TASKS)
def test_code_that_it_gives_runs(task: Task) -> None:
    found = guide(task)
    made = [(found.optimizer, found.call)] if found.available else []
    made += [(o.optimizer, o.call) for o in found.alternatives if GRAPH.node(o.optimizer).in_thalweg]
    model = nn.ModuleDict({"backbone": nn.Linear(2, 3), "head": nn.Linear(3, 1)})
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    wants_more = ("objective=", "losses", "adam, sgd")
    for name, code in made:
        if not any(word in code for word in wants_more):
            optimizer = eval(code, {"tw": tw, "model": model, "lr": 0.1, "optimizer": inner})
            assert isinstance(optimizer, get(name))
            rates = [group["lr"] for group in optimizer.param_groups]
            if name == found.optimizer and found.lr is not None:
                assert float(f"{found.lr:.3g}") in rates


def test_scaling_rules() -> None:
    assert 'rule="sqrt"' in guide().batch
    assert 'rule="linear"' in guide("images, generalization").batch
    assert guide("images, batch size 256").batch.startswith("256")


def test_full_batches_follow_from_the_counts() -> None:
    assert Task(samples=10, batch_size=10).deterministic
    assert Task(samples=10, batch_size=5).deterministic is False
    assert Task(samples=10, batch_size=5, full_batch=True).deterministic
    assert Task(samples=10).deterministic is None
    assert guide(Task("pinn", samples=10, batch_size=5)).optimizer == "adamw"
    assert "Taken for granted" in str(guide(Task("scientific")))
    assert "Taken for granted" not in str(guide(Task("scientific", full_batch=True)))


@given(TASKS.filter(lambda task: task.deterministic))
@settings(deadline=None)
def test_full_batches_get_no_advice_on_the_noise_of_minibatches(task: Task) -> None:
    found = guide(task)
    assert found.batch == "all data in every step"
    told = " ".join(reason.text for reason in found.reasons)
    assert not re.search("noisy|noise scale|k times the batch|[Nn]oise of (small|mini)", told)
    # A line search or a gain ratio compares the loss with the gradient as it is.
    assert found.clipping is None or found.optimizer not in ("lbfgs", "levenberg_marquardt")


def test_saddles_of_a_loss_without_noise(stored: Callable[..., Path]) -> None:
    run = stored(classification={"index": 2})
    for asked, told in (
        ("images", "noise of minibatches and momentum"),
        ("images, full batch", ": momentum leaves"),
    ):
        assert any(told in reason.text for reason in guide(asked, run).why("optimizer"))


def test_optimizers_to_come_have_something_meanwhile() -> None:
    for asked in ("PINN", "least squares", "pretrain an LLM fast", "a transformer, fast"):
        found = guide(asked)
        if not found.available:
            assert "not in Thalweg yet; meanwhile" in str(found)
            assert re.match(r"(torch\.optim|scipy\.optimize|tw\.optim)\.", found.meanwhile)


def test_largest_stable_rate(stored: Callable[..., Path]) -> None:
    training = {"source": "the model's own point"}
    found = guide("images, best test accuracy", stored(training=training))
    assert found.optimizer == "sgd"
    measured = numbers(found, "rate")
    # 2/λ, 2(1 + 0.9)/λ and 1/λ of λ = 40.
    assert measured["edge"] == pytest.approx(0.05, rel=1e-12)
    assert measured["momentum_edge"] == pytest.approx(0.095, rel=1e-12)
    assert found.lr == pytest.approx(0.025, rel=1e-12)
    assert "λmax = 40" in str(found)
    assert "0.095" in str(found)


def test_a_rate_that_worked_is_kept(stored: Callable[..., Path]) -> None:
    found = guide("images, best test accuracy", stored())
    assert found.lr == 0.02
    # Momentum's limit is 0.095.
    assert numbers(found, "rate")["ratio"] == pytest.approx(0.02 / 0.095, rel=1e-12)
    assert found.weight_decay == 0.0
    assert found.batch.startswith("32")


def test_a_rate_above_the_limit_is_not_kept(stored: Callable[..., Path]) -> None:
    found = guide("images, best test accuracy", stored(training=MINIMUM["training"] | {"lr": 0.1}))
    assert found.lr == pytest.approx(0.025, rel=1e-12)
    assert numbers(found, "rate")["ratio"] > 1
    assert "too large" in str(found)


@pytest.mark.parametrize("lr", [0.03, 1.0])
def test_after_a_divergence_the_rate_is_smaller(stored: Callable[..., Path], lr: float) -> None:
    found = guide(
        "images, best test accuracy", stored(training=MINIMUM["training"] | {"lr": lr, "diverged": True})
    )
    # Half a decade below the one that diverged, or half the limit, whichever is smaller.
    assert found.lr == pytest.approx(min(lr / math.sqrt(10), 0.025), rel=1e-12)
    assert any("diverged" in reason.text for reason in found.why("rate"))


def test_after_a_divergence_of_the_same_rule(stored: Callable[..., Path]) -> None:
    adamw = {"optimizer": "adamw", "lr": 2e-3, "diverged": True}
    assert guide("", stored(training=adamw)).lr == pytest.approx(2e-3 / math.sqrt(10), rel=1e-12)
    # A thousandth is below that of a run at 1 already.
    assert guide("", stored(training=adamw | {"lr": 1.0})).lr == 1e-3


def test_a_divergence_of_another_rule_says_little(stored: Callable[..., Path]) -> None:
    found = guide("", stored(training=MINIMUM["training"] | {"diverged": True}))
    assert found.lr == 1e-3
    assert any("says little" in reason.text for reason in found.why("rate"))


def test_a_rate_of_adamw_that_worked_is_kept(stored: Callable[..., Path]) -> None:
    found = guide("", stored(training={"optimizer": "adamw", "lr": 4e-4, "diverged": False}))
    assert found.lr == 4e-4
    # And λmax is no limit for it.
    assert any("no limit for this rule" in reason.text for reason in found.why("rate"))
    assert numbers(found, "rate")["gradient_descent_edge"] == pytest.approx(0.05, rel=1e-12)


def test_weight_decay_adds_to_the_curvature(stored: Callable[..., Path]) -> None:
    training = MINIMUM["training"] | {"weight_decay": 10.0, "lr": 1e-4}
    found = guide("images, best test accuracy", stored(training=training))
    assert numbers(found, "rate")["edge"] == pytest.approx(2 / 50, rel=1e-12)
    assert found.weight_decay == 10.0


def test_condition_number(stored: Callable[..., Path]) -> None:
    found = guide("images, best test accuracy", stored())
    measured = numbers(found, "optimizer")
    kappa = 40 / 0.1
    assert measured["condition"] == pytest.approx(kappa, rel=1e-12)

    # Steps of gradient descent and of heavy ball on the quadratic, counted: factor (c − 1)/(c + 1) each, c = κ or √κ.
    def counted(c: float) -> int:
        left, steps = 1.0, 0
        while left > 0.1:
            left *= (c - 1) / (c + 1)
            steps += 1
        return steps

    assert math.ceil(measured["steps"]) == counted(kappa)
    assert math.ceil(measured["momentum_steps"]) == counted(math.sqrt(kappa))


def test_condition_number_of_an_isotropic_bowl(stored: Callable[..., Path]) -> None:
    pairs = {"values": [2.0, 2.0], "residuals": [0.0, 0.0]}
    measured = numbers(guide("generalization", stored(eigenpairs=pairs)), "optimizer")
    assert (measured["condition"], measured["steps"], measured["momentum_steps"]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("smallest", [-3.0, 5e-5])
def test_there_is_no_condition_number_unless_all_curves_upward(
    stored: Callable[..., Path], smallest: float
) -> None:
    # 5e-5 is within the residual 1e-4 of zero.
    pairs = MINIMUM["eigenpairs"] | {"values": [40.0, 20.0, 0.2, smallest]}
    measured = numbers(guide("generalization", stored(eigenpairs=pairs)), "optimizer")
    assert "condition" not in measured
    # The mean eigenvalue is 500/1000.
    assert measured["largest_over_mean"] == pytest.approx(80.0, rel=1e-12)


def test_saddles(stored: Callable[..., Path]) -> None:
    pairs = MINIMUM["eigenpairs"] | {"values": [40.0, 20.0, -0.2, -3.0]}
    found = guide("generalization", stored(eigenpairs=pairs, classification={"index": 2}))
    assert numbers(found, "optimizer")["downward_directions"] == 2
    assert numbers(found, "optimizer")["smallest_eigenvalue"] == -3.0
    assert any("2 directions curve downward" in reason.text for reason in found.why("optimizer"))


def test_a_gap_between_the_losses_brings_flatness_up(stored: Callable[..., Path]) -> None:
    path = stored()
    assert "sam" not in [other.optimizer for other in guide("", path).alternatives]
    quality = MINIMUM["quality"] | {"test": {"loss": {"value": 0.5, "stderr": 0.01}}}
    with Run.open(path, kind="survey", settings={}) as run:
        run.put_result("quality", quality)
    others = {other.optimizer: other for other in guide("", path).alternatives}
    assert list(others)[:2] == ["sam", "sgd"]
    # The error of the difference is 0.01·√2.
    assert "0.400 ± 0.014 above the training loss" in others["sam"].when


def test_an_unbounded_rate(stored: Callable[..., Path]) -> None:
    pairs = {"values": [-1.0, -2.0], "residuals": [1e-3, 1e-3]}
    found = guide("generalization", stored(eigenpairs=pairs, training={}))
    assert found.lr is None
    assert any("No direction curves upward" in reason.text for reason in found.why("rate"))


def test_counts_are_taken_from_the_run_unless_given(stored: Callable[..., Path]) -> None:
    path = stored()
    found = guide(Task(parameters=7), path)
    assert (found.task.parameters, found.task.samples) == (7, 500)
    assert found.understood == ("from the run: 500 samples",)


def test_a_run_that_measured_nothing(stored: Callable[..., Path]) -> None:
    found = guide("", stored(**dict.fromkeys(MINIMUM)))
    assert (found.optimizer, found.lr) == ("adamw", 1e-3)
    assert any("no eigenvalues" in told for told in found.understood)


def test_numbers_that_are_not_finite(stored: Callable[..., Path]) -> None:
    quality = {
        "train": {"loss": {"value": math.nan, "stderr": math.nan}},
        "test": {"loss": {"value": 1.0, "stderr": 0.1}},
    }
    pairs = {"values": [math.nan, math.nan], "residuals": [math.nan, math.nan]}
    found = guide("generalization", stored(quality=quality, eigenpairs=pairs, trace={"value": math.inf}))
    assert found.lr is None
    assert "nan" not in str(found)


def test_an_opened_run_stays_open(stored: Callable[..., Path]) -> None:
    path = stored()
    with Run.read(path) as run:
        found = guide("images, best test accuracy", run)
        assert run.result("trace") == {"value": 500.0}
    assert found == guide("images, best test accuracy", path)
    assert found == guide("images, best test accuracy", str(path))


def test_a_real_survey_of_a_surface(tmp_path: Path) -> None:
    how = tw.Settings(resolution=3, line_resolution=3, probes=2, steps=2)
    tw.survey("quadratic", tmp_path / "run", parameters={"condition_number": 50.0}, settings=how)
    found = guide("", tmp_path / "run")
    # Without noise: L-BFGS.
    assert found.optimizer == "lbfgs"
    assert found.task.full_batch
    # Eigenpairs are measured to a residual of 1e-3 of the largest.
    assert numbers(found, "optimizer")["condition"] == pytest.approx(50, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (0.01, "0.01"),
        (0.1, "0.1"),
        (1e-3, "1e-3"),
        (2.5e-3, "2.5e-3"),
        (6.32455e-4, "6.32e-4"),
        (1.0, "1"),
    ],
)
def test_literals(value: float, written: str) -> None:
    assert literal(value) == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "music"}, "kind must be one of general, .*, got 'music'"),
        ({"goal": "fame"}, "goal must be one of default, .*, got 'fame'"),
        ({"parameters": 0}, "parameters must be at least 1, got 0"),
    ],
)
def test_bad_tasks(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Task(**arguments)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="task must be a description or a Task, got int"):
        guide(3)  # type: ignore[arg-type]
    with pytest.raises(MissingData, match="holds no run"):
        guide("", tmp_path / "nowhere")
