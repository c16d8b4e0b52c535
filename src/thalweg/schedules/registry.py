"""Schedules by name, the project's own and those of other packages."""

from __future__ import annotations

from thalweg.registry import Registry
from thalweg.schedules.schedule import Schedule

_registry: Registry[Schedule] = Registry("schedule", "thalweg.schedules")

register = _registry.register
get = _registry.get
names = _registry.names
