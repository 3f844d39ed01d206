"""The randomizations that are known by name."""
