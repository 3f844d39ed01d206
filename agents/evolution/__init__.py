"""Agents that keep a population of policies and learn from what each of them earned."""
