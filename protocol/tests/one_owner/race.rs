//! The race itself, with threads and real sockets: modules that give up at the moment at which daemons answer.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender as Queue, channel};
use std::time::{Duration, Instant};

use handoff_protocol::SocketType::SeqPacket;
use handoff_protocol::incoming::{self, Incoming};
use handoff_protocol::scm::Wait;
use handoff_protocol::v2::offer::Limits;
use handoff_protocol::v2::sender::{Do, Saw};
use handoff_protocol::v2::{Answer, Outgoing, Sender};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, Shutdown, SocketFlags, recv, shutdown, socketpair};

const HANDOFFS: u64 = 4000;
const ENVELOPE: &[u8] = br#"{"method":"GET","target":"/","protocol":"HTTP/1.1"}"#;
const LIMITS: Limits = Limits { envelope: 1000, payload: 1000, pre_read: 1000 };

/// A few microseconds, other ones each time.
fn jitter(seed: &mut u64) -> Duration {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    Duration::from_nanos(*seed % 30_000)
}

fn spin(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// Takes what comes on each connection, after a while. Now and then it closes the connection with an offer in hand, or
/// with one unread.
fn daemon(connections: &Receiver<OwnedFd>) {
    let mut seed = 88_172_645_463_325_252;
    for connection in connections {
        let mut receiver = incoming::Receiver::new(SeqPacket, 1000, LIMITS);
        let mut scratch = [0; 1000];
        loop {
            let wait = jitter(&mut seed);
            if seed.is_multiple_of(64) {
                spin(wait);
                break;
            }
            let Ok(Some(Incoming::Offer(offer))) = receiver.receive(&connection, &mut scratch) else { break };
            spin(wait);
            if seed.is_multiple_of(63) {
                break;
            }
            if let Ok(handoff) = offer.accept(&connection) {
                UnixStream::from(handoff.client).write_all(b"D").unwrap();
            }
        }
    }
}

fn receive(socket: &OwnedFd) -> Saw {
    let mut bytes = [0; 300];
    match recv(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
        Ok((0, _)) => Saw::Closed,
        Ok((length, _)) => Answer::decode(&bytes[..length]).map_or(Saw::NotAnAnswer, Saw::Answer),
        Err(Errno::CONNRESET | Errno::INTR) => Saw::Again,
        Err(_) => Saw::Nothing,
    }
}

/// Carries out what the sender says; returns whether the client stays ours.
fn hand_off(
    client: &UnixStream,
    pool: &mut Option<OwnedFd>,
    daemon: &Queue<OwnedFd>,
    patience: Duration,
) -> bool {
    let outgoing = Outgoing::new(ENVELOPE, b"", b"").unwrap();
    let mut sender = Sender::new(1);
    let mut next = sender.start();
    let mut connection: Option<OwnedFd> = None;
    loop {
        let saw = match next {
            Do::TakeIdle(_) => {
                connection = pool.take();
                if connection.is_some() { Saw::Connected } else { Saw::NotConnected }
            }
            Do::Connect(_) => {
                let (ours, theirs) =
                    socketpair(AddressFamily::UNIX, SeqPacket.into(), SocketFlags::CLOEXEC, None).unwrap();
                connection = Some(ours);
                daemon.send(theirs).unwrap();
                Saw::Connected
            }
            Do::Send => match outgoing.send(connection.as_ref().unwrap(), client.as_fd(), Wait::No) {
                Ok(()) => Saw::Sent,
                Err(_) => Saw::NotSent,
            },
            Do::Receive => {
                let until = Instant::now() + patience;
                loop {
                    let saw = receive(connection.as_ref().unwrap());
                    if saw != Saw::Nothing || Instant::now() >= until {
                        break saw;
                    }
                }
            }
            Do::StopAndReceive => {
                shutdown(connection.as_ref().unwrap(), Shutdown::Read).or(Err(Errno::NOTCONN)).unwrap_or(());
                receive(connection.as_ref().unwrap())
            }
            Do::ReceiveLate => receive(connection.as_ref().unwrap()),
            Do::Swap => {
                if sender.may_be_kept() {
                    *pool = connection;
                }
                return false;
            }
            Do::Keep(_) => return true,
        };
        next = sender.next(saw);
    }
}

#[test]
fn thousands_of_modules_that_give_up_leave_one_owner_each() {
    let (queue, connections) = channel();
    let daemon = std::thread::spawn(move || daemon(&connections));
    let (mut pool, mut seed) = (None, 1);
    let mut taken = 0;
    let mut clients = Vec::new();
    for _ in 0..HANDOFFS {
        let (near, far) = UnixStream::pair().unwrap();
        let patience = 3 * jitter(&mut seed);
        if hand_off(&far, &mut pool, &queue, patience) {
            (&far).write_all(b"A").unwrap();
        } else {
            taken += 1;
        }
        clients.push(near);
    }
    drop((pool, queue));
    daemon.join().unwrap();
    // Every copy of the connections is closed by now: each client reads to its end.
    let mut by_daemon = 0;
    for mut client in clients {
        let mut letters = String::new();
        client.read_to_string(&mut letters).unwrap();
        assert!(letters == "A" || letters == "D", "{letters:?}");
        by_daemon += u64::from(letters == "D");
    }
    println!("{HANDOFFS} handoffs: {taken} taken, {} not", HANDOFFS - taken);
    assert_eq!(taken, by_daemon);
    assert!(taken > 0 && taken < HANDOFFS, "no race: {taken} of {HANDOFFS} were taken");
}
