"""The gap study: rates, agreement and duels from made-up episodes, and the files written of them."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.evaluation import Played
from cairngym.sim2real.gap import study
from cairngym.sim2real.gap_figures import draw_pair, draw_study, draw_sweeps
from cairngym.sim2real.gap_report import markdown, write_report
from cairngym.sim2real.randomization.config import ActionDelay
from cairngym.sim2real.randomization.envelopes import Surface
from cairngym.sim2real.randomization.fixed import Parameter
from cairngym.sim2real.statistics.binomial import binomial_interval, difference_interval
from cairngym.sim2real.sweeps import PairSweep, Sweep

UNITS = (0, 1, 2, 3)


def flags(rate: float, episodes: int) -> np.ndarray:
    return np.arange(episodes) < round(rate * episodes)


def made_up(variant: str, seed: int, sim: float, twins: tuple[float, ...]) -> Played:
    return Played(variant=variant, seed=seed, sim=flags(sim, 80), twins=np.stack([flags(rate, 20) for rate in twins]))


PLAYED = [
    made_up("robust", 0, 0.9, (0.9, 0.9, 0.8, 0.8)),
    made_up("nominal", 0, 1.0, (0.5, 0.1, 0.2, 0.0)),
    made_up("robust", 1, 0.95, (0.9, 1.0, 0.8, 0.7)),
    made_up("nominal", 1, 0.95, (0.4, 0.2, 0.2, 0.0)),
]


@pytest.fixture(scope="module")
def found():
    return study("Toy-v0", UNITS, PLAYED, baseline="nominal")


def test_rates_are_those_counted(found):
    assert [gap.variant for gap in found.gaps] == ["nominal", "robust"]
    nominal = found.gap("nominal")
    assert nominal.runs == 2
    assert nominal.sim == binomial_interval(156, 160)
    assert nominal.twins == binomial_interval(32, 160)
    assert nominal.drop == difference_interval((156, 160), (32, 160))
    assert nominal.by_twin[0] == binomial_interval(18, 40)
    assert nominal.worst == binomial_interval(0, 40)
    assert nominal.fleet.value == nominal.twins.value
    # Twins differ, so other twins are less certain than these.
    assert nominal.fleet.high - nominal.fleet.low > nominal.twins.high - nominal.twins.low
    assert found.gap("robust").twins.apart(nominal.twins)
    with pytest.raises(UnknownNameError, match="robust"):
        found.gap("robus")


def test_agreement_is_over_policies(found):
    assert found.agreement.policies == 4
    assert found.agreement.mmrv.value > 0.3  # the best in simulation are the worst on the twins
    assert found.agreement.pearson.value < 0.0


def test_duels_are_with_the_baseline_of_the_same_seed(found):
    assert [(duel.variant, duel.against, duel.seed) for duel in found.duels] == [
        ("robust", "nominal", 0),
        ("robust", "nominal", 1),
    ]
    for duel in found.duels:
        assert duel.better == "robust"
        assert duel.trials < 40 < duel.most == 80
        assert duel.barnard < 1e-6


def test_the_files_say_what_was_found(found, tmp_path):
    late = Parameter(event=ActionDelay(low=0, high=4), values=(0.0, 4.0), nominal=0.0)
    sweeps = [
        Sweep(policy="robust seed 0", parameter=late, success=(binomial_interval(9, 10), binomial_interval(2, 10)))
    ]
    surface = Surface(parameters=(late, late), successes=np.eye(2, dtype=np.int64), trials=1)
    pair = PairSweep(policy="robust seed 0", surface=surface)
    pictures = [*draw_study(found, tmp_path), draw_sweeps(sweeps, tmp_path / "sweeps.png")]
    pictures.append(draw_pair([pair], tmp_path / "pair.png"))
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
    page, table, swept = write_report(found, tmp_path, sweeps=sweeps, pictures=pictures)
    text = page.read_text()
    assert "| nominal | 2 | 0.97 [0.94, 0.99] | 0.20 [0.14, 0.27] |" in text
    assert "`robust` is better than `nominal` on the twins" in text
    assert "| robust | 2 of 2 | 0 of 2 |" in text
    assert "| action delay (physics steps), 0 to 4 | 0 to 0 |" in text
    assert "So few policies say little." in text
    assert all(f"![{picture.name}]({picture.name})" in text for picture in pictures)
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == len(PLAYED) * (1 + len(UNITS))
    assert rows[1] == {
        "task": "Toy-v0", "variant": "robust", "seed": "0", "robot": "twin 0", "successes": "18", "episodes": "20",
        "success": "0.9000", "low": "0.6830", "high": "0.9877",
    }  # fmt: skip
    assert [row["success"] for row in csv.DictReader(swept.open())] == ["0.9000", "0.2000"]


def test_one_policy_has_no_rank_and_no_duel():
    alone = study("Toy-v0", UNITS, PLAYED[:1], baseline="nominal")
    assert alone.agreement is None
    assert alone.duels == ()
    assert "One policy has no rank." in markdown(alone)


def test_policies_must_have_played_on_the_same_twins():
    with pytest.raises(ValueError, match="3 twins, got robust seed 0"):
        study("Toy-v0", (0, 1, 2), PLAYED, baseline="nominal")
    with pytest.raises(ValueError, match="got none"):
        study("Toy-v0", UNITS, [], baseline="nominal")
