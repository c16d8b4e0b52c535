"""Whole jobs: training a problem and surveying what came of it."""

from thalweg.surveys.settings import Settings
from thalweg.surveys.survey import Progress, SurveyResult, survey
from thalweg.surveys.target import Target, resolve
from thalweg.surveys.training import train

__all__ = ["Progress", "Settings", "SurveyResult", "Target", "resolve", "survey", "train"]
