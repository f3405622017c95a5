from __future__ import annotations

import pytest

from lploss.errors import DataError
from lploss_builtin.predicting.image_lists import listed_images
from tests.lploss_builtin.data.keypoint_tables import csv_text


def write(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        csv_text(["a/1.png,1,2,3,4", "a/2.JPG,,,,"]),
        # What else the rows hold does not matter.
        csv_text(["a/1.png,,many", "a/2.JPG"]),
        ",x,y,h,w\na/1.png,0,0,1,1\na/2.JPG,0,0,1,1\n",
        "image\na/1.png\n\na/2.JPG\n",
        "a/1.png\na/2.JPG",
        "\ufeffa/1.png\r\na\\2.JPG\r\n",
        "scorer,,,r\nindividuals,,,m\nbodyparts,,,n\ncoords,,,x\na,,1.png,1\na,,2.JPG,1\n".replace(
            ",,1", ",b,1"
        ).replace(",,2", ",b,2"),
    ],
    ids=["labels", "ragged", "boxes", "one header row", "bare", "Windows", "three index columns"],
)
def test_kinds_of_files(tmp_path, text):
    found = listed_images(write(tmp_path, text))
    assert [image.replace("a/b/", "a/") for image in found] == ["a/1.png", "a/2.JPG"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no images. Expected a path in the first cell of each row"),
        ("image\n", "names no images. Expected a path in the first cell of each row"),
        (
            csv_text(["0,1,2,3,4"]),
            ", line 4: expected the path of an image in the first cell, got '0'",
        ),
        (
            "1.png\n\n2.mp4\n",
            ", line 3: expected the path of an image in the first cell, got '2.mp4'",
        ),
        (
            b"1.png\n\xff.png\n",
            "cannot be read as CSV: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in "
            "position 6: invalid start byte. It may be damaged.",
        ),
    ],
)
def test_no_images(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        listed_images(path)
    assert str(caught.value) in (f"{path} {message}", f"{path}{message}")


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv does not exist$"):
        listed_images(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv is a folder, not a file$"):
        listed_images(tmp_path / "folder.csv")
