"""Temporal tasks made groundable: formulas as timed subgoals and invariants whose times can be sampled."""
