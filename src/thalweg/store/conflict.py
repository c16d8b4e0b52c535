"""Whether the run that is there is the run that is wanted."""

from __future__ import annotations

from thalweg.errors import RunConflict
from thalweg.store.database import Database
from thalweg.store.encoding import JSON, encode


def refuse_another(database: Database, kind: str, settings: dict[str, JSON]) -> None:
    """Raise RunConflict, naming the differences, unless `database` holds a run of `kind` and `settings`."""
    changes = _changes({"kind": database.meta("kind")}, {"kind": kind})
    if not changes:
        changes = _changes(database.meta("settings"), settings)
    if changes:
        raise RunConflict(
            f"{database.folder} holds another run ({', '.join(changes)}): "
            "choose another --out, or delete the folder"
        )


def _flat(settings: dict[str, JSON]) -> dict[str, JSON]:
    """Settings that are groups of settings, one by one."""
    flat: dict[str, JSON] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": entry for inner, entry in value.items()}
        else:
            flat[key] = value
    return flat


def _changes(old: dict[str, JSON], new: dict[str, JSON]) -> list[str]:
    old, new = _flat(old), _flat(new)

    def shown(settings: dict[str, JSON], key: str) -> str:
        return encode(settings[key], key) if key in settings else "not set"

    def told(key: str) -> str:
        before, now = shown(old, key), shown(new, key)
        # A digest says nothing to a reader but that it is another.
        return f"other {key}" if max(len(before), len(now)) > 60 else f"{key} was {before}, now {now}"

    return [
        told(key)
        for key in {**old, **new}
        # By their text too, since NaN differs from itself.
        if key not in old or key not in new or (old[key] != new[key] and shown(old, key) != shown(new, key))
    ]
