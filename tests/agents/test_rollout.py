import numpy as np
import torch
from gymnasium import spaces

from cairngym.agents.distributions import Categorical
from cairngym.agents.inputs import Inputs
from cairngym.agents.rollout import Rollout, gae


def test_gae_on_a_trajectory_worked_out_by_hand():
    # gamma 0.5, lambda 0.5: step 1 terminates, step 3 is truncated with V(final_obs) = 8.
    rewards = torch.tensor([[1.0], [2.0], [0.0], [4.0], [1.0]])
    values = torch.tensor([[2.0], [4.0], [6.0], [2.0], [4.0]])
    next_values = torch.tensor([[4.0], [100.0], [2.0], [8.0], [2.0]])
    terminated = torch.tensor([[False], [True], [False], [False], [False]])
    done = torch.tensor([[False], [True], [False], [True], [False]])
    # delta: 1 + 2 - 2 = 1; 2 - 4 = -2 (no bootstrap); 0 + 1 - 6 = -5; 4 + 4 - 2 = 6 (bootstrap); 1 + 1 - 4 = -2
    # A4 = -2; A3 = 6 (the recursion stops); A2 = -5 + 6/4 = -3.5; A1 = -2; A0 = 1 - 2/4 = 0.5
    advantages = gae(rewards, values, next_values, terminated, done, 0.5, 0.5)
    assert advantages.squeeze(1).tolist() == [0.5, -2.0, -3.5, 6.0, -2.0]


def test_gae_with_lambda_one_is_the_discounted_return_minus_the_value():
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(6, 3, generator=generator), torch.randn(7, 3, generator=generator)
    never = torch.zeros(6, 3, dtype=torch.bool)
    advantages = gae(rewards, values[:-1], values[1:], never, never, 0.9, 1.0)
    expected = values[-1]
    for t in reversed(range(6)):
        expected = rewards[t] + 0.9 * expected
        torch.testing.assert_close(advantages[t], expected - values[t])


def rollout(steps=4, num_envs=6, streams=1, memory=0):
    example = Inputs(torch.zeros(num_envs, 2, dtype=torch.int16), torch.zeros(num_envs, 1))
    return Rollout(steps, example, Categorical(spaces.Discrete(3)), streams, memory)


def test_truncation_uses_the_final_value_and_not_the_next_episode():
    store = rollout(steps=2, num_envs=1)
    store.value[:, 0, 0] = torch.tensor([1.0, 50.0, 3.0])
    store.done[0, 0], store.final_value[0, 0, 0] = True, 7.0
    store.estimate((1.0,), 1.0, (True,))
    assert store.advantage[0, 0, 0] == 7.0 - 1.0
    assert store.advantage[1, 0, 0] == 3.0 - 50.0


def test_an_intrinsic_stream_goes_on_past_the_end_of_an_episode():
    store = rollout(steps=2, num_envs=1, streams=2)
    store.reward[:, 0, 1] = torch.tensor([1.0, 2.0])
    store.terminated[0, 0] = store.done[0, 0] = True
    store.estimate((1.0, 1.0), 1.0, (True, False))
    assert store.advantage[0, 0].tolist() == [0.0, 3.0]
    store.estimate((1.0, 1.0), 1.0, (True, True))
    assert store.advantage[0, 0].tolist() == [0.0, 1.0]


def test_advantages_are_scaled_over_the_whole_rollout():
    store = rollout(streams=2)
    store.advantage.copy_(torch.randn(4, 6, 2, generator=torch.Generator().manual_seed(0)))
    total = store.total_advantage(normalize=True)
    assert abs(float(total.mean())) < 1e-6
    assert abs(float(total.std()) - 1.0) < 1e-4
    torch.testing.assert_close(store.total_advantage(normalize=False), store.advantage.sum(-1))


def test_minibatches_hold_every_sample_once():
    store = rollout()
    store.log_prob.copy_(torch.arange(24.0).view(4, 6))
    batches = list(
        store.minibatches(8, store.total_advantage(normalize=False), torch.Generator().manual_seed(0), sequences=False)
    )
    assert [len(batch.log_prob) for batch in batches] == [8, 8, 8]
    order = torch.cat([batch.log_prob for batch in batches])
    assert sorted(order.tolist()) == list(range(24))
    assert order.tolist() != list(range(24))


def test_sequence_minibatches_keep_whole_envs_in_time_order():
    store = rollout(memory=5)
    store.log_prob.copy_(torch.arange(24.0).view(4, 6))
    store.begins[:-1].copy_(torch.arange(24).view(4, 6) % 5 == 0)
    store.memory.copy_(torch.arange(6.0).unsqueeze(1).expand(6, 5))
    seen = []
    for batch in store.minibatches(
        8, store.total_advantage(normalize=False), torch.Generator().manual_seed(0), sequences=True
    ):
        envs = batch.memory[:, 0].long()
        seen += envs.tolist()
        np.testing.assert_array_equal(batch.log_prob.view(4, -1), store.log_prob[:, envs])
        np.testing.assert_array_equal(batch.begins, store.begins[:-1, envs])
    assert sorted(seen) == list(range(6))
