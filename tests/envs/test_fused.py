"""Small policies in torch and in Warp against a plain loop over their numbers."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from gymnasium import spaces

from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.fused import FeedForward, check_play, feed_forward
from cairngym.envs.policy_kernels import act, policy_function

LAYOUTS = (
    FeedForward(inputs=5, hidden=(5, 5), outputs=2),
    FeedForward(inputs=6, hidden=(20, 3), outputs=2, bias="unit"),
    FeedForward(inputs=2, hidden=(), outputs=1),
)


def by_hand(genome, policy, obs):
    """One action in double precision, number by number."""
    numbers, value = iter(genome.tolist()), obs.tolist()
    for fan_in, fan_out in itertools.pairwise((policy.inputs, *policy.hidden, policy.outputs)):
        weights = [[next(numbers) for _ in range(fan_out)] for _ in range(fan_in)]
        bias = [next(numbers) for _ in range(fan_out if policy.bias == "unit" else 1)]
        sums = [bias[j % len(bias)] + sum(value[i] * weights[i][j] for i in range(fan_in)) for j in range(fan_out)]
        value = [2 / (1 + math.exp(-total)) - 1 for total in sums]
    assert next(numbers, None) is None, "the genome has more numbers than the layers"
    return value


@pytest.mark.parametrize("policy", LAYOUTS, ids=lambda policy: f"{policy.hidden}-{policy.bias}")
def test_torch_and_warp_act_as_the_layers_say(policy):
    generator = torch.Generator().manual_seed(1)
    genomes = torch.rand((40, policy.size), generator=generator) * 4 - 2
    obs = torch.rand((40, 3, policy.inputs), generator=generator) * 4 - 2
    want = torch.tensor([[by_hand(g, policy, o) for o in seen] for g, seen in zip(genomes, obs, strict=True)])
    assert want.std() > 0.3
    for actor in (feed_forward(genomes, policy, obs), act(genomes, policy, obs)):
        assert actor.dtype is torch.float32
        assert torch.allclose(actor, want, rtol=0, atol=2e-6)
    many = act(genomes.repeat(3, 1), policy, obs.repeat(3, 1, 1))
    assert torch.equal(many[40:80], act(genomes, policy, obs))


def test_equal_layouts_share_their_kernel():
    assert policy_function(FeedForward(inputs=5, hidden=(5, 5), outputs=2)) is policy_function(LAYOUTS[0])


def test_huge_weights_saturate():
    policy = FeedForward(inputs=1, hidden=(), outputs=2)
    action = act(torch.tensor([[1e30, -1e30, 0.0]]), policy, torch.ones(1, 1, 1))
    assert action.tolist() == [[[1.0, -1.0]]]


def test_bad_layouts_and_shapes():
    for layout in ({"inputs": 0, "hidden": ()}, {"inputs": 1, "hidden": (3, 0)}):
        with pytest.raises(ValueError, match="at least one unit"):
            FeedForward(**layout, outputs=1)
    with pytest.raises(ValueError, match="'shared' or 'unit'"):
        FeedForward(inputs=1, hidden=(), outputs=1, bias="none")
    policy = LAYOUTS[0]
    for actor in (feed_forward, act):
        with pytest.raises(ValueError, match=r"genomes of shape \(P, 63\)"):
            actor(torch.zeros(4, 62), policy, torch.zeros(4, 1, 5))
        with pytest.raises(ValueError, match=r"obs of shape \(4, K, 5\)"):
            actor(torch.zeros(4, 63), policy, torch.zeros(3, 1, 5))


def test_what_play_is_given_is_held_against_the_task():
    place = BehaviorDescriptor(entries=(("position", 0),), low=(0.0,), high=(1.0,), cells=(2,))
    task = SimpleNamespace(single_observation_space=spaces.Box(0, 1, (5,)), descriptor=place)
    policy, genomes, seeds = LAYOUTS[0], torch.zeros(4, 63), torch.arange(4)
    check_play(task, 2, genomes, policy, seeds)
    for error, match, given in (
        (ValueError, "3 actions", (task, 3, genomes, policy, seeds)),
        (ValueError, "genomes of shape", (task, 2, genomes[:, 1:], policy, seeds)),
        (ValueError, "seeds of shape", (task, 2, genomes, policy, seeds[:3])),
        (TypeError, "float32 genomes", (task, 2, genomes.double(), policy, seeds)),
        (TypeError, "int64 seeds", (task, 2, genomes, policy, seeds.float())),
        (ValueError, "descriptor", (SimpleNamespace(**{**vars(task), "descriptor": None}), 2, genomes, policy, seeds)),
    ):
        with pytest.raises(error, match=match):
            check_play(*given)
