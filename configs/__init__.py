"""YAML presets, packaged with the wheel."""
