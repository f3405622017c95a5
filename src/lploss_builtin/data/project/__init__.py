"""Projects of labelled frames, in the layout of Lightning Pose."""
