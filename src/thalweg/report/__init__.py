"""The report of a run: one HTML file that needs nothing else, made from the run folder alone."""

from thalweg.numbers import number, with_error
from thalweg.report.data import collect
from thalweg.report.document import write
from thalweg.report.page import render

__all__ = ["collect", "number", "render", "with_error", "write"]
