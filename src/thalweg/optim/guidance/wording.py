"""A task from a description in plain words."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from thalweg.optim.guidance.task import Task


class _Word(NamedTuple):
    pattern: str
    means: str
    fields: dict[str, Any]


def _kind(kind: str, pattern: str, means: str, **others: Any) -> _Word:
    return _Word(pattern, means, {"kind": kind} | others)


# In each group the first entry that is found decides; later groups have the last word.
_WORDS: tuple[tuple[_Word, ...], ...] = (
    (
        _kind(
            "pinn",
            r"pinns?|physics[- ]informed|partial differential|differential equations?|pdes?|odes?",
            "a physics-informed network, full-batch unless told otherwise",
            full_batch=True,
        ),
        _kind("recommender", r"recommend\w*|collaborative filtering|click[- ]through|ctr", "a recommender"),
        _kind("sparse", r"sparse|bag[- ]of[- ]words|word embeddings?", "sparse gradients"),
        _kind("vision", r"vits?|vision transformers?|swin", "vision with a transformer", transformer=True),
        _kind(
            "language",
            r"llms?|gpt\S*|bert\S*|llama\S*|language model\w*",
            "a language model, a transformer",
            transformer=True,
        ),
        _kind(
            "vision",
            r"vision|images?|imagenet|cifar\S*|mnist|digits|photos?|cnns?|conv\w*|resnets?\S*|segment\w*|"
            r"object detection",
            "vision",
        ),
        _kind("language", r"nlp|languages?|text|translat\w*|tokens?|summari[sz]\w*", "language"),
        _kind(
            "scientific",
            r"scientific|physics|inverse problems?|curve[- ]fit\w*|simulat\w*|surrogate",
            "scientific computing",
        ),
        _kind("tabular", r"tabular|tables?|spreadsheets?|materials|concrete|housing", "tabular data"),
    ),
    (
        _Word(r"transformers?", "a transformer", {"transformer": True}),
        _Word(r"rnns?|lstms?|grus?|recurrent", "a recurrent network", {"recurrent": True}),
    ),
    (
        _Word(
            r"fine[- ]?tun\w*|pre-?trained|transfer[- ]learn\w*|adapt(?:ing|ation)?",
            "from pretrained weights",
            {"pretrained": True},
        ),
        _Word(r"from scratch|pre-?train(?!ed)\w*", "from random weights", {"pretrained": False}),
    ),
    (
        _Word(
            r"(?:little|low|limited|less|small|tight|short of|not enough|out of|save|saving)[- ](?:gpu )?memory|"
            r"memory[- ](?:is )?(?:limited|bound|constrained|tight|short|scarce)|oom|small gpu",
            "the optimizer's state must be small",
            {"memory_limited": True},
        ),
    ),
    (
        _Word(r"full[- ]?batch|deterministic|all data at once", "full batches", {"full_batch": True}),
        _Word(r"mini-?batch(?:es)?|stochastic|streaming", "minibatches", {"full_batch": False}),
    ),
    (
        _Word(
            r"least[- ]squares|curve[- ]fit\w*|residuals?",
            "a sum of squared residuals",
            {"least_squares": True},
        ),
    ),
    (
        _Word(r"flat(?:ter|test)?(?: minim\w+)?|sharp\w*", "a flat minimum matters", {"goal": "flatness"}),
        _Word(
            r"(?:no|without|avoid\w*) (?:a |any |lr |learning[- ]rate )?(?:tuning|schedules?|hyper-?parameters?)|"
            r"hands[- ]off|schedule[- ]free|untuned",
            "nothing is to be tuned",
            {"goal": "no tuning"},
        ),
        _Word(
            r"generali[sz]\w*|test (?:error|accuracy|loss)|best accuracy|robust\w*",
            "the test error matters most",
            {"goal": "generalization"},
        ),
        _Word(
            r"fast\w*|speed\w*|quick\w*|wall[- ]?clock|fewer steps|time budget",
            "speed matters most",
            {"goal": "speed"},
        ),
    ),
)
_NOT = r"(?<!\w)(?:no|not|non|never|without|isn't|aren't)[\s-]+(?:a |an |any |very )?$"
_COUNTS = {
    "parameters": r"(?:parameters?|params?|weights)",
    "samples": r"(?:(?:training )?(?:samples?|examples?|images|rows|points|data points))",
}
_NUMBER = r"(\d[\d_,]*(?:\.\d+)?(?:e\d+)?)\s*(k|m|b|thousand|million|billion)?"
_SCALES = {"k": 3, "thousand": 3, "m": 6, "million": 6, "b": 9, "billion": 9}


def understand(text: str) -> tuple[Task, tuple[str, ...]]:
    """The task that `text` describes, and for each expression that was understood what it was taken to mean."""
    low = text.lower()
    fields: dict[str, Any] = {}
    understood: list[str] = []
    for group in _WORDS:
        for word in group:
            if (said := _found(word.pattern, low)) is None:
                continue
            if not word.fields.items() <= fields.items():
                # So "minibatches" outweighs what goes without saying for a kind.
                fields |= word.fields
                understood.append(f"“{said}”: {word.means}")
            break
    for name, count, said in _counted(low):
        fields[name] = count
        understood.append(f"“{said}”: {count:,} {name.replace('_', ' ')}")
    return Task(**fields), tuple(understood)


def _found(pattern: str, text: str) -> str | None:
    """The first place where the words stand that no negation precedes."""
    for match in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text):
        if not re.search(_NOT, text[: match.start()]):
            return match.group().strip()
    return None


def _counted(text: str) -> list[tuple[str, int, str]]:
    found: list[tuple[str, int, str]] = []
    batch = rf"batch(?:es)?(?:[- ]size)?\s*(?:of|=|:|is)?\s*{_NUMBER}(?!\w)"
    patterns = {name: rf"(?<![\w.]){_NUMBER}\s*{unit}(?!\w)" for name, unit in _COUNTS.items()}
    for name, pattern in ({"batch_size": batch} | patterns).items():
        if match := re.search(pattern, text):
            number, scale = re.sub("[,_]", "", match.group(1)), match.group(2)
            count = round(float(number) * 10 ** _SCALES.get(scale or "", 0))
            if count >= 1:
                found.append((name, count, match.group().strip()))
            # "Batches of 32 images" says nothing about how many images there are.
            text = text.replace(match.group(), " ")
    return found
