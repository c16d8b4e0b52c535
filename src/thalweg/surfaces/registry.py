"""Surfaces by name, the project's own and those of other packages."""

from __future__ import annotations

from thalweg.registry import Registry
from thalweg.surfaces.surface import Surface

_registry: Registry[Surface] = Registry("surface", "thalweg.surfaces")

register = _registry.register
get = _registry.get
names = _registry.names
