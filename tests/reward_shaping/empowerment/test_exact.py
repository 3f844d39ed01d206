"""n-step empowerment against counting by hand, the general channel, and minigrid's own steps."""

import itertools
import math

import numpy as np
import pytest
import torch
from empowerment_toys import (
    ROOMS,
    everywhere,
    in_every_state,
    level_env,
    numpy_capacity,
    rooms,
    slipping,
    tabular,
)

from cairngym.envs.minigrid import reference
from cairngym.reward_shaping.empowerment.exact import (
    empowerment,
    reachable,
    sequence_channel,
    tabular_empowerment,
)
from cairngym.reward_shaping.empowerment.levels import FIELDS, enumerate_level, level_empowerment
from cairngym.reward_shaping.empowerment.maps import cell_values, empowerment_figure, empowerment_picture, write_map

DOOR_KEY = "MiniGrid-DoorKey-5x5-v0"


def diamond(steps):
    return 2 * steps**2 + 2 * steps + 1


def test_an_open_grid_reaches_a_diamond_and_a_corner_a_part_of_it():
    open_ = rooms("\n".join(["." * 9] * 9))
    for steps in (1, 2, 3, 4):
        values = empowerment(open_, steps).exp()
        assert values[40].item() == pytest.approx(diamond(steps))
        assert values[0].item() == pytest.approx((steps + 1) * (steps + 2) / 2)


def test_counting_equals_the_general_channel_with_and_without_a_sensor():
    labels = torch.arange(len(ROOMS)) % 4
    for steps, sensor in itertools.product((1, 2, 3), (None, labels)):
        channel = sequence_channel(ROOMS, steps, states=torch.tensor([0, 7, 20]), labels=sensor)
        outcomes = (channel.sum(1) > 0).sum(1).double()
        assert torch.equal(empowerment(ROOMS, steps, labels=sensor)[[0, 7, 20]], outcomes.log())


def test_two_noisy_steps_equal_a_loop_by_the_book():
    noisy = slipping(ROOMS)
    exact = empowerment(noisy, 2, tolerance=1e-3)
    for state in (3, 30):
        rows = [(noisy[state, a].double() @ noisy[:, b].double()).numpy() for a in range(5) for b in range(5)]
        rows = [row / row.sum() for row in rows]
        assert exact[state].item() == pytest.approx(numpy_capacity(rows, 100), abs=5e-3)
    assert exact.max() <= math.log(13) + 1e-9
    assert (exact <= empowerment(ROOMS, 2) + 1e-6).all(), "noise takes away"


def test_nothing_leads_out_of_the_states_that_end_an_episode():
    line = torch.stack((torch.eye(4).roll(-1, 1), torch.eye(4).roll(1, 1)), dim=1)  # a ring of four
    env = tabular(line, goals=(2,))
    assert tabular_empowerment(env.world, 2).exp().tolist() == pytest.approx([2.0] * 4)
    with_ends = tabular_empowerment(env.world, 2, task=env.task).exp()
    assert with_ends.tolist() == pytest.approx([2.0, 3.0, 1.0, 3.0]), "from 1: 2 for good, or by 0 to 3 or back"


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="steps >= 1"):
        empowerment(ROOMS, 0)
    with pytest.raises(ValueError, match=r"\(S, A, S\)"):
        empowerment(ROOMS[0])
    with pytest.raises(ValueError, match="one label a state"):
        empowerment(ROOMS, labels=torch.zeros(3))
    with pytest.raises(ValueError, match="choose fewer steps"):
        empowerment(slipping(ROOMS), 9)
    with pytest.raises(RuntimeError, match="raise max_iterations"):
        empowerment(slipping(ROOMS), 1, max_iterations=2, tolerance=1e-12)


def test_the_model_of_a_level_moves_as_minigrid_does():
    env = level_env(DOOR_KEY, num_envs=700)
    before = env.get_state()
    model = enumerate_level(env)
    assert str(env.get_state()) == str(before), "the env is left as it was"
    upstream = env.world.upstream
    states = in_every_state(DOOR_KEY, model, env)
    wanted = [*range(0, len(model), 41), int(model.terminal.nonzero()[0])]
    for state, action in itertools.product(wanted, range(7)):
        if model.terminal[state]:
            assert model.successors[state].tolist() == [state] * 7
            continue
        reference.copy_into(upstream, states.world, state)
        _, _, terminated, _, _ = upstream.step(action)
        after = int(model.successors[state, action])
        assert bool(model.terminal[after]) == terminated
        assert [*upstream.agent_pos, upstream.agent_dir] == model.agent[after, :3].tolist()
        assert reference.pack_object(upstream.carrying) == model.agent[after, 3]
        assert [reference.pack_object(thing) for thing in upstream.grid.grid] == model.cells[after].tolist()


def test_level_empowerment_counts_what_three_actions_can_bring_about():
    env = level_env("MiniGrid-Empty-5x5-v0", num_envs=64)
    model, values = level_empowerment(env, 3)
    assert len(model) == 9 * 4 - 4 + 2, "nine cells, four directions; the goal is entered in two and then left alone"
    ends = set()
    for actions in itertools.product(range(7), repeat=3):
        node = 0
        for action in actions:
            node = int(model.successors[node, action])
        ends.add(tuple(model.agent[node].tolist()))
    assert values[0].item() == pytest.approx(math.log(len(ends)))
    dense = empowerment(model.transitions(), 3, labels=model.labels())
    assert torch.equal(values, dense)
    places = level_empowerment(env, 3, fields=("agent_pos",))[1]
    assert (places <= values).all()
    assert places[0].exp().item() == pytest.approx(6), "here, one or two along either wall, and the middle"


def test_levels_that_cannot_be_listed_are_refused():
    with pytest.raises(ValueError, match="move by themselves"):
        enumerate_level("MiniGrid-Dynamic-Obstacles-5x5-v0", bank_size=1)
    with pytest.raises(ValueError, match="more than limit=20 states"):
        enumerate_level(level_env(DOOR_KEY, num_envs=8), limit=20)
    with pytest.raises(TypeError, match="Expected a MiniGrid env"):
        enumerate_level(everywhere(ROOMS))
    with pytest.raises(ValueError, match="Expected fields among agent_pos"):
        level_empowerment(level_env("MiniGrid-Empty-5x5-v0", num_envs=8), 1, fields=("altitude",))


def test_the_map_shows_the_mean_of_each_cell_and_the_command_writes_it(tmp_path, capsys):
    env = level_env(DOOR_KEY, num_envs=512)
    model, values = level_empowerment(env, 2)
    shown = cell_values(model, values)
    x, y = model.agent[0, :2].tolist()
    here = ~model.terminal & (model.agent[:, 0] == x) & (model.agent[:, 1] == y)
    assert shown[y, x] == pytest.approx(values[here].mean().item())
    walls = (model.cells[0] & 0xFF).view(5, 5).numpy() == 2
    assert np.isnan(shown[walls]).all()
    start = cell_values(model, values, "start")
    assert np.isfinite(start).sum() < np.isfinite(shown).sum(), "what lies behind the door takes a key"
    assert len(empowerment_figure(model, values, title="a title").axes) == 2, "map and colour bar"
    picture = empowerment_picture(env, 2)
    assert picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    write_map("MiniGrid-Empty-5x5-v0", 1, tmp_path / "maps" / "empty.png")
    assert (tmp_path / "maps" / "empty.png").read_bytes().startswith(b"\x89PNG")
    assert "34 states; empowerment of 1 steps from 1.099 to 1.386 nats" in capsys.readouterr().out
    assert set(FIELDS) <= set(env.state_spec)


def test_reachable_counts_states_after_exactly_n_actions():
    swap = torch.tensor([[1, 1], [0, 2], [2, 2]])
    assert reachable(swap, 1).tolist() == [1, 2, 1]
    assert reachable(swap, 2).tolist() == [2, 2, 1]
