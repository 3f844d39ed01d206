import enum
from dataclasses import replace

import numpy as np
import pytest
import torch
from agent_toys import identity, recall
from goal_toys import make_line

from cairngym.agents.checkpoint import load_moments, read_checkpoint, to_plain, write_checkpoint
from cairngym.agents.ppo import PPO
from cairngym.agents.ppo_config import PPOConfig
from cairngym.agents.registry import load_agent, make_agent

SMALL = PPOConfig(rollout_steps=4, minibatch=64, hidden=(8,))


@pytest.fixture
def saved(tmp_path):
    agent = PPO(identity(num_envs=8), SMALL)
    agent.save(tmp_path / "agent.pt")
    return tmp_path / "agent.pt"


def test_everything_a_snapshot_holds_comes_back(tmp_path):
    class Mode(enum.Enum):
        FAST = "fast"

    content = {
        "tensor": torch.arange(3), "array": np.arange(4.0).reshape(2, 2), "scalar": np.float32(0.5),
        "nested": {"list": [1, (2.5, None)], 7: b"bytes"}, "mode": Mode.FAST,
    }  # fmt: skip
    write_checkpoint(tmp_path / "c.pt", content)
    back = read_checkpoint(tmp_path / "c.pt")
    assert torch.equal(back["tensor"], content["tensor"])
    np.testing.assert_array_equal(back["array"], content["array"])
    assert (back["scalar"], back["nested"], back["mode"]) == (0.5, {"list": [1, [2.5, None]], 7: b"bytes"}, "fast")


def test_what_a_checkpoint_cannot_hold_is_named():
    with pytest.raises(TypeError, match=r"got Generator at checkpoint\['env'\]\[1\]"):
        to_plain({"env": [0, torch.Generator()]})


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty"])
def test_a_damaged_file_is_refused(saved, damage):
    data = saved.read_bytes()
    flipped = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0xFF]) + data[len(data) // 2 + 1 :]
    saved.write_bytes({"cut": data[: len(data) // 2], "flip": flipped, "text": b"hello", "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"Expected a checkpoint marked 'cairngym agent 1' at .*Delete it"):
        PPO(identity(num_envs=8), SMALL).load(saved)


def test_a_foreign_torch_file_is_refused(tmp_path):
    torch.save({"model": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="got one marked None"):
        read_checkpoint(tmp_path / "other.pt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt, got no such file"):
        PPO(identity(num_envs=8), SMALL).load(tmp_path / "nowhere.pt")


def test_other_networks_are_refused(saved):
    agent = PPO(identity(num_envs=8), PPOConfig(rollout_steps=4, hidden=(16,)))
    with pytest.raises(ValueError, match=r"Expected networks .* of shape \(4, 16\), got a checkpoint with \(4, 8\)"):
        agent.load(saved)


def test_another_agent_is_refused(saved):
    class Other(PPO):
        name = "other"

    with pytest.raises(ValueError, match=r"Expected a checkpoint of the agent 'other'.*got one of 'ppo'"):
        Other(identity(num_envs=8), SMALL).load(saved)


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*older checkpoint there is untouched"):
        PPO(identity(num_envs=8), SMALL).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_load_agent_makes_the_agent_of_the_file(tmp_path):
    agent = PPO(recall(num_envs=8), PPOConfig(rollout_steps=4, hidden=(8, 4), memory=4, gamma=0.5))
    agent.save(tmp_path / "agent.pt")
    other = load_agent(tmp_path / "agent.pt", recall(num_envs=8))
    assert other.config == agent.config


@pytest.mark.parametrize("name", ["ppo", "sac", "td3", "bc"])
def test_who_goes_on_from_a_snapshot_learns_at_its_own_rate(name):
    def agent(rate):
        return make_agent(name, identity(num_envs=8) if name == "ppo" else make_line(8), learning_rate=rate)

    first, second = agent(1e-2), agent(1e-5)
    second.set_state(first.get_state())
    optimizers = [part for part in vars(second).values() if isinstance(part, torch.optim.Optimizer)]
    assert optimizers
    assert {group["lr"] for part in optimizers for group in part.param_groups} == {1e-5}
    assert getattr(second, "learning_rate", 1e-5) == 1e-5


def test_a_rate_that_the_divergence_led_is_gone_on_with():
    first, second = (PPO(identity(num_envs=8), replace(SMALL, schedule="kl", learning_rate=r)) for r in (1e-2, 1e-5))
    second.set_state(first.get_state())
    assert second.learning_rate == 1e-2


def test_moments_are_taken_over_as_copies():
    def trained(rate):
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.Adam([weight], lr=rate)
        weight.sum().backward()
        optimizer.step()
        return weight, optimizer

    (weight, optimizer), (other_weight, other) = trained(0.1), trained(0.5)
    saved = other.state_dict()
    load_moments(optimizer, saved)
    before = saved["state"][0]["exp_avg"].clone()
    weight.grad = torch.full((3,), 5.0)
    optimizer.step()
    torch.testing.assert_close(saved["state"][0]["exp_avg"], before)
    torch.testing.assert_close(other.state[other_weight]["exp_avg"], before)
    assert float(optimizer.state[weight]["step"]) == 2.0
