import json
import math
import os
import signal

import numpy as np
import pytest
from robot_doubles import SPEC, Integrator, towards

from cairngym.commands import sim2real_replay, sim2real_run
from cairngym.commands.sim2real_replay import Replay
from cairngym.commands.sim2real_run import Run, connect, limits, loop_config
from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.control.faults import Response
from cairngym.sim2real.control.limits import CommandLimits, RateLimit, Workspace
from cairngym.sim2real.control.watchdog import Moving

policies = pytest.importorskip("cairngym.sim2real.policy", exc_type=ImportError)


def run(**options):
    return Run(robot="udp://127.0.0.1:7447", policy="policy.onnx", **options)


@pytest.fixture
def fake(monkeypatch):
    """A robot behind every address, and a policy in every file."""

    class File:
        def __init__(self, path):
            self.path = path

        def check(self, spec):
            assert spec.robot == "Integrator"

        def __call__(self, observation):
            if self.path == "kill":
                os.kill(os.getpid(), signal.SIGTERM)
            return towards(observation) * (math.nan if self.path == "bad" else 1.0)

    monkeypatch.setattr(policies, "OnnxPolicy", File)
    monkeypatch.setattr(sim2real_run, "connect", lambda address: Integrator(mass=2.0 if "heavy" in address else 1.0))


def test_a_run_and_its_replay(fake, tmp_path, capsys):
    log = tmp_path / "flight.log"
    assert sim2real_run.main(Run(robot="x", policy="good", seconds=1.5, log=log)) == 0
    assert "finished: 1.5 s are over" in capsys.readouterr().out
    assert sim2real_replay.main(Replay(log=log)) == 0
    assert "75 ticks" in capsys.readouterr().out
    assert sim2real_replay.main(Replay(log=log, robot="x", policy="good", json=True)) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["commands"]["same"]
    assert result["policy"]["deviation"]["max"] == 0.0
    assert result["log"]["commands"] == {"policy": 74, "over": 1}
    assert result["log"]["meta"]["policy"] == "good"
    assert sim2real_replay.main(Replay(log=log, robot="heavy")) == 1


def test_a_safe_stop_is_told(fake, tmp_path, capsys):
    log = tmp_path / "flight.log"
    assert sim2real_run.main(Run(robot="x", policy="bad", seconds=1.0, log=log, json=True)) == 1
    assert json.loads(capsys.readouterr().out)["fault"] == "nan_command"
    assert sim2real_replay.main(Replay(log=log)) == 0
    assert "note: nan_command" in capsys.readouterr().out
    with pytest.raises(FileExistsError):
        sim2real_run.main(Run(robot="x", policy="bad", log=log))


def test_sigterm_stops_the_robot(fake):
    before = signal.getsignal(signal.SIGTERM)
    assert sim2real_run.main(Run(robot="x", policy="kill", seconds=1.0)) == 130
    assert signal.getsignal(signal.SIGTERM) is before


def test_responses_can_be_configured():
    watchdog = loop_config(run(fault=("stale=rest:0.3", "recorder=policy:inf"), stale_ms=20.0)).watchdog
    assert watchdog.stale == Response(meanwhile="rest", stop_after_s=0.3)
    assert watchdog.stale_s == 0.02
    assert watchdog.moving == (Moving(channel="observation", within_s=0.5),)
    assert loop_config(run(moving=("observation=0.5", "none"))).watchdog.moving == ()


def test_limits_can_be_configured():
    chain = limits(run(rate_limit=5.0, workspace=("position=-1,-2:1:0.2",)), SPEC, 0.01)
    assert [type(one) for one in chain] == [CommandLimits, RateLimit, Workspace]
    np.testing.assert_allclose(chain[1].step, 0.05)
    np.testing.assert_allclose(chain[2].low, [-1.0, -2.0])
    np.testing.assert_allclose(chain[2].high, [1.0, 1.0])
    np.testing.assert_allclose(chain[2].margin, 0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fault": ("stale",)}, "NAME=VALUE"), ({"fault": ("stale=rest",)}, r"hold:0\.25"),
        ({"fault": ("stale=rest:soon",)}, "number"), ({"fault": ("stale=run:1",)}, "'run'"),
        ({"moving": ("observation",)}, "NAME=VALUE"), ({"seconds": -1.0}, "seconds"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        loop_config(run(**options))


def test_names_that_are_not_known_are_refused():
    with pytest.raises(UnknownNameError, match="'stale'"):
        loop_config(run(fault=("stalled=rest:1",)))
    with pytest.raises(UnknownNameError, match="'position'"):
        limits(run(workspace=("positions=0:1",)), SPEC, 0.01)
    with pytest.raises(ValueError, match="LOW:HIGH"):
        limits(run(workspace=("position=1",)), SPEC, 0.01)


@pytest.mark.parametrize("address", ["127.0.0.1:7447", "udp://", "udp://host", "tcp://host:1", "sim://"])
def test_bad_addresses_are_refused(address):
    with pytest.raises(ValueError, match="udp://HOST:PORT"):
        connect(address)
