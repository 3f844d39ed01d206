"""Round trips through Minari, and datasets of others, against Minari's own reading and writing."""

import dataclasses

import numpy as np
import pytest
import torch
from goal_toys import make_line
from gymnasium import spaces
from replay_toys import equal, make_replay

import cairngym
from cairngym.agents.demonstration_sources import load_demonstrations
from cairngym.agents.demonstrations import Demonstrations, collect
from cairngym.agents.oracles import make_oracle

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")

from cairngym.agents.minari_datasets import load_minari, save_minari  # noqa: E402


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    return tmp_path / "sets"


def towards(obs, state):
    return (state["goal"] - obs["achieved_goal"]).clamp(-1.0, 1.0)


def line(**options):
    return make_line(3, terminate_on_success=True, **options)


@pytest.fixture
def shown():
    return collect(towards, line(), 5, seed=3)


def same(a, b):
    ours, theirs = a.columns(), b.columns()
    return equal(vars(a), vars(b)) and all(ours[name].dtype is theirs[name].dtype for name in ours)


def foreign(dataset_id, episodes, space=None, action=None, infos=None):
    """Write a dataset as others do: with Minari's own function."""
    from minari.data_collector import EpisodeBuffer

    space = space or spaces.Box(-9.0, 9.0, (2,), np.float64)
    buffers = [
        EpisodeBuffer(
            observations=np.arange(2.0 * len(rewards) + 2).reshape(-1, 2) if space.shape else observed,
            actions=np.zeros((len(rewards), 1), np.float32), rewards=np.array(rewards, np.float64),
            terminations=np.array(ends), truncations=np.array(cuts), infos=infos(len(rewards)) if infos else {},
        )
        for rewards, ends, cuts, observed in episodes
    ]  # fmt: skip
    with pytest.warns(UserWarning, match="is set to None"):
        minari.create_dataset_from_buffers(
            dataset_id, buffers, observation_space=space,
            action_space=action or spaces.Box(-1.0, 1.0, (1,), np.float32), jpeg_encoding=False,
        )  # fmt: skip


def episode(length, ends="terminated", reward=0.0, observed=None):
    last = [False] * (length - 1) + [True]
    never = [False] * length
    flags = {"terminated": (last, never), "truncated": (never, last), "none": (never, never)}[ends]
    return [0.0] * (length - 1) + [reward], *flags, observed


# Our own --------------------------------------------------------------------------------------------------------------


def test_what_was_saved_is_read_exactly_by_us_and_rightly_by_minari(shown, root):
    place = save_minari(shown, "line/oracle-v0", line(), {"seed": 3, "success_rate": 1.0})
    assert place == root / "line" / "oracle-v0"
    assert same(load_minari("line/oracle-v0"), shown)
    assert same(load_minari("line/oracle-v0", episodes=2), shown.first(2))
    dataset = minari.load_dataset("line/oracle-v0")
    assert list(minari.list_local_datasets()) == ["line/oracle-v0"]
    assert (dataset.total_episodes, dataset.total_steps) == (5, int(shown.lengths.sum()))
    assert dataset.observation_space == line().single_observation_space
    assert dataset.storage.metadata["success_rate"] == 1.0
    first = 0
    for read, length in zip(dataset, shown.lengths.tolist(), strict=True):
        steps = slice(first, first + length)
        position = read.observations["achieved_goal"]
        np.testing.assert_array_equal(position[:-1], shown.obs["achieved_goal"][steps])
        np.testing.assert_array_equal(position[-1], shown.next_obs["achieved_goal"][steps.stop - 1])
        np.testing.assert_array_equal(read.actions, shown.action[steps])
        np.testing.assert_array_equal(read.terminations, shown.terminated[steps])
        np.testing.assert_array_equal(read.truncations, shown.truncated[steps])
        np.testing.assert_array_equal(read.infos["state"]["goal"][1:], shown.next_state["goal"][steps])
        assert read.infos["success"].tolist() == [False, *shown.success[steps].tolist()]
        first += length


def test_timeouts_stay_truncations_and_last_observations_stay_true(root):
    failing = collect(lambda obs, state: -towards(obs, state), make_line(2, horizon=4), 4, only_successful=False)
    moved = {name: tensor + 0.5 for name, tensor in failing.next_obs.items()}  # not what is acted on next
    odd = dataclasses.replace(failing, next_obs=moved, next_state={n: t - 1.0 for n, t in failing.next_state.items()})
    for number, dataset in enumerate((failing, odd)):
        save_minari(dataset, f"line/failing-v{number}", make_line(2))
        assert same(load_minari(f"line/failing-v{number}"), dataset)
    assert int(failing.truncated.sum()) == 4
    assert not failing.terminated.any()


def test_codes_discrete_actions_and_the_env_come_back(root):
    env = cairngym.make("MiniGrid-DoorKey-5x5-v0", num_envs=2, bank_size=8)
    shown = collect(make_oracle(env), env, 3)
    save_minari(shown, "doorkey/oracle-v0", env)
    assert same(load_minari("doorkey/oracle-v0"), shown)
    box = cairngym.make("Chain-N10-v0", num_envs=2)
    plain = collect(lambda obs, state: torch.ones(2, dtype=torch.int64), box, 2)
    save_minari(plain, "chain-v0", box)
    assert same(load_minari("chain-v0"), plain)
    again = minari.load_dataset("chain-v0").recover_environment()
    assert again.unwrapped.tensor_env.id == "Chain-N10-v0"


def test_a_dataset_goes_into_the_replay(shown):
    save_minari(shown, "line/oracle-v0", line())
    replay = make_replay(line(), demonstration_ratio=1.0)
    replay.load_demonstrations(load_demonstrations("minari:line/oracle-v0", line(), episodes=4))
    first = shown.first(4)
    drawn = replay.sample(256)
    pairs = {(float(a), float(b)) for a, b in zip(drawn.obs["achieved_goal"], drawn.action, strict=True)}
    assert pairs <= {(float(a), float(b)) for a, b in zip(first.obs["achieved_goal"], first.action, strict=True)}


def test_what_fails_in_between_is_never_registered(shown, root, monkeypatch):
    from minari.dataset._storages.hdf5_storage import HDF5Storage

    def full(self, episodes):
        (self.data_path / "main_data.hdf5").write_bytes(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(HDF5Storage, "update_episodes", full)
        with pytest.raises(OSError, match="No space"):
            save_minari(shown, "line/oracle-v0", line())
    assert minari.list_local_datasets() == {}
    assert list(root.iterdir()) == []
    save_minari(shown, "line/oracle-v0", line())
    with pytest.raises(ValueError, match="already"):
        save_minari(shown, "line/oracle-v0", line())
    assert same(load_minari("line/oracle-v0"), shown)
    for name in ("line/oracle", "../up-v0", "a b-v0"):
        with pytest.raises(ValueError, match="NAME-vN"):
            save_minari(shown, name, line())
    with pytest.raises(ValueError, match="observations of"):
        save_minari(shown, "line/other-v0", cairngym.make("Chain-N10-v0"))
    with pytest.raises(FileNotFoundError, match="cairn demo record"):
        load_minari("line/nowhere-v0")


# Those of others ------------------------------------------------------------------------------------------------------


def test_datasets_of_others_are_read_as_our_adapters_would_show_them():
    nested = spaces.Dict(arm=spaces.Dict(joints=spaces.Box(-1.0, 1.0, (2,), np.float64)), code=spaces.Discrete(3))
    seen = {"arm": {"joints": np.arange(8.0).reshape(4, 2)}, "code": np.array([0, 1, 2, 1])}
    foreign("other/nested-v0", [episode(3, reward=1.0, observed=seen), episode(3, "none", observed=seen)], nested)
    read = load_minari("other/nested-v0")
    assert read.obs["arm/joints"].dtype is torch.float32
    assert torch.equal(read.next_obs["arm/joints"][2], torch.tensor([6.0, 7.0]))
    assert read.obs["code"].tolist() == [[0], [1], [2], [0], [1], [2]]
    assert read.state == read.next_state == {}
    assert read.success.tolist() == [False, False, True, False, False, False]  # it terminated and was rewarded
    assert read.truncated.tolist() == [False] * 5 + [True]  # it was cut
    assert read.reward.dtype is torch.float32


def test_successes_of_others_are_read_where_infos_name_them():
    foreign("other/told-v0", [episode(2, "truncated")], infos=lambda n: {"is_success": np.arange(n + 1) == 1})
    assert load_minari("other/told-v0").success.tolist() == [True, False]


def test_timeouts_marked_as_terminals_are_refused_or_mended():
    foreign("other/marked-v0", [episode(4), episode(2), episode(4), episode(4, reward=1.0)])
    with pytest.raises(ValueError, match="got 2 unsuccessful episodes that terminate at exactly 4 steps"):
        load_minari("other/marked-v0")
    with pytest.warns(UserWarning, match="2 timeouts"):
        mended = load_minari("other/marked-v0", timeouts="truncate")
    ends = (mended.lengths.cumsum(0) - 1).tolist()
    assert mended.terminated[ends].tolist() == [False, True, False, True]
    assert mended.truncated[ends].tolist() == [True, False, True, False]
    kept = load_minari("other/marked-v0", timeouts="keep")
    assert kept.terminated[ends].all()
    foreign("other/single-v0", [episode(4), episode(2)])  # one longest episode tells nothing of a limit
    assert load_minari("other/single-v0").terminated.sum() == 2


@pytest.mark.parametrize(
    ("episodes", "options", "message"),
    [
        ([([np.nan, 0.0], [False, True], [False, False], None)], {}, "finite values of 'reward'"),
        ([([0.0] * 3, [True, False, True], [False] * 3, None)], {}, r"one end in episode 0 .* steps \[0, 2\] of 3"),
        ([episode(3)], {"action": spaces.MultiDiscrete([2])}, "Discrete or Box actions"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(episodes, options, message):
    foreign("other/bad-v0", episodes, **options)
    with pytest.raises(ValueError, match=message):
        load_minari("other/bad-v0")


def test_empty_episodes_and_other_spaces_are_refused():
    from minari.data_collector import EpisodeBuffer

    from cairngym.agents.minari_episodes import EpisodeReader

    foreign("other/plain-v0", [episode(3)])
    dataset = minari.load_dataset("other/plain-v0")
    empty = EpisodeBuffer(id=7, observations=np.zeros((1, 2)), actions=np.zeros((0, 1)))
    with pytest.raises(ValueError, match="steps in episode 7 of other/plain-v0, got none"):
        EpisodeReader(dataset)(empty)
    with pytest.raises(ValueError, match="demonstrated observations of"):
        load_demonstrations("minari:other/plain-v0", line())
    with pytest.raises(ValueError, match="at least one episode"):
        load_minari("other/plain-v0", episodes=0)
    assert isinstance(load_minari("other/plain-v0"), Demonstrations)
