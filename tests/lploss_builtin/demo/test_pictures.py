from __future__ import annotations

from lploss_builtin.demo.pictures import read_curves, read_weights

# As Lightning writes them: of each step some columns, of the end of each epoch others.
TEXT = """\
epoch,step,heatmap_kl_weight,heatmap_kl_weight_epoch,heatmap_kl_weight_step,\
train_heatmap_kl_loss_epoch,train_heatmap_kl_loss_step,train_heatmap_kl_loss_weighted_epoch,\
train_loss_epoch,train_loss_step,train_pixel_error_epoch,train_supervised_loss_epoch,\
val_loss,val_heatmap_kl_loss,val_pixel_error,val_supervised_loss
0,9,,,0.5,,9.0,,,4.5,,,,,,
0,19,0.5,,,,,,,,,,1.5,3.0,11.0,1.5
0,19,,0.5,,4.0,,2.0,2.0,,12.0,2.0,,,,
1,39,,0.5,,2.0,,1.0,1.0,,8.0,1.0,,,,
"""


def test_the_ends_of_epochs_by_hand(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(TEXT)
    assert read_curves(path) == {
        "loss": {"train": {1: 2.0, 2: 1.0}, "val": {1: 1.5}},
        "heatmap_kl": {"train": {1: 4.0, 2: 2.0}, "val": {1: 3.0}},
        "pixel_error": {"train": {1: 12.0, 2: 8.0}, "val": {1: 11.0}},
    }
    assert read_weights(path) == {"heatmap_kl": 0.5}
