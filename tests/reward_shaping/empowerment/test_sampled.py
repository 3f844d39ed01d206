"""Branching through true dynamics against exact capacity, closed forms, and noise that must not count."""

import math

import numpy as np
import pytest
import torch
from empowerment_toys import ROOMS, drifting, everywhere, in_every_state, level_env, rank_correlation, slipping, tabular
from gymnasium import spaces

from cairngym.envs.core import StateField, Task, TensorEnv, World
from cairngym.envs.random import Stream, uniform
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.empowerment.blahut_arimoto import channel_capacity
from cairngym.reward_shaping.empowerment.branching import draw_sequences, sequence_number
from cairngym.reward_shaping.empowerment.exact import empowerment
from cairngym.reward_shaping.empowerment.levels import enumerate_level
from cairngym.reward_shaping.empowerment.sampled import (
    SampledEmpowermentShaper,
    distinct_capacity,
    gaussian_capacity,
)

LEVELS = ("MiniGrid-Empty-6x6-v0", "MiniGrid-DoorKey-5x5-v0", "MiniGrid-LavaGapS6-v0")
RING = torch.stack([torch.eye(8).roll(k, 1) for k in (-1, 0, 1)], dim=1)


def bound(env, moves=None, **options):
    if moves is not None:
        options["twin"] = lambda count: tabular(moves, count)
    shaper = SampledEmpowermentShaper(**options)
    shaper.bind(env)
    return shaper


@pytest.mark.parametrize("env_id", LEVELS)
def test_minigrid_levels_rank_as_their_exact_capacity(env_id):
    env = level_env(env_id, num_envs=512)
    model = enumerate_level(env)
    states, exact, alive = in_every_state(env_id, model, env), model.empowerment(2), ~model.terminal
    whole = bound(states, steps=2, samples=49, options={"bank_size": 4, "threads": 1}).empowerment()
    torch.testing.assert_close(whole[alive].double(), exact[alive], atol=1e-6, rtol=0)
    some = bound(states, steps=2, samples=40, options={"bank_size": 4, "threads": 1}).empowerment()
    assert rank_correlation(some[alive], exact[alive]) >= 0.9
    assert (some[alive] <= exact[alive] + 1e-6).all(), "some sequences bring about no more than all of them"


@pytest.mark.parametrize(
    ("moves", "noises", "samples"), [(ROOMS, 1, 80), (slipping(ROOMS), 48, 25)], ids=["sure", "slips"]
)
def test_tabular_worlds_rank_as_their_exact_capacity(moves, noises, samples):
    steps = 3 if noises == 1 else 2
    estimate = bound(everywhere(moves), moves, steps=steps, samples=samples, noises=noises).empowerment()
    exact = empowerment(moves, steps, tolerance=1e-3)
    assert rank_correlation(estimate, exact) >= 0.9
    assert estimate.min() >= 0
    assert estimate.max() <= math.log(samples) + 1e-6


def test_noise_that_is_common_adds_nothing():
    still = torch.eye(8).unsqueeze(1).repeat(1, 3, 1)
    for moves, sure in ((still, 1), (RING, 5)):
        noisy = drifting(moves)
        for noises in (1, 16):
            common = bound(everywhere(noisy), noisy, steps=2, samples=9, noises=noises).empowerment()
            assert common.max() <= math.log(sure) + 1e-5
        outcomes = [
            int(torch.multinomial(noisy[0, 0], 1, generator=torch.Generator().manual_seed(i))) for i in range(9)
        ]
        assert len(set(outcomes)) > 1, "under noises of their own, the very same action comes to different ends"
    assert bound(everywhere(drifting(still)), drifting(still), samples=9, noises=16).empowerment().abs().max() < 1e-6


def test_frequencies_give_the_capacity_that_blahut_and_arimoto_find():
    draws = torch.Generator().manual_seed(0)
    keys = torch.randint(5, (4, 6, 12), generator=draws) + torch.arange(6)[:, None] // 2 * 2
    channel = torch.nn.functional.one_hot(keys).double().mean(2)
    exact = channel_capacity(channel, tolerance=1e-4)
    torch.testing.assert_close(distinct_capacity(keys, iterations=300), exact.lower, atol=2e-3, rtol=0)
    assert (distinct_capacity(keys) <= exact.upper + 1e-9).all()
    certain = torch.tensor([[[3], [3], [9], [7]]])
    assert distinct_capacity(certain).item() == pytest.approx(math.log(3))
    assert distinct_capacity(certain.repeat(1, 1, 3)).item() == pytest.approx(math.log(3))


def test_the_gaussian_channel_is_a_half_log_det_and_noise_between_sequences_is_left_out():
    draws = torch.Generator().manual_seed(0)
    outcomes = torch.randn(3, 200, 1, 2, generator=draws, dtype=torch.float64)
    expected = [0.5 * np.linalg.slogdet(np.eye(2) + np.cov(each.T, bias=True))[1] for each in outcomes[:, :, 0].numpy()]
    np.testing.assert_allclose(gaussian_capacity(outcomes), expected)
    shifts = 100 * torch.randn(3, 1, 7, 2, generator=draws)
    torch.testing.assert_close(gaussian_capacity(outcomes + shifts), gaussian_capacity(outcomes))
    assert torch.equal(gaussian_capacity(shifts.expand(3, 5, 7, 2)), torch.zeros(3, dtype=torch.float64))


class Wind(World):
    """A point that its action moves by `gain` times itself, and wind by anything."""

    def __init__(self, num_envs, gain):
        self.num_envs, self.device, self.gain = num_envs, torch.device("cpu"), gain
        self.single_action_space = spaces.Box(-1.0, 1.0, (1,))
        self.state_spec = {"place": StateField(shape=(), unit="m", description="Where.", dtype=torch.float32)}
        self.place = torch.zeros(num_envs)

    def begin(self, mask, episodes):
        self.place = torch.where(mask, 0.0, self.place)

    def advance(self, action):
        life = self.episodes
        wind = uniform(life.seed, life.env_id, life.number, Stream.DYNAMICS, 1, step=life.length)[:, 0]
        self.place = self.place + self.gain.repeat_interleave(self.num_envs // 4) * action[:, 0] + 50 * wind

    @property
    def state(self):
        return {"place": self.place}

    def get_state(self):
        return {"place": self.place.clone()}

    def set_state(self, snapshot):
        self.place = snapshot["place"].clone()


class Nowhere(Task):
    horizon = 9
    single_observation_space = spaces.Box(-np.inf, np.inf, (1,))

    def observe(self, state):
        return state["place"].unsqueeze(1)

    def success(self, state):
        return state["place"] > 1e9


def test_continuous_actions_measure_their_own_spread_in_the_wind():
    gain = torch.tensor([0.0, 0.1, 1.0, 3.0])
    env = TensorEnv(Wind(4, gain), Nowhere())
    env.reset(seed=0)
    twin = lambda count: TensorEnv(Wind(count, gain), Nowhere())  # noqa: E731
    estimate = bound(env, steps=1, samples=500, twin=twin, resolution=0.1).empowerment()
    expected = 0.5 * (1 + (gain / 0.1).square() / 3).log()  # the variance of a uniform action is 1/3
    torch.testing.assert_close(estimate, expected, atol=0.05, rtol=0)
    assert estimate[0] < 1e-6


def shaped(mode="SameStep", horizon=50, num_envs=6, **options):
    env = tabular(RING, num_envs, torch.eye(8)[0], horizon=horizon, goals=(4,))
    env = TensorEnv(env.world, env.task, autoreset_mode=mode)
    options = {
        "steps": 2,
        "samples": 9,
        "twin": lambda count: tabular(RING, count, horizon=horizon, goals=(4,)),
        **options,
    }
    return ShapedEnv(env, [Term(name="e", shaper=SampledEmpowermentShaper(**options))])


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_it_pays_for_the_next_state_and_leaves_the_env_alone(mode):
    env, plain = shaped(mode), shaped(mode).unwrapped
    exact = empowerment(RING, 2, terminal=torch.arange(8) == 4).float()
    actions = torch.randint(3, (30, 6), generator=torch.Generator().manual_seed(0))
    env.reset(seed=3)
    plain.reset(seed=3)
    for action in actions:
        over = env.episodes.ended
        _, _, terminated, _, info = env.step(action)
        assert torch.equal(plain.step(action)[4]["final_state"]["node"], info["final_state"]["node"])
        expected = torch.where(terminated | over, 0.0, exact[info["final_state"]["node"]])
        torch.testing.assert_close(info["reward_terms"]["e"], expected)
    assert env.terms[0].shaper.update() == {}


def test_episodes_of_one_step_and_a_single_env():
    env = shaped(horizon=1, num_envs=1)
    env.reset(seed=0)
    for _ in range(3):
        info = env.step([2])[4]
        assert info["reward_terms"]["e"].exp().item() == pytest.approx(5.0), "of the state before, the last one is gone"


def test_resuming_continues_bit_for_bit(tmp_path):
    noisy = {"noises": 3, "samples": 5}
    env, other = shaped(horizon=3, **noisy), shaped(horizon=3, **noisy)
    actions = torch.randint(3, (12, 6), generator=torch.Generator().manual_seed(0))
    env.reset(seed=1)
    for action in actions[:5]:
        env.step(action)
    torch.save(env.get_state(), tmp_path / "state.pt")
    other.set_state(torch.load(tmp_path / "state.pt", weights_only=True))
    for action in actions[5:]:
        assert torch.equal(env.step(action)[1], other.step(action)[1])


def test_sequences_are_all_there_are_or_different_ones_within_the_space():
    everything = draw_sequences(spaces.Discrete(3, start=2), 2, 9, 0)
    assert everything.tolist() == [[a, b] for a in (2, 3, 4) for b in (2, 3, 4)]
    assert sequence_number((everything - 2).unbind(1), 3).tolist() == list(range(9))
    some = draw_sequences(spaces.Discrete(7), 9, 50, 0)
    assert len(some.unique(dim=0)) == 50
    assert not torch.equal(some, draw_sequences(spaces.Discrete(7), 9, 50, 1))
    boxed = draw_sequences(spaces.Box(np.float32([0, -2]), np.float32([1, 2])), 3, 100, 0)
    assert boxed.shape == (100, 3, 2)
    assert 0 <= boxed[..., 0].min() < 0.05
    assert 1.9 < boxed[..., 1].max() <= 2


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="pass twin="):
        bound(everywhere(ROOMS))
    with pytest.raises(ValueError, match=r"Expected the twin to have the \d+ envs"):
        bound(everywhere(ROOMS), twin=lambda count: tabular(ROOMS, 3))
    with pytest.raises(ValueError, match="twin of the same id"):
        bound(everywhere(ROOMS), RING)
    with pytest.raises(ValueError, match=r"among node, got \['altitude'\]"):
        bound(everywhere(ROOMS), ROOMS, fields=("altitude",))
    with pytest.raises(ValueError, match="move by their world's place"):
        bound(level_env("MiniGrid-Dynamic-Obstacles-5x5-v0", num_envs=2))
    with pytest.raises(ValueError, match="within bounds"):
        draw_sequences(spaces.Box(-np.inf, np.inf, (1,)), 1, 4, 0)
    with pytest.raises(RuntimeError, match="needs an env"):
        SampledEmpowermentShaper().empowerment()
    for options in ({"steps": 0}, {"noises": 2000}, {"channel": "wide"}, {"stream": "x"}, {"resolution": 0.0}):
        with pytest.raises(ValueError, match="Expected"):
            SampledEmpowermentShaper(**options)
