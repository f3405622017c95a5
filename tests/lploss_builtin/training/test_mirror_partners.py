from __future__ import annotations

import pytest
import yaml

from lploss.errors import ConfigError
from lploss_builtin.training.mirror_partners import mirror_note, mirror_partners

# Keypoints of a data set, or spellings; and the pairs among them.
TABLE = {
    "words": (
        "ear_left nose ear_right left_paw right_paw",
        "ear_left-ear_right left_paw-right_paw",
    ),
    "words alone": ("left right mid", "left-right"),
    "words in the middle": ("hip_left_1 hip_right_1 hip_mid_1", "hip_left_1-hip_right_1"),
    "words in upper case": ("LEFT_EAR RIGHT_EAR NOSE", "LEFT_EAR-RIGHT_EAR"),
    "words in title case": ("Left Eye|Right Eye|Tail", "Left Eye-Right Eye"),
    "words in two cases": ("Left_ear right_ear", "Left_ear-right_ear"),
    "words in camel case": (
        "frontLeftPaw frontRightPaw LeftEye RightEye pawLeft pawRight leftHip rightHip",
        "frontLeftPaw-frontRightPaw LeftEye-RightEye pawLeft-pawRight leftHip-rightHip",
    ),
    "words without a separator": (
        "leftear rightear tailbase earleft earright hindleftpaw hindrightpaw LEFTEYE RIGHTEYE",
        "leftear-rightear earleft-earright hindleftpaw-hindrightpaw LEFTEYE-RIGHTEYE",
    ),
    "words that end like another word": (
        "elbowleft elbowright limbleft limbright thumbLeft thumbRight",
        "elbowleft-elbowright limbleft-limbright thumbLeft-thumbRight",
    ),
    "letters with a separator": (
        "L_paw R_paw leg-l leg-r eye.L eye.R paw_l_1 paw_r_1 l r",
        "L_paw-R_paw leg-l-leg-r eye.L-eye.R paw_l_1-paw_r_1 l-r",
    ),
    "letters in camel case": (
        "earL earR LPaw RPaw lHip rHip hindLPaw hindRPaw knee1L knee1R",
        "earL-earR LPaw-RPaw lHip-rHip hindLPaw-hindRPaw knee1L-knee1R",
    ),
    "letters without a separator": (
        "Lhindpaw Rhindpaw lear rear fl fr pawl pawr EYEL EYER",
        "Lhindpaw-Rhindpaw lear-rear fl-fr pawl-pawr EYEL-EYER",
    ),
    "letters that mean something else, too": (
        "f_l f_r r_l r_r",  # front and rear
        "f_l-f_r r_l-r_r",
    ),
    "no sides": (
        "bright brightness upright Upright cleft cleftLip leftover Lower Rump lip rib lever Lung "
        "ball roll light tail collar rostrum RUMP LOWER RIB LIP rear lateral_line dorsal L1 L2 L3",
        "",
    ),
    "a word that becomes a side": ("left right light", "left-right"),
    "mouse, DeepLabCut": (
        "snout leftear rightear shoulder spine1 spine2 tailbase tail1 tailend",
        "leftear-rightear",
    ),
    "mouse, SuperAnimal": (
        "nose left_ear right_ear left_ear_tip right_ear_tip left_eye right_eye neck mid_back "
        "left_shoulder left_midside right_shoulder right_midside tail_base head_midpoint",
        "left_ear-right_ear left_ear_tip-right_ear_tip left_eye-right_eye "
        "left_shoulder-right_shoulder left_midside-right_midside",
    ),
    "mouse, camera below": (
        "Nose Lforepaw Rforepaw Lhindpaw Rhindpaw TailBase",
        "Lforepaw-Rforepaw Lhindpaw-Rhindpaw",
    ),
    "mouse, paws": ("frontL frontR hindL hindR tail1", "frontL-frontR hindL-hindR"),
    "fly, SLEAP": (
        "head eyeL eyeR thorax abdomen wingL wingR forelegL4 forelegR4 midlegL4 midlegR4 hindlegL4 "
        "hindlegR4",
        "eyeL-eyeR wingL-wingR forelegL4-forelegR4 midlegL4-midlegR4 hindlegL4-hindlegR4",
    ),
    "fly, legs by number": (
        "L1A L1B L2A R1A R1B R2A Notum L-WH R-WH",
        "L1A-R1A L1B-R1B L2A-R2A L-WH-R-WH",
    ),
    "fly, legs by two letters": (
        "LF_coxa RF_coxa LM_coxa RM_coxa",
        "LF_coxa-RF_coxa LM_coxa-RM_coxa",
    ),
    "human, COCO": (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow "
        "right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle "
        "right_ankle",
        "left_eye-right_eye left_ear-right_ear left_shoulder-right_shoulder left_elbow-right_elbow "
        "left_wrist-right_wrist left_hip-right_hip left_knee-right_knee left_ankle-right_ankle",
    ),
    "human, OpenPose": (
        "Nose Neck RShoulder RElbow LShoulder LElbow MidHip RBigToe LBigToe",
        "RShoulder-LShoulder RElbow-LElbow RBigToe-LBigToe",
    ),
    "human, motion capture": (
        "LFHD RFHD C7 T10 CLAV STRN RBAK LASI RASI LKNE RKNE",
        "LFHD-RFHD LASI-RASI LKNE-RKNE",
    ),
    "human, Human3.6M": ("Hip RHip RKnee LHip LKnee Spine Thorax", "RHip-LHip RKnee-LKnee"),
    "horse": (
        "Nose Eye Poll Withers Croup Dock Left_Front_Hoof Right_Front_Hoof L_Hind_Hoof R_Hind_Hoof",
        "Left_Front_Hoof-Right_Front_Hoof L_Hind_Hoof-R_Hind_Hoof",
    ),
    "quadrupeds, AP-10K": (
        "L_Eye|R_Eye|Nose|Neck|Root of tail|L_Shoulder|R_Shoulder|L_F_Paw|R_F_Paw|L_B_Paw|R_B_Paw",
        "L_Eye-R_Eye L_Shoulder-R_Shoulder L_F_Paw-R_F_Paw L_B_Paw-R_B_Paw",
    ),
    "fish": (
        "mouth lips rostrum lateral_line gill_l gill_r pectoralL pectoralR dorsal caudal eyeLeft "
        "eyeRight",
        "gill_l-gill_r pectoralL-pectoralR eyeLeft-eyeRight",
    ),
    "corners": (
        "corner_TL corner_TR corner_BL corner_BR",
        "corner_TL-corner_TR corner_BL-corner_BR",
    ),
}


def names_in(text: str) -> list[str]:
    return text.split("|" if "|" in text else None)


@pytest.mark.parametrize(("text", "pairs"), TABLE.values(), ids=TABLE)
@pytest.mark.parametrize("order", [1, -1])
def test_partners_differ_in_the_side_only(text: str, pairs: str, order: int) -> None:
    names = names_in(text)[::order]
    expected = dict(zip(names, names, strict=True))
    for first in names:
        for second in names:
            if f" {first}-{second} " in f" {pairs} ":
                expected |= {first: second, second: first}
    partners = mirror_partners(names)
    assert {name: names[partner] for name, partner in zip(names, partners, strict=True)} == expected


def test_each_pair_of_the_table_is_found_by_the_test() -> None:
    for text, pairs in TABLE.values():
        names = names_in(text)
        assert len(names) == len(set(names))
        stated = [f"{a}-{b}" for a in names for b in names if f" {a}-{b} " in f" {pairs} "]
        assert sorted(" ".join(stated).split()) == sorted(pairs.split())


@pytest.mark.parametrize(
    ("names", "problems"),
    [
        ("nose paw_left paw_rigth", ["paw_left: there is no paw_right. Did you mean 'paw_rigth'?"]),
        ("leftear ear", ["leftear: there is no rightear."]),
        ("nose eyeright", ["eyeright: there is no eyeleft."]),
        ("RIGHT_PAW", ["RIGHT_PAW: there is no LEFT_PAW."]),
        ("nose_l", ["nose_l: there is no nose_r."]),
        ("earL EarR2", ["earL: there is no earR.", "EarR2: there is no EarL2."]),
        ("right light", ["right: there is no left."]),
        ("paw1LH paw4RH", ["paw1LH: there is no paw1RH.", "paw4RH: there is no paw4LH."]),
        ("wing_FL", ["wing_FL: there is no wing_FR."]),
        (
            "ll lr rl rr",
            [
                "ll: its counterpart may be lr or rl",
                "lr: its counterpart may be ll or rr",
                "rl: its counterpart may be ll or rr",
                "rr: its counterpart may be lr or rl",
            ],
        ),
    ],
)
def test_a_side_without_a_certain_counterpart_is_refused(names: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        mirror_partners(names.split())
    lines = [line.strip().split(" Did")[0] for line in str(caught.value).splitlines()]
    assert lines[0] == (
        "training.imgaug_hflip: true swaps left and right, and the counterpart of some keypoints "
        "is not certain:"
    )
    assert lines[1:-2] == [problem.split(" Did")[0] for problem in problems]
    assert all(problem in str(caught.value) for problem in problems)


def test_the_refusal_gives_the_key_with_the_pairs_found_so_far() -> None:
    names = ["earL", "earR", "left_no", "right_no", "paw_left"]
    with pytest.raises(ConfigError) as caught:
        mirror_partners(names)
    *_, advice, line = str(caught.value).splitlines()
    assert "list all pairs by hand ([] swaps none)" in advice
    key, _, pairs = line.strip().partition(": ")
    assert key == "training.imgaug_hflip_pairs"
    stated = yaml.safe_load(pairs)
    assert stated == [["earL", "earR"], ["left_no", "right_no"]]
    assert mirror_partners(names, stated) == (1, 0, 3, 2, 4)


@pytest.mark.parametrize(
    ("pairs", "partners"),
    [
        ([["paw1LH", "paw4RH"], ["paw3RF", "paw2LF"]], (0, 4, 3, 2, 1, 5)),
        ([["nose", "left_ear"]], (5, 1, 2, 3, 4, 0)),
        ([], (0, 1, 2, 3, 4, 5)),
    ],
)
def test_stated_pairs_are_all_that_is_swapped(
    pairs: list[list[str]], partners: tuple[int, ...]
) -> None:
    names = ["nose", "paw1LH", "paw2LF", "paw3RF", "paw4RH", "left_ear"]
    assert mirror_partners(names, pairs) == partners


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["ab"], "must be a list of pairs of keypoints, such as [[ear_l, ear_r]]; got 'ab' in it"),
        (
            [["a"]],
            "must be a list of pairs of keypoints, such as [[ear_l, ear_r]]; got ['a'] in it",
        ),
        ([["a", "x"]], "there is no keypoint 'x'. The keypoints are a, b, c."),
        ([["a", 3]], "there is no keypoint 3. The keypoints are a, b, c."),
        ([["a", "a"]], "a keypoint must be in at most one pair, once; got [['a', 'a']]"),
        (
            [["a", "b"], ["c", "b"]],
            "a keypoint must be in at most one pair, once; got [['a', 'b'], ['c', 'b']]",
        ),
    ],
)
def test_pairs_that_are_not_pairs_of_keypoints_are_refused(
    pairs: list[list[str]], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        mirror_partners(["a", "b", "c"], pairs)
    text = str(caught.value).replace("pairs: ", "pairs ", 1)
    assert text == f"training.imgaug_hflip_pairs {message}"


def test_the_note_lists_what_is_swapped_and_what_is_not() -> None:
    names = ["nose", "ear_left", "paw_r", "ear_right", "paw_l", "tail"]
    assert mirror_note(names, mirror_partners(names)) == (
        "training.imgaug_hflip swaps ear_left and ear_right, paw_r and paw_l; it leaves unchanged: "
        "nose, tail"
    )
    assert mirror_note(names[1:2] + names[3:4], (1, 0)) == (
        "training.imgaug_hflip swaps ear_left and ear_right"
    )
    assert mirror_note(["nose", "tail"], (0, 1)) == (
        "training.imgaug_hflip swaps no keypoints; it leaves unchanged: nose, tail. If some of "
        "them are left and right, list them: training.imgaug_hflip_pairs"
    )
