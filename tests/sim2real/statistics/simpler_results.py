"""Success rates that SIMPLER publishes, in simulation and on the robot.

Source: github.com/simpler-env/SimplerEnv, simpler_env/utils/metrics.py, commit 6f5a5f7 (the numbers, which are facts).
Policies on the Google robot: rt-2-x, rt-1-converged, rt-1-15pct, rt-1-x, rt-1-begin, octo-base; on the WidowX: rt-1-x,
octo-base, octo-small.
"""

SIM = {
    "pick coke can": (0.787, 0.857, 0.710, 0.567, 0.027, 0.170),
    "move near": (0.779, 0.442, 0.354, 0.317, 0.050, 0.042),
    "open drawer": (0.157, 0.601, 0.463, 0.296, 0.000, 0.009),
    "close drawer": (0.343, 0.861, 0.667, 0.891, 0.278, 0.444),
    "apple in drawer": (0.037, 0.065, 0.130, 0.213, 0.000, 0.000),
    "spoon on towel": (0.000, 0.125, 0.472),
    "carrot on plate": (0.042, 0.083, 0.097),
    "stack cube": (0.000, 0.000, 0.042),
    "eggplant": (0.000, 0.431, 0.569),
}
REAL = {
    "pick coke can": (0.907, 0.853, 0.920, 0.760, 0.133, 0.293),
    "move near": (0.733, 0.633, 0.583, 0.450, 0.017, 0.350),
    "open drawer": (0.333, 0.815, 0.704, 0.519, 0.000, 0.148),
    "close drawer": (0.630, 0.926, 0.889, 0.741, 0.000, 0.519),
    "apple in drawer": (0.074, 0.185, 0.185, 0.407, 0.000, 0.000),
    "spoon on towel": (0.000, 0.333, 0.417),
    "carrot on plate": (0.000, 0.250, 0.083),
    "stack cube": (0.000, 0.000, 0.125),
    "eggplant": (0.000, 0.250, 0.400),
}
EXPECTED = {
    # task: MMRV, MMRV with the arguments swapped, Pearson
    "pick coke can": (0.031, 0.062, 0.975),
    "move near": (0.111, 0.003, 0.856),
    "open drawer": (0.000, 0.000, 0.983),
    "close drawer": (0.123, 0.113, 0.771),
    "apple in drawer": (0.000, 0.011, 0.969),
    "spoon on towel": (0.000, 0.000, 0.827),
    "carrot on plate": (0.111, 0.009, 0.571),
    "stack cube": (0.000, 0.000, 1.000),
    "eggplant": (0.000, 0.000, 0.989),
}
