"""Evaluating a training when it has ended: what ``lploss train`` does last, for use from Python."""

from lploss_builtin.evaluation.eval_section import EvalTasks, eval_tasks
from lploss_builtin.evaluation.evaluation import TrainingEvaluation
from lploss_builtin.evaluation.metric_summary import MetricRow
from lploss_builtin.evaluation.runner import evaluate_training

__all__ = ["EvalTasks", "MetricRow", "TrainingEvaluation", "eval_tasks", "evaluate_training"]
