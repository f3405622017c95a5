"""Calibration files, and the names of sessions and views."""
