import ast

import pytest
import torch
from gymnasium import spaces

import cairngym
from cairngym.envs.wrapper import TensorWrapper
from cairngym.reward_shaping.llm import allowlist
from cairngym.reward_shaping.llm.abstraction import abstraction, action_field, task_id, visible
from cairngym.reward_shaping.llm.knowledge import WORLDS, knowledge
from cairngym.reward_shaping.llm.language import language
from cairngym.reward_shaping.llm.program import ProgramRefused
from cairngym.reward_shaping.llm.program_term import compile_for

IDS = (
    "Chain-N10-v0", "FetchPickAndPlace-v4", "FetchPush-v4", "FetchReach-v4", "LidarRooms-Small-v0",
    "MiniGrid-Dynamic-Obstacles-5x5-v0", "MiniGrid-KeyCorridorS3R3-v0", "PointMaze_UMaze-v3", "StlLinear-Branch-v0",
)  # fmt: skip
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)


def small(name):
    """Options that make an env with few levels."""
    return {"bank_size": 64} if name.startswith("MiniGrid") else {}


@pytest.fixture(scope="module")
def envs():
    return {name: cairngym.make(name, num_envs=2, **small(name)) for name in IDS}


def classes(text):
    """The annotated attributes of every class in a text."""
    return {
        node.name: [item.target.id for item in node.body if isinstance(item, ast.AnnAssign)]
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef)
    }


@pytest.mark.parametrize("name", IDS)
def test_the_text_is_python_and_has_each_visible_measurement_once(envs, name):
    env = envs[name]
    text = abstraction(env)
    found = classes(text)
    assert found["State"] == [key for key, field in env.state_spec.items() if not field.privileged]
    assert found["Transition"] == ["state", "action", "next_state"]
    flat = " ".join(text.replace("#", " ").split())
    for field in visible(env.state_spec).values():
        assert " ".join(field.description.split()) in flat
    assert " ".join(env.unwrapped.task.instruction.split()) in flat
    assert f"at most {env.unwrapped.task.horizon} steps" in flat
    assert max(map(len, text.splitlines())) <= 120
    assert text == abstraction(cairngym.make(name, num_envs=1, seed=5, **small(name))), (
        "the number of envs and the seed do not matter"
    )


def test_shapes_types_and_units_stand_beside_the_names(envs):
    text = abstraction(envs["FetchPush-v4"])
    assert "object_position: torch.Tensor  # float32 (B, 3) [m]: Where the object's centre is" in text
    assert "action: torch.Tensor  # float32 (B, 4): every number in [-1, 1]" in text
    text = abstraction(envs["MiniGrid-KeyCorridorS3R3-v0"])
    assert "grid: torch.Tensor  # uint8 (B, 7, 7, 3) [type, colour, state]" in text
    assert "agent_dir: torch.Tensor  # int64 (B,) [quarter turn]" in text
    assert "5 toggle: opens or closes the door ahead" in text


def test_privileged_measurements_are_neither_shown_nor_read(envs):
    env = envs["MiniGrid-KeyCorridorS3R3-v0"]
    assert env.state_spec["remaining"].privileged
    text = abstraction(env)
    assert not {"stage", "distance", "remaining", "planned"} & set(classes(text)["State"])
    source = (
        "def reward(state, action, next_state, memory):\n    r = -next_state.remaining.float()\n    return r, {'r': r}"
    )
    with pytest.raises(ProgramRefused, match="'remaining'"):
        compile_for(env, source)


def test_only_the_actions_that_exist_are_explained(envs):
    three = abstraction(envs["MiniGrid-Dynamic-Obstacles-5x5-v0"])
    assert "2 forward" in three
    assert "pickup" not in three


def test_a_wrapper_that_changes_the_actions_takes_their_meaning_away(envs):
    env = envs["MiniGrid-KeyCorridorS3R3-v0"]
    wrapped = TensorWrapper(env, action_space=spaces.Box(-1.0, 2.0, (2,)))
    text = abstraction(wrapped)
    assert "toggle:" not in text
    assert "action: torch.Tensor  # float32 (B, 2): every number in [-1, 2]" in text
    assert knowledge(wrapped).facts == knowledge(env).facts


def test_box_bounds_that_differ_are_written_out():
    env = cairngym.make("Chain-N10-v0")
    space = spaces.Box(torch.tensor([-1.0, 0.0]).numpy(), torch.tensor([1.0, 0.5]).numpy())
    assert "numbers in [-1, 1], [0, 0.5]" in abstraction(TensorWrapper(env, action_space=space))


def test_other_action_spaces_are_refused():
    with pytest.raises(TypeError, match="Expected a Discrete or Box action space"):
        action_field(spaces.MultiBinary(3))


def test_task_id_is_the_id_without_namespace():
    env = cairngym.make("Chain-N10-v0")
    env.unwrapped.id = "cairngym/Chain-N10-v0"
    assert task_id(env) == task_id(TensorWrapper(env)) == "Chain-N10-v0"


def test_every_packaged_world_is_known(envs):
    known = [name for name in IDS if knowledge(envs[name]).facts]
    assert known == list(IDS)
    assert all(knowledge(envs[name]).actions for name in IDS if name != "Chain-N10-v0")
    assert {type(env.world).__mro__[0].__name__ for env in envs.values()} <= set(WORLDS)


# What is told of MiniGrid and Fetch is true ---------------------------------------------------------------------------


def test_minigrid_turns_and_moves_as_told():
    env = cairngym.make("MiniGrid-Empty-8x8-v0", num_envs=4, bank_size=64)
    env.reset(seed=0)
    ahead = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]])
    for action in (FORWARD, RIGHT, FORWARD, FORWARD, LEFT, FORWARD, RIGHT, RIGHT, FORWARD, LEFT, LEFT, LEFT, FORWARD):
        before = dict(env.state)
        env.step([action] * 4)
        if action == FORWARD:
            wanted = before["agent_pos"] + ahead[before["agent_dir"]]
            walls = env.state["grid"][torch.arange(4), wanted[:, 0], wanted[:, 1], 0] == 2
            assert torch.equal(env.state["agent_pos"], torch.where(walls[:, None], before["agent_pos"], wanted))
        else:
            turned = (before["agent_dir"] + (1 if action == RIGHT else 3)) % 4
            assert torch.equal(env.state["agent_dir"], turned)


def test_the_idiom_told_for_finding_an_object_in_the_grid_finds_it():
    env = cairngym.make("MiniGrid-KeyCorridorS3R3-v0", num_envs=16, bank_size=64)
    env.reset(seed=3)
    told = " ".join(knowledge(env).facts)
    mask = (env.state["grid"][..., 0] == 6).float()
    idiom = "(mask * torch.arange(7).view(1, 7, 1)).sum(dim=(1, 2))"
    assert idiom in told
    assert "mask.amax(dim=(1, 2))" in told
    balls = mask.nonzero()
    assert len(balls) == 16, "one ball in every level"
    assert torch.equal(eval(idiom), balls[:, 1].float())
    source = f"""
def reward(state, action, next_state, memory):
    mask = (state.grid[..., 0] == 6).float()
    x = {idiom}
    y = (mask * torch.arange(7).view(1, 1, 7)).sum(dim=(1, 2))
    return x + 10.0 * y, {{'x': x, 'y': y}}
"""
    total, _ = compile_for(env, source)(env.state, torch.zeros(16, dtype=torch.int64), env.state, {})
    assert torch.equal(total, (balls[:, 1] + 10 * balls[:, 2]).float())


def test_what_is_told_of_fetch_holds():
    env = cairngym.make("FetchPush-v4", num_envs=8)
    env.reset(seed=0)
    state = env.state
    torch.testing.assert_close(state["object_position"][:, 2], torch.full((8,), 0.425), atol=0.01, rtol=0)
    start = torch.tensor([1.34, 0.75])
    torch.testing.assert_close(state["gripper_position"][:, :2], start.expand(8, 2), atol=0.03, rtol=0)
    far = torch.linalg.vector_norm(state["object_position"][:, :2] - start, dim=-1)
    assert bool(((far > 0.09) & (far < 0.22)).all())
    before = state["gripper_position"].clone()
    for _ in range(4):
        env.step(torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 8))
    moved = env.state["gripper_position"] - before
    assert bool((moved[:, 2] > 0.1).all()), "z is up; four steps of up to 5 cm"
    assert bool((moved[:, :2].abs() < 0.02).all())
    assert float(env.state["finger_position"].abs().max()) < 0.01, "locked closed"
    told = " ".join(knowledge(env).facts)
    assert f"within {env.task.threshold:g} m of goal" in told


# The language ---------------------------------------------------------------------------------------------------------


def test_the_language_lists_what_the_compiler_allows_and_nothing_else():
    text = " ".join(language().split())
    listed = {name for name in allowlist.functions() if f" {name}," in text or f" {name} -" in text}
    assert listed == set(allowlist.functions())
    for name in (*allowlist.MATH, *allowlist.BUILTINS, *allowlist.CONSTANTS):
        assert f" {name}" in text
    for name in set(allowlist.methods()) - set(allowlist.functions()):
        assert f".{name}()" in text
    assert "torch.load" not in text
    assert language() == language()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("x = 1 if (state.node > 3) else 0", "torch.where"),
        ("x = max(state.node, next_state.node)", "torch.maximum"),
        ("x = state.node[state.node > 1]", "torch.where"),
        ("import torch", "Imports"),
        ("x = state.node.item()", "item"),
        ("x = state.position", "position"),
    ],
)
def test_what_the_language_forbids_is_refused(line, reason):
    env = cairngym.make("Chain-N10-v0")
    source = (
        f"def reward(state, action, next_state, memory):\n    {line}\n    return state.node / 9, {{'a': state.node}}"
    )
    with pytest.raises(ProgramRefused, match=reason):
        compile_for(env, source)


def test_the_signature_told_is_the_one_that_compiles():
    env = cairngym.make("Chain-N10-v0")
    signature = language().split("```python\n")[1].split("```")[0]
    body = "first_part = second_part = next_state.node / 9\n    total = first_part + second_part"
    program = compile_for(env, signature.replace("...", body))
    assert program.components == ("first_part", "second_part")
