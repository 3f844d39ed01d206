"""Bonuses for what is new: visit counts and random network distillation."""
