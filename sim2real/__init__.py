"""From simulation to the robot."""
