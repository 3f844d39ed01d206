"""Words as Beacons: subgoals that a language model names for MiniGrid levels, precomputed, with its errors measured."""
