import signal
import subprocess
import sys
import threading

import tyro
from robot_toys import serving

from cairngym.commands.sim2real_twin import Twin, greeting, twin_config
from cairngym.sim2real.twin.client import connect_twin

START = """
from cairngym.commands.sim2real_twin import Twin, main
raise SystemExit(main(Twin(env="PointMaze_UMaze-v3", fleet="point_maze", unit=1, port=0, clock="lockstep")))
"""


def test_options_become_a_twin():
    words = ["Quadrotor-v0", "--fleet", "quadrotor", "--unit", "3", "--clock", "lockstep", "--delay-ms", "5", "--loss",
             "0.1", "--options", "driver=threads"]  # fmt: skip
    config = tyro.cli(Twin, args=words)
    twin = twin_config(config, {"driver": "threads"})
    assert (twin.env, twin.fleet, twin.unit, twin.clock) == ("Quadrotor-v0", "quadrotor", 3, "lockstep")
    assert (twin.network.delay_s, twin.network.loss, twin.port) == (0.005, 0.1, 7447)
    assert config.options == ("driver=threads",)


def test_the_greeting_tells_clients_what_they_need():
    for clock, word in (("realtime", "robot.send("), ("lockstep", "robot.step(")):
        with serving(clock=clock) as server:
            text = "\n".join(greeting(Twin(env="Cart", clock=clock), server))
            assert f'connect_twin("127.0.0.1", {server.address[1]})' in text
        assert "observation (3, 1), position (2, m)" in text
        assert word in text


def test_the_command_serves_until_it_is_told_to_end():
    process = subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(300.0, process.kill)
    watchdog.start()
    try:
        first = process.stdout.readline()
        assert "unit 1 of the fleet point_maze" in first
        port = int(first.split("udp 127.0.0.1:")[1].split(",")[0])
        with connect_twin("127.0.0.1", port, timeout_s=60.0) as robot:
            assert robot.reset(4).episode == 4
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait() == 0
        assert rest.strip().endswith("The twin has ended.")
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
