//! The model of the kernel held against the kernel: whatever the two sides do, in whatever order, they see the same.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept, bind,
    connect, listen, recv, send, shutdown, socket_with, socketpair,
};

use crate::kernel::{Pair, Received, SendError, Side};

const UNIX: AddressFamily = AddressFamily::UNIX;

/// Two real sockets, of which each call says what it would say in the model.
struct Sockets {
    module: Option<OwnedFd>,
    daemon: Option<OwnedFd>,
}

impl Sockets {
    fn new() -> Self {
        let (module, daemon) = socketpair(UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        Self { module: Some(module), daemon: Some(daemon) }
    }

    fn end(&self, side: Side) -> &OwnedFd {
        match side {
            Side::Module => self.module.as_ref().unwrap(),
            Side::Daemon => self.daemon.as_ref().unwrap(),
        }
    }

    fn send(&self, from: Side, message: u8) -> Result<(), SendError> {
        match send(self.end(from), &[message], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(1) => Ok(()),
            Err(Errno::PIPE) => Err(SendError::Pipe),
            Err(Errno::CONNRESET) => Err(SendError::Reset),
            other => panic!("{other:?}"),
        }
    }

    fn receive(&self, at: Side) -> Received<u8> {
        let mut byte = [0];
        match recv(self.end(at), &mut byte[..], RecvFlags::DONTWAIT) {
            Ok((1, _)) => Received::Message(byte[0]),
            Ok((0, _)) => Received::End,
            Err(Errno::CONNRESET) => Received::Reset,
            Err(Errno::AGAIN) => Received::Nothing,
            other => panic!("{other:?}"),
        }
    }

    fn close(&mut self, side: Side) {
        match side {
            Side::Module => self.module = None,
            Side::Daemon => self.daemon = None,
        }
    }
}

/// What the two sides can do.
const CALLS: u32 = 8;

/// Every order of `length` calls.
#[test]
fn the_model_does_what_the_kernel_does() {
    let length = 6;
    for order in 0..CALLS.pow(length) {
        let calls: Vec<u32> = (0..length).map(|place| order / CALLS.pow(place) % CALLS).collect();
        // Nobody calls anything on what it has closed.
        let closes_last = |close: u32| {
            let later = calls.iter().skip_while(|call| **call != close).skip(1);
            later.filter(|call| *call % 2 == close % 2).count() == 0
        };
        if !closes_last(6) || !closes_last(7) {
            continue;
        }
        let mut sockets = Sockets::new();
        let mut model = Pair::new();
        for (message, call) in calls.into_iter().enumerate() {
            let side = if call % 2 == 0 { Side::Module } else { Side::Daemon };
            let place = || format!("order {order}, call {message}: {call} by {side:?}");
            match call {
                0 | 1 => {
                    let byte = u8::try_from(message).unwrap();
                    assert_eq!(model.send(side, byte), sockets.send(side, byte), "{}", place());
                }
                2 | 3 => assert_eq!(model.receive(side), sockets.receive(side), "{}", place()),
                4 | 5 => {
                    model.stop(side);
                    // ENOTCONN: the other end is closed already.
                    let _ = shutdown(sockets.end(side), Shutdown::Read);
                }
                _ => {
                    model.close(side);
                    sockets.close(side);
                }
            }
        }
    }
}

#[test]
fn a_connection_that_was_never_accepted_ends_with_a_reset() {
    let path = std::env::temp_dir().join(format!("one-owner-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let address = SocketAddrUnix::new(&path).unwrap();
    for (accepted, sent) in [(false, false), (false, true), (true, false), (true, true)] {
        let socket = || socket_with(UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let listener = socket();
        bind(&listener, &address).unwrap();
        listen(&listener, 1).unwrap();
        let module = socket();
        connect(&module, &address).unwrap();
        let mut sockets = Sockets { module: Some(module), daemon: None };
        let mut model = Pair::new();
        if sent {
            assert_eq!(model.send(Side::Module, 1), sockets.send(Side::Module, 1));
        }
        if accepted {
            sockets.daemon = Some(accept(&listener).unwrap());
            model.close(Side::Daemon);
        } else {
            model.close_unaccepted();
        }
        drop(listener);
        sockets.close(Side::Daemon);
        for _ in 0..3 {
            let seen = sockets.receive(Side::Module);
            assert_eq!(model.receive(Side::Module), seen, "accepted: {accepted}, sent: {sent}");
        }
        assert_eq!(model.send(Side::Module, 2), sockets.send(Side::Module, 2));
        std::fs::remove_file(&path).unwrap();
    }
}
