"""Empowerment: how much of the world an agent could decide from where it is."""
