from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lploss import load_config
from lploss.config import plain, unknown_key
from lploss.config.schema import RETIRED
from lploss.errors import ConfigError

WHOLE = """\
data:
  image_orig_dims: {height: 406, width: 396}
  image_resize_dims:
    height: 256
    width: 256
  data_dir: ${LP_ROOT_PATH:}/data/mouse
  video_dir: ${data.data_dir}/videos
  csv_file: [top.csv, bottom.csv]
  bbox_file: [bboxes_top.csv, bboxes_bottom.csv]
  view_names: [top, bottom]
  camera_params_file: null
  downsample_factor: 2
  num_keypoints: 7
  keypoint_names: [nose, tail]
  mirrored_column_matches: [[0, 1], [8, 9]]
  columns_for_singleview_pca: [0, 1, 2]
training:
  imgaug: dlc
  imgaug_3d: true
  train_batch_size: 16
  val_batch_size: 32
  test_batch_size: 32
  train_prob: 0.95
  val_prob: 0.05
  train_frames: 1
  num_gpus: 1
  num_workers: 4
  early_stop_patience: 3
  unfreezing_epoch: 20
  min_epochs: 300
  max_epochs: 300
  log_every_n_steps: 10
  check_val_every_n_epoch: 5
  ckpt_every_n_epochs: null
  gpu_id: 0
  rng_seed_data_pt: 0
  rng_seed_model_pt: 0
  optimizer: Adam
  optimizer_params:
    learning_rate: 5e-5
  lr_scheduler: multisteplr
  lr_scheduler_params:
    multisteplr:
      milestones: [150, 200, 250]
      gamma: 0.5
  uniform_heatmaps_for_nan_keypoints: true
  patch_mask:
    init_epoch: 40    # no patch is masked before
    final_epoch: 300  # the ratio grows until here
    init_ratio: 0.0
    final_ratio: 0.5
model:
  losses_to_use: []
  backbone: vits_dino
  model_type: heatmap_multiview_transformer
  heatmap_loss_type: mse
  model_name: test
  checkpoint: null
dali:
  general:
    seed: 123456
  base:
    train:
      sequence_length: 32
    predict:
      sequence_length: 96
  context:
    train:
      batch_size: 16
    predict:
      sequence_length: 96
losses:
  supervised_reprojection_heatmap_mse:
    log_weight: null
  pca_multiview:
    log_weight: 5.0
    components_to_keep: 3
    epsilon: null
  temporal:
    log_weight: 5.0
    epsilon: 20
    prob_threshold: 0.05
eval:
  hydra_paths: [" "]
  predict_vids_after_training: true
  save_vids_after_training: false
  fiftyone:
    dataset_name: test
    port: 5151
  test_videos_directory: ${data.video_dir}
  saved_vid_preds_dir: null
  confidence_thresh_for_vid: 0.90
  colormap: cool
  video_file_to_plot: null
  pred_csv_files_to_plot: [" "]
callbacks:
  anneal_weight:
    attr_name: total_unsupervised_importance
    init_val: 0.0
    increase_factor: 0.01
    final_val: 1.0
    freeze_until_epoch: 0
hydra:
  run:
    dir: outputs/${now:%Y-%m-%d}/${now:%H-%M-%S}
  sweep:
    subdir: ${hydra.job.num}
"""

MODEL_KEYS = (
    "model_type, backbone, backbone_pretrained, backbone_checkpoint, backbone_params, "
    "gradient_checkpointing, compile, head, heatmap_loss_type, losses_to_use, model_name, "
    "checkpoint, do_context, lightning_pose_version"
)
SECTION_KEYS = "data, training, model, dali, losses, eval, callbacks, prefer, hydra"


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def given(node, into=None, prefix=""):
    """Return the leaves that a YAML text states, by dotted key."""
    into = {} if into is None else into
    for key, value in node.items():
        if isinstance(value, dict):
            given(value, into, f"{prefix}{key}.")
        else:
            into[f"{prefix}{key}"] = value
    return into


def test_a_config_of_the_source_system_is_accepted_as_it_is(write):
    stated = given(OmegaConf.to_container(OmegaConf.create(WHOLE)))
    config = OmegaConf.to_container(load_config(write(WHOLE)))
    assert {key: value for key, value in given(config).items() if key in stated} == stated


def test_interpolations_are_resolved_when_they_are_read(write):
    config = load_config(write("data: {data_dir: /data, video_dir: '${data.data_dir}/videos'}"))
    assert config.data.video_dir == "/data/videos"


def test_what_is_not_set_is_none():
    config = load_config()
    assert config.training.imgaug_3d is None
    assert (config.losses, config.prefer) == ({}, {})


@pytest.mark.parametrize("text", ["", "\n  \n", "# nothing\n", "data:\nlosses:\nprefer:\n"])
def test_empty_files_and_sections_are_the_defaults(write, text):
    assert load_config(write(text)) == load_config()


def test_a_config_may_be_a_path_a_text_of_one_or_a_mapping(write):
    path, mapping = write("data: {num_keypoints: 3}"), {"data": {"num_keypoints": 3}}
    expected = load_config(path)
    assert expected.data.num_keypoints == 3
    for source in (str(path), mapping, OmegaConf.create(mapping), expected):
        assert load_config(source) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model:\n  backbone: vits_dino\n  losses_to_sue: []\n",
            "{path}, line 3: there is no key 'losses_to_sue' in section 'model'. "
            f"Did you mean 'losses_to_use'? Known: {MODEL_KEYS}.",
        ),
        (
            "# a comment\n\ntrainig:\n  imgaug: dlc\n",
            "{path}, line 3: there is no key 'trainig'. Did you mean 'training'? "
            f"Known: {SECTION_KEYS}.",
        ),
        (
            "training:\n  patch_mask:\n    init_epoc: 3\n",
            "{path}, line 3: there is no key 'init_epoc' in section 'training.patch_mask'. "
            "Did you mean 'init_epoch' or 'init_step' or 'final_epoch'? "
            "Known: init_epoch, final_epoch, init_step, final_step, init_ratio, final_ratio.",
        ),
        ("zzz: 1\n", f"{{path}}, line 1: there is no key 'zzz'. Known: {SECTION_KEYS}."),
        (
            "training:\n  patch_mask:\n    init_epoch: forty\n",
            "{path}, line 3: training.patch_mask.init_epoch must be a whole number, got 'forty'",
        ),
        (
            "training:\n  imgaug_3d: maybe\n",
            "{path}, line 2: training.imgaug_3d must be true or false, got 'maybe'",
        ),
        (
            "training:\n  train_prob: most\n",
            "{path}, line 2: training.train_prob must be a number, got 'most'",
        ),
        (
            "data:\n  data_dir: [a]\n",
            "{path}, line 2: data.data_dir must be a text, got ['a']",
        ),
        (
            "data:\n  keypoint_names: [nose]\n  columns_for_singleview_pca:\n  - 1\n  - x\n",
            "{path}, line 5: data.columns_for_singleview_pca[1] must be a whole number, got 'x'",
        ),
        (
            "model:\n  losses_to_use: temporal\n",
            "{path}, line 2: model.losses_to_use must be a list, got 'temporal'",
        ),
        (
            "training:\n  patch_mask: 5\n",
            "{path}, line 2: training.patch_mask must be a section with keys such as init_epoch, "
            "got 5",
        ),
        (
            "data: [1]\n",
            "{path}, line 1: data must be a section with keys such as image_orig_dims, got [1]",
        ),
        (
            "training:\n  patch_mask: {init_epoch: 3}\n  lr_scheduler_params: ${model}\n"
            "model: resnet\n",
            "{path}, line 4: model must be a section with keys such as model_type, got 'resnet'",
        ),
        ("losses: 5\n", "{path}, line 1: losses must be a mapping, got 5"),
        (
            "data:\n  num_keypoints: 3\n  num_keypoints: 4\n",
            "{path}, line 3: found duplicate key num_keypoints",
        ),
        (
            "losses:\n  temporal:\n    epsilon: 1\n  temporal: {}\n",
            "{path}, line 4: found duplicate key temporal",
        ),
        (
            "- data\n- model\n",
            "{path} must hold sections such as `data:` and `losses:`, got a list",
        ),
        ("5\n", "{path} must hold sections such as `data:` and `losses:`, got '5'"),
        (
            "training: &all\n  imgaug: dlc\nmodel:\n  <<: *all\n",
            f"{{path}}, line 3: there is no key 'imgaug' in section 'model'. Known: {MODEL_KEYS}.",
        ),
    ],
)
def test_a_config_that_cannot_be_used_is_told_with_file_line_and_key(write, text, message):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == message.replace("{path}", str(path))


@pytest.mark.parametrize("spelling", ["imgaug3d", "imgaug_3D", "img_aug_3d", "imgaug_3d_"])
def test_a_misspelled_imgaug_3d_is_never_ignored(write, spelling):
    path = write(f"training:\n  imgaug: dlc\n  {spelling}: true\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(
        f"{path}, line 3: there is no key '{spelling}' in section 'training'. "
        "Did you mean 'imgaug_3d'"
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("data:\n\tnum_keypoints: 3\n", "line 2: "),
        ("data: {num_keypoints: 3\n", "line 2: "),
        ("data: {}\n---\ndata: {}\n", "line 2: "),
        ("data:\n  data_dir: ${open\n", "line 2: data.data_dir: "),
        ("losses:\n  1: {}\n", "line 2: losses.1: "),
    ],
)
def test_what_a_reader_below_refuses_is_told_in_one_line(write, text, where):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}, {where}")
    assert "\n" not in str(caught.value)


def test_characters_that_yaml_does_not_know_are_told(write):
    path = write("data:\n  data_dir: \x00\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(write, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.yaml")
    assert str(caught.value) == (f"the config {tmp_path / 'none.yaml'} does not exist")
    with pytest.raises(ConfigError, match="is a folder, not a file"):
        load_config(tmp_path)
    path = write(b"data:\n  data_dir: \xff\xfe\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == (
        f"the config {path} is no text: 'utf-8' codec can't decode byte 0xff in position 18: "
        "invalid start byte"
    )


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (5, "a config must be a path or a mapping, got int: 5"),
        (["data"], "a config must be a path or a mapping, got list: ['data']"),
        (
            {"data": {"num_keypoints": "x"}},
            "the config: data.num_keypoints must be a whole number, got 'x'",
        ),
    ],
)
def test_a_mapping_that_cannot_be_used_is_told_with_its_key(source, message):
    with pytest.raises(ConfigError) as caught:
        load_config(source)
    assert str(caught.value) == message


def test_overrides_come_last(write):
    overrides = ["training.imgaug_3d=true", "losses.rmse.log_weight=2.5", "model.losses_to_use=[a]"]
    config = load_config(write("training: {imgaug_3d: false}"), overrides)
    assert config.training.imgaug_3d is True
    assert config.losses.rmse.log_weight == 2.5
    assert config.model.losses_to_use == ["a"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training", "an override must read section.key=value, got 'training'"),
        ("=3", "an override must read section.key=value, got '=3'"),
        (
            "model.losses_to_sue=[]",
            "the override 'model.losses_to_sue=[]': there is no key 'losses_to_sue' in section "
            f"'model'. Did you mean 'losses_to_use'? Known: {MODEL_KEYS}.",
        ),
        (
            "training.num_gpus=two",
            "the override 'training.num_gpus=two': training.num_gpus must be a whole number, "
            "got 'two'",
        ),
    ],
)
def test_an_override_that_cannot_be_used_is_told(override, message):
    with pytest.raises(ConfigError) as caught:
        load_config({}, [override])
    assert str(caught.value) == message


@pytest.mark.parametrize("value", ["[", "${open"])
def test_an_override_that_cannot_be_read_is_told(value):
    with pytest.raises(ConfigError) as caught:
        load_config({}, [f"training.num_gpus={value}"])
    assert str(caught.value).startswith(f"the override 'training.num_gpus={value}': ")
    assert "\n" not in str(caught.value)


def test_a_value_that_yaml_could_not_hold_is_told_with_its_key():
    with pytest.raises(ConfigError, match=r"^the config: losses\.x\.y: [^\n]+$"):
        load_config({"losses": {"x": {"y": object()}}})


ODD_WORDS = ["on", "no", "Yes", "off", "001", "12:30", "1_000", "0x1F", "1.10", "1e3", "2020-01-01"]


@pytest.mark.parametrize("style", ["[{}]", "\n  - {}"])
def test_names_stay_text(write, style):
    words = style.format((", " if style == "[{}]" else "\n  - ").join(ODD_WORDS))
    text = f"data:\n  view_names: &views {words}\n  keypoint_names: *views\n  csv_file: *views\n"
    config = load_config(write(f"{text}model:\n  losses_to_use: {words}\n  head: off\n"))
    for names in (
        config.data.view_names,
        config.data.keypoint_names,
        config.data.csv_file,
        config.model.losses_to_use,
    ):
        assert names == ODD_WORDS
    assert config.model.head == "off"


def test_names_stay_text_in_overrides():
    words = f"[{','.join(ODD_WORDS)}]"
    config = load_config(
        {},
        [
            f"data.keypoint_names={words}",
            f"losses.bones.chains=[[on,001],{words}]",
            "data.data_dir=2020",
            "prefer={no: off, on: '001'}",
        ],
    )
    assert config.data.keypoint_names == ODD_WORDS
    assert config.losses.bones.chains[0] == ["on", "001"]
    assert config.losses.bones.chains[1][:8] == ODD_WORDS[:8]
    assert config.data.data_dir == "2020"
    assert config.prefer == {"no": "off", "on": "001"}


def test_words_in_arguments_of_losses_stay_text_and_numbers_are_numbers(write):
    config = load_config(
        write(
            "losses:\n  bones:\n    chains: [[on, off], [001, 12:30]]  # not truth values\n"
            "    of: {no: yes}\n    epsilon: 1e-3\n    a: -0.5\n    b: 12\n    c: 0\n    d: true\n"
            "    e: null\n    f: .inf\n    g: +1.5E+3\n    h: 'no'\n    i: 2.\n    j: False\n"
        )
    )
    assert config.losses.bones == {
        "chains": [["on", "off"], ["001", "12:30"]],
        "of": {"no": "yes"},
        "epsilon": 0.001,
        "a": -0.5,
        "b": 12,
        "c": 0,
        "d": True,
        "e": None,
        "f": float("inf"),
        "g": 1500.0,
        "h": "no",
        "i": 2.0,
        "j": False,
    }


def test_what_the_schema_does_not_call_text_is_read_as_before(write):
    config = load_config(
        write(
            "training: {imgaug_3d: yes, early_stopping: off, max_epochs: 0x10, train_prob: 1e-1}\n"
            "model: {backbone_params: {dynamic_img_size: no, depth: 012}}\n"
        )
    )
    assert (config.training.imgaug_3d, config.training.early_stopping) == (True, False)
    assert (config.training.max_epochs, config.training.train_prob) == (16, 0.1)
    assert config.model.backbone_params == {"dynamic_img_size": False, "depth": 10}


def test_names_survive_being_written_and_read_again(write):
    names = [*ODD_WORDS, "null", "~", "a: b", "Left Eye", "#1"]
    config = load_config({"data": {"keypoint_names": names}})
    assert load_config(write(OmegaConf.to_yaml(config))) == config


@pytest.mark.mistyped
def test_names_that_were_truth_values_before_they_came_here_are_refused():
    with pytest.raises(ConfigError) as caught:
        load_config({"data": {"keypoint_names": ["nose", True]}})
    assert str(caught.value) == (
        "the config: data.keypoint_names[1] must be a text, got True. YAML reads on, off, yes and "
        "no as true or false unless they are in quotes."
    )


def test_an_alias_within_its_own_anchor_is_refused(write):
    with pytest.raises(ConfigError, match=r"line 1: .*recursive"):
        load_config(write("data: {keypoint_names: &names [nose, *names]}"))


def test_values_to_be_given_are_missing_unless_an_override_gives_them(write):
    path = write(
        "data:\n  data_dir: ???\n  keypoint_names: [nose, '???']\nlosses:\n  temporal:\n"
        "    epsilon: '???'\nhydra:\n  job: {id: '???'}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    keys = [("data.data_dir", 2), ("data.keypoint_names[1]", 3), ("losses.temporal.epsilon", 6)]
    assert str(caught.value).splitlines() == [
        f"{path}, line {line}: {key} is missing: ??? stands for a value that must be given. Write "
        f"it there, or give the override {key}=VALUE."
        for key, line in keys
    ]
    with pytest.raises(ConfigError, match=r"^[^\n]*losses\.temporal\.epsilon is missing[^\n]*$"):
        load_config(path, ["data.data_dir=/data", "data.keypoint_names=[nose]"])
    given = ["data={data_dir: /data, keypoint_names: [nose]}", "losses={}"]
    config = load_config(path, given)
    assert (config.data.data_dir, config.data.keypoint_names) == ("/data", ["nose"])
    with pytest.raises(ConfigError, match=r"^the config: model\.backbone is missing"):
        load_config({"model": {"backbone": "???"}})
    with pytest.raises(ConfigError) as caught:
        load_config({}, ["data.data_dir=???"])
    assert str(caught.value) == (
        "the override 'data.data_dir=???': ??? stands for a value that must be given"
    )


FULL = {
    "data": {"keypoint_names": ["nose"], "image_orig_dims": {"height": 3, "width": 4}},
    "training": {"max_epochs": 7, "lr_scheduler_params": {"multisteplr": {"gamma": 0.1}}},
    "model": {"backbone_params": {"depth": 2}, "losses_to_use": ["temporal"]},
    "losses": {"temporal": {"epsilon": 3.0, "log_weight": 1.0}, "rmse": {}},
    "prefer": {"temporal": "acme"},
}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("model.backbone_params={}", "model.backbone_params", {}),
        ("model.backbone_params=null", "model.backbone_params", None),
        ("model.losses_to_use=[]", "model.losses_to_use", []),
        ("data.image_orig_dims={}", "data.image_orig_dims", {"height": None, "width": None}),
        ("data.image_orig_dims=null", "data.image_orig_dims", None),
        (
            "training.lr_scheduler_params.multisteplr={}",
            "training.lr_scheduler_params.multisteplr",
            {"milestones": None, "milestone_steps": None, "gamma": None},
        ),
        ("losses.temporal={}", "losses", {"temporal": {}, "rmse": {}}),
        ("losses.temporal=null", "losses", {"temporal": None, "rmse": {}}),
        ("losses={}", "losses", {}),
        ("losses=null", "losses", {}),
        ("losses=", "losses", {}),
        ("prefer=~", "prefer", {}),
        ("training={}", "training", OmegaConf.to_container(load_config().training)),
        ("training=null", "training", OmegaConf.to_container(load_config().training)),
        (
            "losses={temporal: {epsilon: 5.0}}",
            "losses",
            {"temporal": {"epsilon": 5.0, "log_weight": 1.0}, "rmse": {}},
        ),
    ],
)
def test_an_empty_override_clears_and_another_is_merged(override, key, value):
    before = load_config(FULL)
    after = load_config(FULL, [override])
    assert plain(OmegaConf.select(after, key)) == value
    assert plain(OmegaConf.select(before, key)) != value
    assert load_config(FULL, [override, "training.max_epochs=9"]).training.max_epochs == 9
    *sections, name = key.split(".")
    rest = []
    for config in (before, after):
        section = whole = plain(config)
        for part in sections:
            section = section[part]
        del section[name]
        rest.append(whole)
    assert rest[0] == rest[1]


def test_a_value_that_is_no_mapping_cannot_be_cleared_like_one():
    with pytest.raises(ConfigError, match=r"training\.max_epochs must be a whole number, got \{\}"):
        load_config(FULL, ["training.max_epochs={}"])


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            "app",
            "line 7: there is no key 'keypoints' in section 'data'. Lightning Pose no longer has "
            "it: rename it to data.keypoint_names.",
        ),
        (
            "dyn",
            "line 2: there is no key 'dynamic_crop' in section 'data'. Lightning Pose no longer "
            "has it: remove it; to train on crops, give their files in data.bbox_file.",
        ),
    ],
)
def test_keys_that_the_source_system_has_retired_are_refused_with_what_to_do(case, message):
    path = Path(__file__).parents[4] / "shared" / "cases" / f"{case}.yaml"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}, {message}"


@pytest.mark.parametrize("key", RETIRED)
def test_no_key_is_both_retired_and_known(key):
    section, _, name = key.partition(".")
    with pytest.raises(ConfigError, match=f"'{name}' in section '{section}'.*no longer has it"):
        load_config({section: {name: 1}})
    for stated in re.findall(r"(?:data|training|model|dali|eval)(?:\.\w+)+", RETIRED[key]):
        assert unknown_key(stated) is None


def test_plain_values_pass_through_and_nodes_become_plain():
    assert plain(5) == 5
    node = OmegaConf.create({"a": [1, {"b": "${c}"}], "c": 2})
    assert plain(node) == {"a": [1, {"b": 2}], "c": 2}
    assert type(plain(node)["a"]) is list
    with pytest.raises(ConfigError) as caught:
        plain(OmegaConf.create({"a": {"b": "${c}"}}))
    assert str(caught.value) == "a.b: Interpolation key 'c' not found"


DAMAGED = {
    "a number beyond floats": "training:\n  gradient_clip_val: " + "9" * 400,
    "a number of many digits": "training:\n  max_epochs: " + "9" * 5000,
    "no date": "losses:\n  temporal: {epsilon: !!timestamp 2020-13-45}",
    "nesting": "data: " + "[" * 1500,
    "nested mappings": "data: " + "{a: " * 2000 + "1" + "}" * 2000,
    "a null byte": "data:\n  data_dir: a\0b",
    "objects": "data: !!python/object/apply:os.getcwd []",
    "a key that is a list": "? [1]\n: 2",
    "nested aliases": "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "merged aliases": "a: &a {x: 1}\n"
    + "".join(
        f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "length": "data:\n" + "  # nothing\n" * 30_000,
}


@pytest.mark.parametrize("case", DAMAGED)
def test_configs_that_libraries_fail_on_are_refused_by_name(write, case):
    path = write(DAMAGED[case])
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_a_config_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match=r"the config .*config\.yaml is a pipe, not a file"):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "override",
    [
        "training.optimizer_params.learning_rate=" + "9" * 400,
        "data=" + "[" * 1500,
        "training.max_epochs=" + "9" * 5000,
    ],
    ids=["number", "nesting", "digits"],
)
def test_overrides_that_libraries_fail_on_are_refused(override):
    with pytest.raises(ConfigError, match="the override"):
        load_config(None, [override])
