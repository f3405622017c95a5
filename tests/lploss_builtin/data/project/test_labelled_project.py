from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lploss.config import load_config
from lploss.errors import ConfigError, DataError
from lploss_builtin.data.project.labelled_project import read_project
from tests.lploss_builtin.data.small_projects import (
    HEIGHT,
    NAMES,
    WIDTH,
    calibration,
    config_of,
    image_names,
    picture,
    write_boxes,
    write_image,
    write_labels,
    write_project,
    write_text,
)
from tests.lploss_builtin.real_data import FOLDER, needs_real_data

VIEWS = ("left", "right")


def problems(folder: Path, config, **options) -> str:
    """Return the report, without the folder of the project in its paths."""
    with pytest.raises(DataError) as raised:
        read_project(config, folder=folder, **options)
    first, _, report = str(raised.value).partition("\n")
    assert first == f"the labelled data in {folder} cannot be used:"
    return report.replace(f"{folder}/", "")


def test_two_calibrated_views(tmp_path):
    project = read_project(write_project(tmp_path), folder=tmp_path)
    assert project.folder == tmp_path
    assert project.view_names == VIEWS
    assert project.num_views == 2
    assert project.keypoint_names == NAMES
    assert project.pose_names.flat == ("left/nose", "left/tail", "right/nose", "right/tail")
    assert project.frames == tuple(
        f"{session}/img{frame:02d}.png" for session in ("mo", "tu") for frame in range(3)
    )
    assert project.sessions == ("mo", "mo", "mo", "tu", "tu", "tu")
    assert project.images[4] == (
        tmp_path / "labeled-data/tu_left/img01.png",
        tmp_path / "labeled-data/tu_right/img01.png",
    )
    assert project.keypoints[4].tolist() == [[[4, 24], [9, 24]], [[14, 24], [19, 24]]]
    assert project.visibility.tolist() == [[[2, 1], [2, 1]]] * 6
    assert project.visibility.dtype == np.uint8
    assert project.image_sizes.tolist() == [[[HEIGHT, WIDTH]] * 2] * 6
    assert project.bboxes.tolist() == [[[0, 0, HEIGHT, WIDTH]] * 2] * 6
    assert project.crops.tolist() == project.bboxes.tolist()
    assert list(project.cameras) == ["mo", "tu"]
    assert project.cameras["tu"].names == VIEWS
    # In the file the left camera is the second one.
    assert project.cameras["tu"].extrinsics[:, 0, 3].tolist() == [1, 0]
    assert project.notes == ()


def test_one_view_without_a_name(tmp_path):
    write_image(tmp_path / "labeled-data/walk/img1.png", picture(1))
    write_labels(tmp_path, "x", ["labeled-data/walk/img1.png,1,2,,"], coords="xy")
    config = load_config({"data": {"csv_file": "CollectedData_x.csv"}})
    project = read_project(config, folder=tmp_path)
    assert (project.view_names, project.num_views) == ((), 1)
    assert project.pose_names.flat == NAMES
    assert project.frames == ("labeled-data/walk/img1.png",)
    assert project.sessions == ("walk",)
    assert project.visibility.tolist() == [[[2, 0]]]
    assert np.isnan(project.keypoints[0, 0, 1]).all()
    assert project.cameras is None


def test_without_calibrations(tmp_path):
    config = write_project(tmp_path, calibrated=False)
    assert read_project(config, folder=tmp_path).cameras is None


def test_a_calibration_for_all(tmp_path):
    config = write_project(tmp_path, calibrated=False)
    write_text(tmp_path / "calibration.toml", calibration(VIEWS))
    project = read_project(config, folder=tmp_path)
    assert list(project.cameras) == ["mo", "tu"]
    write_text(tmp_path / "rig.toml", calibration(("top", *VIEWS)))
    config.data.camera_params_file = "rig.toml"
    project = read_project(config, folder=tmp_path)
    assert project.cameras["mo"].extrinsics[:, 0, 3].tolist() == [1, 2]


def test_calibrations_with_different_numbers_of_coefficients(tmp_path):
    config = write_project(tmp_path)
    other = calibration(VIEWS, distortions=[0.1, 0.2, 0.3, 0.4])
    write_text(tmp_path / "calibrations/mo.toml", other)
    cameras = read_project(config, folder=tmp_path).cameras
    expected = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0]] * 2, dtype=torch.float64)
    torch.testing.assert_close(cameras["mo"].distortions, expected)


def test_a_table_of_calibrations(tmp_path):
    config = write_project(tmp_path, calibrated=False)
    write_text(tmp_path / "a.toml", calibration(VIEWS))
    write_text(tmp_path / "b.toml", calibration(VIEWS[::-1]))
    images = image_names("left", ["mo", "tu"], 3)
    paths = ["a.toml"] * 3 + ["b.toml"] * 3
    rows = [f"{image},{path}" for image, path in zip(images, paths, strict=True)]
    write_text(tmp_path / "calibrations.csv", "\n".join([",file", *rows]) + "\n")
    config.data.camera_params_file = "calibrations.csv"
    cameras = read_project(config, folder=tmp_path).cameras
    assert [own.extrinsics[:, 0, 3].tolist() for own in cameras.values()] == [[0, 1], [1, 0]]

    rows[1] = f"{images[1]},b.toml"
    rows[4] = f"{images[5]},b.toml"
    write_text(tmp_path / "calibrations.csv", "\n".join([",file", *rows]) + "\n")
    assert problems(tmp_path, config) == (
        "Tables of calibrations that do not fit the frames (2). The table in "
        "data.camera_params_file must have a row for each row of the label files, in their order, "
        "with the image and, in the column 'file', the path of its calibration; one for all "
        "frames of a session.\n"
        "  calibrations.csv: row 5 is img02.png, in the labels it is "
        "labeled-data/tu_left/img01.png\n"
        "  calibrations.csv: session 'mo' has a.toml and b.toml"
    )
    write_text(tmp_path / "calibrations.csv", "\n".join([",file", *rows[1:]]) + "\n")
    assert problems(tmp_path, config).endswith(
        "\n  calibrations.csv: it has 5 rows, the labels have 6"
    )
    write_text(tmp_path / "calibrations.csv", "\n".join([",path", *rows]) + "\n")
    assert problems(tmp_path, config).endswith("\n  calibrations.csv: there is no column 'file'")
    config.data.camera_params_file = "no.csv"
    assert problems(tmp_path, config).startswith("Files that cannot be used (1). ")


def test_keypoints_that_a_view_holds_in_another_order(tmp_path):
    config = write_project(tmp_path, sessions=["mo"], frames=1)
    image = "labeled-data/mo_right/img00.png"
    write_labels(tmp_path, "right", [f"{image},1,2,1,3,4,2"], names=NAMES[::-1])
    project = read_project(config, folder=tmp_path)
    assert project.keypoints[0, 1].tolist() == [[3, 4], [1, 2]]
    assert project.visibility[0, 1].tolist() == [2, 1]


def test_held_out_labels(tmp_path):
    config = write_project(tmp_path)
    image = "labeled-data/mo_{view}/img02.png"
    new = []
    for view in VIEWS:
        name = image.format(view=view)
        new.append(write_labels(tmp_path, f"{view}_new", [f"{name},1,2,2,3,4,2"]))
        write_boxes(tmp_path, view, {name: [0, 0, 10, 20]})
    boxes = [f"bboxes_{view}.csv" for view in VIEWS]
    project = read_project(config, folder=tmp_path, csv_files=new, bbox_files=boxes)
    assert project.frames == ("mo/img02.png",)
    assert project.bboxes.tolist() == [[[0, 0, 10, 20]] * 2]


def test_images_that_all_views_share(tmp_path):
    """The two parts of a picture with a mirror, each a view by its box."""
    image = "labeled-data/img1.png"
    write_image(tmp_path / image, picture(0))
    for view, box in zip(VIEWS, ([0, 0, 48, 32], [32, 0, 48, 32]), strict=True):
        write_labels(tmp_path, view, [f"{image},33,2,2,40,4,2"])
        write_boxes(tmp_path, view, {image: box})
    config = config_of(VIEWS, bbox_file=[f"bboxes_{view}.csv" for view in VIEWS])
    project = read_project(config, folder=tmp_path)
    assert project.frames == (image,)
    assert project.sessions == ("labeled-data",)
    assert project.bboxes.tolist() == [[[0, 0, 48, 32], [32, 0, 48, 32]]]
    assert project.keypoints[0, 1].tolist() == [[33, 2], [40, 4]]


def test_images_that_were_cut_out_before(tmp_path):
    """As the source system has it: labels are px of the crop, boxes say where it was."""
    config = write_project(tmp_path, calibrated=False)
    config.data.bbox_file = [f"bboxes_{view}.csv" for view in VIEWS]
    for view in VIEWS:
        images = image_names(view, ["mo", "tu"], 3)
        boxes = {image: [100 + f, 50, HEIGHT, WIDTH] for f, image in enumerate(images)}
        write_boxes(tmp_path, view, boxes)
    write_text(tmp_path / "calibration.toml", calibration(VIEWS, size=(640, 480)))
    project = read_project(config, folder=tmp_path)
    assert project.bboxes[2].tolist() == [[102, 50, HEIGHT, WIDTH]] * 2
    assert project.crops[2].tolist() == [[0, 0, HEIGHT, WIDTH]] * 2
    assert project.keypoints[2].tolist() == [[[104, 72], [109, 72]], [[114, 72], [119, 72]]]

    write_text(tmp_path / "calibration.toml", calibration(VIEWS, size=(640, 97)))
    assert problems(tmp_path, config) == (
        "Cameras that were calibrated for images of another size (4). The size of a camera is "
        "that of its images. Where these were cut out of larger frames, say where in "
        "data.bbox_file; where they were resized, scale matrix and size of the camera too.\n"
        "  session 'mo', camera 'left': height 97, width 640; labeled-data/mo_left/img00.png: its "
        "box reaches to height 98, width 164\n"
        "  session 'mo', camera 'right': height 97, width 640; labeled-data/mo_right/img00.png: "
        "its box reaches to height 98, width 164\n"
        "  session 'tu', camera 'left': height 97, width 640; labeled-data/tu_left/img00.png: its "
        "box reaches to height 98, width 167\n"
        "  session 'tu', camera 'right': height 97, width 640; labeled-data/tu_right/img00.png: "
        "its box reaches to height 98, width 167"
    )


def test_keypoints_without_coordinates(tmp_path):
    images = image_names("x", ["mo"], 2)
    for image in images:
        write_image(tmp_path / image, picture(0))
    names = ("both", "none", "half", "occluded", "hidden", "unlabelled", "claimed")
    # both: nothing said; none; half: no x; occluded without and with coordinates; marked as not
    # labelled in spite of coordinates; marked as visible without.
    cells = "1,2,,,,,,5,,,,1,3,4,1,3,4,0,,,2"
    write_labels(tmp_path, "x", [f"{image},{cells}" for image in images], names=names)
    data = {"csv_file": "CollectedData_x.csv"}
    project = read_project(load_config({"data": data}), folder=tmp_path)
    assert project.visibility[0, 0].tolist() == [2, 0, 0, 1, 1, 0, 0]
    labelled = [0, 4]
    assert np.flatnonzero(np.isfinite(project.keypoints[0, 0]).all(axis=-1)).tolist() == labelled
    assert np.flatnonzero(np.isfinite(project.keypoints[0, 0]).any(axis=-1)).tolist() == labelled
    assert [note.replace(f"{tmp_path}/", "") for note in project.notes] == [
        "Labels with only one of x and y (2). They count as not labelled. Complete them.\n"
        "  CollectedData_x.csv: labeled-data/mo_x/img00.png, keypoint 'half'\n"
        "  CollectedData_x.csv: labeled-data/mo_x/img01.png, keypoint 'half'",
        "Keypoints marked as visible that have no coordinates (2). They count as not labelled. "
        "Label them, or correct 'visible'.\n"
        "  CollectedData_x.csv: labeled-data/mo_x/img00.png, keypoint 'claimed'\n"
        "  CollectedData_x.csv: labeled-data/mo_x/img01.png, keypoint 'claimed'",
        "Keypoints that no frame of a view has labelled (1). Nothing is learned of them there: "
        "what is predicted for them in this view means nothing.\n"
        "  CollectedData_x.csv: 'none', 'half', 'occluded', 'unlabelled', 'claimed'",
    ]
    training = {"uniform_heatmaps_for_nan_keypoints": True}
    project = read_project(load_config({"data": data, "training": training}), folder=tmp_path)
    assert project.visibility[0, 0].tolist() == [2, 1, 1, 1, 1, 0, 0]


def test_all_problems_at_once(tmp_path):
    config = write_project(tmp_path, frames=9)
    config.data.num_keypoints = 3
    config.data.bbox_file = [f"bboxes_{view}.csv" for view in VIEWS]
    left, right = (image_names(view, ["mo", "tu"], 9) for view in VIEWS)
    for image in left[1:8]:
        (tmp_path / image).unlink()
    (tmp_path / right[3]).write_bytes(b"no image")
    Image.new("F", (WIDTH, HEIGHT)).save(tmp_path / "x.tiff")
    (tmp_path / "x.tiff").rename(tmp_path / right[4])
    write_boxes(
        tmp_path,
        "left",
        {
            **{image: [0, 0, 10.5, 10] for image in left[1:]},
            left[0]: [60, 0, 10, 10],
            left[10]: [0, 0, 0, 10],
        },
    )
    write_boxes(tmp_path, "right", {image: [0, 0, 10, 10] for image in right[:-1]})
    rows = [f"{image},1,1,2,2,2,2" for image in right]
    rows[6] = f"{right[6]},1,1,3,2,2,0.5"
    write_labels(tmp_path, "right", [*rows, rows[17]], names=("nose", "tale"))
    (tmp_path / "calibrations/tu.toml").unlink()
    write_text(tmp_path / "calibrations/mo.toml", calibration(("left", "rigth")))
    assert problems(tmp_path, config) == (
        "Frames that a label file holds twice (1). Keep one row for each image.\n"
        "  CollectedData_right.csv: labeled-data/tu_right/img08.png in rows 18 and 19\n"
        "Values in a column 'visible' other than 0, 1 and 2 (2). 0 is not labelled, 1 occluded, "
        "2 visible.\n"
        "  CollectedData_right.csv: labeled-data/mo_right/img06.png, keypoint 'nose': 3\n"
        "  CollectedData_right.csv: labeled-data/mo_right/img06.png, keypoint 'tale': 0.5\n"
        "Label files with other keypoints than expected (1). All views must hold the same "
        "keypoints: those of data.keypoint_names if there are some. What a view cannot see has "
        "empty columns there.\n"
        "  CollectedData_right.csv: compared with data.keypoint_names, it lacks 'tail'; it alone "
        "has 'tale'\n"
        "Label files with another number of keypoints than the config (2). data.num_keypoints is "
        "that of one view, or of all in one file with mirrors.\n"
        "  CollectedData_left.csv: 2, data.num_keypoints is 3\n"
        "  CollectedData_right.csv: 2, data.num_keypoints is 3\n"
        "Rows that do not match between the views (1). The label files of all views must hold the "
        "same frames in the same order.\n"
        "  CollectedData_right.csv has 19 rows, CollectedData_left.csv has 18\n"
        "Images that do not exist (7). Put them there, or take their rows out of the label "
        "files.\n"
        "  labeled-data/mo_left/img01.png\n"
        "  labeled-data/mo_left/img02.png\n"
        "  labeled-data/mo_left/img03.png\n"
        "  labeled-data/mo_left/img04.png\n"
        "  labeled-data/mo_left/img05.png\n"
        "  and 2 more\n"
        "Bounding boxes of no size (1). Height and width must be above 0.\n"
        "  bboxes_left.csv: labeled-data/tu_left/img01.png: x 0, y 0, h 0, w 10\n"
        "Bounding boxes that reach out of the image (1). A box is x, y, height and width, px, "
        "within its image. Where the images are the boxes, cut out before, each image must have "
        "the very size of its box.\n"
        "  bboxes_left.csv: labeled-data/mo_left/img00.png: x 60, y 0, h 10, w 10, the image has "
        "height 48, width 64\n"
        "Images that cannot be used (2). Replace them, or take their rows out.\n"
        "  labeled-data/mo_right/img03.png cannot be read: it holds no image\n"
        "  labeled-data/mo_right/img04.png cannot be read: its pixels are floating-point "
        "numbers, expected 8 or 16 bits a channel\n"
        "Frames without a bounding box (2). A file of boxes needs a row for each image of the "
        "view's label file, with x, y, h and w.\n"
        "  bboxes_right.csv: labeled-data/tu_right/img08.png\n"
        "  bboxes_right.csv: labeled-data/tu_right/img08.png\n"
        "Sessions without a calibration, where others have one (1). Put "
        "calibrations/<session>.toml, or calibration.toml for all, into the project's folder; or "
        "take all calibrations away.\n"
        "  there is no calibration of session 'tu': looked for calibrations/tu.toml and "
        "calibration.toml.\n"
        "Calibrations whose cameras are not the views (1). Each view in data.view_names needs a "
        "camera of its very name.\n"
        "  calibrations/mo.toml: there is no camera 'right'. Did you mean 'rigth'? Its cameras "
        "are left, rigth"
    )


def test_rows_that_do_not_match(tmp_path):
    config = write_project(tmp_path, sessions=["mo"], frames=4)
    right = image_names("right", ["mo"], 4)

    def write(*order: int) -> str:
        write_labels(tmp_path, "right", [f"{right[i]},1,1,2,2,2,2" for i in order])
        title, _, cases = problems(tmp_path, config).partition("\n")
        assert title.startswith("Rows that do not match between the views (")
        return cases

    assert write(0, 2, 3) == (
        "  CollectedData_left.csv: row 2 is mo/img01.png, which CollectedData_right.csv lacks"
    )
    assert write(0, 1, 3, 2) == (
        "  CollectedData_right.csv: row 3 is mo/img03.png, in CollectedData_left.csv it is "
        "mo/img02.png\n"
        "  CollectedData_right.csv: row 4 is mo/img02.png, in CollectedData_left.csv it is "
        "mo/img03.png"
    )
    write_labels(
        tmp_path, "left", [f"labeled-data/mo_left/img0{i}.png,1,1,2,2,2,2" for i in (0, 1)]
    )
    assert write(0, 2) == (
        "  CollectedData_right.csv: row 2 is mo/img02.png, which CollectedData_left.csv lacks\n"
        "  CollectedData_left.csv: row 2 is mo/img01.png, which CollectedData_right.csv lacks"
    )


def test_folders_that_do_not_name_the_view(tmp_path):
    config = write_project(tmp_path, sessions=["mo"], frames=1)
    write_image(tmp_path / "labeled-data/mo_side/img00.png", picture(0))
    write_labels(tmp_path, "right", ["labeled-data/mo_side/img00.png,1,1,2,2,2,2"])
    assert problems(tmp_path, config) == (
        "Images in folders that do not tell which belong together (1). The folder must be called "
        "<session>_<view>, with the name of the view in data.view_names.\n"
        "  CollectedData_right.csv: labeled-data/mo_side/img00.png: the image's folder must be "
        "called <session>_<view>, with one of the views right; got 'mo_side'"
    )


def test_cameras_of_another_size(tmp_path):
    config = write_project(tmp_path, sessions=["mo"], frames=2)
    write_text(tmp_path / "calibrations/mo.toml", calibration(VIEWS, size=(128, 96)))
    assert problems(tmp_path, config) == (
        "Cameras that were calibrated for images of another size (2). The size of a camera is "
        "that of its images. Where these were cut out of larger frames, say where in "
        "data.bbox_file; where they were resized, scale matrix and size of the camera too.\n"
        "  session 'mo', camera 'left': height 96, width 128; labeled-data/mo_left/img00.png: it "
        "has height 48, width 64\n"
        "  session 'mo', camera 'right': height 96, width 128; labeled-data/mo_right/img00.png: it "
        "has height 48, width 64"
    )


def test_files_that_cannot_be_read(tmp_path):
    config = write_project(tmp_path, sessions=["mo"], frames=1)
    write_text(tmp_path / "CollectedData_left.csv", "")
    # What is wrong with one file does not keep the others from being read.
    write_text(tmp_path / "calibrations/mo.toml", "[cam_0]\n")
    config.data.bbox_file = ["bboxes_left.csv", "bboxes_right.csv"]
    write_text(tmp_path / "bboxes_right.csv", ",x,y,height,w\na.png,1,2,3,4\n")
    assert problems(tmp_path, config) == (
        "Files that cannot be used (3). Each must be there and complete.\n"
        "  CollectedData_left.csv is empty. Keypoint files start with three header rows: scorer, "
        "bodyparts, coords; then follows one row for each frame.\n"
        "  bboxes_right.csv: there is no column 'h'. A file of bounding boxes has the columns x, "
        "y, h, w after that of the images, got x, y, height, w\n"
        "  calibrations/mo.toml, [cam_0]: there is no matrix and no distortions and no rotation "
        "and no translation. A camera needs matrix, distortions, rotation, translation."
    )


def test_frames_that_are_no_images(tmp_path):
    write_labels(tmp_path, "x", ["0,1,2,3,4"], coords="xy")
    config = load_config({"data": {"csv_file": "CollectedData_x.csv"}})
    assert problems(tmp_path, config) == (
        "Label files whose frames are no images (1). The first column of a label file holds the "
        "path of each image, in the project's folder.\n"
        "  CollectedData_x.csv: its first frame is 0"
    )


def test_keypoints_in_another_order_than_in_the_config(tmp_path):
    config = write_project(tmp_path)
    config.data.keypoint_names = ["tail", "nose"]
    assert problems(tmp_path, config) == (
        "Label files with the keypoints in another order than the config (1). "
        "data.keypoint_names must have the order of the label file: other keys count by it.\n"
        "  CollectedData_left.csv: nose, tail; in the config: tail, nose"
    )


def test_labels_outside_of_the_image(tmp_path):
    config = write_project(tmp_path, views=["left"], sessions=["mo"], frames=2)
    first, second = image_names("left", ["mo"], 2)
    rows = [f"{first},1,1,2,64.5,2,2", f"{second},1,1,2,-8.5,2,2"]
    write_labels(tmp_path, "left", rows)
    (note,) = read_project(config, folder=tmp_path).notes
    assert note.replace(f"{tmp_path}/", "") == (
        "Labels far outside of their image (1). No model can learn to predict them. Correct them.\n"
        "  CollectedData_left.csv: labeled-data/mo_left/img01.png, keypoint 'tail': x -8.5, y 2; "
        "the image has height 48, width 64"
    )
    rows[0] = f"{first},1,49,2,64.5,2,2"
    write_labels(tmp_path, "left", rows)
    assert problems(tmp_path, config) == (
        "Label files most of whose labels lie outside of the images (1). Labels must be px in the "
        "images as they are: not before these were cropped or resized.\n"
        "  CollectedData_left.csv: 3 of 4 labels"
    )


def test_a_thousand_frames_of_four_views(tmp_path):
    views = ("a", "b", "c", "d")
    write_image(tmp_path / "one.png", picture(0))
    for view in views:
        images = image_names(view, ["mo"], 1000)
        (tmp_path / images[0]).parent.mkdir(parents=True)
        for image in images:
            (tmp_path / image).hardlink_to(tmp_path / "one.png")
        write_labels(tmp_path, view, [f"{image},1,1,2,2,2,2" for image in images])
    write_text(tmp_path / "calibration.toml", calibration(views))
    start = time.perf_counter()
    project = read_project(config_of(views), folder=tmp_path)
    assert time.perf_counter() - start < 20
    assert project.keypoints.shape == (1000, 4, 2, 2)


@needs_real_data
def test_real_mirrored_views():
    config = load_config(
        {"data": {"csv_file": "CollectedData.csv", "data_dir": "mirror-mouse", "num_keypoints": 17}}
    )
    project = read_project(config, folder=FOLDER)
    assert len(project.frames) == 90
    assert project.keypoints.shape == (90, 1, 17, 2)
    assert set(map(tuple, project.image_sizes.reshape(-1, 2).tolist())) == {(406, 396)}
    assert np.isnan(project.keypoints).mean() == pytest.approx(0.088, abs=5e-4)
    np.testing.assert_array_equal(
        project.visibility, np.where(np.isnan(project.keypoints[..., 0]), 0, 2)
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data.csv_file must name a label file, or one for each view; it is empty"),
        ({"csv_file": 3}, "data.csv_file must be a path or a list of paths, got 3"),
        (
            {"csv_file": ["a.csv", "b.csv"]},
            "data.csv_file must name a label file for each of the views [] in data.view_names, "
            "got 2",
        ),
        (
            {"csv_file": "a.csv", "view_names": ["a", "b"]},
            "data.csv_file must name a label file for each of the views ['a', 'b'] in "
            "data.view_names, got 1",
        ),
        (
            {"csv_file": ["a.csv", "b.csv"], "view_names": ["a", "a"]},
            "data.view_names must hold a different name for each view, got ['a', 'a']",
        ),
        (
            {"csv_file": "a.csv", "bbox_file": ["a.csv", "b.csv"]},
            "data.bbox_file must name a file for each of the 1 label files, got 2",
        ),
        (
            {"csv_file": "a.csv", "camera_params_file": "a.toml"},
            "data.camera_params_file needs data.view_names, which say whose cameras they are",
        ),
    ],
)
def test_configs_that_contradict_themselves(data, message):
    with pytest.raises(ConfigError) as raised:
        read_project(load_config({"data": data}))
    assert str(raised.value) == message
