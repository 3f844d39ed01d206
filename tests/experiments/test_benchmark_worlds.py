"""The benchmarks of worlds that nobody else has, made small."""

import json

import pytest
import torch

from cairngym.experiments import benchmark_lidar, benchmark_stl_worlds


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
