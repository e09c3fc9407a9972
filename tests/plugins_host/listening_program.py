"""A program that listens, for a test that kills whoever connects to it: it outlives all of them.

Arguments: the socket, and the file that it writes each event to as a line of JSON before it answers. It answers after a
moment, several at once, in no order. It needs nothing but Python.
"""

import json
import os
import random
import select
import socket
import sys
from typing import Any


def serve(connection: socket.socket, log: int) -> None:
    begun = b""
    held: list[bytes] = []
    while True:
        if not select.select([connection], [], [], 0.003 if held else None)[0]:
            random.shuffle(held)
            connection.sendall(b"".join(held))
            held = []
            continue
        part = connection.recv(65536)
        if not part:
            return
        *lines, begun = (begun + part).split(b"\n")
        events = [message for message in map(json.loads, lines) if "event" in message]
        os.write(log, b"".join(json.dumps(event).encode() + b"\n" for event in events))
        held += [json.dumps(answer(event)).encode() + b"\n" for event in events]


def answer(event: dict[str, Any]) -> dict[str, Any]:
    if event["event"] == "file.deleted":
        return {"ack": event["sequence"]}
    return {"ack": event["sequence"], "annotation": {"size": event["payload"]["size"]}}


def main(path: str, log: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    directory, name = os.path.split(path)
    os.chdir(directory)  # an address has room for a hundred bytes or so
    listener.bind(name)
    listener.listen()
    print("listening", flush=True)
    told = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                serve(connection, told)
            except OSError:
                continue  # whoever it was is dead


if __name__ == "__main__":
    main(*sys.argv[1:])
