"""The update rules in plain numpy, written from their papers: each yields the point after every step.

`gradient(theta, t)` is the minibatch gradient of step t, counted from 0; `rates` holds one rate per step and so
says how many steps there are. Where a peer departs from the paper, an argument says so; its default is the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from .problem import STEPS, Vector, unflatten

Gradient: TypeAlias = Callable[[Vector, int], Vector]
Rates: TypeAlias = Sequence[float] | Vector
Path: TypeAlias = Iterator[Vector]
Pairs: TypeAlias = Iterator[tuple[Vector, Vector]]


def constant(rate: float, steps: int = STEPS) -> Vector:
    """The same rate for every step."""
    return np.full(steps, rate)


def warmed(rate: float, warmup: int, steps: int = STEPS) -> Vector:
    """Rates that climb linearly from rate/warmup to the full one at step `warmup`."""
    return rate * np.minimum(1, np.arange(1, steps + 1) / max(warmup, 1))


def momentum(theta: Vector, gradient: Gradient, rates: Rates, alpha: float = 0.9) -> Path:
    """Heavy ball in the lecture's form, the rate inside the velocity: v ← αv − ηg, θ ← θ + v (Polyak 1964)."""
    v = np.zeros_like(theta)
    for t, eta in enumerate(rates):
        v = alpha * v - eta * gradient(theta, t)
        theta = theta + v
        yield theta


def buffered_momentum(theta: Vector, gradient: Gradient, rates: Rates, alpha: float = 0.9) -> Path:
    """Heavy ball with the rate outside the buffer: b ← αb + g, θ ← θ − ηb; the other form for constant η only."""
    b = np.zeros_like(theta)
    for t, eta in enumerate(rates):
        b = alpha * b + gradient(theta, t)
        theta = theta - eta * b
        yield theta


def nesterov(theta: Vector, gradient: Gradient, rates: Rates, alpha: float = 0.9) -> Pairs:
    """Nesterov's momentum, gradient at the look-ahead θ + αv (Sutskever et al. 2013); yields (θ, next look-ahead)."""
    v = np.zeros_like(theta)
    for t, eta in enumerate(rates):
        v = alpha * v - eta * gradient(theta + alpha * v, t)
        theta = theta + v
        yield theta, theta + alpha * v


def adagrad(
    theta: Vector, gradient: Gradient, rates: Rates, eps: float, *, eps_in_root: bool = False
) -> Path:
    """Duchi et al. (2011): each coordinate's rate over the root of its summed squares, from 0."""
    total = np.zeros_like(theta)
    for t, eta in enumerate(rates):
        g = gradient(theta, t)
        total = total + g**2
        theta = theta - eta * g / (np.sqrt(total + eps) if eps_in_root else np.sqrt(total) + eps)
        yield theta


def rmsprop(
    theta: Vector,
    gradient: Gradient,
    rates: Rates,
    gamma: float = 0.9,
    eps: float = 1e-8,
    *,
    centered: bool = False,
    eps_in_root: bool = False,
) -> Path:
    """Tieleman and Hinton (2012); centered: about the running mean (Graves 2013)."""
    square, mean = np.zeros_like(theta), np.zeros_like(theta)
    for t, eta in enumerate(rates):
        g = gradient(theta, t)
        square = gamma * square + (1 - gamma) * g**2
        mean = gamma * mean + (1 - gamma) * g
        spread = square - mean**2 if centered else square
        theta = theta - eta * g / (np.sqrt(spread + eps) if eps_in_root else np.sqrt(spread) + eps)
        yield theta


def adamw(
    theta: Vector,
    gradient: Gradient,
    rates: Rates,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Path:
    """Kingma and Ba (2015), with decoupled decay scaled by the rate (Loshchilov and Hutter 2019); Adam at 0."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, eta in enumerate(rates):
        g = gradient(theta, t)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** (t + 1)), v / (1 - betas[1] ** (t + 1))
        theta = theta - eta * (m_hat / (np.sqrt(v_hat) + eps) + weight_decay * theta)
        yield theta


def lion(
    theta: Vector,
    gradient: Gradient,
    rates: Rates,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
) -> Path:
    """Chen et al. (2023), algorithm 2: the sign of a mixture with β₁, then the memory with β₂."""
    m = np.zeros_like(theta)
    for t, eta in enumerate(rates):
        g = gradient(theta, t)
        c = betas[0] * m + (1 - betas[0]) * g
        theta = theta - eta * (np.sign(c) + weight_decay * theta)
        m = betas[1] * m + (1 - betas[1]) * g
        yield theta


def sophia(
    theta: Vector,
    gradient: Gradient,
    rates: Rates,
    estimates: Vector,
    *,
    betas: tuple[float, float] = (0.965, 0.99),
    gamma: float = 0.01,
    eps: float = 1e-12,
    weight_decay: float = 0.0,
    every: int = 10,
    bias_corrected: bool = False,
    late: bool = False,
) -> Path:
    """Liu et al. (2023), algorithm 3, with the diagonal's estimates ĥ (steps/every, n) given.

    bias_corrected: m is divided by 1 − β₁ᵗ. late: an estimate counts from the step after the one it is made in.
    """
    m, h = np.zeros_like(theta), np.zeros_like(theta)
    for t, eta in enumerate(rates):
        m = betas[0] * m + (1 - betas[0]) * gradient(theta, t)
        before = h
        if t % every == 0:
            h = betas[1] * h + (1 - betas[1]) * estimates[t // every]
        m_hat = m / (1 - betas[0] ** (t + 1)) if bias_corrected else m
        u = np.clip(m_hat / np.maximum(gamma * (before if late else h), eps), -1, 1)
        theta = theta - eta * (u + weight_decay * theta)
        yield theta


def schedule_free(
    theta: Vector,
    gradient: Gradient,
    rates: Rates,
    *,
    beta: float = 0.9,
    beta2: float | None = None,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    power: float = 2.0,
    weights: Rates | None = None,
) -> Pairs:
    """Defazio et al. (2024): SGD, or with beta2 the AdamW form; yields (average x, next gradient point y).

    z takes the steps, decay is taken at y, x averages the z's with weights γ_max^power. weights: the rates those
    are made of where a peer shifts them against the rates of z.
    """
    x, z, v = theta, theta, np.zeros_like(theta)
    total, largest = 0.0, 0.0
    for t, eta in enumerate(rates):
        y = (1 - beta) * z + beta * x
        g = gradient(y, t)
        if beta2 is not None:
            v = beta2 * v + (1 - beta2) * g**2
            g = g / (np.sqrt(v / (1 - beta2 ** (t + 1))) + eps)
        z = z - eta * (g + weight_decay * y)
        largest = max(largest, eta if weights is None else weights[t])
        total += largest**power
        c = largest**power / total
        x = (1 - c) * x + c * z
        yield x, (1 - beta) * z + beta * x


def orthogonalized(
    matrix: Vector, eps: float, coefficients: tuple[float, float, float], steps: int = 5
) -> Vector:
    """Newton–Schulz steps X ← aX + (bA + cA²)X, A = XXᵀ, from the matrix over its Frobenius norm."""
    a, b, c = coefficients
    x = matrix / (np.linalg.norm(matrix) + eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def muon(
    theta: Vector,
    gradient: Gradient,
    rates: Rates,
    *,
    mu: float = 0.95,
    eps: float = 1e-7,
    weight_decay: float = 0.0,
    nesterov: bool = True,
    bias_corrected: bool = False,
    scale: Callable[[int, int], float] = lambda rows, columns: max(1.0, rows / columns) ** 0.5,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Path:
    """Jordan et al. (2024) for the matrices, Adam with the same rates and eps for the vectors.

    bias_corrected: with Nesterov the memory is divided by 1 − μᵗ⁺¹ and the gradient by 1 − μᵗ before they are
    mixed, and Adam mixes in the same way (Dozat 2016).
    """
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    is_matrix = np.concatenate([np.full(part.size, part.ndim == 2) for part in unflatten(theta)])
    keep = np.where(is_matrix, mu, betas[0])
    for t, eta in enumerate(rates, start=1):
        g = gradient(theta, t - 1)
        m = keep * m + (1 - keep) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        mixed = m / (1 - keep**t)
        if nesterov and bias_corrected:
            mixed = keep * m / (1 - keep ** (t + 1)) + (1 - keep) * g / (1 - keep**t)
        elif nesterov:
            mixed = np.where(is_matrix, keep * m + (1 - keep) * g, mixed)
        step = mixed / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        for whole, part in zip(unflatten(step), unflatten(mixed), strict=True):
            if part.ndim == 2:
                whole[:] = scale(*part.shape) * orthogonalized(part, eps, (3.4445, -4.7750, 2.0315))
        theta = theta - eta * (step + weight_decay * np.where(is_matrix, theta, 0))
        yield theta
