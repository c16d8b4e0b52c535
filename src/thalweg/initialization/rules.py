"""Which values each parameter of a model is given, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage] - the public ones' base
from torch.nn.utils.parametrize import ParametrizationList

from thalweg.initialization.draw import block_shape
from thalweg.initialization.fans import CONVOLUTIONS, Fans, gate_count, module_fans
from thalweg.initialization.gains import family, gain
from thalweg.initialization.reading import Facts, Reading
from thalweg.numbers import number

Scheme: TypeAlias = Literal["auto", "xavier", "he", "orthogonal", "residual"]
Drawn: TypeAlias = Literal["xavier", "he", "lecun", "orthogonal", "normal", "zero", "one", "left"]

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


@dataclass(frozen=True)
class Rule:
    """What a parameter is given: `scheme`, with `gain` and deviation `std`, and the reason in words.

    blocks: equal parts along dimension 0 that are matrices of their own; stacked: the parameter is a stack of that
    many matrices. zeros: a row that stays zero (padding).
    ones: rows that are one in a parameter that is otherwise zero (forget gates).
    """

    scheme: Drawn
    reason: str
    gain: float = 1.0
    std: float = 0.0
    blocks: int = 1
    stacked: bool = False
    zeros: int | None = None
    ones: tuple[int, int] | None = None


def rules(model: nn.Module, scheme: Scheme, reading: Reading) -> dict[str, Rule]:
    """The rule for each parameter of `model` by name; a shared one has one rule, under its first name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    owners: dict[str, list[tuple[nn.Module, str]]] = {name: [] for name in names.values()}
    for module in model.modules():
        for attribute, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            owners[names[id(parameter)]].append((module, attribute))
    tied = _tied_widths(owners, model, reading)
    found: dict[str, Rule] = {}
    for name, parameter in model.named_parameters():
        rule = _rule(name, parameter, owners[name], reading.facts.get(name, Facts()), scheme, tied)
        if rule.scheme == "orthogonal":
            # The entries of an orthonormal row of n have mean square 1/n.
            matrix = parameter.flatten(0, -2) if rule.stacked else parameter
            rule = replace(rule, std=rule.gain / math.sqrt(max(block_shape(matrix, rule.blocks))))
        found[name] = rule
    return found


def _rule(
    name: str,
    parameter: nn.Parameter,
    owners: list[tuple[nn.Module, str]],
    facts: Facts,
    scheme: Scheme,
    tied: set[int],
) -> Rule:
    if not parameter.requires_grad:
        return Rule("left", "frozen (requires_grad is False)")
    if not parameter.is_floating_point():
        return Rule("left", f"its entries are {parameter.dtype}, not real floating-point numbers")
    shared = len(owners) > 1
    for module, attribute in _embeddings_first(owners):
        found = _of_module(module, attribute, parameter, facts, scheme, tied)
        if found is not None:
            return (
                replace(found, reason=f"{found.reason}; shared by {len(owners)} modules") if shared else found
            )
    if facts.matrix is not None and facts.multiplied and parameter.dim() > 1:
        inputs, outputs = facts.matrix
        stacked = parameter.dim() > 2 and not facts.convolution
        fans = Fans(inputs, outputs, parameter[..., 0, 0].numel() if stacked else 1)
        return replace(weight_rule(scheme, fans, facts), stacked=stacked)
    if parameter.dim() == 1 and name.rsplit(".", 1)[-1].startswith("bias"):
        return Rule("zero", "bias")
    return Rule("left", "not seen as the weight of a layer")


def _of_module(
    module: nn.Module, attribute: str, parameter: Tensor, facts: Facts, scheme: Scheme, tied: set[int]
) -> Rule | None:
    if isinstance(module, ParametrizationList):
        return Rule("left", "the weight is computed from it by a parametrization")
    if isinstance(module, _NORMS) or "Norm" in type(module).__name__:
        if attribute in ("weight", "bias") and parameter.dim() <= 1:
            return Rule(
                *(
                    ("one", "scale of a normalization")
                    if attribute == "weight"
                    else ("zero", "shift of a normalization")
                )
            )
        return None
    if isinstance(module, _EMBEDDINGS):
        return _embedding(module, facts, tied)
    gates = gate_count(module)
    if gates and attribute.startswith("bias_"):
        size = parameter.shape[0] // gates
        if gates == 4 and attribute.startswith("bias_ih"):
            reason = "biases of the gates; 1 for the forget gate, so that memory is kept at first"
            return Rule("zero", reason, ones=(size, 2 * size))
        return Rule("zero", "biases of the gates" if gates > 1 else "bias")
    fans = module_fans(module, attribute, parameter)
    if fans is None:
        plain = isinstance(module, (nn.Linear, nn.Bilinear, nn.MultiheadAttention, *CONVOLUTIONS))
        return Rule("zero", "bias") if plain and attribute in ("bias", "in_proj_bias") else None
    if gates:
        return _recurrent(attribute, fans, scheme)
    if facts.packed > 1 and fans.blocks == 1:
        fans = Fans(fans.inputs, fans.outputs / facts.packed, facts.packed)
    return weight_rule(scheme, fans, facts)


def weight_rule(scheme: Scheme, fans: Fans, facts: Facts) -> Rule:
    """The rule for the weight of a layer with these fans, by what was seen of it."""
    if scheme == "xavier":
        return _scaled("xavier", 1.0, fans, "Xavier for every layer, as asked")
    if scheme == "he":
        slope = facts.slope if facts.activation == "leaky_relu" else 0.0
        return _scaled("he", gain("leaky_relu", slope), fans, "He for every layer, as asked")
    follows = f"{facts.activation} follows" + (" a normalization" if facts.normalized else "")
    factor = gain(facts.activation, facts.slope)
    if scheme == "orthogonal":
        return _scaled("orthogonal", factor, fans, f"orthogonal, as asked; {follows}")
    kind = family(facts.activation)
    if not facts.branches:
        return _scaled(kind, factor, fans, f"{follows}{_packing(fans)}")
    # On fan-in alone a branch adds what the stream holds, times the square of the factor below, at every width.
    kind = "lecun" if kind == "xavier" else kind
    if facts.rescaled:
        reason = f"{follows}; end of a residual branch, left in size because a normalization follows"
        return _scaled(kind, factor, fans, reason)
    wanted = facts.branches**-0.5
    shrink = min(1.0, wanted / facts.branch_scale)
    end = "end of the one residual branch on its stream"
    if facts.branches > 1:
        end = f"end of one of {facts.branches} residual branches on its stream: × 1/√{facts.branches}"
    own = (
        ""
        if facts.branch_scale == 1
        else f", of which the model itself applies {number(facts.branch_scale, 3)}"
    )
    return _scaled(kind, factor * shrink, fans, f"{follows}; {end}{own}")


def _scaled(scheme: Drawn, factor: float, fans: Fans, reason: str) -> Rule:
    fan = (fans.inputs + fans.outputs) / 2 if scheme == "xavier" else fans.inputs
    std = factor / math.sqrt(fan)
    return Rule(scheme, reason, factor, std, fans.blocks)


def _recurrent(attribute: str, fans: Fans, scheme: Scheme) -> Rule:
    """Gates are Xavier; what carries the state from step to step is orthogonal, so that it is kept (Saxe 2014)."""
    gates = f", each of {fans.blocks} gates" if fans.blocks > 1 else ""
    carries = attribute.startswith("weight_hh")
    if scheme == "orthogonal" or (carries and scheme in ("auto", "residual")):
        reason = f"{'carries the state from step to step' if carries else 'orthogonal, as asked'}{gates}"
        return _scaled("orthogonal", 1.0, fans, reason)
    if scheme == "he":
        return _scaled("he", gain("relu"), fans, f"He for every layer, as asked{gates}")
    return _scaled("xavier", 1.0, fans, f"reads the input of a recurrent layer{gates}")


def _embedding(module: nn.Embedding | nn.EmbeddingBag, facts: Facts, tied: set[int]) -> Rule:
    width = module.embedding_dim
    if width in tied:
        std = width**-0.5
        reason = "embedding of the width of one that is tied to a head: 1/√width keeps the head's outputs of order one"
    else:
        std, reason = 1.0, "embedding: entries of order one"
    return Rule("normal", reason, std=std, zeros=module.padding_idx)


def _tied_widths(
    owners: dict[str, list[tuple[nn.Module, str]]], model: nn.Module, reading: Reading
) -> set[int]:
    """Widths of the embeddings whose weight is also a factor: embeddings that are summed must be of one size."""
    found: set[int] = set()
    for name, parameter in model.named_parameters():
        embedded = {isinstance(module, _EMBEDDINGS) for module, _ in owners[name]}
        facts = reading.facts.get(name, Facts())
        if len(embedded) == 2 or (True in embedded and facts.lookup and facts.multiplied):
            found.add(parameter.shape[1])
    return found


def _embeddings_first(owners: list[tuple[nn.Module, str]]) -> Iterator[tuple[nn.Module, str]]:
    yield from sorted(owners, key=lambda owner: not isinstance(owner[0], _EMBEDDINGS))


def _packing(fans: Fans) -> str:
    return f"; {fans.blocks} packed projections" if fans.blocks > 1 else ""
