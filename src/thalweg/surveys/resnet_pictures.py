"""ResNets with and without skip connections, of several widths: each trained, then drawn in a plane of its own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from thalweg import checks
from thalweg.curvature import sharpness
from thalweg.errors import InvalidArgument
from thalweg.landscape import NonConvexity, Plane, Slice, evaluate, nonconvexity, random_plane
from thalweg.landscape.nonconvexity import convexity_ratios
from thalweg.landscape.pointwise import CURVATURES
from thalweg.objective import Objective
from thalweg.problems import Problem, ResNet, Training, resnet
from thalweg.schedules import cosine
from thalweg.store import Run
from thalweg.surveys.minibatches import batches_per_epoch
from thalweg.surveys.provenance import introduce
from thalweg.surveys.subject import Subject, make_subject
from thalweg.surveys.survey import Progress
from thalweg.surveys.target import Target
from thalweg.surveys.training import restore, train


@dataclass(frozen=True)
class ResNetPictureSettings:
    """Which networks are trained, how, and how closely the landscape around each is looked at.

    depth: 6k + 2. skips: whether there are skip connections, for each variant. widths: factors on the filters.
    epochs, lr, samples: of the training, on the first so many images, by momentum 0.9 with weight decay 5·10⁻⁴ in
        batches of 128, the rate falling from `lr` to zero along a cosine.
    resolution, span, rtol: of the map of the loss, as `evaluate` takes them; slice_samples: the training images that
        it is the mean loss of.
    curvature_resolution: points along each axis at which the whole Hessian's λmax and λmin are found, on
        curvature_samples of the training images. Of images there are at most those that were trained on.
    seed: of the initial weights, the order of the batches and the directions.

    Raises InvalidArgument for a value out of range.
    """

    depth: int = 20
    skips: tuple[bool, ...] = (True, False)
    widths: tuple[float, ...] = (1.0,)
    epochs: int = 30
    lr: float = 0.1
    samples: int = 4000
    slice_samples: int = 512
    curvature_samples: int = 128
    resolution: int = 41
    span: float = 1.0
    rtol: float = 0.03
    curvature_resolution: int = 7
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "epochs": 1,
            "samples": 1,
            "slice_samples": 1,
            "curvature_samples": 1,
            "resolution": 3,
            "curvature_resolution": 3,
            "seed": 0,
        }
        for name, smallest in least.items():
            checks.whole(name, getattr(self, name), smallest)
        for name in ("lr", "span"):
            checks.positive(name, getattr(self, name))
        checks.not_negative("rtol", self.rtol)
        for name in ("skips", "widths"):
            if not getattr(self, name) or len(set(getattr(self, name))) < len(getattr(self, name)):
                raise InvalidArgument(
                    f"{name} must be different values, at least one, got {getattr(self, name)}"
                )
        for width in self.widths:
            checks.positive("width", width)
            with torch.device("meta"):
                ResNet(self.depth, width=width)


@dataclass(frozen=True)
class NetworkPicture:
    """One network and what surrounds it.

    name: "width 1, no skip connections". path: its run folder, which `Checkpoints` and other commands can read.
    training: how it was trained. quality: loss and accuracy on "train" and "test" data, each with `value` and `stderr`.
    loss: the map of the loss. curvature: the map of `CURVATURES`, in the same plane. samples: what each of the two is
        the mean of.
    nonconvexity: of `curvature`. sharpness: "adaptive_volume" of the loss that `curvature` is of, as numbers. Either is
        None where it cannot be measured. seconds: that each result of the run took.
    """

    name: str
    skip: bool
    width: float
    path: Path
    parameters: int
    training: dict[str, Any]
    quality: dict[str, Any]
    loss: Slice
    curvature: Slice
    samples: tuple[int, int]
    nonconvexity: NonConvexity | None
    sharpness: dict[str, Any] | None
    seconds: dict[str, float]

    @property
    def plane(self) -> Plane:
        """The plane of both maps."""
        return self.loss.plane

    @property
    def ratios(self) -> NDArray[np.float64]:
        """abs(λmin/λmax) (c, c) at the points of `curvature`, 0 where λmin is not negative, NaN where unknown."""
        largest, smallest = (self.curvature.values[name] for name in CURVATURES[:2])
        return convexity_ratios(largest, smallest)


def resnet_pictures(
    settings: ResNetPictureSettings,
    data: str | Path | None = None,
    out: str | Path = "runs/resnet-pictures",
    *,
    workers: int = 1,
    progress: Progress | None = None,
    command: str | None = None,
) -> list[NetworkPicture]:
    """Train and draw every network of `settings`, each into a run folder of its own in the folder `out`.

    The filter-normalized directions of all networks come from one seed. Batch-norm statistics stay those of training.
    The same call continues an interrupted one: epochs that are done, and points that are in the folder, also of other
    resolutions and spans, are not computed again.

    Parameters
    ----------
    data: where the images are, as `cifar_images` takes it. workers: processes that evaluate points side by side.
    command: what to name as the way to make the runs again.

    Raises
    ------
    MissingData: there are no images. InvalidArgument: there are fewer than asked for.
    RunConflict: a folder holds a network that was trained in another way, or is being written.

    Source: H. Li et al.: Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, sections 5 and 6.
    """
    found: list[NetworkPicture] = []
    for width in settings.widths:
        for skip in settings.skips:
            problem = resnet(settings.depth, width, skip=skip, path=data, samples=settings.samples)
            drawing = _Drawing(settings, problem, skip, width, workers, progress)
            found.append(drawing.drawn(Path(out), command))
    return found


def network_name(skip: bool, width: float) -> str:
    """ "width 1, with skip connections"."""
    return f"width {width:g}, {'with' if skip else 'no'} skip connections"


@dataclass(frozen=True)
class _Drawing:
    settings: ResNetPictureSettings
    problem: Problem
    skip: bool
    width: float
    workers: int
    progress: Progress | None

    def drawn(self, out: Path, command: str | None) -> NetworkPicture:
        settings = self.settings
        training = Training(
            "momentum",
            lr=settings.lr,
            momentum=0.9,
            weight_decay=5e-4,
            batch_size=128,
            epochs=settings.epochs,
        )
        target = Target(self.problem.name, "problem", problem=self.problem)
        subject = make_subject(target, seed=settings.seed, training=training)
        steps = settings.epochs * batches_per_epoch(self.problem.train, training.batch_size)
        schedule = cosine(settings.lr, steps)
        folder = out / f"{'skip' if self.skip else 'no-skip'}-width{self.width:g}"
        identity = subject.identity() | {
            "depth": settings.depth,
            "width": self.width,
            "skip": self.skip,
            "schedule": repr(schedule),
            "seed": settings.seed,
            "torch": str(torch.__version__),
        }
        with Run.open(folder, kind="pictures", settings=identity) as run:
            introduce(run, subject, settings.seed, command)
            self._train(run, subject, training, schedule)
            return self._look(run, subject)

    def _train(self, run: Run, subject: Subject, training: Training, schedule: cosine) -> None:
        model = subject.model
        assert model is not None
        self._stage("training")
        if run.result("training") is not None:
            restore(run, model)
        else:
            begun = time.perf_counter()
            # What the test data say is wanted once, not after each epoch.
            problem = dataclasses.replace(self.problem, test=None)
            how = train(
                problem,
                model,
                run,
                training,
                seed=self.settings.seed,
                schedule=schedule,
                advance=self._advance,
            )
            run.put_result("training", how, time.perf_counter() - begun)
        if run.result("quality") is None:
            quality: dict[str, Any] = {}
            for name, objective in (("train", subject.objective), ("test", subject.test)):
                assert isinstance(objective, Objective)
                measured = objective.at().measure(subject.metrics)
                quality[name] = {key: asdict(value) for key, value in measured.items()}
            run.put_result("quality", quality)

    def _look(self, run: Run, subject: Subject) -> NetworkPicture:
        settings = self.settings
        of_loss = self._objective(subject, settings.slice_samples)
        of_curvature = self._objective(subject, settings.curvature_samples)
        plane = random_plane(of_loss, "filter", settings.seed)
        run.put_tensors("plane", {"center": plane.center, "directions": plane.directions.contiguous()})
        loss = self._slice(run, of_loss, plane, "loss", ("loss",), settings.resolution, settings.rtol)
        curvature = self._slice(
            run, of_curvature, plane, "curvature", CURVATURES, settings.curvature_resolution, 0.0
        )
        results: Any = run.results()
        return NetworkPicture(
            network_name(self.skip, self.width),
            self.skip,
            self.width,
            run.path,
            of_loss.size,
            results["training"],
            results["quality"],
            loss,
            curvature,
            (of_loss.samples, of_curvature.samples),
            _nonconvexity(curvature),
            self._sharpness(run, of_curvature),
            {name: taken for name, taken in run.seconds().items() if taken},
        )

    def _objective(self, subject: Subject, samples: int) -> Objective:
        """The loss on the first images that were trained on, at the weights that training ended with."""
        part = tuple(tensor[:samples] for tensor in self.problem.train)
        return dataclasses.replace(self.problem, train=part).train_objective(subject.model)

    def _slice(
        self,
        run: Run,
        objective: Objective,
        plane: Plane,
        name: str,
        metrics: Sequence[str],
        resolution: int,
        rtol: float,
    ) -> Slice:
        self._stage(f"map of the {name}")
        # Points of other samples are of another function.
        grid = f"{name}-{objective.samples}"
        begun = time.perf_counter()
        found = evaluate(
            objective,
            plane,
            resolution,
            self.settings.span,
            rtol,
            metrics,
            run=run,
            grid=grid,
            workers=self.workers,
            progress=self._advance,
        )
        described = found.attributes() | {
            "axes": {axis: values.tolist() for axis, values in found.axes.items()},
            "metrics": list(metrics),
            "samples": objective.samples,
        }
        taken = time.perf_counter() - begun
        run.put_result(f"slice.{grid}", described, run.seconds().get(f"slice.{grid}", 0.0) + taken)
        return found

    def _sharpness(self, run: Run, objective: Objective) -> dict[str, Any] | None:
        self._stage("sharpness")
        key = f"sharpness-{objective.samples}"
        if key not in run.results():
            begun = time.perf_counter()
            try:
                found = asdict(sharpness(objective, "adaptive_volume", seed=self.settings.seed))
            except InvalidArgument as error:
                # A network that learnt nothing can be flat as far as noise reaches.
                run.note(f"no sharpness: {error}")
                found = None
            run.put_result(key, found, time.perf_counter() - begun)
        held: Any = run.result(key)
        return held

    def _stage(self, label: str) -> None:
        if self.progress is not None:
            self.progress.stage(f"{'' if self.skip else 'no '}skip, width {self.width:g}: {label}")

    @property
    def _advance(self) -> Any:
        return None if self.progress is None else self.progress.advance


def _nonconvexity(found: Slice) -> NonConvexity | None:
    try:
        return nonconvexity(found)
    except InvalidArgument:
        return None
