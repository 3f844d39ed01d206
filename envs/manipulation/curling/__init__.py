"""An arm of two links that pushes a ball over a table, with the contacts of Box2D, as Warp kernels."""
