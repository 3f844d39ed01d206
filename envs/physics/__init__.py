"""MuJoCo drivers: many worlds of one model, on CPU threads or on a GPU, behind one interface."""
