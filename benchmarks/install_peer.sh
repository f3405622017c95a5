#!/bin/sh
# Install the peer, Lightning Pose, into .venv-peer, beside the project in .venv.
#
# .venv-peer sees every package of .venv, so torch is not installed twice and both projects run
# in one process. What the peer needs besides, or in another version, goes into .venv-peer
# alone: nothing in .venv changes. NVIDIA DALI is left out, no loss needs it.
set -eu
cd "$(dirname "$0")/.."

if [ ! -x .venv/bin/python ]; then
    echo "$0: there is no .venv; install the project there first" >&2
    exit 1
fi
.venv/bin/python -m venv --clear .venv-peer

# site.addsitedir, and not the folder's bare path, so that the .pth files there count too: one of
# them is the project's own. The path is worked out at every start: both folders can be moved.
.venv-peer/bin/python - <<'PYTHON'
import pathlib
import sys
import sysconfig

packages = pathlib.Path(sysconfig.get_path("purelib"))
inside = str(packages.relative_to(sys.prefix))
packages.joinpath("project.pth").write_text(
    "import os, site, sys; "
    f"site.addsitedir(os.path.join(os.path.dirname(sys.prefix), '.venv', {inside!r}))\n"
)
PYTHON

pip() {
    .venv-peer/bin/python -m pip --disable-pip-version-check "$@"
}
constraints=.venv-peer/constraints.txt
# Another torch or numpy would not be the one that the project is measured with.
pip freeze | grep -E '^(torch|torchvision|numpy|kornia)==' >"$constraints"
pip install --quiet --constraint "$constraints" \
    aniposelib h5py hydra-core imaug jaxtyping kornia 'lightning>=2.5,<2.6' matplotlib \
    'moviepy>=2' opencv-python-headless pandas pillow 'pytorch-lightning>=2.5,<2.6' \
    safetensors scikit-learn 'tensorboard<3' toml torchvision 'transformers>=4.57.5'
pip install --quiet --no-deps lightning-pose==2.4.3

.venv-peer/bin/python -c 'import lploss, torch, lightning_pose.losses.losses'
echo "installed: .venv-peer/bin/python -m benchmarks"
