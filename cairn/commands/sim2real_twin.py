"""`cairn sim2real twin`: a robot to deploy to, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from cairngym.sim2real.twin.config import TwinConfig
    from cairngym.sim2real.twin.server import TwinServer

EXAMPLE = """\
  from cairngym.sim2real.twin.client import connect_twin

  with connect_twin("{host}", {port}) as robot:
      reading = robot.reset()
      while not reading.over:
          {step}"""
STEPS = {
    "realtime": """robot.send(policy(reading.values["observation"]))
          reading = robot.wait(after=reading.sequence, timeout_s=1.0) or reading""",
    "lockstep": """reading = robot.step(policy(reading.values["observation"]))""",
}


@dataclass(frozen=True, kw_only=True)
class Twin:
    """Run a twin of a robot until Ctrl-C: a simulation with hidden parameters, delays and noise, over UDP.

    Examples:
      cairn sim2real twin PointMaze_UMaze-v3 --fleet point_maze --unit 3 --port 7447
      cairn sim2real twin FetchPush-v4 --fleet fetch_push --clock lockstep
      cairn sim2real twin Quadrotor-v0 --fleet my_fleet.yaml --delay-ms 5 --jitter-ms 3 --loss 0.01
    """

    env: tyro.conf.Positional[str]
    """The env's id: one of `cairn list envs`."""
    fleet: str | None = None
    """What the hidden parameters are drawn from: a packaged fleet or a YAML file; default is the nominal robot."""
    unit: int = 0
    """Which robot of the fleet."""
    seed: int = 0
    """Of the episodes' beginnings."""
    fleet_seed: int = 0
    """Of the hidden parameters and the noise."""
    clock: Literal["realtime", "lockstep"] = "realtime"
    """Whether it moves by itself, or when it is told to."""
    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all. Whoever can send to the port can command the twin."""
    port: int = 7447
    """UDP; 0 takes a free one."""
    command_timeout_s: float = 0.25
    """Time without a command after which the robot rests, s."""
    control_dt: float | None = None
    """Time between two steps, s; default is the env's own."""
    delay_ms: float = 0.0
    """Delay of datagrams, each way, ms."""
    jitter_ms: float = 0.0
    """Greatest addition to the delay, ms."""
    loss: float = 0.0
    """Share of datagrams lost, each way."""
    reorder: float = 0.0
    """Share of datagrams that later ones overtake, each way."""
    options: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An option of the env as key=value; may be given often."""


def main(config: Twin) -> int:
    """Run the twin until Ctrl-C or SIGTERM."""
    from cairngym.experiments.overlay import parse_overrides
    from cairngym.sim2real.twin.server import serve, until_signalled

    twin = twin_config(config, parse_overrides(config.options))

    def ready(server: TwinServer) -> None:
        print("\n".join(greeting(config, server)), flush=True)

    event = until_signalled()
    serve(twin, ready, event.is_set)
    print("The twin has ended.")
    return 0


def twin_config(config: Twin, options: Mapping[str, Any]) -> TwinConfig:
    """The twin that is asked for.

    Raises:
        ValueError: what can't be, e.g. a share outside [0, 1].
    """
    from cairngym.sim2real.twin.config import NetworkConfig, TwinConfig

    network = NetworkConfig(
        delay_s=config.delay_ms / 1000, jitter_s=config.jitter_ms / 1000, loss=config.loss, reorder=config.reorder
    )
    return TwinConfig(
        env=config.env, options=options, fleet=config.fleet, unit=config.unit, fleet_seed=config.fleet_seed,
        seed=config.seed, clock=config.clock, control_dt=config.control_dt, host=config.host, port=config.port,
        command_timeout_s=config.command_timeout_s, network=network,
    )  # fmt: skip


def greeting(config: Twin, server: TwinServer) -> list[str]:
    """What a client needs to know."""
    host, port = server.address
    spec = server.robot.spec
    fleet = "the nominal robot" if config.fleet is None else f"unit {config.unit} of the fleet {config.fleet}"
    unit = "" if spec.command.unit == "1" else f" {spec.command.unit}"
    near = "127.0.0.1" if host == "0.0.0.0" else host
    lines = [
        f"Twin of {spec.robot}, {fleet}: udp {host}:{port}, {config.clock} clock.",
        f"A command every {spec.control_dt * 1000:g} ms: {spec.command.size} numbers in "
        f"[{min(spec.command.low or (0,)):g}, {max(spec.command.high or (0,)):g}]{unit}.",
        "Sensors: " + ", ".join(f"{sensor.name} ({sensor.size}, {sensor.unit})" for sensor in spec.sensors) + ".",
        "",
        EXAMPLE.format(host=near, port=port, step=STEPS[config.clock]),
        "",
        "Ctrl-C ends it.",
    ]
    return lines
