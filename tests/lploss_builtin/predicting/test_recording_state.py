"""State files in a folder of predictions are checked: the folder may come from elsewhere."""

from __future__ import annotations

import json
import os
import re

import pytest

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.predicting import Recording
from lploss_builtin.predicting.predict_recording import outdated_files
from lploss_builtin.predicting.prediction_files import UnreadFrames, read_rows
from lploss_builtin.predicting.recording_state import STATE_FOLDER, RecordingState

INPUTS = {"views": ["top"], "weights": "abc"}
MOVES = ".lploss.moves.json"


@pytest.fixture
def out(tmp_path):
    (tmp_path / "mine.csv").write_text("precious")
    (tmp_path / "out" / STATE_FOLDER).mkdir(parents=True)
    return tmp_path / "out"


def state_of(out):
    return RecordingState(out, "walk")


def predict(out, name="walk.csv", text="0,1,2\n", outdated=()):
    state = state_of(out)
    with state.alone():
        state.begin(INPUTS)
        (state.unfinished / name).write_text(text)
        state.finish(INPUTS, (name,), {"likelihood": 0.5}, outdated=outdated)


def note_of(out, inputs=INPUTS):
    state = state_of(out)
    with state.alone():
        return state.finished(inputs, lambda note: note["likelihood"])


def test_what_is_finished_is_found_again(out):
    assert note_of(out) is None
    predict(out)
    assert (out / "walk.csv").read_text() == "0,1,2\n"
    assert note_of(out) == 0.5
    assert note_of(out, {**INPUTS, "weights": "other"}) is None
    (out / "walk.csv").write_text("shorter")
    assert note_of(out) is None
    assert sorted(path.name for path in (out / STATE_FOLDER).iterdir()) == [
        "walk.json",
        "walk.lock",
    ]


def test_files_that_no_longer_fit_are_removed_with_their_notes(out):
    predict(out, "walk_left.csv")
    (out / STATE_FOLDER / "walk_left.csv.json").write_text("{}")
    predict(out, outdated=("walk_left.csv",))
    assert sorted(path.name for path in out.iterdir()) == [STATE_FOLDER, "walk.csv"]
    assert not (out / STATE_FOLDER / "walk_left.csv.json").exists()


FORGED = ["../mine.csv", "{root}/mine.csv", "deep/../../mine.csv", "", 3, None, ["a"], "a\0b"]


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("key", ["files", "outdated"])
def test_a_forged_list_of_moves_touches_nothing(tmp_path, out, name, key):
    name = name.format(root=tmp_path) if isinstance(name, str) else name
    unfinished = state_of(out).unfinished
    unfinished.mkdir()
    (unfinished / "walk.csv").write_text("forged")
    moves = {"files": ["walk.csv"], "outdated": [], key: ["walk.csv", name]}
    (unfinished / MOVES).write_text(json.dumps(moves))
    with pytest.raises(DataError, match=re.escape(f"{name!r} is not the name of a file in")):
        note_of(out)
    assert (tmp_path / "mine.csv").read_text() == "precious"
    assert not (out / "walk.csv").exists()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"files": 1, "outdated": 2}', "[" * 10**5])
def test_a_damaged_list_of_moves(out, text):
    unfinished = state_of(out).unfinished
    unfinished.mkdir()
    (unfinished / MOVES).write_text(text)
    with pytest.raises(DataError) as caught:
        note_of(out)
    assert str(caught.value).startswith(f"{unfinished / MOVES}, which lists files that are being")
    assert str(caught.value).endswith(f"Delete the folder {unfinished} and run the command again.")


@pytest.mark.parametrize("name", ["../mine.csv", "deep/walk.csv", "{root}/mine.csv", "", ".."])
def test_a_forged_record_names_no_file_elsewhere(tmp_path, out, name):
    record = {"inputs": INPUTS, "files": {name.format(root=tmp_path): 8}, "note": {}}
    (out / STATE_FOLDER / "walk.json").write_text(json.dumps(record))
    for read in (note_of, lambda out: state_of(out).outdated([])):
        with pytest.raises(DataError, match=r"walk\.json, .* is not the name of a file in"):
            read(out)
    assert (tmp_path / "mine.csv").read_text() == "precious"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("{", "JSONDecodeError"),
        ("\xff", "UnicodeDecodeError"),
        ("[" * 10**5, "RecursionError"),
        ([], "it does not hold a mapping"),
        ({"inputs": INPUTS}, "it needs the mappings inputs, files and note"),
        ({"inputs": {"views": 3}, "files": {}, "note": {}}, "its views are not a list"),
        ({"inputs": INPUTS, "files": {}, "note": {}}, "its note: KeyError: 'likelihood'"),
    ],
)
def test_a_damaged_record_is_an_error_that_says_how_to_go_on(out, record, why):
    text = record if isinstance(record, str) else json.dumps(record)
    path = out / STATE_FOLDER / "walk.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=re.escape(why)) as caught:
        note_of(out)
    assert str(caught.value).startswith(
        f"{path}, which belongs to the predictions of walk, cannot be used: "
    )
    assert str(caught.value).endswith(
        "Delete it to predict the recording again, or name another output folder."
    )


@pytest.mark.parametrize(
    "link", ["", "walk.unfinished", "walk.unfinished/walk.csv", "walk.lock", "walk.json"]
)
def test_links_lead_nowhere(tmp_path, out, link):
    """Locking would empty a file, a resumed prediction append to it, a new one remove it."""
    target = tmp_path / "theirs"
    is_file = link in ("walk.unfinished/walk.csv", "walk.lock", "walk.json")
    if is_file:
        target.write_text("precious")
        (out / STATE_FOLDER / link).parent.mkdir(exist_ok=True)
    else:
        (target / "walk.unfinished").mkdir(parents=True)
        (target / "inputs.json").write_text("precious")
        if not link:
            (out / STATE_FOLDER).rmdir()
    (out / STATE_FOLDER / link).symlink_to(target)
    with pytest.raises((DataError, ArgumentValueError), match=r"a link|cannot be used"):
        predict(out) if link != "walk.json" else note_of(out)
    kept = target if is_file else target / "inputs.json"
    assert kept.read_text() == "precious"


def test_a_pipe_is_not_waited_for(out):
    os.mkfifo(out / STATE_FOLDER / "walk.json")
    with pytest.raises(DataError, match=r"walk\.json.* is a pipe, not a file"):
        note_of(out)


class Plan:
    """As much of a plan as says which files no longer fit."""

    def __init__(self, out):
        self.out, self.video_files = out, ()
        self.recording = Recording("a", (), (), ("a.csv",), 1)


@pytest.mark.mistyped  # a stand-in for a plan
def test_only_videos_of_names_beside_are_outdated(out):
    predict(out)
    (out / STATE_FOLDER / "walk_labelled.mp4.json").write_text("{}")
    assert outdated_files(Plan(out), state_of(out)) == ("walk.csv", "walk_labelled.mp4")


@pytest.mark.mistyped  # a stand-in for a video
@pytest.mark.parametrize("line", ["{", "[1]", "[0, 2, 1]", "[5, 1, 2]", "[0, 1.5, 2]", "null"])
def test_damaged_notes_on_frames_that_could_not_be_read(tmp_path, line):
    (tmp_path / "unread.jsonl").write_text(f"[0, 1, 2]\n{line}\n[0, 4")
    with pytest.raises(DataError, match=r"unread\.jsonl, which lists .* Delete .* to predict"):
        UnreadFrames(tmp_path, ["a video"])


def test_damaged_predictions_so_far(tmp_path):
    path = tmp_path / "walk.csv"
    path.write_text("coords,x,y,likelihood\n0,1,2,0.5\n1,1,two,0.5\n")
    header = [["coords", "x", "y", "likelihood"]]
    assert read_rows(path, header, 1, 3).tolist() == [[[1.0, 2.0, 0.5]]]
    with pytest.raises(DataError, match=r"walk\.csv, .* is damaged .*'two'.* Delete"):
        read_rows(path, header, 2, 3)
    path.write_text("coords,x,y,likelihood\n0,1,2,0.5\n")
    with pytest.raises(DataError, match="it has 1 rows, expected 2"):
        read_rows(path, header, 2, 3)
