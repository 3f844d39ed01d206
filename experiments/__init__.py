"""The comparison: task x variant x seed, its statistics and its report."""
