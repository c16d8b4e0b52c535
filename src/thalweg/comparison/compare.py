"""The fair race: every optimizer tuned with as many trials, then run from the same seeds on the same budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from thalweg.comparison.contenders import contenders
from thalweg.comparison.judging import entries, goal_loss, goal_quantity, sentences
from thalweg.comparison.result import Comparison
from thalweg.comparison.task import HELD_OUT, as_problem, tuning_problem
from thalweg.comparison.terms import Metric, Terms, agree
from thalweg.comparison.trial import MakeSchedule
from thalweg.comparison.tuning import Tuner
from thalweg.comparison.work import Work
from thalweg.problems import Problem
from thalweg.store import Run
from thalweg.surveys import Progress, Target, folder_name, make_subject, resolve
from thalweg.surveys.minibatches import batches_per_epoch
from thalweg.surveys.provenance import introduce


def compare(
    target: object,
    optimizers: str | Sequence[str] = ("sgd", "adamw", "lion"),
    *,
    budget: int | None = None,
    seeds: int = 3,
    tune: int = 12,
    tuning_budget: int | None = None,
    tuner: Tuner | None = "grid",
    schedule: str | MakeSchedule | None = None,
    metric: Metric | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    command: str | None = None,
) -> Comparison:
    """Compare optimizers on a model: each one's learning rate tuned, then raced from several seeds.

    Everyone gets the same: the number of trials, the budget in gradient evaluations (a step of SAM takes two), the
    initial weights and the minibatches of each seed. The rate alone is tuned, on one seed that is in no race and on a
    fifth of the training data held out from the trials; the test data are looked at in the races only, which
    train on all training data. All other hyperparameters are the optimizer's defaults, or as written with its name.
    A training whose loss is not finite, or ends a hundred times above its start, has diverged and counts as the worst.

    Every finished trial and race is in the folder `out`: the same call on it does the rest, and ends with
    the result of an unbroken one (times apart).

    Parameters
    ----------
    target: a problem, an objective, (model, loss_fn, data, test_data), or a name or "file.py:factory" of one. A model
        that is given is left as it is; its copies all begin at its weights, so that seeds differ in their batches only.
    optimizers: names as in `tw.optim.names()`, also "adamw(weight_decay=0.1)" and "sam(momentum)", where "asam" and
        "gsam" stand as "sam" does.
    budget: gradient evaluations of each race; the problem's epochs when None.
    seeds: races of each optimizer, from seed + 1 on; `seed` itself is that of the trials.
    tune: trials of each optimizer; 0 takes the default rates, as does tuner=None.
    tuning_budget: gradient evaluations of each trial, half the budget when None.
    tuner: "grid" of half decades around the default rate, which grows where the best is at its edge; or "optuna".
    schedule: of the rate over the budget, in trials too: "cosine", "linear", or a function from the rate and the
        number of steps to a Schedule. Optimizers that average in place of a schedule go without.
    metric: what is tuned for and compared; the loss on test data, or on training data where there are none.
    parameters: of a named problem.

    Raises
    ------
    InvalidArgument, UnknownName: an argument cannot be used; optimizers that need more than parameters are refused.
    RunConflict: `out` holds another run, or another process is writing it.
    """
    found = resolve(target, **(parameters or {}))
    problem = as_problem(found)
    terms = agree(
        problem,
        contenders(optimizers),
        budget=budget,
        seeds=seeds,
        tune=tune,
        tuning_budget=tuning_budget,
        tuner=tuner,
        schedule=schedule,
        metric=metric,
        batch_size=batch_size,
        seed=seed,
    )
    teams = terms.teams
    trying = tuning_problem(problem, seed) if terms.trials else problem
    subject = make_subject(Target(found.name, found.kind, problem=problem), seed=seed)
    identity = {key: value for key, value in subject.identity().items() if key != "training"}
    identity |= terms.settings() | {"torch": str(torch.__version__)}
    folder = Path(out) if out is not None else Path("runs") / f"{folder_name(found.name)}-compare"
    with Run.open(folder, kind="compare", settings=identity) as run:
        command = command or f"thalweg.compare({found.name!r}, {[team.name for team in teams]})"
        introduce(run, subject, seed, command)
        work = Work(run, terms, progress)
        tuned = {team.name: work.tuned(team, trying) for team in teams}
        races = {team.name: work.raced(team, problem, tuned[team.name].rate) for team in teams}
        per_epoch = batches_per_epoch(problem.train, terms.batch_size)
        goal = goal_loss(races, goal_quantity(terms.metric))
        ranked = entries(teams, tuned, races, metric=terms.metric, goal=goal, per_epoch=per_epoch)
        result = Comparison(
            path=folder,
            problem=found.name,
            metric=terms.metric,
            seeds=terms.seeds,
            tuning_seed=seed,
            budget=terms.budget,
            tuning_budget=terms.tuning_budget,
            tune=terms.trials,
            tuner=terms.tuner,
            schedule=terms.schedule_name,
            goal_loss=goal,
            entries=tuple(ranked),
            sentences=tuple(sentences(ranked, terms.metric, seeds)),
            notes=tuple(_notes(terms, problem)),
        )
        run.put_result("comparison", asdict(result) | {"path": str(folder)})
        return result


def _notes(terms: Terms, problem: Problem) -> list[str]:
    notes: list[str] = []
    if terms.trials:
        notes.append(
            f"The learning rate alone was tuned: {terms.trials} trials each, of {terms.tuning_budget} gradient "
            f"evaluations, with seed {terms.seed}, judged on {HELD_OUT:.0%} of the training data held out from them."
        )
    else:
        notes.append("No rate was tuned: each is its optimizer's default.")
    without = [team.name for team in terms.teams if team.averages]
    if terms.schedule is not None and without:
        notes.append(f"{', '.join(without)}: no schedule, averaging takes its place.")
    if problem.test is None:
        notes.append("There are no test data: training losses say nothing of how well the models generalize.")
    if len(terms.seeds) > 1:
        notes.append(
            "Intervals are 95 % Student-t over seeds; differences are paired by seed, each interval for itself, with "
            "no correction for how many there are."
        )
    else:
        notes.append(
            "There are no intervals, since there is one seed: what is chance and what is not takes several, such as 3."
        )
    return notes
