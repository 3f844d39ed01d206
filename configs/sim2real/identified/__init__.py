"""What was identified on robots of each kind, as randomization presets."""
