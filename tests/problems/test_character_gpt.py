from __future__ import annotations

import math
import random

import pytest
import torch

from thalweg import problems
from thalweg.errors import InvalidArgument, MissingData
from thalweg.problems import CharacterGPT
from thalweg.problems.character_gpt import encode, next_character_loss

ALPHABET = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,;:!?-'\n&3$"
TEXT = "".join(random.Random(0).choices(ALPHABET, k=4000))


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_encode_is_invertible():
    indices, characters = encode("banana\nbread")
    assert characters == "\nabdenr"
    assert "".join(characters[i] for i in indices) == "banana\nbread"


def test_windows_are_consecutive_and_targets_one_ahead():
    problem = problems.character_gpt(context=16, text=TEXT)
    indices, _ = encode(TEXT)
    (x, y), (x_test, y_test) = problem.train, problem.test
    # 3,600 characters to train on: ⌊3599 / 16⌋ windows, as the last one needs its target.
    assert x.shape == y.shape == (224, 16)
    assert x_test.shape == y_test.shape == (24, 16)
    assert torch.equal(x.flatten(), indices[: 224 * 16])
    assert torch.equal(y.flatten(), indices[1 : 224 * 16 + 1])
    assert torch.equal(x_test.flatten(), indices[3600 : 3600 + 24 * 16])


def test_samples_are_spread_over_the_text():
    whole = problems.character_gpt(context=16, text=TEXT)
    part = problems.character_gpt(context=16, text=TEXT, samples=4, test_samples=2)
    assert torch.equal(part.train[0], whole.train[0][[0, 56, 112, 168]])
    assert torch.equal(part.test[1], whole.test[1][[0, 12]])
    with pytest.raises(InvalidArgument, match="samples must be between 1 and 224, got 225"):
        problems.character_gpt(context=16, text=TEXT, samples=225)


def test_parameter_count_and_tied_embedding_once():
    vocabulary, layers, width, context = 65, 4, 128, 64
    # A block: two norms 4d, attention 4d² + 4d, perceptron 8d² + 5d.
    blocks = layers * (12 * width**2 + 13 * width)
    tied = vocabulary * width + context * width + blocks + 2 * width
    assert count(CharacterGPT(vocabulary)) == tied
    assert count(CharacterGPT(vocabulary, tied=False)) == tied + vocabulary * width
    model = CharacterGPT(vocabulary)
    assert model.head.weight is model.embedding.weight
    assert problems.character_gpt(text=TEXT).objective(model).size == tied


@pytest.mark.parametrize("tied", [True, False])
def test_loss_at_initialization_is_that_of_guessing(tied):
    # The final norm has unit entries and the head deviation 0.02, so logits are normal with variance
    # s² = 128 · 0.02² ≈ 0.05, which adds s²/2 ≈ 0.03 to ln V. When tied, the stream still holds the
    # character's own embedding, whose logit is about 128 · 0.02² / (0.02 √2) ≈ 1.8: e^1.8 instead of 1 among
    # V = 67 adds ln(1 + 5/67) ≈ 0.07. Repeats, one in 67, take 0.03 away. Sum: at most 0.1.
    problem = problems.character_gpt(text=TEXT, tied=tied)
    x, y = problem.train
    with torch.no_grad():
        loss = problem.loss_fn(problem.make_model()(x), y)
    assert loss.item() == pytest.approx(math.log(len(set(TEXT))), abs=0.15)


def test_the_future_does_not_change_the_past():
    model = CharacterGPT(11, layers=2, width=16, heads=4, context=12).double()
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(11, (3, 12), generator=generator)
    changed = indices.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 11
    with torch.no_grad():
        before, after = model(indices), model(changed)
    # The masked weights are exact zeros, but a fused kernel may add in another order: double rounding.
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=1e-12)
    assert (before[:, 7:] - after[:, 7:]).abs().amax(dim=(0, 2)).min() > 1e-6


def test_a_shorter_context_gives_the_same_logits():
    model = CharacterGPT(11, layers=2, width=16, heads=4, context=12).double()
    indices = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(indices[:, :5]), model(indices)[:, :5], rtol=0, atol=1e-12)


def test_loss_averages_over_all_positions():
    logits = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 1, 2], [3, 4, 0]])
    chosen = logits.log_softmax(-1).gather(-1, targets[..., None])
    torch.testing.assert_close(next_character_loss(logits, targets), -chosen.mean())


def test_mistakes_are_named(monkeypatch):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    with pytest.raises(MissingData, match=r"tinyshakespeare\.txt .* was not found: .* or pass text="):
        problems.character_gpt()
    with pytest.raises(InvalidArgument, match="more than context = 64 characters, got 45"):
        problems.character_gpt(text=TEXT[:50])
    with pytest.raises(InvalidArgument, match="heads must divide width, got 3 heads and width 128"):
        CharacterGPT(5, heads=3)
    with pytest.raises(InvalidArgument, match="layers must be at least 1, got 0"):
        CharacterGPT(5, layers=0)
    with pytest.raises(InvalidArgument, match="at most 4 characters of context, got 5"):
        CharacterGPT(5, context=4)(torch.zeros(1, 5, dtype=torch.int64))


def test_the_real_text(data_file):
    problem = problems.character_gpt(path=data_file("tinyshakespeare.txt"))
    # 1,115,394 characters, the first 90 % to train on, in windows of 64.
    assert problem.train[0].shape == (1_003_853 // 64, 64)
    assert problem.make_model().embedding.num_embeddings == 65
