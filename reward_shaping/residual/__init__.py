"""Residual learning: a frozen base policy plays, and what is learned is a correction of its actions."""
