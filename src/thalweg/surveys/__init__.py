"""Whole jobs: training a problem and surveying what came of it."""

from thalweg.surveys.checkpoints import Checkpoints, check_fit, training_in
from thalweg.surveys.connection import aligned_state, path_optimizer
from thalweg.surveys.plan import Plan, PlannedStage, plan, plan_of_measures
from thalweg.surveys.resnet_pictures import NetworkPicture, ResNetPictureSettings, resnet_pictures
from thalweg.surveys.settings import Settings
from thalweg.surveys.stability import kin, limits_of, stability_in_run, stability_of
from thalweg.surveys.subject import Subject, make_subject
from thalweg.surveys.survey import Progress, SurveyResult, folder_name, survey
from thalweg.surveys.target import Target, resolve
from thalweg.surveys.tracking import Track, track
from thalweg.surveys.training import train
from thalweg.surveys.training_run import train_into

__all__ = [
    "Checkpoints",
    "NetworkPicture",
    "Plan",
    "PlannedStage",
    "Progress",
    "ResNetPictureSettings",
    "Settings",
    "Subject",
    "SurveyResult",
    "Target",
    "Track",
    "aligned_state",
    "check_fit",
    "folder_name",
    "kin",
    "limits_of",
    "make_subject",
    "path_optimizer",
    "plan",
    "plan_of_measures",
    "resnet_pictures",
    "resolve",
    "stability_in_run",
    "stability_of",
    "survey",
    "track",
    "train",
    "train_into",
    "training_in",
]
