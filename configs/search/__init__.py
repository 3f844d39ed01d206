"""Searches for reward programs that `cairn evolve` finds by name."""
