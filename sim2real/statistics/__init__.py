"""Statistics of success on robots: exact intervals, agreement of simulation and reality, tests that stop early."""
