"""`thalweg pictures`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.checks import one_of
from thalweg.cli.arguments import (
    JsonOption,
    QuietOption,
    SeedOption,
    ThreadsOption,
    command_line,
    use_threads,
)
from thalweg.cli.output import as_json, print_json, print_table
from thalweg.cli.picture import save
from thalweg.cli.progress import TerminalProgress
from thalweg.cli.start_up import optimizers_without_compiler
from thalweg.errors import InvalidArgument, MissingData
from thalweg.numbers import number, with_error

if TYPE_CHECKING:
    from thalweg.landscape import Slice
    from thalweg.surveys import NetworkPicture

NAME = "pictures"
_SKIPS = {"both": (True, False), "with": (True,), "without": (False,)}


def pictures(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="Of networks: resnet.")],
    depth: Annotated[int, typer.Option(help="Layers with weights: 8, 14, 20, 32, 56 and so on.")] = 20,
    skip: Annotated[str, typer.Option(help="Skip connections: both, with or without.")] = "both",
    width: Annotated[
        str, typer.Option(help="Factors on the number of filters, with commas between: 1,2.")
    ] = "1",
    data: Annotated[
        Path | None,
        typer.Option(
            help="CIFAR-10 images: cifar10_subset.npz or a folder; else the folder THALWEG_DATA is searched."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 30,
    lr: Annotated[float, typer.Option(help="Rate at the start, from where a cosine leads to zero.")] = 0.1,
    samples: Annotated[int, typer.Option(help="Images that are trained on.")] = 4000,
    slice_samples: Annotated[
        int, typer.Option(help="Of these, the images that the maps are the loss of.")
    ] = 512,
    resolution: Annotated[int, typer.Option(help="Points along each axis of a map.")] = 41,
    span: Annotated[float, typer.Option(help="Factor on the extent of the planes.")] = 1.0,
    rtol: Annotated[float, typer.Option(help="Relative error of a map; 0 evaluates every point.")] = 0.03,
    curvature_resolution: Annotated[
        int, typer.Option(help="Points along each axis at which λmax and λmin are found.")
    ] = 7,
    curvature_samples: Annotated[int, typer.Option(help="Images that these are of.")] = 128,
    out: Annotated[
        Path | None, typer.Option(help="Folder for it all; runs/resnet20-pictures if not given.")
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that evaluate points side by side, each with one thread.", min=1)
    ] = 1,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw the landscape of ResNets with and without skip connections, narrow and wide (Li et al. 2018).

    Each network is trained on CIFAR-10 images and drawn in its own filter-normalized random plane, with how far from
    convex it is: the mean of |λmin/λmax| of the whole Hessian over the plane. Interrupt it at any moment: the same
    command continues.

    Example:

        thalweg pictures resnet --depth 20 --skip both --width 1,2 --data cifar10_subset.npz
    """
    one_of("FAMILY", family, ("resnet",))
    one_of("--skip", skip, tuple(_SKIPS))
    widths = _widths(width)
    use_threads(threads)
    from thalweg import surveys
    from thalweg.store.atomic import replacing

    settings = surveys.ResNetPictureSettings(
        depth=depth,
        skips=_SKIPS[skip],
        widths=widths,
        epochs=epochs,
        lr=lr,
        samples=samples,
        slice_samples=slice_samples,
        curvature_samples=curvature_samples,
        resolution=resolution,
        span=span,
        rtol=rtol,
        curvature_resolution=curvature_resolution,
        seed=seed,
    )
    folder = out or Path("runs") / f"resnet{depth}-pictures"
    command = command_line()
    with optimizers_without_compiler(), TerminalProgress(quiet=quiet) as progress:
        try:
            found = surveys.resnet_pictures(
                settings, data, folder, workers=workers, progress=progress, command=command
            )
        except MissingData as error:
            # The message is for a call from Python.
            raise MissingData(str(error).replace("path=", "--data ")) from error
    files = _draw(found, folder)
    told = {
        "command": command,
        "settings": asdict(settings),
        "networks": [_as_json(network) for network in found],
        "pictures": [str(file) for file in files],
    }
    numbers = folder / f"{NAME}.json"
    with replacing(numbers) as temporary:
        temporary.write_text(as_json(told) + "\n", encoding="utf-8")
    if json:
        print_json(told)
        return
    print(f"ResNet-{depth}, {samples:,} images of CIFAR-10, {epochs} epoch{'s' if epochs > 1 else ''}\n")
    _tell(found)
    asked = {"--slice-samples": slice_samples, "--curvature-samples": curvature_samples}
    for (option, wanted), used in zip(asked.items(), found[0].samples, strict=True):
        if used < wanted:
            print(f"{option} {wanted:,} is more than are trained on: all {used:,} images are used.")
    print(f"\nRuns: {', '.join(str(network.path) for network in found)}")
    print(f"Pictures: {', '.join(map(str, files))}\nNumbers: {numbers}")


def _widths(text: str) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError as error:
        raise InvalidArgument(
            f"--width must be numbers with commas between, such as 1,2, got {text!r}"
        ) from error


def _tell(found: list[NetworkPicture]) -> None:
    columns = (
        "",
        "parameters",
        "train loss",
        "train acc.",
        "test acc.",
        "mean |λmin/λmax|",
        "negative",
        "1/σ²",
    )
    print_table(columns, [_row(network) for network in found])
    for network in found:
        if network.training["diverged"]:
            print(f"{network.name}: training diverged, the last finite weights are drawn")
    print(
        "\n|λmin/λmax|: of the whole Hessian, over the plane; 0 where convex. negative: share of these points with a "
        "direction that curves downward.\n1/σ²: sharpness, of the noise σ in units of each weight that raises the loss "
        "by 0.1."
    )
    for one, other in pairwise(found):
        a, b = one.nonconvexity, other.nonconvexity
        if one.width == other.width and a is not None and b is not None and a.ratio:
            print(
                f"At width {one.width:g} the mean |λmin/λmax| is {number(b.ratio / a.ratio, 2)} times as large without "
                "skip connections, in one plane around one network of each."
            )


def _row(network: NetworkPicture) -> tuple[str, ...]:
    train, test = network.quality["train"], network.quality["test"]
    bent, sharp = network.nonconvexity, network.sharpness
    return (
        network.name,
        f"{network.parameters:,}",
        number(train["loss"]["value"], 3),
        f"{100 * train['accuracy']['value']:.1f} %",
        f"{100 * test['accuracy']['value']:.1f} %",
        "unknown" if bent is None else with_error(bent.ratio, bent.error),
        "unknown" if bent is None else f"{100 * bent.negative:.0f} % of {bent.points}",
        "unknown" if sharp is None else with_error(sharp["value"], sharp["error"]),
    )


def _draw(found: list[NetworkPicture], folder: Path) -> list[Path]:
    from thalweg import plots

    panels = [
        plots.Panel(
            network.name,
            network.loss.axes["alpha"],
            network.loss.axes["beta"],
            network.loss.values["loss"],
            note=_note(network),
            ratios=network.ratios,
            coarse_alpha=network.curvature.axes["alpha"],
            coarse_beta=network.curvature.axes["beta"],
        )
        for network in found
    ]
    files = [folder / f"{NAME}{suffix}" for suffix in (".png", ".svg")]
    with plots.paper():
        figure = plots.side_by_side(
            panels, labels=("random direction α", "random direction β"), remarks=_remarks(found)
        )
        for file in files:
            save(figure, file)
    return files


def _remarks(found: Sequence[NetworkPicture]) -> list[str]:
    """What the maps rest on, and what they cannot show."""
    images, curved = found[0].samples
    error = max(network.loss.error for network in found)
    known = f", interpolated to {number(100 * error, 2)} %" if error else ""
    return [
        f"Loss: on {images:,} of the images trained on{known}. Ratios: of the whole Hessian on {curved:,} of them, "
        "with the error of its eigenvalues.",
        f"One filter-normalized random plane around each network, a shadow of at least "
        f"{min(network.parameters for network in found):,} dimensions; another plane or seed has other numbers.",
    ]


def _note(network: NetworkPicture) -> str:
    accuracy = f"test accuracy {100 * network.quality['test']['accuracy']['value']:.0f} %"
    bent = network.nonconvexity
    return accuracy if bent is None else f"{accuracy}\nmean |λmin/λmax| {with_error(bent.ratio, bent.error)}"


def _as_json(network: NetworkPicture) -> dict[str, Any]:
    plane = network.plane
    return {
        "network": network.name,
        "skip": network.skip,
        "width": network.width,
        "parameters": network.parameters,
        "run": str(network.path),
        "training": network.training,
        "quality": network.quality,
        "plane": {
            "kind": plane.kind,
            "facts": dict(plane.facts),
            "lengths": plane.directions.norm(dim=0).tolist(),
            "limits": list(plane.limits),
        },
        "loss": _map(network.loss, network.samples[0]),
        "curvature": _map(network.curvature, network.samples[1]),
        "nonconvexity": None if network.nonconvexity is None else asdict(network.nonconvexity),
        "sharpness": network.sharpness,
        "seconds": network.seconds,
    }


def _map(found: Slice, samples: int) -> dict[str, Any]:
    return {
        "samples": samples,
        "evaluated": int(found.evaluated.sum()),
        "error": found.error,
        "note": found.note,
        "axes": {name: axis.tolist() for name, axis in found.axes.items()},
        "values": {name: values.tolist() for name, values in found.values.items()},
    }
