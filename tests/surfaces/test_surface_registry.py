from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import torch

from thalweg import registry, surfaces
from thalweg.errors import InvalidArgument, UnknownName
from thalweg.surfaces import Surface


@pytest.fixture
def restored(monkeypatch):
    monkeypatch.setattr(
        surfaces.registry._registry, "_factories", dict(surfaces.registry._registry._factories)
    )


@pytest.mark.usefixtures("restored")
def test_registering_takes_one_line():
    surfaces.register("bowl", lambda steep=1.0: Surface("bowl", lambda x: steep * (x**2).sum(0), [1.0, 2.0]))
    assert float(surfaces.get("bowl", steep=3.0).loss()) == 15.0
    assert "bowl" in surfaces.names()


def test_every_factory_is_registered_under_its_name():
    for name in surfaces.names():
        surface = surfaces.get(name)
        assert surface.name == name
        assert getattr(surfaces, name)().fingerprint() == surface.fingerprint()
        assert surface.equation
        assert surface.source
        assert surface.description.endswith(".")
        assert surface.description.count(". ") == 0


def test_unknown_name():
    with pytest.raises(UnknownName, match=r"unknown surface 'rosenbrok': did you mean rosenbrock\?"):
        surfaces.get("rosenbrok")


def test_unknown_parameter():
    with pytest.raises(
        InvalidArgument, match=r"surface 'quadratic'.*'kappa'; it takes condition_number, dim"
    ):
        surfaces.get("quadratic", kappa=3)


def test_invalid_value_is_one_line():
    with pytest.raises(InvalidArgument) as raised:
        surfaces.get("quadratic", condition_number=-3)
    assert str(raised.value) == "condition_number must be a finite number at least 1, got -3"


def test_a_taken_name_is_refused():
    with pytest.raises(InvalidArgument, match="surface 'booth' is already registered"):
        surfaces.register("booth", surfaces.beale)


def test_entry_points_of_other_packages(monkeypatch):
    point = EntryPoint("ridge", "thalweg.surfaces:ravine", "thalweg.surfaces")

    def offered(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [point] if group == point.group and name in (None, point.name) else []

    monkeypatch.setattr(registry, "entry_points", offered)
    assert "ridge" in surfaces.names()
    assert surfaces.get("ridge", steepness=4.0).loss(torch.zeros(2, dtype=torch.float64)) == 0.0
