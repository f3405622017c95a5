"""Networks that find keypoints in images."""
