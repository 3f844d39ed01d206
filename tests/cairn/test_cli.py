"""The `cairn` command, as a newcomer and as a script meet it."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cairngym.cli import COMMANDS, main
from cairngym.commands.compare import Compare, load
from cairngym.commands.train import parse, parse_shaper, parse_wrapper
from cairngym.envs.strict_yaml import ConfigError
from cairngym.envs.tabular import TabularWorld
from cairngym.experiments.config import load_run

TINY = (
    *("train", "--task", "Chain-N10-v0", "--steps", "256", "--eval-every", "128", "--eval-episodes", "8"),
    *("--agent.num-envs", "8", "--agent.rollout-steps", "16", "--agent.minibatch", "64", "--agent.hidden", "8"),
)


def test_help_names_every_command_and_shows_examples(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert "cairn compare quickstart" in text
    assert main([]) == 0


def test_help_is_fast_and_imports_no_torch():
    code = "import sys; from cairngym.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
    assert time.perf_counter() - began < 1.5


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"cairn {name}" in text
    assert "xample" in text or "cairn " in text


def test_python_dash_m_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "cairngym", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cairngym ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compar", "x"], "cairn: there is no command 'compar'. Did you mean 'compare'?"),
        (["compare", "quickstrt"], "Unknown config 'quickstrt'. Did you mean 'quickstart'?"),
        (["compare", "quickstart", "--set", "agent.gama=1"], "gama: unknown key. Did you mean 'gamma'?"),
        (
            ["compare", "quickstart", "--set", "evaluation.evry=1"],
            "evaluation.evry: unknown key. Did you mean 'every'?",
        ),
        (["compare", "quickstart", "--variants", "cuont"], "Did you mean 'count'?"),
        (["compare", "quickstart", "--seeds", "0"], "expected at least one seed, got 0"),
        (["compare", "quickstart", "--workers", "0"], "Expected workers >= 1, got 0"),
        (["train"], "Which task? Give --task"),
        (["train", "--task", "Chain-N11-v0"], "Unknown env id 'Chain-N11-v0'. Did you mean 'Chain-N10-v0'"),
        (["train", "--task", "Chain-N10-v0", "--shaper", "cuont"], "Unknown shaper 'cuont'. Did you mean 'count'"),
        (["train", "--task", "Chain-N10-v0", "--shaper", "count:x"], "Expected name[:weight][,option=value]"),
        (["train", "--task", "Chain-N10-v0", "--wrapper", "framestack"], "Did you mean 'frame_stack'?"),
        (["train", "--task", "Chain-N10-v0", "--wrapper", "frame_stack:4"], "Expected name[:option=value,…]"),
        (["train", "--task", "Chain-N10-v0", "--wrapper", "frame_stack:frame=4"], "Did you mean 'frames'?"),
        (["train", "--task", "Chain-N10-v0", "--agent.name", "poo"], "Unknown agent 'poo'. Did you mean 'ppo'?"),
        (["train", "--task", "Chain-N10-v0", "--seed", "-1"], "Expected a seed in [0, 2**63), got -1"),
        (["train", "--task", "Chain-N10-v0", "--env", "lenth=3"], "lenth"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml: can't be read"),
        (["report", "nowhere"], "comparison.yaml"),
        (["watch", "nowhere"], "config.yaml"),
        (["check", "quickstrt"], "Did you mean 'quickstart'?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_a_wrong_option_is_exit_code_2(capsys):
    assert main(["train", "--stepz", "3"]) == 2
    assert "--steps" in capsys.readouterr().err


def test_tracebacks_on_request(monkeypatch):
    monkeypatch.setenv("CAIRN_TRACEBACK", "1")
    with pytest.raises(ConfigError):
        main(["compare", "quickstrt"])


def test_list(capsys):
    assert main(["list", "envs"]) == 0
    assert "Chain-N10-v0" in capsys.readouterr().out.splitlines()
    assert main(["list", "shapers"]) == 0
    assert {"potential", "count", "rnd"} <= set(capsys.readouterr().out.splitlines())
    assert main(["list", "wrappers"]) == 0
    assert {"action_delay", "frame_stack", "sticky_actions"} <= set(capsys.readouterr().out.splitlines())
    assert main(["list", "variants"]) == 0
    assert "quickstart/count: task reward + 0.01 x count" in capsys.readouterr().out.splitlines()
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(f"{kind}:" in text for kind in ("envs", "wrappers", "shapers", "agents", "variants"))
    assert "  ppo" in text.splitlines()


def test_the_command_line_is_laid_over_the_config(tmp_path):
    _, first = parse([*TINY[1:], "--shaper", "potential", "--shaper", "count:0.01,mode=lifelong", "--seed", "4"])
    assert (first.variant, first.seed, first.steps, first.evaluation.every) == ("potential+count", 4, 256, 128)
    assert first.shapers[1].weight == 0.01
    assert first.shapers[1].options == {"mode": "lifelong"}
    assert first.agent.options["num_envs"] == 8
    from cairngym.experiments.overlay import write_yaml
    from cairngym.experiments.resolve import resolve

    write_yaml(tmp_path / "config.yaml", resolve(first))
    _, second = parse(["--config", str(tmp_path / "config.yaml"), "--agent.learning-rate", "3e-4", "--env", "length=5"])
    assert (second.variant, second.seed, second.env) == ("potential+count", 4, {"length": 5})
    assert second.agent.options["learning_rate"] == 3e-4
    assert second.agent.options["num_envs"] == 8
    assert second.shapers == resolve(first).shapers
    _, third = parse(["--config", str(tmp_path / "config.yaml"), "--folder", str(tmp_path)])
    assert resolve(third) == resolve(first)


@pytest.mark.parametrize(
    ("text", "name", "weight", "options"),
    [
        ("potential", "potential", 1.0, {}),
        ("count:1e-2", "count", 0.01, {}),
        ("count:-2,mode=lifelong,table_bits=12", "count", -2.0, {"mode": "lifelong", "table_bits": 12}),
    ],
)
def test_shapers_on_the_command_line(text, name, weight, options):
    shaper = parse_shaper(text)
    assert (shaper.name, shaper.weight, shaper.options) == (name, weight, options)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("frame_stack", {}),
        ("frame_stack:frames=4", {"frames": 4}),
        ("frame_stack:keys=[image, carrying],frames=2", {"keys": ["image", "carrying"], "frames": 2}),
    ],
)
def test_wrappers_on_the_command_line(text, options):
    wrapper = parse_wrapper(text)
    assert (wrapper.name, wrapper.options) == ("frame_stack", options)


def test_wrappers_keep_their_order_and_name_the_variant(tmp_path):
    from cairngym.experiments.overlay import write_yaml

    wrappers = ["--wrapper", "sticky_actions:probability=0.1", "--wrapper", "frame_stack:frames=2"]
    _, config = parse([*TINY[1:], *wrappers, "--shaper", "count"])
    assert config.variant == "sticky_actions+frame_stack+count"
    assert [wrapper.text for wrapper in config.wrappers] == ["sticky_actions(probability=0.1)", "frame_stack(frames=2)"]
    write_yaml(tmp_path / "config.yaml", config)
    _, again = parse(["--config", str(tmp_path / "config.yaml")])
    assert again.wrappers == config.wrappers
    _, other = parse(["--config", str(tmp_path / "config.yaml"), "--wrapper", "action_delay"])
    assert [wrapper.name for wrapper in other.wrappers] == ["action_delay"]


def test_compare_overrides():
    options = Compare(
        config="quickstart", name="mine", seeds=5, steps=3e5, variants=("count",), wandb="offline",
        set=("agent.learning_rate=3e-4", "evaluation.episodes=7"),
    )  # fmt: skip
    comparison = load(options)
    assert (comparison.name, comparison.seeds) == ("mine", (0, 1, 2, 3, 4))
    assert (comparison.steps, {task.steps for task in comparison.tasks}) == (300_000, {None})
    assert set(comparison.variants) == {"sparse", "count"}
    assert comparison.agent.options["learning_rate"] == 3e-4
    assert (comparison.evaluation.episodes, comparison.evaluation.env) == (7, {"split": "test"})
    assert comparison.sinks.wandb == "offline"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    assert main([*TINY, "--shaper", "potential", "--runs", str(root)]) == 0
    return root / "adhoc" / "Chain-N10-v0" / "potential" / "seed_0"


def test_train_writes_the_run(trained, capsys):
    config = load_run(trained / "config.yaml")
    assert config.command.startswith("cairn train --task Chain-N10-v0 --steps 256")
    assert (trained / "summary.json").exists()


def test_training_again_with_other_settings_is_refused_or_fresh(trained, capsys):
    root = trained.parents[3]
    again = [*TINY, "--shaper", "potential", "--runs", str(root)]
    assert main(again) == 0
    assert "finished already" in capsys.readouterr().out
    assert main([*again, "--shaper", "count", "--variant", "potential"]) == 2
    assert "was made with other settings" in capsys.readouterr().err


def test_watch_needs_a_world_that_draws(trained, capsys):
    assert main(["watch", str(trained)]) == 2
    assert "TabularWorld draws no pictures" in capsys.readouterr().err


def test_watch_writes_a_video_and_a_contact_sheet(trained, tmp_path, capsys, monkeypatch):
    import cv2

    def render(world, env_ids):
        frame = np.zeros((32, 160, 3), np.uint8)
        node = int(world.state["node"][0])
        frame[:, 16 * node : 16 * node + 16] = (255, 0, 0)
        return (frame,)

    monkeypatch.setattr(TabularWorld, "render", render)
    output = tmp_path / "deep" / "video.mp4"
    assert main(["watch", str(trained), "--output", str(output), "--episodes", "2"]) == 0
    text = capsys.readouterr().out
    assert "of 2 episodes succeeded" in text
    assert str(output) in text
    capture = cv2.VideoCapture(str(output))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    _, first = capture.read()
    capture.release()
    assert count >= 2 * (9 + 5)
    blue, _, red = first[16, 8].astype(int)
    assert red > 150 > blue
    assert f"Contact sheet: {output.with_suffix('.png')}" in text
    sheet = cv2.imread(str(output.with_suffix(".png")))
    assert sheet.shape[1] == 6 * 160 + 5 * 6
    assert sorted(path.name for path in output.parent.iterdir()) == ["video.mp4", "video.png"]


def test_compare_report_and_check_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(
        "name: mine\ntasks: [{id: Chain-N10-v0}]\nvariants: {sparse: {}, potential: {shapers: [{name: potential}]}, "
        "stacked: {wrappers: [{name: frame_stack, frames: 2}]}}\n"
        "seeds: [0]\nsteps: 256\nagent: {num_envs: 8, rollout_steps: 16, minibatch: 64, hidden: [8]}\n"
        "evaluation: {every: 128, episodes: 8}\n"
        "thresholds: [{task: Chain-N10-v0, variant: sparse, metric: final_success, minimum: 0.0}]\n"
    )
    assert main(["compare", "mine.yaml"]) == 0
    assert "report.html" in capsys.readouterr().out
    stacked = load_run(Path("runs/mine/Chain-N10-v0/stacked/seed_0/config.yaml"))
    assert [wrapper.text for wrapper in stacked.wrappers] == ["frame_stack(frames=2)"]
    Path("runs/mine/report.html").unlink()
    assert main(["report", "runs/mine"]) == 0
    assert Path("runs/mine/report.html").exists()
    assert main(["check", "mine.yaml"]) == 0
    text = Path("mine.yaml").read_text()
    Path("mine.yaml").write_text(text.replace("minimum: 0.0", "minimum: 1.1"))
    assert main(["check", "mine.yaml"]) == 1
    Path("mine.yaml").write_text(text.replace("steps: 256", "steps: 128"))
    assert main(["check", "mine.yaml"]) == 1
    assert "and 2 more were made with other settings: steps: 256 -> 128" in capsys.readouterr().out
