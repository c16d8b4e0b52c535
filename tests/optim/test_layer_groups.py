import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.optim.layer_groups import layer_depths, layer_groups


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))


class GPT(nn.Module):
    """Embeddings, numbered blocks, a final norm and a head tied to the embedding or not."""

    def __init__(self, layers: int = 3, *, tied: bool = False) -> None:
        super().__init__()
        self.wte = nn.Embedding(7, 4)
        self.wpe = nn.Embedding(5, 4)
        self.h = nn.ModuleList(Block(4) for _ in range(layers))
        self.ln_f = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        if tied:
            self.head.weight = self.wte.weight


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 2, 1)
        self.bn1 = nn.BatchNorm2d(2)
        self.downsample = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 2, 3)
        self.bn1 = nn.BatchNorm2d(2)
        self.layer1 = nn.Sequential(Residual(), Residual())
        self.layer2 = nn.Sequential(Residual(), Residual())
        self.fc = nn.Linear(2, 5)


def backbone_and_head() -> nn.Module:
    return nn.ModuleDict({"backbone": GPT(2), "head": nn.Linear(4, 2)})


def rate_of(groups):
    return {name: group["lr"] for group in groups for name in group["param_names"]}


def by_depth(model):
    layers = {}
    for name, (depth, _) in layer_depths(model).items():
        layers.setdefault(depth, []).append(name)
    return [layers[depth] for depth in range(len(layers))]


def test_rates_by_pattern():
    model = backbone_and_head()
    groups = layer_groups(model, {"backbone.*": 1e-5, "head.*": 1e-3})
    assert [(g["name"], g["lr"]) for g in groups] == [("backbone.*", 1e-5), ("head.*", 1e-3)]
    assert {id(p) for p in groups[0]["params"]} == {id(p) for p in model["backbone"].parameters()}
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in model["head"].parameters()}
    assert "weight_decay" not in groups[0]


def test_a_module_name_means_all_of_it():
    model = GPT(12)
    rates = rate_of(layer_groups(model, {"h.1": 1e-2}, lr=1e-3))
    assert {name for name, rate in rates.items() if rate == 1e-2} == {
        name for name, _ in model.named_parameters() if name.startswith("h.1.")
    }


def test_the_first_pattern_wins_and_an_idle_one_is_an_error():
    model = backbone_and_head()
    rates = rate_of(layer_groups(model, {"backbone.h.0": 1.0, "backbone": 2.0, "*": 3.0}))
    assert rates["backbone.h.0.norm.weight"] == 1
    assert rates["backbone.wte.weight"] == 2
    assert rates["head.bias"] == 3
    with pytest.raises(InvalidArgument, match=r"all that 'head' matches is taken by '\*'"):
        layer_groups(model, {"*": 3.0, "head": 1.0})


def test_every_optimizer_steps_with_its_own_rates():
    model = backbone_and_head()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    groups = layer_groups(model, {"head": 1.0}, lr=0.25, weight_decay=0.0)
    optimizer = torch.optim.SGD(groups, lr=99.0)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(
            before[name] - p.detach(),
            torch.full_like(p, 1.0 if "head.b" in name or name == "head.weight" else 0.25),
        )
    for kind in (torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad):
        assert kind(layer_groups(model, {"head": 1.0}, lr=0.25)).param_groups[1]["lr"] == 1.0


@settings(max_examples=30, deadline=None)
@given(layers=st.integers(1, 6), decay=st.floats(0.1, 1), lr=st.floats(1e-6, 1))
def test_layerwise_decay(layers, decay, lr):
    """Embeddings have depth 0, block i has i + 1, norm and head L − 1, whose rate is full."""
    rates = rate_of(layer_groups(GPT(layers), lr=lr, decay=decay))
    length = layers + 2
    for name, rate in rates.items():
        depth = (
            0
            if name[0] == "w"
            else int(name.split(".")[1]) + 1
            if name[0] == "h" and name[1] == "."
            else length - 1
        )
        assert rate == pytest.approx(lr * decay ** (length - 1 - depth), rel=1e-12)


def test_decay_acts_on_the_rates_of_patterns_too():
    groups = layer_groups(GPT(2), {"head": 1e-2, "*": 1e-3}, decay=0.5)
    assert [(g["name"], g["lr"]) for g in groups] == [
        ("*, wte", 1e-3 / 8),
        ("*, h.0", 1e-3 / 4),
        ("*, h.1", 1e-3 / 2),
        ("*, ln_f", 1e-3),
        ("head, ln_f", 1e-2),
    ]


@pytest.mark.parametrize("frozen", [["w*", "h.0"], ["head", "ln_f"]])
def test_depths_do_not_change_when_layers_are_frozen(frozen):
    model = GPT(3)
    whole = rate_of(layer_groups(model, lr=1.0, decay=0.5))
    part = rate_of(layer_groups(model, lr=1.0, decay=0.5, frozen=frozen))
    starts = tuple(pattern.rstrip("*") for pattern in frozen)
    assert part == {name: rate for name, rate in whole.items() if not name.startswith(starts)}


def test_depths_of_a_residual_network():
    assert [names[0] for names in by_depth(ResNet())] == [
        "conv1.weight", "layer1.0.conv1.weight", "layer1.1.conv1.weight",
        "layer2.0.conv1.weight", "layer2.1.conv1.weight", "fc.weight",
    ]  # fmt: skip
    assert "bn1.bias" in by_depth(ResNet())[0]


def test_depths_of_sequences():
    plain = nn.Sequential(
        nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)
    )
    assert by_depth(plain) == [
        ["0.weight", "0.bias", "1.weight", "1.bias"],
        ["3.weight", "3.bias"],
        ["5.weight", "5.bias"],
    ]
    beside = nn.Sequential(GPT(4), nn.Linear(4, 2))
    assert [names[0] for names in by_depth(beside)] == [
        "0.wte.weight", "0.h.0.norm.weight", "0.h.1.norm.weight", "0.h.2.norm.weight", "0.h.3.norm.weight",
        "0.head.weight", "1.weight",
    ]  # fmt: skip
    blocks = nn.Sequential(nn.Embedding(5, 4), Block(4), Block(4), Block(4), nn.Linear(4, 5))
    assert [names[0] for names in by_depth(blocks)] == [
        "0.weight", "1.norm.weight", "2.norm.weight", "3.norm.weight", "4.weight",
    ]  # fmt: skip
    nested = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), nn.Linear(2, 2))
    assert [len(names) for names in by_depth(nested)] == [4, 2]


def test_depths_without_numbers():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1))
            self.stem = nn.Linear(2, 2)
            self.norm = nn.LayerNorm(2)
            self.inner = nn.ModuleDict({"body": nn.Linear(2, 2)})
            self.out = nn.Linear(2, 1)

    assert [[n.rpartition(".")[0] for n in names[::2]] for names in by_depth(Net())] == [
        [""], ["stem", "norm"], ["inner.body"], ["out"],
    ]  # fmt: skip


def test_depths_of_torch_transformer():
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    model = nn.ModuleDict(
        {"embedding": nn.Embedding(5, 4), "encoder": nn.TransformerEncoder(layer, 3), "head": nn.Linear(4, 2)}
    )
    assert [names[0] for names in by_depth(model)] == [
        "embedding.weight",
        *(f"encoder.layers.{i}.self_attn.in_proj_weight" for i in range(3)),
        "head.weight",
    ]


@pytest.mark.parametrize("model", [GPT(2), GPT(2, tied=True), ResNet(), backbone_and_head()])
@pytest.mark.parametrize(
    "options", [{}, {"decay": 0.7}, {"decay": 0.7, "weight_decay": 0.1, "no_decay": "norm_and_bias"}]
)
def test_every_parameter_is_in_one_group(model, options):
    groups = layer_groups(model, lr=1.0, **options)
    held = [id(p) for group in groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.parameters()}
    assert len({group["name"] for group in groups}) == len(groups)
    names = dict(model.named_parameters())
    for group in groups:
        assert [id(names[name]) for name in group["param_names"]] == [id(p) for p in group["params"]]


def test_tied_weights_are_one_parameter_under_any_of_their_names():
    model = GPT(2, tied=True)
    rates = rate_of(layer_groups(model, {"head.weight": 1.0}, lr=0.1))
    assert rates["wte.weight"] == 1.0
    assert "head.weight" not in rates
    # The head has no weight of its own: the final normalization is the last layer.
    depths = layer_depths(model)
    assert depths["wte.weight"][0] == 0
    assert max(depth for depth, _ in depths.values()) == depths["ln_f.weight"][0] == 3
    model.ln_f = nn.Identity()
    depths = layer_depths(model)
    assert max(depth for depth, _ in depths.values()) == depths["h.1.norm.weight"][0] == 2


def test_frozen_are_left_out_and_left_alone():
    model = backbone_and_head()
    groups = layer_groups(model, lr=1.0, frozen="backbone")
    assert [group["param_names"] for group in groups] == [["head.weight", "head.bias"]]
    assert all(p.requires_grad for p in model.parameters())


def test_parameters_without_gradients_are_left_out():
    model = backbone_and_head()
    model["backbone"].requires_grad_(False)
    assert set(rate_of(layer_groups(model, lr=1.0))) == {"head.weight", "head.bias"}
    with pytest.raises(InvalidArgument, match="'backbone' matches only parameters that are frozen"):
        layer_groups(model, {"backbone": 1e-5}, lr=1.0)


def test_weight_decay_spares_norms_and_biases():
    model = GPT(1)
    groups = layer_groups(model, lr=1.0, weight_decay=0.1, no_decay="norm_and_bias")
    decays = {name: g["weight_decay"] for g in groups for name in g["param_names"]}
    assert {name for name, decay in decays.items() if decay == 0.1} == {
        "wte.weight", "wpe.weight", "h.0.mlp.0.weight", "h.0.mlp.2.weight", "head.weight",
    }  # fmt: skip
    assert set(decays.values()) == {0.0, 0.1}
    assert {g["name"] for g in groups} == {"rest", "rest, no decay"}
    groups = layer_groups(model, lr=1.0, weight_decay=0.1, no_decay=["w?e", "*.bias"])
    decays = {name: g["weight_decay"] for g in groups for name in g["param_names"]}
    assert decays["wte.weight"] == decays["h.0.mlp.0.bias"] == 0
    assert decays["ln_f.weight"] == 0.1


def test_matrices_of_normalization_layers_do_not_decay():
    class ChannelNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(3, 1, 1))

    model = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), ChannelNorm())
    groups = layer_groups(model, lr=1.0, weight_decay=0.1, no_decay="norm_and_bias")
    assert {n: g["weight_decay"] for g in groups for n in g["param_names"]} == {
        "0.weight": 0.1,
        "1.gain": 0.0,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give rates="),
        ({"rates": {}}, "give rates="),
        ({"rates": {"backbon": 1.0}, "lr": 1.0}, "no parameter matches 'backbon'; nearest: backbone"),
        ({"rates": {"zzzz": 1.0}, "lr": 1.0}, "no parameter matches 'zzzz'; nearest: backbone.wte.weight, "),
        ({"rates": {"head": 1.0}}, r"\d+ parameters match no pattern \(backbone.wte.weight, .*\.\.\.\): add lr="),
        ({"lr": 0}, "lr must be finite and above 0, got 0: to hold layers still use frozen="),
        ({"rates": {"head": float("nan")}, "lr": 1.0}, r"rates\['head'\] must be finite and above 0"),
        ({"lr": 1.0, "decay": 1.5}, r"decay must be in \(0, 1\], got 1.5"),
        ({"lr": 1.0, "decay": 0}, r"decay must be in \(0, 1\], got 0"),
        ({"lr": 1.0, "weight_decay": -1}, "weight_decay must be finite and at least 0, got -1"),
        ({"lr": 1.0, "no_decay": "*.bias"}, "needs weight_decay"),
        ({"lr": 1.0, "frozen": "hed"}, "frozen: no parameter matches 'hed'; nearest: head"),
        ({"lr": 1.0, "weight_decay": 0.1, "no_decay": ["bias"]}, "no_decay: no parameter matches 'bias'"),
        ({"lr": 1.0, "frozen": "*"}, "no parameters of 19 are left to train: 19 are frozen"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        layer_groups(backbone_and_head(), **arguments)
