"""`import cairngym` is light: quick, and without the libraries that only some need."""

import json
import subprocess
import sys

HEAVY = ("wandb", "warp", "mujoco", "stable_baselines3", "minigrid", "matplotlib", "cv2")
TIMED = """
import json, sys, time
import torch
before = time.perf_counter()
import cairngym
seconds = time.perf_counter() - before
cairngym.list_envs(); cairngym.list_shapers()
print(json.dumps([seconds, [name for name in {heavy} if name in sys.modules]]))
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_import_is_light():
    answers = [json.loads(run(TIMED.format(heavy=HEAVY))) for _ in range(2)]
    assert answers[0][1] == []
    assert min(seconds for seconds, _ in answers) < 0.5  # the better of two, since a busy machine only adds


def test_import_registers_with_gymnasium_without_torch():
    code = """
import sys, gymnasium, cairngym
print(all(f"cairngym/{name}" in gymnasium.registry for name in cairngym.list_envs()), "torch" in sys.modules)
"""
    assert run(code).split() == ["True", "False"]


def test_adapters_do_not_import_stable_baselines3():
    code = "import sys, cairngym.envs.adapters as a; a.from_gymnasium; print('stable_baselines3' in sys.modules)"
    assert run(code).strip() == "False"


def test_every_public_name_resolves():
    import cairngym

    assert set(dir(cairngym)) == set(cairngym.__all__)
    assert all(getattr(cairngym, name) is not None for name in cairngym.__all__)
