"""Whole jobs: training a problem and surveying what came of it."""

from thalweg.surveys.plan import Plan, PlannedStage, plan
from thalweg.surveys.settings import Settings
from thalweg.surveys.subject import Subject, make_subject
from thalweg.surveys.survey import Progress, SurveyResult, folder_name, survey
from thalweg.surveys.target import Target, resolve
from thalweg.surveys.training import train
from thalweg.surveys.training_run import train_into

__all__ = [
    "Plan",
    "PlannedStage",
    "Progress",
    "Settings",
    "Subject",
    "SurveyResult",
    "Target",
    "folder_name",
    "make_subject",
    "plan",
    "resolve",
    "survey",
    "train",
    "train_into",
]
