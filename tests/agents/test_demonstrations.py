import dataclasses
import zipfile

import numpy as np
import pytest
import torch
from agent_toys import identity, tracking
from goal_toys import make_line
from gymnasium import spaces
from replay_toys import equal, make_replay, play

from cairngym.agents.demonstrations import Demonstrations, collect
from cairngym.agents.replay import Replay
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.potential import PotentialShaper


def towards(obs, state):
    """The oracle of the line."""
    return (state["goal"] - obs["achieved_goal"]).clamp(-1.0, 1.0)


def away(obs, state):
    return torch.where(obs["achieved_goal"] > obs["desired_goal"], 1.0, -1.0)


def episodes(dataset):
    ends = dataset.lengths.cumsum(0).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


@pytest.fixture
def shown():
    return collect(towards, make_line(4, terminate_on_success=True), 6, seed=3)


def test_episodes_are_whole_successful_and_in_the_env_s_own_units(shown):
    assert len(shown) == 6
    assert int(shown.lengths.sum()) == len(shown.reward) == len(shown.action)
    for first, end in episodes(shown):
        position, goal = (shown.state[name][first:end, 0] for name in ("position", "goal"))
        after = shown.next_state["position"][first:end, 0]
        assert torch.equal(position + shown.action[first:end, 0], after)
        assert torch.equal(position[1:], after[:-1])
        assert (goal == goal[0]).all()
        assert end - first == max(1, int((goal[0] - position[0]).abs()))
        assert shown.success[first:end].tolist() == [False] * (end - first - 1) + [True]
        assert shown.terminated[end - 1]
        assert after[-1] == goal[0]
    for obs, state in ((shown.obs, shown.state), (shown.next_obs, shown.next_state)):
        assert torch.equal(obs["achieved_goal"], state["position"])
        assert torch.equal(obs["desired_goal"], state["goal"])
    assert torch.equal(shown.reward == 0.0, shown.success)


def test_the_same_seed_gives_the_same_episodes(shown):
    again = collect(towards, make_line(4, terminate_on_success=True, seed=8), 6, seed=3)
    assert all(equal(vars(shown)[name], vars(again)[name]) for name in vars(shown))
    other = collect(towards, make_line(4, terminate_on_success=True), 6, seed=4)
    assert not equal(shown.obs, other.obs)


def test_failures_are_left_out_unless_asked_for():
    def mixed(obs, state):
        wrong = torch.tensor([[True], [False], [True]])
        return torch.where(wrong, away(obs, state), towards(obs, state))

    env = make_line(3)
    good = collect(mixed, env, 4)
    assert all(good.success[first:end].any() for first, end in episodes(good))
    every = collect(mixed, env, 6, only_successful=False)
    assert every.lengths.tolist() == [10] * 6
    assert [bool(every.success[a:b].any()) for a, b in episodes(every)].count(True) < 6
    assert every.truncated.nonzero().flatten().tolist() == [10 * k + 9 for k in range(6)]
    with pytest.raises(RuntimeError, match="Expected 9 successful episodes, got 0 in 15"):
        collect(away, make_line(3), 9, attempts=15)
    with pytest.raises(ValueError, match="episodes >= 1"):
        collect(towards, env, 0)
    with pytest.raises(ValueError, match="SameStep"):
        collect(towards, make_line(3, autoreset_mode="NextStep"), 1)


def test_shaped_envs_give_the_task_reward(shown):
    env = ShapedEnv(make_line(4, terminate_on_success=True), [Term(name="p", shaper=PotentialShaper(gamma=0.9))])
    assert equal(vars(collect(towards, env, 6, seed=3)), vars(shown))


def test_a_file_gives_back_what_was_saved(tmp_path, shown):
    shown.save(tmp_path / "deep" / "line.npz")
    back = Demonstrations.load(tmp_path / "deep" / "line.npz")
    assert equal(vars(back), vars(shown))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["line.npz"]
    with np.load(tmp_path / "deep" / "line.npz", allow_pickle=False) as plain:
        np.testing.assert_array_equal(plain["obs/achieved_goal"], shown.obs["achieved_goal"])
    single = collect(lambda obs, state: 2.0 * obs, tracking(2), 2)  # a Box, not a Dict
    single.save(tmp_path / "box.npz")
    assert equal(vars(Demonstrations.load(tmp_path / "box.npz")), vars(single))


def test_damaged_and_foreign_files_are_told_apart_from_missing_ones(tmp_path, shown):
    with pytest.raises(FileNotFoundError, match="no such file"):
        Demonstrations.load(tmp_path / "nothing.npz")
    path = tmp_path / "line.npz"
    shown.save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("reward.npy")
        flipped[info.header_offset + 60 + info.compress_size // 2] ^= 0xFF
    np.savez(tmp_path / "foreign.npz", reward=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    content = {"cut": whole[: len(whole) // 2], "flipped": bytes(flipped), "empty": b"", "text": b"no archive"}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    for name in (*content, "foreign.npz", "array.npy"):
        with pytest.raises(ValueError, match="damaged or foreign file"):
            Demonstrations.load(tmp_path / name)


def test_a_failed_write_leaves_the_older_file(tmp_path, shown, monkeypatch):
    shown.save(tmp_path / "line.npz")
    before = (tmp_path / "line.npz").read_bytes()

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        shown.save(tmp_path / "line.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["line.npz"]
    assert (tmp_path / "line.npz").read_bytes() == before


def test_datasets_that_do_not_add_up_are_refused(shown):
    with pytest.raises(ValueError, match=r"the sum of lengths, of 'action', got 1"):
        dataclasses.replace(shown, action=shown.action[:1])
    with pytest.raises(ValueError, match="lengths >= 1"):
        dataclasses.replace(shown, lengths=torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="finite values of 'obs/achieved_goal'"):
        dataclasses.replace(shown, obs={**shown.obs, "achieved_goal": shown.obs["achieved_goal"] * float("nan")})


# In replay ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "batch", "own"), [(0.5, 64, 32), (0.25, 10, 8), (0.0, 8, 8), (1.0, 8, 0)])
def test_batches_hold_the_asked_share_evenly_spread(shown, ratio, batch, own):
    env = make_line(4, size=30.0)
    replay = make_replay(env, demonstration_ratio=ratio)
    play(replay, env, 5)
    replay.ring.columns["obs"]["observation"].fill_(99.0)
    assert (replay.sample(batch).obs["observation"] == 99.0).all()
    replay.load_demonstrations(shown)
    mine = replay.sample(batch).obs["observation"][:, 0] == 99.0
    assert int(mine.sum()) == own
    for part in mine.view(2, -1):
        assert int(part.sum()) == own // 2
    assert replay.size == 20


def test_only_demonstrations_can_be_sampled_from_an_empty_replay(shown):
    replay = make_replay(make_line(4), demonstration_ratio=1.0)
    replay.load_demonstrations(shown)
    assert replay.sample(8).reward.shape == (8,)
    replay.demonstration_ratio = 0.5
    with pytest.raises(ValueError, match="got 8 of 0"):
        replay.sample(8)


def sample_shown(env, shown, **options):
    replay = make_replay(env, demonstration_ratio=1.0, **options)
    replay.load_demonstrations(shown)
    return replay.sample(6000)


@pytest.mark.parametrize("strategy", ["none", "future", "final"])
def test_demonstrated_steps_are_sampled_within_their_episodes(shown, strategy):
    env = make_line(4, terminate_on_success=True)
    batch = sample_shown(env, shown, n_step=3, strategy=strategy)
    allowed = set()
    for first, end in episodes(shown):
        position = shown.state["position"][first:end, 0].tolist()
        after = shown.next_state["position"][first:end, 0].tolist()
        for k in range(end - first):
            goals = {"none": after[-1:], "future": after[k:], "final": after[-1:]}[strategy]
            for goal in goals:
                # The oracle goes straight, so it meets `goal` for the first time after this step or a later one.
                steps = after[k:].index(goal) + 1
                taken = min(steps, 3)
                met = steps <= 3
                reward = -sum(0.5**j for j in range(taken)) + (0.5 ** (taken - 1) if met else 0.0)
                allowed.add((position[k], goal, reward, after[k + taken - 1], 0.0 if met else 0.125))
    columns = (batch.obs["achieved_goal"], batch.obs["desired_goal"], batch.reward, batch.next_obs["achieved_goal"])
    found = torch.stack([column.flatten() for column in (*columns, batch.discount)], dim=1)
    assert {tuple(row) for row in found.tolist()} == allowed


def test_shapers_judge_demonstrated_steps(shown):
    env = ShapedEnv(make_line(4), [Term(name="p", shaper=PotentialShaper(gamma=1.0, scale=1.0))])
    batch = sample_shown(env, shown, strategy="none")
    near = batch.discount != 0.0
    # Progress is 1 - (distance - 0.5) / 10: each step straight to the goal but the last is worth 1/10.
    assert near.any()
    assert ((batch.reward + 1.0)[near] - 0.1).abs().max() < 1e-6
    assert set(env.terms[0].shaper.requires) == {"position", "goal"}


def test_actions_are_stored_in_the_unit_box(shown):
    env = make_line(4)
    env.single_action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)
    assert sample_shown(env, shown).action.abs().unique().tolist() in ([0.5], [0.0, 0.5])


def test_a_snapshot_holds_the_demonstrations(shown):
    env = make_line(4)
    replay, twin = (make_replay(env, n_step=2, strategy="episode", seed=seed) for seed in (0, 1))
    play(replay, env, 6)
    replay.load_demonstrations(shown)
    snapshot = replay.get_state()
    first = replay.sample(32)
    twin.set_state(snapshot)
    assert all(equal(a, b) for a, b in zip(first, twin.sample(32), strict=True))


def test_demonstrations_of_other_spaces_are_refused(shown):
    with pytest.raises(ValueError, match="observations of"):
        make_replay(tracking(4)).load_demonstrations(shown)
    replay = Replay(identity(4), capacity=8, gamma=0.9, generator=torch.Generator())
    with pytest.raises(ValueError, match="observations of"):
        replay.load_demonstrations(shown)
    env = make_line(4)
    env.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    with pytest.raises(ValueError, match=r"actions of shape \(2,\)"):
        make_replay(env).load_demonstrations(shown)
    env.single_action_space = spaces.Box(-0.5, 0.5, (1,), np.float32)
    with pytest.raises(ValueError, match="actions within"):
        make_replay(env).load_demonstrations(shown)
    shaped = ShapedEnv(make_line(4), [Term(name="p", shaper=PotentialShaper(gamma=0.5))])
    bare = dataclasses.replace(shown, state={"goal": shown.state["goal"]})
    with pytest.raises(ValueError, match=r"none of \['position'\]"):
        make_replay(shaped).load_demonstrations(bare)
