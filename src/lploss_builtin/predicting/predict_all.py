"""Predicting all recordings of a call, here or spread over processes or machines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from torch import nn

from lploss_builtin.predicting.predict_recording import predict_recording
from lploss_builtin.predicting.recording_count import RecordingCount
from lploss_builtin.predicting.recording_plan import RecordingPlan
from lploss_builtin.predicting.summary import PredictedRecording
from lploss_builtin.spreading import Outcome, spread


def predict_all(
    plans: Sequence[RecordingPlan],
    load_model: Callable[[], nn.Module],
    count: RecordingCount,
    *,
    processes: int = 1,
    scheduler: str | None = None,
) -> Generator[Outcome[PredictedRecording]]:
    """Follow the plans; yield how each ended, in their order.

    Args:
        plans: what to predict.
        load_model: returns the model, where all is done here; elsewhere each process loads it.
        count: gets what is done; with processes or a cluster, when a recording is done.
        processes: of this machine; see `spread`.
        scheduler: of a Dask cluster, which does it instead.

    Yields:
        How each recording ended.
    """
    names = [plan.name for plan in plans]
    if scheduler is None and min(processes, len(plans)) <= 1:

        def predict_here(plan: RecordingPlan) -> PredictedRecording:
            progress = count.of(plan.name)
            return predict_recording(plan, load_model=lambda _: load_model(), progress=progress)

        return spread(
            predict_here,
            plans,
            names=names,
            processes=processes,
            progress=lambda outcome: count.finish(plans[outcome.number].num_frames),
        )

    def note(outcome: Outcome[PredictedRecording]) -> None:
        plan = plans[outcome.number]
        count.of(plan.name)(plan.num_frames)
        count.finish(plan.num_frames)

    if scheduler is not None and plans:
        plans[0].out.mkdir(parents=True, exist_ok=True)  # which all workers must see
    return spread(
        predict_recording,
        # Workers of a cluster were started in other folders.
        [plan.absolute() for plan in plans],
        names=names,
        processes=processes,
        scheduler=scheduler,
        folder=plans[0].out if plans else None,
        progress=note,
    )
