from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from lploss.config import load_config
from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.poses.labels import labelled_keypoints
from lploss_builtin.data.project.labelled_frames import LabelledFrames, collate
from lploss_builtin.data.project.labelled_project import read_project
from lploss_builtin.ops.affine import transform
from tests.lploss_builtin.data.small_projects import (
    HEIGHT,
    WIDTH,
    calibration,
    config_of,
    image_names,
    picture,
    write_boxes,
    write_project,
    write_text,
)
from tests.lploss_builtin.real_data import FOLDER, needs_real_data

VIEWS = ("left", "right")


@pytest.fixture
def project(tmp_path):
    """Two calibrated views, of which frame f is cropped at x = f."""
    write_project(tmp_path)
    for view in VIEWS:
        images = image_names(view, ["mo", "tu"], 3)
        write_boxes(tmp_path, view, {image: [f, 8, 40, 50] for f, image in enumerate(images)})
    write_text(tmp_path / "calibrations/tu.toml", calibration(VIEWS))
    config = config_of(VIEWS, bbox_file=[f"bboxes_{view}.csv" for view in VIEWS])
    return read_project(config, folder=tmp_path)


def check_batch(batch, project, frames):
    """Check a batch of some frames against what was written."""
    assert batch["index"].tolist() == frames
    assert batch["image_size"].tolist() == [20, 100]
    assert batch["images"].shape == (len(frames), 2, 3, 20, 100)
    assert batch["images"].dtype == torch.uint8
    for row, frame in enumerate(frames):
        targets = batch["keypoints_targ"][row].tolist()
        expected = [[10 * view + 5 * k + frame, 20 + frame] for view in (0, 1) for k in (0, 1)]
        assert targets == [number for keypoint in expected for number in keypoint]
        assert batch["bbox"][row].tolist() == [frame, 8, 40, 50] * 2
        # Crop at (frame, 8), then twice as wide and half as high.
        affine = [[2, 0, -2 * frame], [0, 0.5, -4]]
        assert batch["affine"][row].tolist() == [affine, affine]
        blue = batch["images"][row, :, 2].float().mean(dim=(1, 2))
        assert blue.tolist() == [frame, 10 + frame], "each view shows its own image"
    assert batch["visibility"].tolist() == [[2, 1, 2, 1]] * len(frames)
    assert batch["intrinsics"].shape == (len(frames), 2, 3, 3)
    # Sessions have their cameras in another order.
    shifts = {0: [1, 0], 1: [0, 1]}
    expected = [shifts[frame // 3] for frame in frames]
    assert batch["extrinsics"][:, :, 0, 3].tolist() == expected
    assert batch["distortions"].tolist() == [[[0.1, 0, 0, 0, 0]] * 2] * len(frames)


TYPES = {
    "images": torch.uint8,
    "keypoints_targ": torch.float32,
    "visibility": torch.uint8,
    "bbox": torch.float32,
    "affine": torch.float32,
    "image_size": torch.float32,
    "index": torch.int64,
    "intrinsics": torch.float64,
    "extrinsics": torch.float64,
    "distortions": torch.float64,
}


@pytest.mark.parametrize("load", [True, False])
def test_a_batch(project, load):
    frames = LabelledFrames(project, (20, 100))
    assert len(frames) == 6
    if load:
        assert frames.load()
    batch = collate([frames[4], frames[1]])
    assert {name: values.dtype for name, values in batch.items()} == TYPES
    check_batch(batch, project, [4, 1])


def test_the_affine_map_leads_to_the_pixels_of_the_input(project):
    """The image's colours are linear in x and y: what stands at a keypoint tells where it is."""
    element = LabelledFrames(project, (80, 100))[2]
    points = element["keypoints_targ"].reshape(2, 2, 2)
    for view in (0, 1):
        for (x, y), (u, v) in zip(
            points[view], transform(points[view], element["affine"][view]), strict=True
        ):
            # A pixel's colour is that of its middle: at scale 2 within half a pixel.
            red, green, _ = element["images"][view, :, round(v.item()), round(u.item())].tolist()
            assert red == pytest.approx(3 * x.item(), abs=1.6)
            assert green == pytest.approx(4 * y.item(), abs=2.1)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("load", [True, False])
def test_a_data_loader(project, workers, load):
    frames = LabelledFrames(project, (20, 100))
    if load:
        frames.load()
    loader = DataLoader(
        Subset(frames, [5, 3, 0]),
        batch_size=2,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )
    first, second = loader
    check_batch(first, project, [5, 3])
    check_batch(second, project, [0])


def test_loading(project):
    frames = LabelledFrames(project, (20, 100))
    assert frames.num_bytes == 6 * 2 * 3 * 20 * 100
    assert not frames.is_loaded
    seen = []
    assert frames.load(lambda done, total: seen.append((done, total)))
    assert frames.is_loaded
    assert seen == [(number, 6) for number in range(1, 7)]
    for path in [path for images in project.images for path in images]:
        path.unlink()
    check_batch(collate([frames[2]]), project, [2])
    assert frames.load(), "nothing is read again"


def test_images_that_do_not_fit_into_memory(project):
    frames = LabelledFrames(project, (20, 100), cache_bytes=6 * 2 * 3 * 20 * 100 - 1)
    assert not frames.load()
    assert not frames.is_loaded
    check_batch(collate([frames[2]]), project, [2])


def test_pickled_without_the_images(project):
    frames = LabelledFrames(project, (200, 1000))
    frames.load()
    content = pickle.dumps(frames)
    assert len(content) < 20_000
    copy = pickle.loads(content)
    assert not copy.is_loaded
    torch.testing.assert_close(copy[3], frames[3])


@pytest.mark.parametrize("load", [True, False])
def test_an_image_that_is_damaged(project, load):
    path = project.images[4][1]
    path.write_bytes(path.read_bytes()[:100])
    frames = LabelledFrames(project, (20, 100))
    if load:
        assert frames.load()
    message = rf"^frame tu/img01\.png: the image {path} cannot be read: "
    with pytest.raises(DataError, match=message):
        frames[4]
    check_batch(collate([frames[3], frames[5]]), project, [3, 5])


def test_the_labels_of_a_data_module(project):
    class DataModule:
        dataset = LabelledFrames(project, (20, 100))
        train_dataset = Subset(dataset, [4, 2])

        def train_dataloader(self):
            raise AssertionError("the frames need not be read")

    labels = labelled_keypoints(DataModule())
    assert labels.keypoint_names == ("left/nose", "left/tail", "right/nose", "right/tail")
    assert labels.num_views == 2
    assert labels.keypoints.dtype == np.float64
    assert labels.keypoints.tolist()[1] == [2, 22, 7, 22, 12, 22, 17, 22]


def test_without_calibration_or_boxes(tmp_path):
    config = write_project(tmp_path, calibrated=False)
    frames = LabelledFrames(read_project(config, folder=tmp_path), (HEIGHT, WIDTH))
    element = frames[5]
    assert set(element) == set(TYPES) - {"intrinsics", "extrinsics", "distortions"}
    assert element["bbox"].tolist() == [0, 0, HEIGHT, WIDTH] * 2
    assert element["affine"].tolist() == [[[1, 0, 0], [0, 1, 0]]] * 2
    expected = np.stack([picture(5), picture(15)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(element["images"].numpy(), expected)


def test_frames_that_are_not_there(project):
    frames = LabelledFrames(project, (20, 100))
    assert frames[-1]["index"] == 5
    with pytest.raises(IndexError):
        frames[6]


@pytest.mark.parametrize("size", [(0, 4), (4, -1)])
def test_a_size_that_is_none(project, size):
    with pytest.raises(ArgumentValueError) as raised:
        LabelledFrames(project, size)
    assert str(raised.value) == (
        f"image_size must be height and width of the model's input, px, got {size}"
    )


@needs_real_data
def test_real_mirrored_views():
    config = load_config({"data": {"csv_file": "CollectedData.csv", "data_dir": "mirror-mouse"}})
    frames = LabelledFrames(read_project(config, folder=FOLDER), (128, 160))
    assert frames.load()
    batch = next(iter(DataLoader(frames, batch_size=90, collate_fn=collate)))
    assert batch["images"].shape == (90, 1, 3, 128, 160)
    assert batch["keypoints_targ"].shape == (90, 34)
    # The first label of the first frame, as the file has it.
    assert batch["keypoints_targ"][0, :2].tolist() == [77.25, 36.25]
    # Grey images that are neither black nor white.
    assert 20 < batch["images"].float().mean() < 200
    assert torch.equal(batch["images"][:, :, 0], batch["images"][:, :, 2])
