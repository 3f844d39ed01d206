import math

import pytest

from cairngym.sim2real.twin.config import NetworkConfig
from cairngym.sim2real.twin.network import Link


def arrivals(config, count=2000, gap=0.01, seed="s"):
    """(arrival, number) of datagrams sent at a steady pace."""
    link = Link(config, seed)
    found = []
    for number in range(count):
        now = number * gap
        link.push(number, now)
        found += [(now, item) for item in link.pop(now)]
    while link.next_s < math.inf:
        now = link.next_s
        found += [(now, item) for item in link.pop(now)]
    return link, found


def test_a_perfect_network_delivers_at_once_and_in_order():
    link, found = arrivals(NetworkConfig())
    assert found == [(number * 0.01, number) for number in range(2000)]
    assert link.lost == 0


def test_a_share_is_lost():
    link, found = arrivals(NetworkConfig(loss=0.3))
    assert link.lost + len(found) == 2000
    assert abs(link.lost / 2000 - 0.3) < 0.04  # 4 deviations of a binomial


def test_delays_keep_the_order():
    _, found = arrivals(NetworkConfig(delay_s=0.005, jitter_s=0.1))
    assert [item for _, item in found] == list(range(2000))
    link = Link(NetworkConfig(delay_s=0.005, jitter_s=0.1), "s")
    dues = []
    for number in range(200):
        link.push(number, 10.0 * number)
        dues.append(link.next_s - 10.0 * number)
        link.pop(math.inf)
    assert 0.005 <= min(dues) < 0.02
    assert 0.09 < max(dues) <= 0.105


def test_held_datagrams_are_overtaken():
    _, found = arrivals(NetworkConfig(reorder=0.1, hold_s=0.025))
    order = [item for _, item in found]
    assert sorted(order) == list(range(2000))
    overtaken = sum(order[k] < max(order[:k]) for k in range(1, 2000))
    assert 0.05 < overtaken / 2000 < 0.15


def test_fates_depend_on_the_seed_only():
    config = NetworkConfig(loss=0.2, jitter_s=0.01, reorder=0.1)
    assert arrivals(config, seed="a")[1] == arrivals(config, seed="a")[1]
    assert arrivals(config, seed="a")[1] != arrivals(config, seed="b")[1]


def test_faults_add_loss_and_delay():
    link = Link(NetworkConfig(), "s")
    link.delay_s = 0.1
    link.push("late", 0.0)
    assert link.next_s == 0.1
    link.loss = 1.0
    link.push("lost", 0.0)
    assert link.pop(1.0) == ["late"]
    assert link.lost == 1


@pytest.mark.parametrize("wrong", [{"delay_s": -1.0}, {"loss": 1.5}, {"reorder": -0.1}, {"jitter_s": math.inf}])
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(ValueError, match="Expected"):
        NetworkConfig(**wrong)
