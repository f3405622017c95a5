from __future__ import annotations

import numpy as np
import pytest

from lploss.errors import DataError
from lploss_builtin.data.findings import Findings
from lploss_builtin.data.project.bounding_boxes import boxes_of, read_boxes
from tests.lploss_builtin.data.small_projects import write_text


def test_columns_in_any_order(tmp_path):
    path = write_text(tmp_path / "boxes.csv", "image,w,h,y,x\nfolder\\a.png,4,3,2,1.5\n")
    boxes = read_boxes(path)
    assert list(boxes) == ["folder/a.png"]
    assert boxes["folder/a.png"].tolist() == [1.5, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "boxes.csv does not exist"),
        (
            "",
            "cannot be read as a file of bounding boxes: EmptyDataError: No columns to parse",
        ),
        (
            ",x,y,h,w\na.png,1,2,b,4\n",
            "boxes.csv cannot be read as a file of bounding boxes: ValueError: ",
        ),
        (
            ",x,y,h,width\na.png,1,2,3,4\n",
            "there is no column 'w'. A file of bounding boxes has the columns x, y, h, w after "
            "that of the images, got x, y, h, width",
        ),
        (
            ",x,y,h,w\na.png,1,2,3,4\na.png,1,2,3,4\n",
            "boxes.csv: a.png stands there twice. Keep one row for each image.",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "boxes.csv"
    if text is not None:
        write_text(path, text)
    with pytest.raises(DataError) as raised:
        read_boxes(path)
    assert message in str(raised.value)


def test_a_box_with_a_number_missing(tmp_path):
    path = write_text(tmp_path / "boxes.csv", ",x,y,h,w\na.png,1,,3,4\n")
    findings = Findings()
    assert boxes_of(path, ["a.png"], np.array([[10, 10]]), findings) is None
    assert findings.problems().endswith(f"\n  {path}: a.png")


@pytest.mark.parametrize(
    ("box", "is_within"),
    [
        ("0,0,10,20", True),
        ("0.1,0.2,9.8,19.9", True),
        ("-1e-9,0,10,20", True),
        ("-0.1,0,10,20", False),
        ("0,-0.1,10,20", False),
        ("0,0.1,10,20", False),
        ("0.1,1,9,20", False),
    ],
)
def test_the_edges_of_the_image(tmp_path, box, is_within):
    path = write_text(tmp_path / "boxes.csv", f",x,y,h,w\na.png,{box}\nb.png,1,1,2,2\n")
    findings = Findings()
    sizes = np.array([[10, 20], [10, 20]])
    boxes, are_cut_out = boxes_of(path, ["a.png", "b.png"], sizes, findings)
    assert boxes.tolist() == [[*map(float, box.split(","))], [1, 1, 2, 2]]
    assert not are_cut_out
    assert (findings.problems() == "") == is_within
