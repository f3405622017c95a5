"""The hooks that a plugin may implement. Each docstring holds a complete plugin."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from lploss.specs import CommandSpec, InputSpec, LossSpec, ModelSpec

PROJECT = "lploss"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def lploss_losses() -> Iterable[LossSpec]:  # type: ignore[empty-body]
    """Return the losses that the plugin provides.

    ``acme_losses/manifest.py``::

        import lploss

        @lploss.hookimpl
        def lploss_losses():
            return [
                lploss.LossSpec(
                    "bone_length", "acme_losses.bones:BoneLength", "limbs keep their length"
                )
            ]

    ``pyproject.toml``::

        [project.entry-points.lploss]
        acme = "acme_losses.manifest"
    """


@hookspec
def lploss_inputs() -> Iterable[InputSpec]:  # type: ignore[empty-body]
    """Return the tensors of a batch that the plugin describes, and how some are derived.

    ``acme_losses/manifest.py``::

        import lploss

        @lploss.hookimpl
        def lploss_inputs():
            return [
                lploss.InputSpec(
                    "bone_lengths_pred", "batch num_bones", "px", "length of each limb",
                    derived_by="acme_losses.bones:bone_lengths_pred",
                )
            ]

    ``acme_losses/bones.py``::

        def bone_lengths_pred(keypoints_pred):
            ...
    """


@hookspec
def lploss_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]
    """Return the models that the plugin provides.

    ``acme_models/manifest.py``::

        import lploss

        @lploss.hookimpl
        def lploss_models():
            return [lploss.ModelSpec("tiny", "acme_models.tiny:Tiny", "a network for a fly")]
    """


@hookspec
def lploss_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Return the commands that the plugin adds to ``lploss``.

    ``acme_tools/manifest.py``::

        import lploss

        @lploss.hookimpl
        def lploss_commands():
            return [lploss.CommandSpec("count", "acme_tools.count:count", "count the frames")]

    ``acme_tools/count.py``, whose parameters Typer turns into arguments and options::

        from pathlib import Path

        def count(predictions: Path) -> None:
            print(len(predictions.read_text().splitlines()) - 3)
    """
