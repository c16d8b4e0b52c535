"""Whether the run that is there is the run that is wanted."""

from __future__ import annotations

from thalweg.errors import RunConflict
from thalweg.store.database import Database
from thalweg.store.encoding import JSON, encode


def refuse_another(database: Database, kind: str, settings: dict[str, JSON]) -> None:
    """Raise RunConflict, naming every difference, unless `database` holds a run of `kind` and `settings`."""
    changes = _changes({"kind": database.meta("kind")}, {"kind": kind})
    changes += _changes(database.meta("settings"), settings)
    if changes:
        raise RunConflict(
            f"{database.folder} holds another run ({', '.join(changes)}): "
            "choose another --out, or delete the folder"
        )


def _changes(old: dict[str, JSON], new: dict[str, JSON]) -> list[str]:
    def shown(settings: dict[str, JSON], key: str) -> str:
        return encode(settings[key], key) if key in settings else "not set"

    return [
        f"{key} was {shown(old, key)}, now {shown(new, key)}"
        for key in {**old, **new}
        # By their text too, since NaN differs from itself.
        if key not in old or key not in new or (old[key] != new[key] and shown(old, key) != shown(new, key))
    ]
