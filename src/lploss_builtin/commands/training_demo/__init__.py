"""A demo of training: images are made, a network learns from them, a page shows what."""

from __future__ import annotations

from lploss_builtin.commands.training_demo.runner import NUM_STAGES, make_training_demo
from lploss_builtin.commands.training_demo.settings import DemoSettings
from lploss_builtin.commands.training_demo.stages import Stages

__all__ = ["NUM_STAGES", "DemoSettings", "Stages", "make_training_demo"]
