"""The page itself: data in, HTML out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from thalweg.numbers import seconds
from thalweg.report.data import STAGES, finite
from thalweg.report.equation import equation_image
from thalweg.report.exhibit import text_of
from thalweg.report.exhibits import draw
from thalweg.report.highlights import curvature_summary, tiles
from thalweg.report.reproduce import code
from thalweg.report.table import groups


def render(data: dict[str, Any]) -> str:
    """The report of what `collect` gathered, as one HTML page that loads nothing and runs nothing.

    `data` itself is in the page too, as strict JSON in the inert element with the id "thalweg-data".
    """
    results = data["results"]
    target, provenance = results.get("target") or {}, results.get("provenance") or {}
    verdict = results.get("verdict") or {}
    exhibits = draw(data)
    equation = target.get("equation")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html").render(
        name=target.get("name") or data["run"]["name"],
        description=target.get("description"),
        equation=equation,
        equation_image=equation_image(equation) if equation else None,
        sentence=verdict.get("sentence"),
        findings=verdict.get("findings") or [],
        tiles=tiles(results),
        exhibits=exhibits,
        classification=(results.get("classification") or {}).get("text"),
        curvature=curvature_summary(results),
        groups=groups(data),
        blocks=_blocks(target),
        missing=data["missing"] + exhibits.failed,
        making=_making(data, target, provenance),
        durations=[
            (STAGES.get(name, name), seconds(spent))
            for name, spent in data["seconds"].items()
            if spent >= 0.01
        ],
        total=seconds(math.fsum(data["seconds"].values())),
        notes=[*target.get("notes", []), *data["notes"]],
        code=code(data),
        data=_inert(data),
    )


def _blocks(target: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (
            block["name"],
            " × ".join(map(str, block["shape"])) or "one number",
            f"{math.prod(block['shape']):,}",
            block.get("kind", ""),
        )
        for block in target.get("blocks") or []
    ]


def _making(
    data: dict[str, Any], target: dict[str, Any], provenance: dict[str, Any]
) -> list[tuple[str, str]]:
    run = data["run"]
    training = data["results"].get("training") or {}
    settings = provenance.get("settings") or run["settings"]
    rows: list[tuple[str, Any]] = [
        ("command", provenance.get("command")),
        ("made", provenance.get("created") or run["created"]),
        ("seed", provenance.get("seed")),
        ("objective", provenance.get("objective")),
        ("source", target.get("source")),
        ("point", training.get("source")),
        ("training", {key: value for key, value in training.items() if key != "source"} or None),
        ("batch normalization", target.get("batchnorm")),
        ("precision, device", " on ".join(filter(None, (target.get("dtype"), target.get("device")))) or None),
        ("threads", provenance.get("threads")),
        ("versions", provenance.get("versions")),
        ("settings", settings),
    ]
    return [(name, text_of(value)) for name, value in rows if value is not None]


def _inert(data: dict[str, Any]) -> Markup:
    text = json.dumps(finite(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
