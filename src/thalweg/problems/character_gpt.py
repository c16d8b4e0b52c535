"""A small decoder-only transformer that predicts the next character of a text."""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

from thalweg.errors import InvalidArgument
from thalweg.problems.data_file import find_data_file
from thalweg.problems.problem import Problem, Training


class CausalSelfAttention(nn.Module):
    """Multi-head attention of each position to itself and those before it, (b, t, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """What each position gathers, (b, t, width)."""
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.query_key_value(x).chunk(3, dim=-1)
        )
        gathered = scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.output(gathered.transpose(1, 2).flatten(-2))


class TransformerBlock(nn.Module):
    """Attention, then a two-layer perceptron, each on the normalized input and added to it (pre-norm)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalSelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The residual stream after this block, (b, t, width)."""
        x = x + self.attention(self.norm1(x))
        return x + self.contract(gelu(self.expand(self.norm2(x))))


class CharacterGPT(nn.Module):
    """A GPT over characters: indices (b, t), t ≤ context, to logits (b, t, vocabulary).

    Learned positions, pre-norm blocks, a final normalization; with `tied` the head is the embedding
    itself, one parameter. Weights are drawn as in GPT-2: deviation 0.02, and 0.02 / √(2·layers) for the
    two matrices of a block that write to the residual stream. Raises InvalidArgument when `heads` does not
    divide `width` or a size is not positive, and for sequences longer than `context`.

    References: A. Radford et al.: Language Models are Unsupervised Multitask Learners, 2019.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        layers: int = 4,
        width: int = 128,
        heads: int = 4,
        context: int = 64,
        tied: bool = True,
    ) -> None:
        sizes = {
            "vocabulary": vocabulary,
            "layers": layers,
            "width": width,
            "heads": heads,
            "context": context,
        }
        for name, size in sizes.items():
            if size < 1:
                raise InvalidArgument(f"{name} must be at least 1, got {size}")
        if width % heads:
            raise InvalidArgument(f"heads must divide width, got {heads} heads and width {width}")
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        self._initialize(layers)

    def forward(self, indices: Tensor) -> Tensor:
        """Logits (b, t, vocabulary) of the character after each position."""
        length = indices.shape[-1]
        if length > self.context:
            raise InvalidArgument(f"indices: at most {self.context} characters of context, got {length}")
        x = self.embedding(indices) + self.positions.weight[:length]
        return self.head(self.norm(self.blocks(x)))

    def _initialize(self, layers: int) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                writes = name.endswith(("attention.output.weight", "contract.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if writes else 0.02)


def next_character_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats per character of logits (b, t, vocabulary) against targets (b, t)."""
    return cross_entropy(logits.flatten(0, -2), targets.flatten())


def encode(text: str) -> tuple[Tensor, str]:
    """The text as indices (length,), int64, into its own sorted characters, and these characters."""
    characters = "".join(sorted(set(text)))
    index = {character: number for number, character in enumerate(characters)}
    return torch.tensor([index[character] for character in text], dtype=torch.int64), characters


def character_gpt(
    layers: int = 4,
    width: int = 128,
    heads: int = 4,
    context: int = 64,
    *,
    tied: bool = True,
    text: str | None = None,
    path: str | os.PathLike[str] | None = None,
    samples: int | None = None,
    test_samples: int | None = None,
) -> Problem:
    """Next-character prediction by a small GPT; cross-entropy in nats per character.

    The text is `text`, or else the UTF-8 file `path` (or tinyshakespeare.txt in that folder), or else
    tinyshakespeare.txt in the folder THALWEG_DATA. Its first 90 % are for training, the rest for test,
    each cut into windows that do not overlap: x and y are int64 of shape (n, context), y one character
    ahead. `samples` and `test_samples` keep so many windows, evenly spread. Raises MissingData when no
    text is found and InvalidArgument when it is too short.
    """
    if text is None:
        file = find_data_file(
            "tinyshakespeare.txt",
            path,
            content="1.1 MB of plain text",
            remedy="Get it from https://github.com/karpathy/char-rnn (data/tinyshakespeare/input.txt), "
            "or pass text= for a text of your own.",
        )
        text = file.read_text(encoding="utf-8")
    indices, characters = encode(text)
    boundary = len(indices) * 9 // 10
    return Problem(
        name="character_gpt",
        model=lambda: CharacterGPT(
            len(characters), layers=layers, width=width, heads=heads, context=context, tied=tied
        ),
        loss_fn=next_character_loss,
        train=_windows(indices[:boundary], context, samples, "samples"),
        test=_windows(indices[boundary:], context, test_samples, "test_samples"),
        training=Training("adamw", lr=1e-3, weight_decay=0.1, batch_size=64, epochs=5),
        metrics=("loss",),
        description=f"next of {len(characters)} characters, GPT of {layers} layers and width {width}",
        source="A. Radford et al. 2019; A. Karpathy: char-rnn, 2015",
    )


def _windows(indices: Tensor, context: int, count: int | None, argument: str) -> tuple[Tensor, Tensor]:
    available = (len(indices) - 1) // context
    if available < 1:
        raise InvalidArgument(
            f"text: each part needs more than context = {context} characters, got {len(indices)}"
        )
    if count is not None and not 1 <= count <= available:
        raise InvalidArgument(f"{argument} must be between 1 and {available}, got {count}")
    x = indices[: available * context].view(available, context)
    y = indices[1 : available * context + 1].view(available, context)
    kept = torch.arange(count or available) * available // (count or available)
    return x[kept], y[kept]
