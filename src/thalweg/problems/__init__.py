"""Ready problems: models with their data, from a table of wines to a small GPT."""

from thalweg.problems.character_gpt import CharacterGPT, character_gpt
from thalweg.problems.cifar import CifarImages, cifar_images
from thalweg.problems.deep_linear import DeepLinear, deep_linear
from thalweg.problems.digits import DigitsConv, digits, digits_conv
from thalweg.problems.mlp import MLP
from thalweg.problems.problem import Problem, Training
from thalweg.problems.recurrent import Recurrent, recurrent
from thalweg.problems.registry import get, names, register
from thalweg.problems.resnet import ResNet, resnet
from thalweg.problems.tables import breast_cancer, concrete, wine

for _factory in (
    breast_cancer,
    character_gpt,
    concrete,
    deep_linear,
    digits,
    digits_conv,
    recurrent,
    resnet,
    wine,
):
    register(_factory.__name__, _factory)

__all__ = [
    "MLP",
    "CharacterGPT",
    "CifarImages",
    "DeepLinear",
    "DigitsConv",
    "Problem",
    "Recurrent",
    "ResNet",
    "Training",
    "breast_cancer",
    "character_gpt",
    "cifar_images",
    "concrete",
    "deep_linear",
    "digits",
    "digits_conv",
    "get",
    "names",
    "recurrent",
    "register",
    "resnet",
    "wine",
]
