"""Robots that must find their way: point and ant mazes, and rooms seen by a lidar."""
