"""Drive a robot, or its twin, by an exported policy: numpy and onnxruntime, and nothing of torch or cairngym.

    cairn export runs/adhoc/PointMaze_UMaze-v3/sparse/seed_0 policy.onnx
    cairn sim2real twin PointMaze_UMaze-v3 --clock lockstep --port 7447
    python deploy_with_onnxruntime.py policy.onnx 127.0.0.1 7447 --episodes 3

Prints one line of JSON. The twin's datagrams are described in docs/twin_protocol.md.
"""

import argparse
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

HEADER, READING, CHUNK = struct.Struct("<4sBBHIQ"), struct.Struct("<dqQ"), struct.Struct("<HH")
HELLO, COMMAND, STEP, RESET, BYE, DESCRIPTION, READ, NOTICE = 1, 2, 3, 4, 8, 64, 65, 66
OVER, SUCCESS, STOPPED = 1, 2, 4
Packet = tuple[int, int, int, bytes]
"""Kind, flags, sequence number and body of a datagram."""
Reading = tuple[dict[str, np.ndarray], int]
"""Numbers by sensor, and flags."""


class Twin:
    """A twin at the other end of a UDP socket."""

    def __init__(self, host: str, port: int, timeout_s: float = 5.0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((host, port))
        self.session, self.sequence = int.from_bytes(os.urandom(4), "little") | 1, 0
        self.timeout_s = timeout_s
        description = self._describe()
        self.spec, self.clock = description["spec"], description["clock"]

    def _send(self, kind: int, body: bytes = b"", *, again: bool = False) -> None:
        self.sequence += not again
        self.socket.send(HEADER.pack(b"CRNT", 1, kind, 0, self.session, self.sequence) + body)

    def _receive(self, timeout_s: float) -> Packet | None:
        """The kind, flags, sequence number and body of the next datagram of this session; None if none comes."""
        self.socket.settimeout(max(timeout_s, 1e-4))
        try:
            data = self.socket.recv(65536)
        except (TimeoutError, ConnectionRefusedError):
            return None
        if len(data) < HEADER.size:
            return None
        magic, version, kind, flags, session, sequence = HEADER.unpack_from(data)
        if (magic, version) != (b"CRNT", 1) or (session != self.session and kind != NOTICE):
            return None
        if kind == NOTICE:
            raise SystemExit(f"The twin refuses: {data[HEADER.size :].decode(errors='replace')}")
        return kind, flags, sequence, data[HEADER.size :]

    def _ask(self, kind: int, body: bytes, answered: Callable[[Packet], Any]) -> Any:
        """Send a request, again every 50 ms, until `answered(packet)` gives something."""
        deadline, first = time.monotonic() + self.timeout_s, True
        while time.monotonic() < deadline:
            self._send(kind, body, again=not first)
            first, retry = False, time.monotonic() + 0.05
            while (left := retry - time.monotonic()) > 0.0:
                packet = self._receive(left)
                found = None if packet is None else answered(packet)
                if found is not None:
                    return found
        raise SystemExit(f"No answer from the twin within {self.timeout_s:g} s.")

    def _describe(self) -> dict[str, Any]:
        parts: dict[int, bytes] = {}

        def collect(packet: Packet) -> dict[str, Any] | None:
            kind, _, _, body = packet
            if kind != DESCRIPTION:
                return None
            index, count = CHUNK.unpack_from(body)
            parts[index] = body[CHUNK.size :]
            return json.loads(b"".join(parts[k] for k in range(count))) if len(parts) == count else None

        return self._ask(HELLO, b"", collect)

    def _reading(self, packet: Packet, answers: int | None = None) -> Reading | None:
        """Values by sensor, and flags; None for other datagrams, and for readings that answer no request of ours."""
        kind, flags, _, body = packet
        if kind != READ or (answers is not None and READING.unpack_from(body)[2] != answers):
            return None
        flat, values, at = np.frombuffer(body[READING.size :], "<f8"), {}, 0
        for sensor in self.spec["sensors"]:
            values[sensor["name"]] = flat[at : at + sensor["size"]]
            at += sensor["size"]
        return values, flags

    def reset(self) -> Reading:
        """Begin the next episode."""
        sequence = self.sequence + 1
        return self._ask(RESET, struct.pack("<q", -1), lambda packet: self._reading(packet, sequence))

    def step(self, command: np.ndarray) -> Reading:
        """Hold a command for one `control_dt`."""
        body = np.asarray(command, "<f8").tobytes()
        if self.clock == "lockstep":
            sequence = self.sequence + 1
            return self._ask(STEP, body, lambda packet: self._reading(packet, sequence))
        self._send(COMMAND, body)
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            packet = self._receive(deadline - time.monotonic())
            found = None if packet is None else self._reading(packet)
            if found is not None:
                return found
        raise SystemExit(f"No reading from the twin within {self.timeout_s:g} s.")

    def close(self) -> None:
        """End the session."""
        self._send(BYE)
        self.socket.close()


class Policy:
    """A file of `cairn export`; `cairngym.sim2real.policy.OnnxPolicy` does the same with more checks."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.said = json.loads(self.session.get_modelmeta().custom_metadata_map["cairngym"])

    def check(self, spec: dict[str, Any]) -> None:
        """Refuse another robot."""
        for what, expected, got in (
            ("robot", self.said["env"], spec["robot"]),
            ("control_dt", self.said["control_dt"], spec["control_dt"]),
            ("command size", len(self.said["action"]["names"]), spec["command"]["size"]),
        ):
            if expected != got:
                raise SystemExit(f"The policy does not fit: expected {what} {expected}, got {got}.")

    def reset(self) -> None:
        """Forget the episode."""
        self.held: dict[str, np.ndarray] = {
            m["input"]: np.zeros((1, *m["shape"]), m["dtype"]) for m in self.said["memory"]
        }
        self.frames: dict[str, np.ndarray] = {}

    def __call__(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """The command for one reading."""
        fed = {}
        for entry in self.said["inputs"]:
            frame = np.reshape(values[entry["name"]], (1, *entry["shape"])).astype(entry["dtype"])
            if not np.isfinite(frame).all():
                raise SystemExit(f"Expected finite numbers from {entry['name']}, got {frame.tolist()}.")
            if entry["frames"] > 1:  # the oldest first; an episode's first frame stands for those before it
                before = self.frames.get(entry["name"], np.concatenate((frame,) * entry["frames"], -1))
                frame = np.concatenate((before[..., frame.shape[-1] :], frame), -1)
                self.frames[entry["name"]] = frame
            fed[entry["name"]] = frame
        outputs = ["action", *(m["output"] for m in self.said["memory"])]
        action, *memory = self.session.run(outputs, fed | self.held)
        self.held = {m["input"]: value for m, value in zip(self.said["memory"], memory, strict=True)}
        return action[0].ravel()


def main() -> None:
    """Play some episodes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--episodes", type=int, default=1)
    options = parser.parse_args()
    policy, twin = Policy(options.policy), Twin(options.host, options.port)
    policy.check(twin.spec)
    successes, steps, spent, last = 0, 0, [], []
    for _ in range(options.episodes):
        policy.reset()
        values, flags = twin.reset()
        succeeded, command = False, np.zeros(0)
        while not flags & (OVER | STOPPED):
            start = time.perf_counter()
            command = policy(values)
            spent.append(time.perf_counter() - start)
            values, flags = twin.step(command)
            succeeded |= bool(flags & SUCCESS)
            steps += 1
        successes += succeeded
        last.append(command.tolist())
    twin.close()
    found = {"episodes": options.episodes, "successes": successes, "steps": steps, "last_commands": last}
    if spent:
        found |= {f"latency_p{q}_us": round(1e6 * float(np.percentile(spent, q)), 1) for q in (50, 99)}
    found["foreign_modules"] = [name for name in ("torch", "cairngym") if name in sys.modules]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
