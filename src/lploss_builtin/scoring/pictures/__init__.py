"""Pictures of what scoring has found in a file."""

from lploss_builtin.scoring.pictures.draw import draw_pictures

__all__ = ["draw_pictures"]
