"""Damaged files of every kind are refused by name: no other exceptions, crashes or hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import sleap_io
import torch
from PIL import Image

from tests.lploss_builtin.data.keypoint_tables import csv_text, write_predictions
from tests.lploss_builtin.data.tiny_video import write_video

SECONDS, BYTES = 20.0, 3 << 30
NAMES = ("nose", "tail")


def outcomes(files: list[Path], seconds: float = SECONDS) -> dict[str, str]:
    """Return for each file what became of reading it, in processes that may crash or hang."""
    found: dict[str, str] = {}
    command = [sys.executable, Path(__file__).with_name("reading_worker.py")]
    while files:
        ended = subprocess.run(
            [*command, str(seconds), str(BYTES), *map(str, files)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        lines = ended.stdout.splitlines()
        assert lines, ended.stderr
        ends = [line.removeprefix("END ") for line in lines if line.startswith("END ")]
        found |= {path.name: end for path, end in zip(files, ends, strict=False)}
        if len(ends) == len(files):
            break
        is_late = ended.returncode == -signal.SIGALRM
        found[files[len(ends)].name] = (
            f"took more than {seconds:g} s" if is_late else f"ended with {ended.returncode}"
        )
        files = files[len(ends) + 1 :]
    return found


def test_each_kind_of_fault_is_told_apart(tmp_path):
    expected = {
        "0-reads": "read",
        "1-raises": "raised ZeroDivisionError: division by zero",
        "2-names no file": "the file is not named: a config must be a path",
        "3-aborts": f"ended with {-signal.SIGABRT}",
        "4-reads": "read",
        "5-spins": "took more than 1 s",
        "6-sleeps": "took more than 1 s",
        "7-exits": "ended with 0",
        "8-fills memory": "raised MemoryError: Unable to allocate",
        "9-labels.csv": "refused",
    }
    for name in expected:
        (tmp_path / name).touch()
    found = outcomes([tmp_path / name for name in expected], seconds=1.0)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not found[name].startswith(expected[name])] == []


CALIBRATION = """
[cam_0]
name = "top"
size = [640, 480]
matrix = [[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]
distortions = [0.1, 0.0, 0.0, 0.0, 0.0]
rotation = [0.0, 0.0, 0.0]
translation = [0.0, 0.0, 9.0]

[cameras.1]
matrix = [[500, 0, 320], [0, 500, 240], [0, 0, 1]]
distortions = []
rotation = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
translation = [0, 1e-3, 9]
fisheye = false
"""
CONFIG = """
data:
  data_dir: &here /data
  keypoint_names: [nose, tail, "on"]
  view_names: [top, side]
  image_resize_dims: {height: 256, width: 256}
  columns_for_singleview_pca: [0, 1]
training:
  max_epochs: 300
  optimizer_params: {learning_rate: 5.0e-5}
losses:
  temporal: {log_weight: 5.0, epsilon: [20.0, 10.0, 1.0]}
model: {model_type: heatmap, losses_to_use: [temporal], checkpoint: *here}
"""


def seeds(folder: Path) -> dict[str, bytes]:
    """Return an intact file of each kind."""
    keypoints = np.random.default_rng(0).normal(100, 30, (12, 2, 2))
    images = [f"labeled-data/m/img{number:02}.png" for number in range(12)]
    write_predictions(folder / "fixed.h5", keypoints, NAMES)
    write_predictions(folder / "table.h5", keypoints, NAMES, images)
    write_predictions(folder / "predictions.csv", keypoints, NAMES)
    write_predictions(folder / "predictions.parquet", keypoints, NAMES, images)
    with h5py.File(folder / "sleap.h5", "w") as file:
        file["node_names"] = [name.encode() for name in NAMES]
        file.create_dataset("tracks", data=keypoints.T[None].copy(), compression="gzip")
        file["point_scores"] = np.ones((1, 2, 12))
    skeleton = sleap_io.Skeleton(["nose", "tail"])
    video = sleap_io.Video("a.mp4", open_backend=False)
    labelled = [
        sleap_io.LabeledFrame(
            video, number, [sleap_io.PredictedInstance.from_numpy(points, skeleton, score=0.9)]
        )
        for number, points in enumerate(keypoints)
    ]
    sleap_io.save_slp(sleap_io.Labels(labelled), str(folder / "project.slp"), verbose=False)
    rows = [f"{image},1.5,2,2,,,0" for image in images]
    (folder / "labels.csv").write_text(csv_text(rows, NAMES, "xyv"))
    (folder / "boxes.csv").write_text(
        "\n".join([",x,y,h,w", *(f"{image},0,1,64,48.5" for image in images)])
    )
    (folder / "images.csv").write_text("\n".join(images))
    (folder / "calibration.toml").write_text(CALIBRATION)
    (folder / "config.yaml").write_text(CONFIG)
    picture = Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3))
    picture.save(folder / "image.png")
    picture.save(folder / "image.jpg")
    write_video(folder / "video.mp4", 6)
    weights = {f"model.{key}": value for key, value in torch.nn.Linear(2, 2).state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 3}, folder / "model.ckpt")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


#: What readers of text stumble over.
TOKENS = (
    *(
        b"",
        b"\0",
        b"\xff",
        b"\r",
        b"\n",
        b"\xef\xbb\xbf",
        b'"',
        b"'",
        b",",
        b";",
        b"\t",
        b"=",
        b":",
    ),
    *(
        b"nan",
        b"inf",
        b"-inf",
        b"1e999",
        b"1e308",
        b"-0",
        b"0x1f",
        b"1_000",
        b"\xc2\xb2",
        b"\xd9\xa3",
    ),
    *(b"9" * 400, b"9" * 5000, b"1." + b"9" * 400, b"2**64", b"2020-13-45", b"12:30:61", b"true"),
    *(b"[" * 3000, b"(" * 3000, b"{a=" * 2000, b"{a: " * 2000, b"- " * 3000, b"a." * 3000 + b"a"),
    *(b"a," * 3000, b"-" * 5000, b"x" * 200_000, b"\n\n[a]\n[a]\n", b"[cam_0]", b"[[cam_0]]"),
    *(b"&a [*a]", b"*a", b"!!python/object/apply:os.getcwd []", b"<<: *here", b"? [1]", b"${a}"),
    *(b"${data.data_dir}", b"${oc.env:HOME}", b"???", b"null", b"~", b"%YAML 3.0\n---\n", b"..."),
)
TEXTS = (".csv", ".toml", ".yaml")


def damaged(content: bytes, is_text: bool, random: np.random.Generator) -> bytes:
    """Return the content with a fault of a random kind."""
    data = bytearray(content)

    def place() -> int:
        return int(random.integers(len(data) + 1))

    fault = random.integers(8 if is_text else 6)
    if fault == 0:
        return bytes(data[: place()])
    if fault == 1:
        for _ in range(random.integers(1, 20)):
            data[place() - 1] = random.integers(256)
    elif fault == 2:
        for _ in range(random.integers(1, 4)):
            start = place()
            data[start : start + 8] = random.choice([0, 1, 127, 128, 255], 8).astype("u1").tobytes()
    elif fault == 3:
        start, stop = sorted((place(), place()))
        del data[start : min(stop, start + 64)]
    elif fault == 4:
        start, target = place(), place()
        data[target:target] = data[start : start + random.integers(1, 200)]
    elif fault == 5:
        start, target = place(), place()
        piece = data[start : start + 64]
        data[target : target + len(piece)] = piece
    else:
        for _ in range(fault - 5):
            start = place()
            data[start : start + random.integers(6)] = TOKENS[random.integers(len(TOKENS))]
    return bytes(data)


@pytest.mark.slow
def test_damaged_files_are_refused_by_name(tmp_path):
    random = np.random.default_rng(12)
    (tmp_path / "seeds").mkdir()
    files = []
    intact = seeds(tmp_path / "seeds")
    for name, content in intact.items():
        is_text = Path(name).suffix in TEXTS
        for number in range(40 if name == "video.mp4" else 300 if is_text else 200):
            path = tmp_path / f"{number}-{name}"
            path.write_bytes(damaged(content, is_text, random) if number else content)
            files.append(path)
    with ThreadPoolExecutor(2) as pool:
        found = {
            name: outcome
            for part in pool.map(outcomes, [files[::2], files[1::2]])
            for name, outcome in part.items()
        }
    assert len(found) == len(files)
    fine = {"read", "refused"}
    assert {name: outcome for name, outcome in found.items() if outcome not in fine} == {}
    # The damage matters, and each reader reads what is intact.
    assert {name: found[f"0-{name}"] for name in intact} == dict.fromkeys(intact, "read")
    refused = Counter(
        name.partition("-")[2] for name, outcome in found.items() if outcome == "refused"
    )
    assert {name: refused[name] for name in intact if refused[name] < 10} == {}
