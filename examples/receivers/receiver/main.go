// A receiver of handoff protocol 1 (docs/PROTOCOL.md): streams the handoff data back, a word at a time.
//
//	go build && ./receiver /var/run/streaming-daemon.sock
//
// Apache's user must be able to connect: the socket has mode 0660, so give it Apache's group (chgrp www-data).
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	largestMessage  = 256 * 1024 // more than a SEQPACKET message can hold at Linux's default buffer size
	mostDescriptors = 253        // in one message, by the kernel's SCM_MAX_FD
	receiveTime     = 2 * time.Second
	sendTime        = 10 * time.Second
	closeTime       = 2 * time.Second
	wordTime        = 50 * time.Millisecond
	// Each handoff takes three descriptors at most. Below the limit of open files there is always one free: without,
	// the kernel would deliver a message and destroy the client's socket.
	mostHandoffs = 300
)

const head = "HTTP/1.1 200 OK\r\n" +
	"Content-Type: text/event-stream; charset=utf-8\r\n" +
	"Cache-Control: no-cache\r\n" +
	"X-Accel-Buffering: no\r\n" +
	"Connection: close\r\n" + // the response ends when the connection does
	"\r\n"

// client is a connection whose sending side can be closed on its own: TCP, or a Unix stream socket.
type client interface {
	net.Conn
	CloseWrite() error
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: receiver SOCKETPATH")
	}
	listener, err := listen(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	slots := make(chan struct{}, mostHandoffs)
	for {
		slots <- struct{}{}
		connection, err := listener.AcceptUnix()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer func() { <-slots }()
			if err := serve(connection); err != nil {
				log.Print(err) // a bad message, a client that left: the next one may be good
			}
		}()
	}
}

func listen(path string) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		os.Remove(path) // left behind by an earlier run
	}
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return listener, os.Chmod(path, 0o660)
}

func serve(connection *net.UnixConn) error {
	client, data, err := receive(connection)
	connection.Close()
	if err != nil {
		return err
	}
	defer client.Close()
	return stream(client, data)
}

// receive takes one message: the handoff data, and with it the client's socket as the only descriptor.
func receive(connection *net.UnixConn) (client, []byte, error) {
	connection.SetReadDeadline(time.Now().Add(receiveTime))
	data := make([]byte, largestMessage)
	control := make([]byte, syscall.CmsgSpace(4*mostDescriptors))
	n, controlLength, flags, _, err := connection.ReadMsgUnix(data, control)
	if err != nil {
		return nil, nil, err
	}
	fds, err := descriptors(control[:controlLength])
	if err != nil {
		return nil, nil, err
	}
	// Each descriptor is closed here: net.FileConn makes its own copy of it.
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "client")
		defer files[i].Close()
	}
	// MSG_CTRUNC: no descriptor was free here, and the client's socket is lost.
	if flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0 || len(files) != 1 {
		return nil, nil, fmt.Errorf("a message of %d bytes with %d descriptors", n, len(files))
	}
	if bytes.HasPrefix(data[:n], []byte("\x00HO")) {
		// Its sender waits for an answer and then answers the client itself.
		return nil, nil, errors.New("a message of protocol 2: declare this daemon without protocol=2")
	}
	conn, err := net.FileConn(files[0])
	if err != nil {
		return nil, nil, err
	}
	socket, ok := conn.(client)
	if network := conn.LocalAddr().Network(); !ok || network != "tcp" && network != "unix" {
		conn.Close()
		return nil, nil, errors.New("the descriptor is not a client connection")
	}
	if n == 1 && data[0] == 0 {
		n = 0 // one NUL byte stands for no data
	}
	return socket, data[:n], nil
}

func descriptors(control []byte) ([]int, error) {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	var all []int
	for i := range messages {
		if fds, err := syscall.ParseUnixRights(&messages[i]); err == nil {
			all = append(all, fds...)
		}
	}
	return all, nil
}

func stream(client client, data []byte) error {
	left := make(chan struct{})
	go func() {
		io.Copy(io.Discard, client) // returns when the client leaves
		close(left)
	}()

	if err := send(client, head); err != nil {
		return err
	}
	for _, word := range bytes.Fields(data) {
		if err := send(client, fmt.Sprintf("data: %s \n\n", word)); err != nil {
			return err
		}
		select {
		case <-left:
			return errors.New("the client has left")
		case <-time.After(wordTime):
		}
	}
	if err := send(client, "event: done\ndata: [DONE]\n\n"); err != nil {
		return err
	}

	// A close with unread input would reset the connection, and the client could lose the end.
	client.CloseWrite()
	select {
	case <-left:
	case <-time.After(closeTime):
	}
	return nil
}

func send(client client, text string) error {
	client.SetWriteDeadline(time.Now().Add(sendTime))
	_, err := io.WriteString(client, text)
	return err
}
