/*
 * A receiver of handoff protocol 1 (docs/PROTOCOL.md): streams the handoff data back, a word at a time.
 *
 *     cc -O2 -Wall -Wextra -o receiver receiver.c
 *     ./receiver /var/run/streaming-daemon.sock
 *
 * Apache's user must be able to connect: the socket has mode 0660, so give it Apache's group (chgrp www-data).
 * One process per handoff: each has its own descriptors, and whatever a bad message does, it does to that process.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { RECEIVE_SECONDS = 2, SEND_SECONDS = 10, CLOSE_SECONDS = 2, WORD_MILLISECONDS = 50, SCM_MAX_FD = 253 };

static const char HEAD[] = "HTTP/1.1 200 OK\r\n"
                           "Content-Type: text/event-stream; charset=utf-8\r\n"
                           "Cache-Control: no-cache\r\n"
                           "X-Accel-Buffering: no\r\n"
                           "Connection: close\r\n" /* the response ends when the connection does */
                           "\r\n";

static int listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct stat old;
    if (strlen(path) >= sizeof address.sun_path)
        errx(64, "%s: the path is too long", path);
    strcpy(address.sun_path, path);
    if (lstat(path, &old) == 0 && S_ISSOCK(old.st_mode))
        unlink(path); /* left behind by an earlier run */
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || chmod(path, 0660) < 0
        || listen(listener, 1024) < 0)
        err(1, "%s", path);
    return listener;
}

/* Receives one message. Returns the client's socket, or exits: there is nobody to answer to. */
static int receive(int connection, char *data, size_t capacity, size_t *length)
{
    /* Room for every descriptor that a message can hold. Room for one is rounded up to two by CMSG_SPACE, and a second
     * one that nobody looks for would keep its connection open. */
    union {
        char bytes[CMSG_SPACE(SCM_MAX_FD * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = { data, capacity };
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
    };
    struct timeval deadline = { .tv_sec = RECEIVE_SECONDS };
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);

    ssize_t n = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        errx(1, "no message: %s", n < 0 ? strerror(errno) : "closed");
    int client = -1, count = 0, type = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count += (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(&client, CMSG_DATA(c), sizeof client);
    }
    /* MSG_CTRUNC: no descriptor was free here, and the client's socket is lost. Exit closes those that did arrive; a
     * daemon that lives on has to close them itself. */
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || count != 1)
        errx(1, "a message of %zd bytes with %d descriptors", n, count);
    if (getsockopt(client, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){ sizeof type }) < 0 || type != SOCK_STREAM)
        errx(1, "the descriptor is not a client connection");
    /* Protocol 2, whose sender waits for an answer and then answers the client itself. */
    if (n >= 3 && memcmp(data, "\0HO", 3) == 0)
        errx(1, "a message of protocol 2: declare this daemon without protocol=2");
    *length = n == 1 && data[0] == '\0' ? 0 : (size_t)n;
    return client;
}

static void send_all(int client, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = send(client, bytes, length, MSG_NOSIGNAL);
        if (n < 0)
            err(1, "the client has left");
        bytes += n;
        length -= (size_t)n;
    }
}

/* Waits. Returns at once, and true, when the client has left. */
static int left_within(int client, int milliseconds)
{
    char unread[4096];
    struct pollfd watch = { .fd = client, .events = POLLIN };
    return poll(&watch, 1, milliseconds) > 0 && recv(client, unread, sizeof unread, 0) <= 0;
}

static void stream(int client, char *data)
{
    /* Apache had set O_NONBLOCK, and it came along: it belongs to the connection, not to the descriptor. This process
     * has nothing else to do, so it waits while the client's window is full, but not for ever. */
    fcntl(client, F_SETFL, fcntl(client, F_GETFL) & ~O_NONBLOCK);
    struct timeval patience = { .tv_sec = SEND_SECONDS };
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);

    send_all(client, HEAD, sizeof HEAD - 1);
    char *rest = data;
    for (char *word; (word = strtok_r(rest, " \t\r\n", &rest));) {
        send_all(client, "data: ", 6);
        send_all(client, word, strlen(word));
        send_all(client, " \n\n", 3);
        if (left_within(client, WORD_MILLISECONDS))
            return;
    }
    send_all(client, "event: done\ndata: [DONE]\n\n", 26);

    /* A close with unread input would reset the connection, and the client could lose the end. */
    shutdown(client, SHUT_WR);
    for (time_t end = time(NULL) + CLOSE_SECONDS; time(NULL) < end && !left_within(client, 500);)
        ;
}

int main(int argc, char **argv)
{
    static char data[256 * 1024]; /* more than a SEQPACKET message can hold at Linux's default buffer size */
    if (argc != 2)
        errx(64, "usage: receiver SOCKETPATH");
    int listener = listen_at(argv[1]);
    signal(SIGCHLD, SIG_IGN); /* children need no waiting for */
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0) {
            warn("accept");
            continue;
        }
        pid_t child = fork();
        if (child == 0) {
            size_t length;
            close(listener);
            int client = receive(connection, data, sizeof data - 1, &length);
            close(connection);
            data[length] = '\0';
            stream(client, data);
            return 0;
        }
        if (child < 0)
            warn("fork"); /* the closed connection tells Apache that the handoff failed */
        close(connection);
    }
}
