"""Robots that are simulations in processes of their own, with hidden parameters, delays and noise."""
