"""`thalweg curvature`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.arguments import (
    JsonOption,
    SeedOption,
    SetOption,
    TargetArgument,
    ThreadsOption,
    parameters,
    use_threads,
)
from thalweg.cli.output import print_json
from thalweg.cli.start_up import optimizers_without_compiler


def curvature(
    target: TargetArgument,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Weights (.safetensors, or .pt without code), or a folder that was trained into."),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(
            help="With commas between: eigenpairs, kind, trace, density, sharpness, noise, blocks; all if not given."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Eigenpairs, half from each end of the spectrum.")] = 10,
    probes: Annotated[int, typer.Option(help="Random vectors for the spectral density.")] = 8,
    seed: SeedOption = 0,
    assignments: SetOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Measure the Hessian of a model or surface, each number with its error.

    A problem's model is taken at its initialization from --seed unless --checkpoint says otherwise, a file's as its
    factory returns it, a surface at its start.

    Examples:

        thalweg curvature digits --checkpoint runs/digits

        thalweg curvature rosenbrock --measure eigenpairs,kind
    """
    use_threads(threads)
    from thalweg import surveys
    from thalweg.surveys import curvature as measuring

    wanted = None if measure is None else tuple(name.strip() for name in measure.split(",") if name.strip())
    with optimizers_without_compiler():
        subject = surveys.make_subject(
            surveys.resolve(target, **parameters(assignments)), seed=seed, checkpoint=checkpoint
        )
        objective = subject.objective
        found = measuring.measure(objective, None, wanted, k=k, probes=probes, seed=seed)
    untrained = subject.target.problem is not None and checkpoint is None
    source = f"its initialization from seed {seed}" if untrained else subject.source
    if json:
        print_json({"target": target, "source": source} | {name: one.numbers for name, one in found.items()})
        return
    print(f"{target}, {objective.size:,} parameters, at {source}, loss {float(objective.loss()):.4g}")
    for name, one in found.items():
        print(f"\n{name}")
        for line in one.lines:
            print(f"  {line}")
