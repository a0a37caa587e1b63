#!/usr/bin/env python3
"""A receiver of handoff protocol 1 (docs/PROTOCOL.md): streams the handoff data back, a word at a time.

    python3 receiver.py /var/run/streaming-daemon.sock

Apache's user must be able to connect: the socket has mode 0660, so give it Apache's group (chgrp www-data).
"""

import array
import contextlib
import os
import socket
import stat
import sys
import threading
import time

LARGEST_MESSAGE = 256 * 1024  # more than a SEQPACKET message can hold at Linux's default buffer size
RECEIVE_SECONDS = 2
SEND_SECONDS = 10
CLOSE_SECONDS = 2
WORD_SECONDS = 0.05

# At most this many handoffs at once. Each takes two descriptors at most, so that the usual limit of 1,024 open files is
# never reached: with no descriptor free the kernel would deliver a message and destroy the client's socket.
slots = threading.BoundedSemaphore(400)

HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\n"
    b"X-Accel-Buffering: no\r\n"
    b"Connection: close\r\n"  # the response ends when the connection does
    b"\r\n"
)


def listen(path):
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        os.unlink(path)  # left behind by an earlier run
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    os.chmod(path, 0o660)
    listener.listen(1024)
    return listener


def receive(connection):
    """Returns the client's socket and the handoff data. Raises ValueError for what is no handoff."""
    connection.settimeout(RECEIVE_SECONDS)
    rights = array.array("i")
    data, control, flags, _ = connection.recvmsg(
        LARGEST_MESSAGE, socket.CMSG_LEN(rights.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, content in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            rights.frombytes(content)
    try:
        # MSG_CTRUNC: there were more descriptors than one, or no free one here for it.
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(rights) != 1:
            raise ValueError(f"a message of {len(data)} bytes without exactly one descriptor")
        client = socket.socket(fileno=rights[0])
        rights.pop()  # now the socket object closes it
    finally:
        for fd in rights:
            os.close(fd)
    if client.type != socket.SOCK_STREAM:
        client.close()
        raise ValueError("the descriptor is not a client connection")
    return client, b"" if data == b"\0" else data


def stream(client, data):
    client.settimeout(SEND_SECONDS)  # also makes the socket wait: Apache had set O_NONBLOCK
    client.sendall(HEAD)
    for word in data.split():
        client.sendall(b"data: " + word + b" \n\n")
        if client_left(client):
            return
    client.sendall(b"event: done\ndata: [DONE]\n\n")
    close_gently(client)


def client_left(client):
    """Watches the client for the time that one word takes. A real daemon watches while it waits for its backend."""
    client.settimeout(WORD_SECONDS)
    try:
        return client.recv(4096) == b""
    except TimeoutError:
        return False
    finally:
        client.settimeout(SEND_SECONDS)


def close_gently(client):
    """Lets the client read to the end: a close with unread input would reset the connection."""
    client.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + CLOSE_SECONDS
    with contextlib.suppress(TimeoutError):
        while (left := deadline - time.monotonic()) > 0:
            client.settimeout(left)
            if not client.recv(4096):
                return


def serve(connection):
    try:
        with connection:
            client, data = receive(connection)
        with client:
            stream(client, data)
    except (OSError, ValueError) as error:  # a bad message, a client that left: the next one may be good
        print(f"receiver: {error}", file=sys.stderr)
    finally:
        slots.release()


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: receiver.py SOCKETPATH")
    listener = listen(sys.argv[1])
    while True:
        slots.acquire()
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
