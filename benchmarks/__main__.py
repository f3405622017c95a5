"""Run all benchmarks, or those that are named."""

from __future__ import annotations

from benchmarks import (
    factory_overhead,
    geometry,
    heatmap_ops,
    import_time,
    losses,
    patch_masking,
    prediction,
    report,
    training_step,
    video_reading,
)

_BENCHMARKS = {
    "import_time": import_time.run,
    "factory_overhead": factory_overhead.run,
    "losses": losses.run,
    "heatmap_ops": heatmap_ops.run,
    "geometry": geometry.run,
    "patch_masking": patch_masking.run,
    "training_step": training_step.run,
    "video_reading": video_reading.run,
    "prediction": prediction.run,
}


def main() -> None:
    options, names = report.options(__doc__, list(_BENCHMARKS))
    for name in names:
        _BENCHMARKS[name](options)


if __name__ == "__main__":
    main()
