"""A local HTTP server that speaks the OpenAI-compatible chat completions protocol, and misbehaves as told.

    with ChatServer() as server:
        server.script(Reply.failure(500), Reply.chat("def reward(): ..."))
        ...                         # ask server.base_url
        assert server.requests[0].body["messages"]

Replies that are scripted are served once each, in order; after them `server.default` answers everything.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Headers = dict[str, str]


@dataclass(frozen=True)
class Received:
    """A request as it came, its headers' names in lower case."""

    path: str
    headers: Headers
    body: dict[str, Any]
    time: float


@dataclass(frozen=True)
class Reply:
    """What the server does with one request: `act(handler, request body)`, after `delay` seconds."""

    act: Callable[[Handler, dict[str, Any]], None]
    delay: float = 0.0

    @staticmethod
    def chat(
        *texts: str | None,
        finish: str = "stop",
        usage: tuple[int, int] | None = (10, 5),
        delay: float = 0.0,
        **message: Any,
    ) -> Reply:
        """A completion of these candidates; the last text fills up where more are asked for by `n`."""

        def act(handler: Handler, body: dict[str, Any]) -> None:
            wanted = max(body.get("n", 1), len(texts))
            all_texts = [texts[min(index, len(texts) - 1)] for index in range(wanted)]
            send = handler.send_stream if body.get("stream") else handler.send_chat
            send(all_texts, finish, usage, body, message)

        return Reply(act, delay)

    @staticmethod
    def echo(delay: float = 0.0) -> Reply:
        """A completion that repeats the last message, upper case."""

        def act(handler: Handler, body: dict[str, Any]) -> None:
            Reply.chat(body["messages"][-1]["content"].upper()).act(handler, body)

        return Reply(act, delay)

    @staticmethod
    def failure(status: int, message: str = "try again", code: str | None = None, **headers: str) -> Reply:
        """An HTTP error with the protocol's error object; `Retry_After="1"` is a header."""
        content = json.dumps({"error": {"message": message, "type": "error", "code": code}})
        return Reply.raw(content, status=status, **headers)

    @staticmethod
    def raw(
        content: str | bytes, *, status: int = 200, content_type: str = "application/json", **headers: str
    ) -> Reply:
        """Exactly this body."""
        data = content.encode() if isinstance(content, str) else content
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return Reply(lambda handler, body: handler.send_body(data, status, content_type, extra))

    @staticmethod
    def drop(after: bytes = b"") -> Reply:
        """Break the connection off, after part of a body or nothing at all."""
        return Reply(lambda handler, body: handler.send_part(after))

    @staticmethod
    def trickle(seconds: float) -> Reply:
        """A body of white space that goes on for that long and never becomes an answer."""
        return Reply(lambda handler, body: handler.send_trickle(seconds))

    @staticmethod
    def events(*data: str) -> Reply:
        """A stream of these events, ended by closing the connection."""
        content = "".join(f"data: {item}\n\n" for item in data)
        return Reply.raw(content, content_type="text/event-stream")


@dataclass
class ChatServer:
    """Serves on a free port of the local machine; `kill` and `restart` keep the port."""

    default: Reply = field(default_factory=Reply.echo)
    requests: list[Received] = field(default_factory=list)
    most_at_once: int = 0
    """The most requests that were being answered at any one time."""

    def __post_init__(self) -> None:
        self._replies: deque[Reply] = deque()
        self._lock = threading.Lock()
        self._now = 0
        self._sockets: set[socket.socket] = set()
        self.port = 0
        self.restart()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *replies: Reply) -> None:
        """Serve these next."""
        with self._lock:
            self._replies.extend(replies)

    def restart(self) -> None:
        """Listen, on the port of before if there was one."""
        self._http = HttpServer(("127.0.0.1", self.port), Handler)
        self._http.chat = self
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def kill(self) -> None:
        """Stop listening and break every connection, as a process that dies does."""
        self._http.shutdown()
        self._http.server_close()
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for connection in sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> ChatServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def next_reply(self) -> Reply:
        with self._lock:
            return self._replies.popleft() if self._replies else self.default

    @contextlib.contextmanager
    def answering(self, request: Received) -> Any:
        with self._lock:
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(connection)


class HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    chat: ChatServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer

    def setup(self) -> None:
        super().setup()
        self.server.chat.opened(self.connection)

    def finish(self) -> None:
        self.server.chat.closed(self.connection)
        super().finish()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        received = Received(
            self.path, {name.lower(): value for name, value in self.headers.items()}, body, time.monotonic()
        )
        with self.server.chat.answering(received):
            if self.path != "/v1/chat/completions":
                Reply.failure(404, f"no route {self.path}").act(self, body)
                return
            reply = self.server.chat.next_reply()
            time.sleep(reply.delay)
            reply.act(self, body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def send_body(self, data: bytes, status: int, content_type: str, headers: Headers) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(data)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def send_chat(
        self, texts: list[str | None], finish: str, usage: tuple[int, int] | None, body: dict, message: dict
    ) -> None:
        choices = [
            {"index": i, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
            for i, text in enumerate(texts)
        ]
        data = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": choices}
        if usage is not None:
            data["usage"] = _usage(usage)
        self.send_body(json.dumps(data).encode(), 200, "application/json", {})

    def send_stream(
        self, texts: list[str | None], finish: str, usage: tuple[int, int] | None, body: dict, message: dict
    ) -> None:
        """Three characters at a time, candidates interleaved, the usage in a last chunk without choices."""
        chunks: list[dict[str, Any]] = []
        for place in range(0, max(len(text or "") for text in texts), 3):
            for index, text in enumerate(texts):
                delta = {"content": (text or "")[place : place + 3]}
                chunks.append({"choices": [{"index": index, "delta": delta, "finish_reason": None}]})
        for index in range(len(texts)):
            chunks.append({"choices": [{"index": index, "delta": message, "finish_reason": None}]})
            chunks.append({"choices": [{"index": index, "delta": {}, "finish_reason": finish}]})
        if usage is not None and body.get("stream_options", {}).get("include_usage"):
            chunks.append({"choices": [], "usage": _usage(usage)})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        base = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": body["model"]}
        for chunk in [*(json.dumps({**base, **chunk}) for chunk in chunks), "[DONE]"]:
            event = f"data: {chunk}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def send_part(self, part: bytes) -> None:
        if part:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(part) + 1000))
            self.end_headers()
            self.wfile.write(part)
            self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def send_trickle(self, seconds: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.close_connection = True
        end = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.02)


def _usage(usage: tuple[int, int]) -> dict[str, int]:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
