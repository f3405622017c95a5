"""Readers of labels, predictions and video, and data made on the spot."""
