//! The module: what [`Sender`](handoff_protocol::v2::Sender) says is carried out, and it is told what was seen.

use handoff_protocol::v2::Answer;
use handoff_protocol::v2::sender::{Do, Saw};

use super::{At, Connection, Event, Message, Mutation, Next, Setting, Step, World};
use crate::kernel::{Pair, Received, Side};

impl World {
    pub(super) fn module_steps(&self, setting: Setting, steps: &mut Vec<Step>) {
        if !self.module_goes_on() {
            return;
        }
        let target = match self.module.next {
            Next::TakeIdle(target) | Next::Connect(target) => target,
            _ => self.module.in_hand.map_or(0, |index| self.connections[index].target),
        };
        let mut step = |what, change: &dyn Fn(&mut Self) -> Option<Saw>| {
            let mut world = self.clone();
            let Some(saw) = change(&mut world) else { return };
            world.saw(saw);
            steps.push((Event { who: Side::Module, where_: target, what }, world));
        };
        match self.module.next {
            Next::TakeIdle(_) => step("takes an idle connection, if there is one", &|world| {
                world.hang_up();
                world.module.in_hand = world.module.pool[target].take();
                Some(if world.module.in_hand.is_some() { Saw::Connected } else { Saw::NotConnected })
            }),
            Next::Connect(_) => {
                step("connects", &|world| world.connect(target));
                step("connects in vain", &|world| {
                    world.hang_up();
                    Some(Saw::NotConnected)
                });
            }
            Next::Send => {
                let message = Message::Handoff(self.module.request);
                step("sends", &|world| match world.hand().send(Side::Module, message) {
                    Ok(()) => Some(Saw::Sent),
                    Err(_) => Some(Saw::NotSent),
                });
                step("cannot send: EAGAIN, ETOOMANYREFS", &|_| Some(Saw::NotSent));
            }
            Next::Receive => {
                step("receives", &|world| Some(world.receive(setting)).filter(|saw| *saw != Saw::Nothing));
                step("waits no longer", &|world| match setting.mutation {
                    Mutation::ModuleGivesUpAtOnce => {
                        // As if what it is told to do now had been done, to no avail.
                        world.module.sender.next(Saw::Nothing);
                        Some(Saw::Nothing)
                    }
                    _ => Some(Saw::Nothing),
                });
            }
            Next::Stop => {
                let mut world = self.clone();
                world.module.next = Next::ReceiveLate;
                let what = if setting.mutation == Mutation::ModuleLooksBeforeItStops {
                    let saw = world.receive(setting);
                    if saw != Saw::Nothing {
                        world.saw(saw);
                    }
                    "receives late"
                } else {
                    world.hand().stop(Side::Module);
                    "shutdown(SHUT_RD)"
                };
                steps.push((Event { who: Side::Module, where_: target, what }, world));
            }
            Next::ReceiveLate => step("receives late", &|world| match setting.mutation {
                Mutation::ModuleStopsWithoutLooking | Mutation::ModuleLooksBeforeItStops => {
                    world.hand().stop(Side::Module);
                    Some(Saw::Nothing)
                }
                _ => Some(world.receive(setting)),
            }),
            Next::HangUp => {
                let mut world = self.clone();
                world.hang_up();
                world.module.next = Next::Ended;
                let following = self.module.request + 1;
                if following < self.clients.len() {
                    world.begin(following);
                }
                steps.push((Event { who: Side::Module, where_: target, what: "hangs up" }, world));
            }
            Next::Ended => {}
        }
        if self.module.next == Next::Receive && setting.talkative && !self.module.has_talked {
            let mut world = self.clone();
            world.module.has_talked = true;
            let _ = world.hand().send(Side::Module, Message::More);
            steps.push((Event { who: Side::Module, where_: target, what: "sends more" }, world));
        }
        if matches!(self.module.next, Next::Receive | Next::ReceiveLate) && !self.module.interrupted {
            let mut world = self.clone();
            world.module.interrupted = true;
            let end = setting.mutation == Mutation::SignalIsTheEnd;
            world.saw(if end { Saw::Closed } else { Saw::Again });
            steps.push((Event { who: Side::Module, where_: target, what: "is interrupted" }, world));
        }
    }

    fn hand(&mut self) -> &mut Pair<Message> {
        &mut self.connections[self.module.in_hand.unwrap()].pair
    }

    pub(super) fn hang_up(&mut self) {
        if let Some(index) = self.module.in_hand.take() {
            self.connections[index].pair.close(Side::Module);
        }
    }

    fn connect(&mut self, target: usize) -> Option<Saw> {
        self.hang_up();
        if !self.daemons[target].alive {
            return Some(Saw::NotConnected);
        }
        self.module.in_hand = Some(self.connections.len());
        self.connections.push(Connection { target, pair: Pair::new(), daemon: At::Backlog });
        Some(Saw::Connected)
    }

    fn receive(&mut self, setting: Setting) -> Saw {
        match self.hand().receive(Side::Module) {
            Received::Message(Message::Says(word)) => word.answer().map_or(Saw::NotAnAnswer, Saw::Answer),
            Received::Message(Message::Handoff(_) | Message::More) => unreachable!("of the module"),
            Received::End => Saw::Closed,
            Received::Reset if setting.mutation == Mutation::ResetIsTheEnd => Saw::Closed,
            Received::Reset => Saw::Again,
            Received::Nothing => Saw::Nothing,
        }
    }

    /// Lets the sender decide, and does what belongs to that.
    fn saw(&mut self, saw: Saw) {
        let answered =
            matches!(saw, Saw::Answer(Answer::Accepted | Answer::Busy { .. } | Answer::Bad { .. }));
        let next = self.module.sender.next(saw);
        if answered
            && self.module.sender.may_be_kept()
            && let Some(index) = self.module.in_hand.take()
        {
            let target = self.connections[index].target;
            self.module.pool[target] = Some(index);
        }
        self.carry_out(next);
    }

    pub(super) fn carry_out(&mut self, next: Do) {
        self.module.next = match next {
            Do::TakeIdle(target) => Next::TakeIdle(target),
            Do::Connect(target) => Next::Connect(target),
            Do::Send => Next::Send,
            Do::Receive => Next::Receive,
            Do::StopAndReceive => Next::Stop,
            Do::ReceiveLate => Next::ReceiveLate,
            Do::Swap => Next::HangUp,
            Do::Keep(_) => {
                self.clients[self.module.request].apache = true;
                Next::HangUp
            }
        };
    }
}
