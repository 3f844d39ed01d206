"""`python -m cairngym.reward_shaping.empowerment MiniGrid-DoorKey-6x6-v0 --steps 3 --out map.png`."""

import tyro

from cairngym.reward_shaping.empowerment.maps import write_map

if __name__ == "__main__":
    tyro.cli(write_map)
