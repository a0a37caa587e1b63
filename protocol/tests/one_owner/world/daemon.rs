//! The daemons: each connection is served on its own, and whose a client is says
//! [`Owner::after`](handoff_protocol::v2::offer::Owner::after).

use handoff_protocol::v2::offer::Owner;

use super::{At, Event, Message, Mutation, Setting, Step, Word, World};
use crate::kernel::{Received, Side};

impl World {
    pub(super) fn daemon_steps(&self, setting: Setting, steps: &mut Vec<Step>) {
        for (index, connection) in self.connections.iter().enumerate() {
            let mut step = |what, change: &dyn Fn(&mut Self)| {
                let mut world = self.clone();
                change(&mut world);
                steps.push((Event { who: Side::Daemon, where_: index, what }, world));
            };
            match connection.daemon {
                At::Backlog => {
                    step("accepts the connection", &|world| world.connections[index].daemon = At::Idle)
                }
                At::Idle => {
                    step("receives", &|world| world.daemon_receives(index, setting));
                    step("closes the connection", &|world| world.daemon_closes(index));
                    if setting.drains {
                        step("shutdown(SHUT_RD), and receives for the last time", &|world| {
                            world.connections[index].pair.stop(Side::Daemon);
                            world.daemon_receives(index, setting);
                        });
                    }
                }
                At::Holds(request) => {
                    for (word, what) in Word::ALL {
                        step(what, &|world| world.say(index, request, word, setting));
                    }
                }
                At::Said(request) => step("answers the client", &|world| {
                    world.clients[request].daemons += 1;
                    world.connections[index].daemon = At::Idle;
                }),
                At::Closed => {}
            }
        }
    }

    fn daemon_receives(&mut self, index: usize, setting: Setting) {
        match self.connections[index].pair.receive(Side::Daemon) {
            Received::Message(Message::Handoff(request)) => {
                self.connections[index].daemon = At::Holds(request);
                if setting.mutation == Mutation::DaemonOwnsOnReceipt {
                    self.clients[request].daemons += 1;
                }
            }
            Received::Message(Message::More) => {}
            Received::Message(Message::Says(_)) => unreachable!("of a daemon"),
            Received::End | Received::Reset => self.daemon_closes(index),
            Received::Nothing => {}
        }
    }

    fn say(&mut self, index: usize, request: usize, word: Word, setting: Setting) {
        let connection = &mut self.connections[index];
        let sent = connection.pair.send(Side::Daemon, Message::Says(word)).is_ok();
        let ignores = setting.mutation == Mutation::DaemonIgnoresEpipe;
        let owner = word.answer().map_or(Owner::Sender, |answer| Owner::after(&answer, sent || ignores));
        match owner {
            // It has written already.
            Owner::Daemon if setting.mutation == Mutation::DaemonOwnsOnReceipt => {
                connection.daemon = At::Idle
            }
            Owner::Daemon => connection.daemon = At::Said(request),
            Owner::Sender if sent => connection.daemon = At::Idle,
            Owner::Sender => self.daemon_closes(index),
        }
    }

    fn daemon_closes(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.daemon = At::Closed;
        connection.pair.close(Side::Daemon);
    }

    pub(super) fn daemon_dies(&mut self, target: usize) {
        self.daemons[target].alive = false;
        for connection in self.connections.iter_mut().filter(|connection| connection.target == target) {
            match std::mem::replace(&mut connection.daemon, At::Closed) {
                At::Backlog => connection.pair.close_unaccepted(),
                At::Closed => {}
                At::Said(request) => {
                    self.clients[request].daemon_died = true;
                    connection.pair.close(Side::Daemon);
                }
                At::Idle | At::Holds(_) => connection.pair.close(Side::Daemon),
            }
        }
    }
}
