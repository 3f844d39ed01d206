"""The benchmarks of worlds that nobody else has, made small."""

import json
from dataclasses import replace

import pytest
import torch

from cairngym.experiments import benchmark_evolution, benchmark_lidar, benchmark_stl_worlds


@pytest.mark.parametrize(
    ("module", "env_id"), [(benchmark_lidar, "LidarRooms-Small-v0"), (benchmark_stl_worlds, "StlLinear-Until-v0")]
)
def test_it_measures_every_id_and_writes_the_record(module, env_id, tmp_path, capsys):
    threads = torch.get_num_threads()
    out = tmp_path / "speed.json"
    config = module.Benchmark(envs=(env_id,), batch=8, threads=1, rounds=1, seconds=0.01, out=out)
    try:
        assert module.run(config) == 0
    finally:
        torch.set_num_threads(threads)
    (result,) = json.loads(out.read_text())["results"]
    assert (result["name"], result["envs"], result["threads"]) == (env_id, 8, 1)
    assert result["steps_per_second"] > 0
    assert f"| {env_id} | 8 | 1 |" in capsys.readouterr().out


def test_policies_in_one_kernel_are_held_against_a_loop(tmp_path, capsys):
    threads, out = torch.get_num_threads(), tmp_path / "speed.json"
    small = {"population": 8, "threads": 1, "rounds": 1, "seconds": 0.01, "hidden": (3,), "out": out}
    config = benchmark_evolution.Benchmark(envs=("HardMaze-v0",), **small)
    try:
        assert benchmark_evolution.run(replace(config, hold=False)) == 0
        ratio = json.loads(out.read_text())["ratios"][0]
        assert benchmark_evolution.run(config) == 0
        with pytest.raises(ValueError, match=r"plays whole episodes, .* got 'LidarRooms-Small-v0'"):
            benchmark_evolution.run(benchmark_evolution.Benchmark(envs=("LidarRooms-Small-v0",), **small))
    finally:
        torch.set_num_threads(threads)
    assert ratio > 10
    assert f"| {ratio:,.0f} |" in capsys.readouterr().out
