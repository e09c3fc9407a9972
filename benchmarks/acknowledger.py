"""The least a foreign program that stays can do: ``python acknowledger.py PATH`` listens on a Unix socket and answers
each file event with a small annotation. The standard library alone, one line read and one written at a time."""

from __future__ import annotations

import json
import socket
import sys


def main(path: str) -> None:
    """Serve one host after the other until killed."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        while True:
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb") as lines:
                lines.write(b'{"hello": {"hook_api": 1, "name": "acknowledger"}}\n')
                lines.flush()
                for line in lines:
                    message = json.loads(line)
                    if "sequence" in message:
                        answer = {"ack": message["sequence"], "annotation": {"size": message["payload"].get("size", 0)}}
                        lines.write(json.dumps(answer).encode() + b"\n")
                        lines.flush()


if __name__ == "__main__":
    main(sys.argv[1])
