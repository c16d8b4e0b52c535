"""Choosing an optimizer: the task, what a run measured of it, and the lecture's rules."""

from thalweg.optim.guidance.recommendation import Alternative, Reason, Recommendation
from thalweg.optim.guidance.task import Goal, Kind, Task
from thalweg.optim.guidance.wording import understand

__all__ = ["Alternative", "Goal", "Kind", "Reason", "Recommendation", "Task", "understand"]
