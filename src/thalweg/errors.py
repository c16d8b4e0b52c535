"""The errors Thalweg raises: each one clear line that names the argument, the value and the remedy."""

from __future__ import annotations


class ThalwegError(Exception):
    """Base of every error that Thalweg raises on purpose."""


class InvalidArgument(ThalwegError, ValueError):
    """An argument's value cannot be used; the message says what came and what would be right."""


class ShapeMismatch(InvalidArgument):
    """A tensor has another shape, dtype or device than the objective needs."""


class NotSymmetric(InvalidArgument):
    """A matrix's products show that it is not symmetric beyond rounding."""


class UnknownName(ThalwegError, KeyError):
    """A name is not registered; the message lists the nearest known ones."""

    def __str__(self) -> str:
        # KeyError's own __str__ would put the message in quotes.
        return str(self.args[0]) if self.args else ""


class StochasticObjective(ThalwegError, RuntimeError):
    """The same point gave two different losses, so nothing can be measured there."""


class NotDifferentiable(ThalwegError, RuntimeError):
    """A derivative that was asked for does not exist or cannot be computed."""


class NonfiniteGradient(NotDifferentiable, FloatingPointError):
    """A gradient holds a NaN or an infinity; the message names the parameter."""


class WrongMode(ThalwegError, RuntimeError):
    """An optimizer was used in the other of its two modes, training and evaluation."""


class UnsafeFile(ThalwegError, ValueError):
    """A file would execute code when loaded, so it was refused."""


class MissingData(ThalwegError, FileNotFoundError):
    """Data that is not bundled was not found; the message says where it was looked for."""


class RunConflict(ThalwegError, RuntimeError):
    """A run folder belongs to another run or is in use by another process."""


class OutOfMemory(ThalwegError, MemoryError):
    """Memory ran out although the microbatch could not be made smaller."""
