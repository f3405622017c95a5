"""Files of poses: predictions and labels, read and written."""
