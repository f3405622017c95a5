"""Evaluating a training when it has ended: what ``lploss train`` does last, for use from Python."""

from lploss_builtin.commands.after_training.eval_section import EvalTasks, eval_tasks
from lploss_builtin.commands.after_training.evaluation import TrainingEvaluation
from lploss_builtin.commands.after_training.metric_summary import MetricRow
from lploss_builtin.commands.after_training.runner import evaluate_training

__all__ = ["EvalTasks", "MetricRow", "TrainingEvaluation", "eval_tasks", "evaluate_training"]
