"""P11: growth of time with data, parameters and points; products of 10⁷ parameters and over data beyond memory."""

import math
import resource
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

import thalweg as tw
from benchmarks.row import Row

_GIB = 2**30


class Stream(Dataset[tuple[Tensor, Tensor]]):
    """Batches that are made when they are asked for, so that all of them together need never be held."""

    def __init__(self, batches: int, samples: int = 4096, features: int = 3072) -> None:
        self.batches = batches
        self.x = torch.randn(samples, features)
        self.y = torch.randint(0, 10, (samples,))

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x.roll(index, 0) + index / self.batches, self.y.roll(index)

    @property
    def bytes(self) -> int:
        """Of all batches."""
        return self.batches * self.x.nbytes


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    work()
    times: list[float] = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def exponent(sizes: list[float], times: list[float]) -> float:
    """The slope of log time over log size from the first to the last."""
    return math.log(times[-1] / times[0]) / math.log(sizes[-1] / sizes[0])


def mlp(width: int, samples: int) -> tw.Objective:
    model = nn.Sequential(
        nn.Linear(64, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10)
    )
    x, y = torch.randn(samples, 64), torch.randint(0, 10, (samples,))
    return tw.Objective(model, F.cross_entropy, list(zip(x.split(256), y.split(256), strict=True)))


def ten_products(objective: tw.Objective) -> Callable[[], None]:
    v = torch.randn(objective.size)

    def work() -> None:
        with objective.at() as here:
            for _ in range(10):
                here.hvp(v)

    return work


def measure() -> Iterator[Row]:
    torch.manual_seed(0)
    counts = [2_048, 8_192, 32_768]
    times = [seconds(ten_products(mlp(128, count))) for count in counts]
    yield Row(
        "P11", "exponent of a product's time in samples, 2,048 to 32,768", exponent(counts, times), 1.05
    )
    objectives = [mlp(width, 256) for width in (280, 960, 3_120)]
    sizes = [float(objective.size) for objective in objectives]
    times = [seconds(ten_products(objective)) for objective in objectives]
    yield Row("P11", "in parameters, 10⁵ to 10⁷ (256 samples)", exponent(sizes, times), 1.05)
    for size, objective, took in zip(sizes[1:], objectives[1:], times[1:], strict=True):
        gradient = seconds(objective.gradient)
        yield Row("P1", f"a product on {size:,.0f} parameters: s", took / 10, None)
        yield Row("P1", "the same in gradients", took / 10 / gradient, None)
    objective = mlp(128, 512)
    plane = tw.landscape.random_plane(objective)
    resolutions = [11, 21, 41]
    times = [seconds(lambda r=r: tw.landscape.evaluate(objective, plane, r), 1) for r in resolutions]
    points = [float(r * r) for r in resolutions]
    yield Row("P11", "of a slice's time in points, 121 to 1,681", exponent(points, times), 1.05)
    yield from beyond_memory()


def beyond_memory() -> Iterator[Row]:
    """A gradient and a product over more data than the machine has memory, one batch of it at a time."""
    data = Stream(640)
    model = nn.Sequential(nn.Linear(3072, 32), nn.Tanh(), nn.Linear(32, 10))
    loader = torch.utils.data.DataLoader(data, batch_size=None)
    objective = tw.Objective(model, F.cross_entropy, loader)
    v = torch.randn(objective.size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    objective.gradient()
    gradient = time.perf_counter() - begun
    begun = time.perf_counter()
    objective.hvp(v)
    product = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield Row("P1", f"a product over {data.bytes / _GIB:.0f} GiB of data: s", product, None)
    yield Row("P1", "the same in gradients", product / gradient, None)
    yield Row("P13", "memory that both added, GiB", (peak - before) * 1024 / _GIB, None)
