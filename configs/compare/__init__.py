"""The comparisons that `cairn compare` knows by name."""
