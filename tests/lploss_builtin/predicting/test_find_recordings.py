from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.predicting.find_recordings import find_recordings, inputs_by_kind, listed_images
from tests.lploss_builtin.data.keypoint_tables import csv_text
from tests.lploss_builtin.data.small_projects import write_image, write_text
from tests.lploss_builtin.data.videos import write_drawn_video

VIEWS = ("left", "top", "Cam-A")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(*paths):
    for path in paths:
        write_text(Path(path), "")


def images(folder, *names):
    touch(*(f"{folder}/{name}.png" for name in names))


def write_list(path, names):
    return write_text(Path(path), csv_text([f"{name},1,2" for name in names], ["nose"]))


def find(*inputs, views=VIEWS, chosen=None, data_folder=None, keep_going=False):
    return find_recordings(
        [Path(path) for path in inputs], views, chosen, data_folder, keep_going=keep_going
    )


def problems(*inputs, **options):
    with pytest.raises(DataError) as caught:
        find(*inputs, **options)
    title, _, text = str(caught.value).partition("\n")
    assert title == "these inputs cannot be predicted:"
    return text


def told(recordings):
    return {
        own.name: {
            view: (file, source.num_frames)
            for view, file, source in zip(own.views, own.files, own.sources, strict=True)
        }
        for own in recordings
    }


def test_a_folder_of_images():
    touch("clip/img10.png", "clip/img9.JPG", "clip/._img9.JPG", "clip/notes.txt")
    (recording,) = find("clip", views=())
    (source,) = recording.sources
    assert source.names == ("clip/img9.JPG", "clip/img10.png")
    assert source.image(0) == Path("clip/img9.JPG").absolute()
    assert (recording.name, recording.files, recording.views) == ("clip", ("clip.csv",), ("",))
    assert recording.all_files == ("clip.csv",)


def test_a_folder_of_folders():
    images("all/b", "1", "2")
    images("all/a10", "1")
    images("all/a9", "1")
    touch("all/none/notes.txt")
    found = find("all", views=())
    assert [own.name for own in found] == ["a9", "a10", "b"]


def test_names_are_those_of_the_project_layout():
    images("rig/labeled-data/mo", "1")
    (recording,) = find("rig/labeled-data/mo", views=())
    assert recording.sources[0].names == ("labeled-data/mo/1.png",)
    assert recording.sources[0].folder == Path("rig").absolute()


def test_the_view_is_in_the_name_of_the_folder():
    for session in ("mo", "tu_2"):
        for view in ("top", "left", "camA"):
            images(f"rig/labeled-data/{session}_{view}", "1", "2", "10")
    found = find("rig/labeled-data")
    assert told(found) == {
        session: {view: (f"{session}_{view}.csv", 3) for view in VIEWS}
        for session in ("mo", "tu_2")
    }
    assert found[0].views == VIEWS
    assert found[0].sources[2].names == tuple(f"labeled-data/mo_camA/{n}.png" for n in (1, 2, 10))
    assert found[0].sessions == ("mo",) * 3


def test_any_subset_of_the_views():
    images("mo_top", "1")
    images("mo_left", "1")
    images("tu_top", "1")
    found = told(find("mo_top", "mo_left", "tu_top"))
    assert {session: list(views) for session, views in found.items()} == {
        "mo": ["left", "top"],
        "tu": ["top"],
    }
    found = told(find("mo_top", "mo_left", "tu_top", chosen=["top"]))
    assert {session: list(views) for session, views in found.items()} == {
        "mo": ["top"],
        "tu": ["top"],
    }


def test_a_folder_called_like_its_view():
    images("walk/left", "1")
    images("walk/CamA", "1")
    assert told(find("walk")) == {
        "walk": {"left": ("walk_left.csv", 1), "Cam-A": ("walk_Cam-A.csv", 1)}
    }


def test_lists_of_images():
    for view in ("left", "top"):
        images(f"labeled-data/mo_{view}", "1", "2")
        images(f"labeled-data/tu_{view}", "1")
        names = [f"labeled-data/{name}.png" for name in (f"mo_{view}/2", f"tu_{view}/1")]
        write_list(f"CollectedData_{view}.csv", names)
    (recording,) = find("CollectedData_top.csv", "CollectedData_left.csv")
    assert told([recording]) == {
        "CollectedData_left+top": {
            "left": ("CollectedData_left.csv", 2),
            "top": ("CollectedData_top.csv", 2),
        }
    }
    assert recording.sessions == ("mo", "tu")
    (one,) = find("CollectedData_top.csv", "CollectedData_left.csv", chosen=["top"])
    assert told([one]) == {"CollectedData_top": {"top": ("CollectedData_top.csv", 2)}}


def test_lists_of_one_view_are_recordings_of_their_own():
    images("clip", "1")
    write_list("a.csv", ["clip/1.png"])
    write_list("b.csv", ["clip/1.png"])
    assert told(find("a.csv", "b.csv", "clip", views=())) == {
        "clip": {"": ("clip.csv", 1)},
        "a": {"": ("a.csv", 1)},
        "b": {"": ("b.csv", 1)},
    }


def test_images_of_a_list_may_lie_in_the_project():
    images("rig/labeled-data/mo", "1")
    path = write_list("elsewhere/a.csv", ["labeled-data/mo/1.png"])
    (recording,) = find(path, views=(), data_folder=Path("rig"))
    assert recording.sources[0].image(0).is_file()
    assert problems(path, views=()) == (
        "Images that do not exist (1). Put them there, take their rows out of the CSV, or predict "
        "the others with --keep-going.\n"
        "  elsewhere/a.csv: elsewhere/labeled-data/mo/1.png"
    )


def test_all_problems_at_once():
    images("a/mo_left", "1", "2", "3")
    images("a/mo_top", "2", "4")
    images("a/tu_left", "1")
    images("a/tu_camA", "2")
    images("b/mo_left", "1")
    images("a/back", "1")
    touch("empty/notes.txt", "clip.yaml", "list_top.csv")
    write_list("which.csv", ["a/back/1.png"])
    inputs = ("a", "b/mo_left", "empty", "none", "clip.yaml", "list_top.csv", "which.csv")
    assert problems(*inputs, chosen=["left", "Cam-A"]) == (
        "Files that cannot be used (4). Each must be there and complete.\n"
        "  empty holds no videos and no images, nor do its folders\n"
        "  none does not exist: name a video, a folder of videos or of images, or a CSV that lists "
        "images\n"
        "  clip.yaml cannot be predicted: name a video, a folder of videos or of images, or a CSV "
        "that lists images\n"
        "  list_top.csv names no images. Expected a path in the first cell of each row\n"
        "Names that do not tell the view (2). A folder must be called <session>_<view>, a CSV "
        "must have one of the views in its name.\n"
        "  a/back: the views are left, top, Cam-A\n"
        "  which.csv: the views are left, top, Cam-A\n"
        "Images without those of the other views (2). The folders of all views must hold images "
        "of the same names. Leave a view out by --views, or predict what is there with "
        "--keep-going.\n"
        "  a/tu_left lacks 2.png, which a/tu_camA has\n"
        "  a/tu_camA lacks 1.png, which a/tu_left has\n"
        "Views that were asked for and are not there (1). Name their images, or leave it out.\n"
        "  mo: Cam-A\n"
        "Images that would be written to the same file (1). Predict them one after the other, "
        "each with an --out of its own.\n"
        "  mo_left.csv: a/mo_left and b/mo_left"
    )


def test_frames_that_do_not_match():
    images("mo_left", "1", "2", "3")
    images("mo_top", "2", "4")
    assert problems("mo_top", "mo_left") == (
        "Images without those of the other views (3). The folders of all views must hold images "
        "of the same names. Leave a view out by --views, or predict what is there with "
        "--keep-going.\n"
        "  mo_left lacks 4.png, which mo_top has\n"
        "  mo_top lacks 1.png, which mo_left has\n"
        "  mo_top lacks 3.png, which mo_left has"
    )


def test_rows_that_do_not_match():
    images("mo_left", "1", "2")
    images("mo_top", "1", "2")
    write_list("left.csv", ["mo_left/1.png", "mo_left/2.png"])
    write_list("top.csv", ["mo_top/1.png"])
    assert problems("left.csv", "top.csv") == (
        "Rows that do not match between the views (1). The label files of all views must hold the "
        "same frames in the same order.\n"
        "  left.csv: row 2 is mo/2.png, which top.csv lacks\n"
        "Lists of which some only lack rows (1). Leave a view out by --views, or predict what is "
        "there with --keep-going.\n"
        "  left+top"
    )


def frames_of(recording):
    """Return for each view the name of each frame, and what it lacks."""
    return {
        view: [
            f"({name})" if number in own.unlisted else name
            for number, name in enumerate(own.names or ())
        ]
        for view, own in zip(recording.views, recording.sources, strict=True)
    }


def test_folders_that_lack_images_may_go_on():
    images("rig/mo_left", "2", "10")
    images("rig/mo_top", "1", "2")
    images("rig/tu_left", "1")
    found, alone = find("rig", keep_going=True)
    numbers = (1, 2, 10)
    assert frames_of(found) == {
        view: [f"mo_{view}/{number}.png" for number in numbers] for view in ("left", "top")
    }
    assert found.sessions == ("mo",) * 3
    assert [found.sources[0].image(number).is_file() for number in range(3)] == [False, True, True]
    assert frames_of(alone) == {"left": ["tu_left/1.png"]}


def test_two_spellings_of_a_number_are_in_the_same_order_in_all_folders():
    images("mo_left", "1", "01", "001")
    images("mo_top", "001", "01", "1")
    (found,) = find("mo_left", "mo_top")
    assert [Path(name).stem for name in found.sources[0].names] == ["001", "01", "1"]
    assert [Path(name).stem for name in found.sources[1].names] == ["001", "01", "1"]


def test_lists_that_lack_rows_may_go_on():
    """What a list lacks stands where the others have it, in the folder of its session."""
    write_list("left.csv", ["a/mo_left/3.png", "a/mo_left/1.png", "a/tu_left/1.png"])
    write_list("top.csv", ["b/mo_top/3.png", "b/mo_top/2.png", "b/mo_top/1.png"])
    write_list("camA.csv", ["c/we_camA/5.png", "c/mo_camA/3.png"])
    (found,) = find("left.csv", "top.csv", "camA.csv", keep_going=True)
    assert frames_of(found) == {
        "left": [
            *("(a/we_left/5.png)", "a/mo_left/3.png", "(a/mo_left/2.png)"),
            *("a/mo_left/1.png", "a/tu_left/1.png"),
        ],
        "top": [
            *("(b/we_top/5.png)", "b/mo_top/3.png", "b/mo_top/2.png"),
            *("b/mo_top/1.png", "(b/tu_top/1.png)"),
        ],
        "Cam-A": [
            *("c/we_camA/5.png", "c/mo_camA/3.png", "(c/mo_camA/2.png)"),
            *("(c/mo_camA/1.png)", "(c/tu_Cam-A/1.png)"),
        ],
    }
    assert found.sessions == ("we", "mo", "mo", "mo", "tu")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (
            ["mo_top/2.png", "mo_top/1.png"],
            "Rows that do not match between the views (2). The label files of all views must hold "
            "the same frames in the same order.\n"
            "  top.csv: row 1 is mo/2.png, in left.csv it is mo/1.png\n",
        ),
        (
            ["mo_top/1.png", "mo_top/2.png", "mo_top/2.png"],
            "Rows that do not match between the views (1). The label files of all views must hold "
            "the same frames in the same order.\n"
            "  top.csv has 3 rows, left.csv has 2",
        ),
        (
            ["mo/1.png"],
            "Images in folders that do not tell which belong together (1). The folder must be "
            "called <session>_<view>, with the name of the view in data.view_names.\n"
            "  top.csv: mo/1.png: the image's folder must be called <session>_<view>, with one of "
            "the views top; got 'mo'",
        ),
    ],
)
def test_lists_of_which_none_can_tell_what_belongs_together(names, problem):
    write_list("left.csv", ["mo_left/1.png", "mo_left/2.png"])
    write_list("top.csv", names)
    assert problems("left.csv", "top.csv", keep_going=True).startswith(problem)


def test_two_lists_of_a_view():
    images("mo_left", "1")
    write_list("left.csv", ["mo_left/1.png"])
    write_list("left_new.csv", ["mo_left/1.png"])
    assert problems("left.csv", "left_new.csv") == (
        "CSV files of the same view (1). All CSV files are one recording, one a view. Predict "
        "another recording after it.\n"
        "  left: left.csv and left_new.csv"
    )


def test_views_that_the_model_does_not_know():
    images("mo_left", "1")
    with pytest.raises(ArgumentValueError) as caught:
        find("mo_left", chosen=["left", "Cam-B"])
    assert str(caught.value) == (
        "the model knows no view 'Cam-B'. Did you mean 'Cam-A'? Its views are left, top, Cam-A"
    )
    with pytest.raises(ArgumentValueError) as caught:
        find("mo_left", views=(), chosen=["left"])
    assert str(caught.value) == (
        "the model knows one view, which has no name: there is none to choose, got left"
    )


def test_nothing_of_the_chosen_views():
    images("mo_left", "1")
    with pytest.raises(DataError, match=r"^there are no images of the views top$"):
        find("mo_left", chosen=["top"])


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def image(path):
    write_image(path, np.zeros((2, 2, 3), np.uint8))


def test_videos_in_folders_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("walk10.mp4", "walk9.AVI", "mo/left.mkv", "mo/a/top.mp4", ".hidden/no.mp4"):
        write(tmp_path / "videos" / name)
    for name in ("._walk.mp4", "notes.txt", "mo/a/b/too_deep.mp4"):
        write(tmp_path / "videos" / name)
    found = inputs_by_kind([Path("videos"), Path("none.mp4"), Path("list.csv"), Path("other")])
    videos = ["walk9.AVI", "walk10.mp4", "mo/left.mkv", "mo/a/top.mp4"]
    assert [str(path) for path in found.videos] == [f"videos/{n}" for n in videos] + ["none.mp4"]
    assert [str(path) for path in found.images] == ["list.csv", "other"]
    assert found.notes == ()


def test_a_folder_of_images_stays_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "clip/img0.png")
    write(tmp_path / "clip/inner/walk.mp4")
    found = inputs_by_kind([Path("clip")])
    assert (found.images, found.videos) == ((Path("clip"),), ())


def test_labelled_videos_are_no_input_but_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "videos/walk.mp4")
    write(tmp_path / "videos/walk_labelled.mp4")
    assert len(inputs_by_kind([Path("videos")]).videos) == 2
    write_drawn_video(tmp_path / "videos/other.mp4")
    found = inputs_by_kind([Path("videos")])
    assert [path.name for path in found.videos] == ["walk.mp4", "walk_labelled.mp4"]
    assert found.notes == (
        "videos: predicted keypoints are drawn in 1 of its videos, such as other.mp4: they are "
        "passed over. Name them to use them all the same.",
    )
    named = Path("videos/other.mp4")
    assert inputs_by_kind([named]).videos == (named,)


def test_images_beside_a_labelled_video_stay_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "clip/img0.png")
    write_drawn_video(tmp_path / "clip/clip_labelled.mp4")
    found = inputs_by_kind([Path("clip")])
    assert (found.images, found.videos, len(found.notes)) == ((Path("clip"),), (), 1)


def test_images_that_are_passed_over(tmp_path, monkeypatch):
    """As deep as videos are looked for."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rig/videos/mo_left.mp4")
    write(tmp_path / "rig/labeled-data/notes.txt")
    image(tmp_path / "rig/.hidden/img0.png")
    assert inputs_by_kind([Path("rig")]).notes == ()
    image(tmp_path / "rig/labeled-data/mo_left/img0.png")
    found = inputs_by_kind([Path("rig")])
    assert (found.images, found.videos) == ((), (Path("rig/videos/mo_left.mp4"),))
    assert found.notes == (
        "rig holds videos: its images are passed over, the first in rig/labeled-data/mo_left. Name "
        "their folder to predict them.",
    )


def written(tmp_path, text):
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
    found = listed_images(written(tmp_path, text))
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
    path = written(tmp_path, text)
    with pytest.raises(DataError) as caught:
        listed_images(path)
    assert str(caught.value) in (f"{path} {message}", f"{path}{message}")


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv does not exist$"):
        listed_images(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv is a folder, not a file$"):
        listed_images(tmp_path / "folder.csv")
