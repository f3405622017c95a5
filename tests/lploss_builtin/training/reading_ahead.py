"""The command line of lploss, where images are not held in memory: data workers read ahead."""

from lploss.cli import main
from lploss_builtin.data.project.labelled_frames import LabelledFrames

if __name__ == "__main__":
    LabelledFrames.load = lambda *_: False
    main()
