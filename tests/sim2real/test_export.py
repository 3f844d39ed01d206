"""Exported policies against the agents they come from, against numbers worked out by hand; what is refused."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import cairngym
from cairngym.agents.registry import make_agent
from cairngym.cli import main
from cairngym.envs.wrapper import TensorWrapper
from cairngym.envs.wrapper_registry import make_wrapper
from cairngym.experiments.config import AgentConfig, EvaluationConfig, RunConfig, WrapperConfig
from cairngym.experiments.run import run
from cairngym.sim2real import export
from cairngym.sim2real.export import NotExportableError, export_policy, policy_graph
from cairngym.sim2real.export_metadata import KEY, Training, config_hash, delays, describe
from cairngym.sim2real.parity import LIMIT, Parity, ParityError, Tally, check_parity
from cairngym.sim2real.policy import OnnxPolicy
from cairngym.sim2real.policy_latency import measure

POINT = "PointMaze_UMaze-v3"


def make(agent, env_id, *, num_envs=4, wrappers=(), **options):
    """An agent whose parameters are far from their beginnings, so that its actions differ from state to state."""
    env = cairngym.make(env_id, num_envs=num_envs, seed=3)
    for name, settings in wrappers:
        env = make_wrapper(name, env, **settings)
    learner = make_agent(agent, env, **options)
    generator = torch.Generator().manual_seed(1)
    for part in ("model", "networks"):
        for parameter in getattr(learner, part).parameters() if hasattr(learner, part) else ():
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    if agent == "cem":
        learner.search.mean.copy_(torch.randn(learner.search.mean.shape, generator=generator))
    normalizer = learner.features.normalizer if hasattr(learner, "features") else getattr(learner, "model", None)
    normalizer = getattr(normalizer, "normalizer", normalizer)
    if hasattr(normalizer, "update"):
        normalizer.update(3.0 * torch.randn(64, normalizer.selected.numel(), generator=generator) + 1.0)
    return learner, env


STACKED = (("frame_stack", {"frames": 3, "keys": ("observation",)}),)
CASES = {
    "a squashed Gaussian": ("ppo", POINT, {"squash": "tanh"}, ()),
    "a GRU of discrete actions": ("ppo", "Chain-N10-v0", {"memory": 8}, ()),
    "SAC on stacked frames": ("sac", POINT, {"hidden": (32, 32)}, STACKED),
    "chunks that are blended": ("bc", POINT, {"chunk": 3, "play": "ensemble"}, ()),
    "chunks one after another": ("bc", "Chain-N10-v0", {"chunk": 4}, ()),
    "codes of a grid": ("cem", "MiniGrid-Empty-5x5-v0", {}, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_file_acts_like_its_agent_over_whole_episodes(name, tmp_path):
    agent, env_id, options, wrappers = CASES[name]
    learner, env = make(agent, env_id, wrappers=wrappers, **options)
    exported = export_policy(learner, env, tmp_path / "policy.onnx", states=600)
    assert exported.parity.states == 600
    assert exported.parity.largest < LIMIT

    # One robot, whose frames and memory are kept by the policy, beside the agent on the env with its wrappers.
    single = cairngym.make(env_id, seed=8)
    inner = single
    for wrapper, settings in wrappers:
        single = make_wrapper(wrapper, single, **settings)
    actor, policy = learner.actor(1, deterministic=True), OnnxPolicy(tmp_path / "policy.onnx", env_id=env_id)
    single.single_action_space.seed(0)
    shown, _ = single.reset()
    taken = []
    for step in range(25):
        frame = inner.task.observe(inner.state) if wrappers else shown
        entries = {key: value[0].numpy() for key, value in frame.items()} if isinstance(frame, dict) else {
            "observation": frame[0].numpy()
        }  # fmt: skip
        wanted, action = actor.act(shown), policy(entries)
        np.testing.assert_allclose(action, wanted[0].numpy(), atol=2e-5, err_msg=f"step {step}")
        taken.append(np.asarray(action, dtype=np.float64).ravel())
        elsewhere = torch.as_tensor(single.single_action_space.sample()).unsqueeze(0)  # a policy alone may stay put
        shown, _, terminated, truncated, _ = single.step(elsewhere)
        if bool(terminated | truncated):
            actor.begin(torch.ones(1, dtype=torch.bool))
            policy.reset()
    assert np.ptp(np.array(taken), axis=0).max() > 0.0, "a policy that always does the same tells nothing"


@pytest.fixture(scope="module")
def point(tmp_path_factory):
    learner, env = make("ppo", POINT)
    training = Training(experiment="x", variant="sparse", seed=3, steps=640, success=0.5, episodes=8)
    path = tmp_path_factory.mktemp("export") / "policy.onnx"
    return learner, env, export_policy(learner, env, path, training=training, states=300)


def test_the_graph_holds_normaliser_and_limits(point):
    """What the file computes, worked out in numpy from the parameters."""
    learner, env, exported = point
    model, state = learner.model, np.random.default_rng(0).normal(0.0, 30.0, 8)
    obs = {"achieved_goal": state[:2], "desired_goal": state[2:4], "observation": state[4:]}

    def number(tensor):
        return tensor.detach().numpy().astype(np.float64)

    features = np.concatenate([obs[key] for key in env.single_observation_space.spaces])
    hidden = np.clip((features - number(model.normalizer.mean)) / np.sqrt(number(model.normalizer.variance)), -10, 10)
    hidden = np.tanh(hidden @ number(model.trunk.first.feature_weight) + number(model.trunk.first.bias))
    for layer in (layer for layer in model.trunk.rest if isinstance(layer, torch.nn.Linear)):
        hidden = np.tanh(hidden @ number(layer.weight).T + number(layer.bias))
    wanted = np.clip(hidden @ number(model.actor.weight).T + number(model.actor.bias), -1.0, 1.0)
    np.testing.assert_allclose(OnnxPolicy(exported.path)(obs), wanted, atol=1e-5)
    assert np.abs(features).max() > 3.0 * 10.0 + 1.0 + 2.0  # one was clipped at ten standard deviations


def test_metadata_of_a_maze(point):
    _, env, exported = point
    said = json.loads(onnx_metadata(exported.path))
    assert said == exported.metadata
    assert (said["env"], said["agent"], said["goal_conditioned"], said["history"]) == (POINT, "ppo", True, 1)
    inputs = {entry["name"]: entry for entry in said["inputs"]}
    assert inputs["observation"]["names"] == ["position[0]", "position[1]", "velocity[0]", "velocity[1]"]
    assert inputs["observation"]["units"] == ["m", "m", "m/s", "m/s"]
    assert inputs["desired_goal"]["units"] == ["m", "m"]
    assert said["action"]["names"] == ["motor_x", "motor_y"]
    assert (said["action"]["low"], said["action"]["high"]) == ([-1.0, -1.0], [1.0, 1.0])
    assert said["control_dt"] == env.unwrapped.world.model.opt.timestep  # one physics step an action
    assert said["delays"] == {"action_s": [0.0, 0.0], "observation_s": [0.0, 0.0]}
    assert said["training"]["success"] == 0.5
    assert set(said["versions"]) >= {"cairngym", "torch", "mujoco"}


def onnx_metadata(path):
    return next(each.value for each in onnx.load(path).metadata_props if each.key == KEY)


def test_a_file_is_self_contained_and_takes_any_batch(point):
    model = onnx.load(point[2].path, load_external_data=False)
    assert not any(each.external_data for each in model.graph.initializer)
    assert [each.version for each in model.opset_import if each.domain == ""] == [export.OPSET]
    assert {each.type.tensor_type.shape.dim[0].dim_param for each in model.graph.input} == {"batch"}
    session = onnxruntime.InferenceSession(str(point[2].path))
    for batch in (1, 7):
        fed = {each.name: np.zeros((batch, each.shape[1]), np.float32) for each in session.get_inputs()}
        assert session.run(["action"], fed)[0].shape == (batch, 2)


def test_the_same_policy_gives_the_same_bytes_and_no_paths(point, tmp_path):
    learner, env, exported = point
    again = export_policy(
        learner, env, tmp_path / "again.onnx", training=Training(**exported.metadata["training"]), states=60, seed=9
    )
    data = exported.path.read_bytes()
    assert again.path.read_bytes() == data
    assert b".py" not in data
    assert b"/site-packages" not in data


def test_another_policy_is_refused_and_nothing_is_written(point, tmp_path, monkeypatch):
    learner, env, _ = point
    other, _ = make("ppo", POINT, seed=5)
    old = tmp_path / "policy.onnx"
    old.write_bytes(b"old")
    monkeypatch.setattr(export, "policy_graph", lambda agent, env: policy_graph(other, env))
    with pytest.raises(ParityError, match="Expected the exported policy within 1e-05"):
        export_policy(learner, env, old, states=200)
    assert old.read_bytes() == b"old"


def test_discrete_actions_may_differ_at_ties_only():
    tally = Tally(cairngym.make("Chain-N10-v0").single_action_space)
    logits = np.array([[1.0, 1.0 + 1e-7], [0.0, 3.0]], np.float32)
    right = [np.array([1, 1]), logits]
    tally.take([np.array([0, 1]), logits], right, None, right)
    assert (tally.ties, tally.largest, tally.above) == (1, 0.0, 0)
    tally.take([np.array([1, 0]), logits], right, None, right)
    assert (tally.largest, tally.above) == (np.inf, 1)


def test_differences_that_are_not_finite_or_too_large_are_refused():
    space = cairngym.make(POINT).single_action_space
    tally = Tally(space)
    zeros = [np.zeros((1, 2))]
    tally.take([np.array([[np.nan, 0.0]])], zeros, None, zeros)
    assert tally.largest == np.inf
    good = Parity(states=1, recorded=0, largest=9.9e-6, ties=0)
    check_parity(good)
    with pytest.raises(ParityError, match="does not explain"):
        check_parity(Parity(states=1, recorded=0, largest=1.1e-5, ties=0, torch_error=1e-7, file_error=1.1e-5))


@pytest.mark.parametrize(
    ("largest", "torch_error", "file_error", "taken"),
    [
        (3e-5, 2e-5, 3e-5, True),  # both round
        (3e-5, 2e-6, 3e-5, False),  # the file alone does
        (2e-2, 1e-2, 2e-2, False),  # nobody can tell
        (np.inf, 2e-5, 3e-5, False),  # another discrete action, or NaN
    ],
)
def test_rounding_is_taken_where_it_is_allowed_and_the_agent_rounds_as_much(largest, torch_error, file_error, taken):
    parity = Parity(
        states=9, recorded=0, largest=largest, above=1, ties=0, torch_error=torch_error, file_error=file_error
    )
    with pytest.raises(ParityError):
        check_parity(parity)
    if taken:
        check_parity(parity, allow_rounding=True)
    else:
        with pytest.raises(ParityError, match="does not explain"):
            check_parity(parity, allow_rounding=True)


def test_a_steep_policy_is_refused_for_rounding_and_taken_where_that_is_allowed(tmp_path):
    learner, env = make("td3", POINT)
    learner.policy.head.weight.data.mul_(300.0)
    with pytest.raises(ParityError, match="so this is rounding"):
        export_policy(learner, env, tmp_path / "policy.onnx", states=2000)
    assert not list(tmp_path.iterdir())
    parity = export_policy(learner, env, tmp_path / "policy.onnx", states=2000, allow_rounding=True).parity
    assert parity.above > 0
    assert parity.largest > LIMIT
    assert parity.file_error <= 4.0 * parity.torch_error


# What cannot be exported ----------------------------------------------------------------------------------------------


def test_agents_that_are_no_graph_are_refused(tmp_path):
    env = cairngym.make(POINT, num_envs=2)
    agent = make_agent("sb3-ppo", env, options={"n_steps": 8, "batch_size": 8})
    with pytest.raises(NotExportableError, match="Stable-Baselines3"):
        export_policy(agent, env, tmp_path / "policy.onnx")


def test_a_residual_is_refused(tmp_path):
    env = make_wrapper("residual", cairngym.make(POINT, num_envs=2))
    with pytest.raises(NotExportableError, match="corrects a base policy"):
        export_policy(make_agent("residual", env, capacity=10_000), env, tmp_path / "policy.onnx")
    with pytest.raises(NotExportableError, match="commands the wrapper Residual"):
        export_policy(make_agent("ppo", env), env, tmp_path / "policy.onnx")


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ImportError, match=r"got no onnxscript: pip install 'cairngym\[deploy\]'"):
        export_policy(None, None, tmp_path / "policy.onnx")


# Metadata of wrappers -------------------------------------------------------------------------------------------------


class Doubled(TensorWrapper):
    """Shows something else under the same name."""

    def observation(self, obs, state):
        return {**obs, "observation": 2.0 * obs["observation"]}


def described(env):
    graph = policy_graph(make_agent("ppo", env), env)
    return describe(env, "ppo", graph, export.input_names(graph), opset=export.OPSET, training=Training())


def test_a_stack_is_kept_by_the_policy_and_frames_are_described():
    env = make_wrapper("frame_stack", cairngym.make(POINT), frames=3, keys=("observation",))
    said = described(env)
    entries = {entry["name"]: entry for entry in said["inputs"]}
    assert (said["history"], said["requires"]) == (3, [])
    assert (entries["observation"]["shape"], entries["observation"]["stacked_shape"]) == ([4], [12])
    assert entries["observation"]["units"] == ["m", "m", "m/s", "m/s"]
    assert entries["achieved_goal"]["frames"] == 1


def test_observations_made_by_a_wrapper_are_not_guessed():
    said = described(Doubled(cairngym.make(POINT)))
    entry = next(each for each in said["inputs"] if each["name"] == "observation")
    assert said["requires"] == ["Doubled"]
    assert (entry["names"][0], entry["units"]) == ("observation[0]", None)


def test_delays_that_training_assumed():
    env = cairngym.make("FetchReach-v4")
    dt = 20 * 0.002
    assert described(env)["control_dt"] == pytest.approx(dt)
    late = make_wrapper("action_delay", env, steps=2)
    assert delays(late) == {"action_s": [pytest.approx(2 * dt)] * 2, "observation_s": [0.0, 0.0]}
    assert delays(cairngym.make("Chain-N10-v0")) is None


def test_the_hash_is_of_the_content():
    assert config_hash({"a": [1], "b": {"c": 2, "d": 3}}) == config_hash({"b": {"d": 3, "c": 2}, "a": [1]})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "seed_0"
    config = RunConfig(
        task=POINT, steps=256, agent=AgentConfig(options={"num_envs": 4, "rollout_steps": 32, "minibatch": 64}),
        wrappers=(WrapperConfig(name="action_delay", options={"steps": 1}),),
        evaluation=EvaluationConfig(every=10**6, episodes=2),
    )  # fmt: skip
    run(config, folder, tell=lambda line: None)
    return folder


def test_the_command_writes_a_checked_file(trained, tmp_path, capsys):
    path = tmp_path / "deep" / "policy.onnx"
    assert main(["export", str(trained), str(path), "--states", "100", "--benchmark"]) == 0
    text = capsys.readouterr().out
    assert "|torch - onnxruntime| <= " in text
    assert "on one core" in text
    said = OnnxPolicy(path, env_id=POINT).metadata
    assert said["training"]["steps"] == 256
    assert said["training"]["finished"]
    assert said["training"]["episodes"] == 2
    assert len(said["training"]["config_sha256"]) == 64
    assert said["training"]["wrappers"] == [{"name": "action_delay", "steps": 1}]
    assert said["delays"]["action_s"] == [said["control_dt"]] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("{run}", "policy.pt"), "ends in .onnx"), (("{empty}", "policy.onnx"), "config.yaml")],
)
def test_the_command_names_what_is_wrong(trained, tmp_path, capsys, arguments, message):
    filled = [text.format(run=trained, empty=tmp_path) for text in arguments]
    assert main(["export", *filled]) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named(trained, tmp_path, capsys):
    (tmp_path / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    assert main(["export", str(tmp_path), str(tmp_path / "policy.onnx")]) == 2
    assert "no checkpoint.pt yet" in capsys.readouterr().err
    (tmp_path / "checkpoint.pt").write_bytes((trained / "checkpoint.pt").read_bytes()[:1000])
    assert main(["export", str(tmp_path), str(tmp_path / "policy.onnx")]) == 2
    assert "can't be used" in capsys.readouterr().err


def test_latency_is_measured_over_the_calls_asked_for(point):
    latency = measure(point[2].path, calls=50, warmup=5)
    assert 0.0 < latency.p50_us <= latency.p99_us
    assert "over 50 calls" in latency.text()
    with pytest.raises(ValueError, match="calls >= 1"):
        measure(point[2].path, calls=0)
