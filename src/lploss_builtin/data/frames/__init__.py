"""Frames of videos and image folders, read by their numbers."""
