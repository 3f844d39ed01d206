"""Packaged configs, found by name."""

import pytest

from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.config import load_comparison
from cairngym.experiments.presets import find_config, packaged


def test_packaged_comparisons_load_and_are_found_by_name():
    assert {"quickstart", "minigrid"} <= set(packaged("compare"))
    quickstart = load_comparison(find_config("quickstart"))
    assert quickstart.illustrative
    assert set(quickstart.variants) == {"sparse", "potential", "count", "rnd"}
    serious = load_comparison(find_config("minigrid"))
    assert len(serious.tasks) >= 8
    assert len(serious.seeds) == 10
    assert (serious.env["split"], serious.evaluation.env["split"]) == ("train", "test")


def test_unknown_config_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown config 'quickstrt'\. Did you mean 'quickstart'"):
        find_config("quickstrt")
    with pytest.raises(ConfigError, match="There is no file"):
        find_config(str(tmp_path / "mine.yaml"))
