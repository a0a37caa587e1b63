#!/usr/bin/env python3
"""Streams events to the client, whose connection is standard output: the whole HTTP response is written here.

    streaming-daemon exec -- python3 examples/handlers/stream.py
"""

import json
import os
import re
import sys


def handoff_data() -> str:
    """Data over 100 KiB does not fit into the environment and is in a file that is already open."""
    fd = os.environ.get("HANDOFF_DATA_FD")
    if fd is None:
        return os.environ.get("HANDOFF_DATA", "")
    with os.fdopen(int(fd), encoding="utf-8") as file:
        return file.read()


def write(text: str) -> None:
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()  # each event leaves at once


def main() -> int:
    try:
        request = json.loads(handoff_data() or "{}")
        prompt = request.get("prompt", "Hello")
    except (ValueError, AttributeError) as error:
        write("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
              "The data is no JSON object.\n")
        print(f"bad handoff data: {error}", file=sys.stderr)  # goes to the daemon's log
        return 1

    write("HTTP/1.1 200 OK\r\n"
          "Content-Type: text/event-stream; charset=utf-8\r\n"
          "Cache-Control: no-cache\r\n"
          "X-Accel-Buffering: no\r\n"
          "Connection: close\r\n\r\n")
    for word in re.findall(r"\s*\S+|\s+$", f"You said: {prompt}"):
        # A line break in the text would end the event: each line is a data line of its own.
        write("".join(f"data: {line}\n" for line in re.split(r"\r\n|\r|\n", word)) + "\n")
    write("event: done\ndata: [DONE]\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
