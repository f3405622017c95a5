"""Hiding half of the patches of a batch of images, beside the peer's.

The peer takes images in float32, on which both are compared; a batch holds them in uint8. Both
hide the same number of patches in each view, in the same colour: that is checked first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks import report, timing
from benchmarks.report import Figure, Options
from benchmarks.timing import Comparison, Quartiles
from lploss_builtin.training.patch_masking import mask_patches

_BATCH, _VIEWS, _IMAGE, _PATCH, _RATIO = 16, 4, 256, 16, 0.5
_REQUIRED = 8.0


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured for one type of images; times in seconds.

    Attributes:
        dtype: the type.
        ours: time of ours.
        peer: time of the peer's, on float32.
        comparison: how many times faster ours is.
        over_copy: our time over that of a clone of the images.
        never_waits: whether ours runs without waiting for the device.
    """

    dtype: str
    ours: Quartiles
    peer: Quartiles | None
    comparison: Comparison | None
    over_copy: Quartiles
    never_waits: bool | None


def main() -> None:
    report.run("patch_masking", __doc__, run)


def run(options: Options) -> None:
    torch.set_num_threads(options.threads)
    peer = _peer()
    rows = [_measure(dtype, peer, options) for dtype in (torch.float32, torch.uint8)]
    compared = rows[0].comparison
    what = "patch masking, float32, times as fast as the peer's"
    figures = [Figure(what, _REQUIRED, compared.ratio.median)] if compared else []
    missing = "" if peer else " The peer is not installed: see benchmarks/README.md."
    note = (
        f"{_BATCH} x {_VIEWS} images of {_IMAGE} x {_IMAGE}, {_RATIO:.0%} of the patches of "
        f"{_PATCH} x {_PATCH}.{missing}"
    )
    report.publish("patch_masking", options, _table(rows), rows, figures, note)


def _peer() -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lightning_pose.callbacks import PatchMasker
    except ImportError:
        return None
    config = {"init_step": 0, "final_step": 1, "init_ratio": _RATIO, "final_ratio": _RATIO}
    masker: Any = PatchMasker(config)
    return lambda images: masker.apply_patch_masking(images, training_step=1)


def _measure(
    dtype: torch.dtype, peer: Callable[[Tensor], tuple[Tensor, Tensor]] | None, options: Options
) -> Row:
    generator = torch.Generator().manual_seed(0)
    shape = _BATCH, _VIEWS, 3, _IMAGE, _IMAGE
    floats = torch.randint(1, 256, shape, generator=generator).float().to(options.device)
    images, index = floats.to(dtype), torch.arange(_BATCH, device=options.device)

    def ours() -> tuple[Tensor, Tensor]:
        black = (0.0, 0.0, 0.0)
        return mask_patches(images, _RATIO, _PATCH, seed=0, step=1, index=index, fill=black)

    calls: dict[str, Callable[[], object]] = {"ours": ours, "copy": images.clone}
    if peer is not None:
        hidden = {_hidden_pixels(masked) for masked in (ours()[0], peer(floats)[0])}
        if hidden != {(_IMAGE * _IMAGE * _RATIO, _IMAGE * _IMAGE * _RATIO)}:
            raise RuntimeError(f"not the same number of pixels is hidden: {hidden}")
        calls["peer"] = lambda: peer(floats)
    seconds = timing.interleaved(calls, options.device, options.rounds)
    quartiles = {name: Quartiles.of(values) for name, values in seconds.items()}
    return Row(
        str(dtype).removeprefix("torch."),
        quartiles["ours"],
        quartiles.get("peer"),
        Comparison.of(seconds["peer"], seconds["ours"]) if peer else None,
        Comparison.of(seconds["ours"], seconds["copy"]).ratio,
        timing.check_no_wait(ours, options.device),
    )


def _hidden_pixels(images: Tensor) -> tuple[float, float]:
    """Return the least and the largest number of black pixels of a view."""
    counts = (images == 0).all(dim=2).sum(dim=(2, 3))
    return float(counts.min()), float(counts.max())


def _table(rows: list[Row]) -> dict[str, list[str]]:
    compared = [row.comparison for row in rows]
    return {
        "images": [row.dtype for row in rows],
        "ms": [report.milliseconds(row.ours) for row in rows],
        "peer on float32, ms": [report.milliseconds(row.peer) for row in rows],
        "times as fast": [report.times(c.ratio) if c else "" for c in compared],
        "quiet": [f"{c.quiet:.1f}" if c else "" for c in compared],
        "over clone": [report.times(row.over_copy) for row in rows],
        "never waits": ["" if r.never_waits is None else str(r.never_waits) for r in rows],
    }


if __name__ == "__main__":
    main()
