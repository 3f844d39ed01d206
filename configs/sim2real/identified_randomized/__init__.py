"""Ranges around what was identified on robots of each kind, as randomization presets."""
