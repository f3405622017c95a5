"""Evaluating a training when it has ended: what ``lploss train`` does last, for use from Python."""

from lploss_builtin.evaluation.eval_section import EvalTasks, eval_tasks
from lploss_builtin.evaluation.evaluation import MetricRow, TrainingEvaluation
from lploss_builtin.evaluation.runner import evaluate_training

__all__ = ["EvalTasks", "MetricRow", "TrainingEvaluation", "eval_tasks", "evaluate_training"]
