"""Quality-diversity: archives of behaviors, their novelty, the grids they cover, and a bonus for being unlike them."""
