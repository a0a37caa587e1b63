#!/usr/bin/env python3
"""A receiver of handoffs by protocol 1 and 2 (docs/PROTOCOL.md): streams the handoff data back, a word at a time.

    python3 receiver.py /var/run/streaming-daemon.sock

Apache's user must be able to connect: the socket has mode 0660, so give it Apache's group (chgrp www-data).
"""

import array
import contextlib
import fcntl
import json
import os
import socket
import stat
import struct
import sys
import threading
import time

LARGEST_MESSAGE = 256 * 1024  # more than a SEQPACKET message can hold at Linux's default buffer size
LARGEST_FILE = 64 * 1024 * 1024  # of protocol 2, where what is long comes in a file
MOST_DESCRIPTORS = 253  # in one message, by the kernel's SCM_MAX_FD
RECEIVE_SECONDS = 2
IDLE_SECONDS = 60  # until the next handoff of protocol 2
SEND_SECONDS = 10
CLOSE_SECONDS = 2
WORD_SECONDS = 0.05

# Protocol 2: how its messages begin, which none of protocol 1 does; the header of a handoff; and what is answered.
PREFIX = b"\0HO"
MAGIC = b"\0HO2"
HEADER = struct.Struct("!4sIIII")  # magic, flags, lengths of envelope, payload and pre-read bytes
IN_FILE = 1  # a flag
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
ACCEPTED, BUSY, BAD = 1, 2, 4

# At most this many connections and streams at once. Each takes three descriptors at most, so that the usual limit of
# 1,024 open files is never reached: with no descriptor free the kernel would destroy the client's socket.
slots = threading.BoundedSemaphore(300)

FIELDS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    "Connection": "close",  # the response ends when the connection does
}
FRAMING = {"content-length", "transfer-encoding"}


def listen(path):
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        os.unlink(path)  # left behind by an earlier run
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    os.chmod(path, 0o660)
    listener.listen(1024)
    return listener


class Message:
    """One message, with the descriptors that came along. Those that nobody has taken are closed with it."""

    def __init__(self, connection, seconds):
        connection.settimeout(seconds)
        rights = array.array("i")
        self.data, control, self.flags, _ = connection.recvmsg(
            LARGEST_MESSAGE, socket.CMSG_SPACE(MOST_DESCRIPTORS * rights.itemsize), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, content in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                rights.frombytes(content)
        self.fds = rights.tolist()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for fd in self.fds:
            os.close(fd)

    def take_client(self, descriptors=1):
        """The client's socket. Raises ValueError for what is none, and for another number of descriptors."""
        if len(self.fds) != descriptors:
            raise ValueError(f"a message of {len(self.data)} bytes with {len(self.fds)} descriptors")
        if self.flags & socket.MSG_TRUNC:
            raise ValueError("the message is too long")
        if not stat.S_ISSOCK(os.fstat(self.fds[0]).st_mode):
            raise ValueError("the descriptor is not a client connection")
        client = socket.socket(fileno=self.fds.pop(0))  # now the socket object closes it
        if client.type != socket.SOCK_STREAM:
            client.close()
            raise ValueError("the descriptor is not a client connection")
        return client


# ---- Protocol 1: the client is ours ----


def take_handoff(message):
    """Returns the client's socket and the handoff data. Raises ValueError for what is no handoff."""
    if message.flags & socket.MSG_CTRUNC:
        raise ValueError("no descriptor was free here, and the client's socket is lost")
    return message.take_client(), b"" if message.data == b"\0" else message.data


# ---- Protocol 2: the client is offered ----


def read_offer(message):
    """Returns the envelope and the handoff data, and how many descriptors belong to them. Raises ValueError."""
    if len(message.data) < HEADER.size:
        raise ValueError("the header is cut")
    magic, flags, *lengths = HEADER.unpack_from(message.data)
    if magic != MAGIC or flags & ~IN_FILE:
        raise ValueError("another version, or an unknown flag")
    parts = message.data[HEADER.size :]
    if flags & IN_FILE:
        parts += read_sealed(message.fds[1:], sum(lengths))
    if len(parts) != sum(lengths):
        raise ValueError(f"{len(parts)} bytes follow the header, which says {sum(lengths)}")
    envelope = json.loads(parts[: lengths[0]].decode("ascii"))
    return envelope, parts[lengths[0] :][: lengths[1]], 2 if flags & IN_FILE else 1


def read_sealed(fds, length):
    """The content of a file in memory. Sealed: its sender could change it while it is being read otherwise."""
    try:
        (fd,) = fds
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS and os.fstat(fd).st_size == length <= LARGEST_FILE:
            return os.pread(fd, length, 0)
    except OSError:
        pass  # F_GET_SEALS: it is another kind of file
    raise ValueError("the second descriptor is no sealed file of the length that the header says")


def say(connection, code, seconds=0, reason=""):
    answer = struct.pack("!4sBxH", MAGIC, code, seconds) + reason.encode()[:256]
    connection.send(answer, socket.MSG_NOSIGNAL)


def answer(connection, message):
    """Answers an offer. The client is ours when "accepted" was sent, and not to be touched before that."""
    if message.flags & socket.MSG_CTRUNC:
        return say(connection, BUSY, 1, "no descriptor is free here")
    try:
        envelope, data, descriptors = read_offer(message)
        response = head(envelope["response_headers"]) if "response_headers" in envelope else head()
        is_head = envelope["method"] == "HEAD"
        client = message.take_client(descriptors)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        return say(connection, BAD, 0, f"{type(error).__name__}: {error}")
    if not slots.acquire(blocking=False):
        client.close()
        return say(connection, BUSY, 1, "no place for another stream")
    try:
        say(connection, ACCEPTED)
    except OSError:  # Apache has given up, and answers the client itself: not a byte from here, and no shutdown
        client.close()
        slots.release()
        raise
    threading.Thread(target=finish, args=(client, response, None if is_head else data), daemon=True).start()


def finish(client, response, data):
    try:
        with client:
            stream(client, response, data)
    except OSError as error:
        complain(error)
    finally:
        slots.release()


# ---- The response ----


def head(application=()):
    """The head of the response, with the application's fields. Its strings stand for octets, as in Latin-1."""
    fields = list(FIELDS.items())
    for name, value in application:
        is_ours = name.title() in FIELDS or name.lower() in FRAMING
        if not is_ours and all(char == "\t" or " " <= char != "\x7f" for char in name + value):
            fields.append((name, value))
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def stream(client, response, data):
    client.settimeout(SEND_SECONDS)  # also makes the socket wait: Apache had set O_NONBLOCK
    client.sendall(response)
    if data is not None:  # a HEAD request has no body
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


def receive(connection):
    """Returns the one handoff of protocol 1, or None when there are no more offers of protocol 2."""
    seconds = RECEIVE_SECONDS
    while True:
        with Message(connection, seconds) as message:
            if message.data.startswith(PREFIX):
                answer(connection, message)
                seconds = IDLE_SECONDS
            else:
                return take_handoff(message) if seconds == RECEIVE_SECONDS else None


def serve(connection):
    try:
        with connection:
            handoff = receive(connection)
        if handoff:
            client, data = handoff
            with client:
                stream(client, head(), data)
    except (OSError, ValueError) as error:  # a bad message, a client that left: the next one may be good
        complain(error)
    finally:
        slots.release()


def complain(error):
    print(f"receiver: {error}", file=sys.stderr)


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
