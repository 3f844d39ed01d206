"""Robots at the far end of a middleware that others use too."""
