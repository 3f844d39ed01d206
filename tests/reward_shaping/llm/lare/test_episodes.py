import pytest
import torch

from cairngym.reward_shaping.llm.lare.episodes import EpisodeRing

CPU = torch.device("cpu")


def mask(text):
    return torch.tensor([letter == "1" for letter in text])


def play(ring, script, first=1.0):
    """Steps of all envs; each line says which envs end. Step t of env i has the factor `first + t + i / 10`."""
    for t, ends in enumerate(script):
        envs = torch.arange(len(ends))
        factors = (first + t + envs / 10).unsqueeze(1)
        ring.add(factors, torch.full((len(ends),), first + t), mask(ends))


def episodes(found):
    """Every episode as its factors and its return."""
    rows = zip(found.factors, found.length, found.returned, strict=True)
    return [
        ([round(value, 1) for value in row[: int(length), 0].tolist()], float(returned))
        for row, length, returned in rows
    ]


def test_episodes_of_different_lengths_are_kept_whole_with_their_returns():
    ring = EpisodeRing(3, 1, longest=4, capacity=4, device=CPU)
    play(ring, ["000", "010", "100", "011"])
    first, second = ([1.1, 2.1], 3.0), ([1.0, 2.0, 3.0], 6.0)
    assert episodes(ring.since(0)) == [first, second, ([3.1, 4.1], 7.0), ([1.2, 2.2, 3.2, 4.2], 10.0)]
    assert ring.finished == 4
    found = ring.since(0)
    assert found.factors.shape == (4, 4, 1), "as long as the longest"
    assert found.lived.sum(1).tolist() == [2, 3, 2, 4]
    assert ring.since(3).factors.shape == (1, 4, 1)
    assert len(ring.since(4).length) == 0


def test_the_oldest_episodes_give_way():
    ring = EpisodeRing(2, 1, longest=2, capacity=3, device=CPU)
    for number in range(5):
        play(ring, ["10", "01"], first=10.0 * number)
    assert ring.finished == 10
    last = episodes(ring.since(0))
    assert len(last) == 3, "the ring holds no more"
    assert last == episodes(ring.since(7)), "oldest first"
    everything = EpisodeRing(2, 1, longest=2, capacity=16, device=CPU)
    for number in range(5):
        play(everything, ["10", "01"], first=10.0 * number)
    assert last == episodes(everything.since(7)), "wrapping round changes nothing but what is forgotten"


def test_where_more_end_at_once_than_fit_the_first_envs_are_kept():
    ring = EpisodeRing(4, 1, longest=1, capacity=2, device=CPU)
    play(ring, ["1111"])
    assert episodes(ring.since(0)) == [([1.0], 1.0), ([1.1], 1.0)]
    play(ring, ["1111"], first=5.0)
    assert episodes(ring.since(0)) == [([5.0], 5.0), ([5.1], 5.0)]
    assert ring.finished == 4


def test_an_episode_reset_before_its_end_is_forgotten():
    ring = EpisodeRing(2, 1, longest=4, capacity=4, device=CPU)
    play(ring, ["00", "00"])
    ring.begin(mask("10"))
    play(ring, ["11"], first=7.0)
    assert episodes(ring.since(0)) == [([7.0], 7.0), ([1.1, 2.1, 7.1], 10.0)]


def test_steps_that_were_not_made_do_not_count():
    ring = EpisodeRing(2, 1, longest=4, capacity=4, device=CPU)
    play(ring, ["00", "10"])
    # Env 0 is over and waits for its reset; its flags stay up, as under DISABLED.
    ring.add(torch.tensor([[99.0], [3.0]]), torch.tensor([50.0, 3.0]), mask("11"), valid=mask("01"))
    assert episodes(ring.since(0)) == [([1.0, 2.0], 3.0), ([1.1, 2.1, 3.0], 6.0)]
    play(ring, ["10"], first=8.0)
    assert episodes(ring.since(2)) == [([8.0], 8.0)]


def test_episodes_longer_than_the_storage_are_left_out():
    ring = EpisodeRing(2, 1, longest=2, capacity=4, device=CPU)
    play(ring, ["00", "01", "10"])
    assert episodes(ring.since(0)) == [([1.1, 2.1], 3.0)]
    play(ring, ["10"], first=4.0)
    assert episodes(ring.since(1)) == [([4.0], 4.0)], "and leave nothing behind"


def test_draws_are_uniform_over_what_is_kept():
    ring = EpisodeRing(2, 1, longest=1, capacity=3, device=CPU)
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="at least one finished episode"):
        ring.sample(2, generator)
    play(ring, ["11"])
    drawn = {tuple(row.flatten().tolist()) for row in ring.sample(64, generator).factors}
    assert len(drawn) == 2, "nothing that is empty yet"
    play(ring, ["11"], first=5.0)
    found = ring.sample(3000, generator).factors.flatten().tolist()
    counts = {round(value, 1): found.count(value) for value in set(found)}
    assert sorted(counts) == [1.1, 5.0, 5.1]
    assert all(900 < count < 1100 for count in counts.values())


def test_a_copy_goes_on_as_the_original_and_holds_only_what_is_used():
    ring = EpisodeRing(3, 2, longest=5, capacity=2, device=CPU)
    generator = torch.Generator().manual_seed(0)

    def go(some, count, seed):
        noise = torch.Generator().manual_seed(seed)
        for _ in range(count):
            draw = torch.rand(3, 3, generator=noise)
            some.add(draw[:, :2], draw[:, 2], draw[:, 0] < 0.3)

    go(ring, 12, seed=1)
    snapshot = ring.get_state()
    assert len(snapshot["factors"]) == int(snapshot["length"].sum()) < 5 * 5
    other = EpisodeRing(3, 2, longest=5, capacity=2, device=CPU)
    other.set_state(snapshot)
    for some in (ring, other):
        go(some, 9, seed=2)
    state = generator.get_state()
    mine = ring.sample(8, generator)
    theirs = other.sample(8, generator.set_state(state))
    assert ring.finished == other.finished > 4
    for left, right in zip(ring.since(0), other.since(0), strict=True):
        assert torch.equal(left, right)
    assert torch.equal(mine.length, theirs.length)
