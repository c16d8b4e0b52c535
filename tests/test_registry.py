from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from thalweg import registry
from thalweg.errors import InvalidArgument, UnknownName
from thalweg.registry import Registry


def bowl(dim: int = 2, *, steep: float = 1.0) -> tuple[int, float]:
    return dim, steep


@pytest.fixture
def surfaces() -> Registry[tuple[int, float]]:
    made: Registry[tuple[int, float]] = Registry("surface", "thalweg.test_surfaces")
    made.register("bowl", bowl)
    made.register("rosenbrock", lambda: (2, 100.0))
    return made


def test_builds_by_name(surfaces):
    assert surfaces.get("bowl", dim=3, steep=2.0) == (3, 2.0)
    assert surfaces.names() == ["bowl", "rosenbrock"]


def test_unknown_name_lists_the_nearest(surfaces):
    with pytest.raises(UnknownName, match=r"unknown surface 'rosenbruck': did you mean rosenbrock\?"):
        surfaces.get("rosenbruck")
    with pytest.raises(KeyError, match="known: bowl, rosenbrock"):
        surfaces.get("xyzzy")


def test_bad_parameter_names_the_accepted_ones(surfaces):
    with pytest.raises(InvalidArgument, match=r"surface 'bowl': .*'depth'; it takes dim, steep"):
        surfaces.get("bowl", depth=3)
    with pytest.raises(InvalidArgument, match="it takes no parameters"):
        surfaces.get("rosenbrock", dim=3)


def test_an_error_inside_the_factory_is_not_disguised(surfaces):
    def broken() -> tuple[int, float]:
        raise TypeError("inside")

    surfaces.register("broken", broken)
    with pytest.raises(TypeError, match=r"^inside$"):
        surfaces.get("broken")


def test_a_name_belongs_to_one_factory(surfaces):
    surfaces.register("bowl", bowl)
    with pytest.raises(InvalidArgument, match="already registered"):
        surfaces.register("bowl", lambda: (1, 1.0))
    with pytest.raises(InvalidArgument, match="must not be empty"):
        surfaces.register("", bowl)


def test_entry_points_are_loaded_when_asked_for(surfaces, monkeypatch):
    points = [
        EntryPoint("fraction", "fractions:Fraction", "thalweg.test_surfaces"),
        EntryPoint("absent", "no_such_module:f", "thalweg.test_surfaces"),
    ]

    def offered(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [p for p in points if p.group == group and name in (None, p.name)]

    monkeypatch.setattr(registry, "entry_points", offered)
    assert surfaces.names() == ["absent", "bowl", "fraction", "rosenbrock"]
    assert surfaces.get("fraction", numerator=3) == 3
