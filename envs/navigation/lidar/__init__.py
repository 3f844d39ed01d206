"""A robot with a lidar in generated floor plans that it does not know, as Warp kernels."""
