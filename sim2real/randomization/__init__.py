"""Simulations that differ from one another and from the model: parameters, delays, noise, motors, pushes, pictures."""
