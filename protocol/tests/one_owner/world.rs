//! One Apache child and the daemons it may ask, with everything that may happen next.
//!
//! What decides is the production code: [`Sender::next`] for the module, [`Owner::after`] for a daemon. The rest is what
//! surrounds them: the kernel, and that each side may be slow (nothing has to happen next), hang (nothing happens any
//! more) or die.

use std::time::Duration;

use handoff_protocol::v2::offer::Owner;
use handoff_protocol::v2::sender::{Do, Saw};
use handoff_protocol::v2::{Answer, Sender};

use crate::kernel::{Pair, Received, Side};

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Daemons that may take a client, in their order.
    pub targets: usize,
    /// Handoffs, one after another, which share the connections that are kept.
    pub requests: usize,
    /// How often a daemon that died is started again, each.
    pub restarts: u8,
    /// Whether the module sends something more while it waits, as a later one might. Only then can a daemon die with a
    /// message unread and an answer sent: today's module sends nothing before it has the answer.
    pub talkative: bool,
    pub mutation: Mutation,
}

/// A change of the rules that must be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// The daemon writes to the client as soon as it has received it.
    DaemonOwnsOnReceipt,
    /// The daemon takes the client although its "accepted" could not be sent.
    DaemonIgnoresEpipe,
    /// The module does nothing more when the time is over.
    ModuleGivesUpAtOnce,
    /// It looks for a late answer and only then makes sure that there will be none.
    ModuleLooksBeforeItStops,
    /// It makes sure that there will be none, and does not look whether there was one.
    ModuleStopsWithoutLooking,
    /// ECONNRESET is taken for the end.
    ResetIsTheEnd,
    /// So is EINTR.
    SignalIsTheEnd,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    module: Module,
    daemons: Vec<Daemon>,
    connections: Vec<Connection>,
    clients: Vec<Client>,
}

/// Who has ever written to a client, and who may be excused if nobody has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Client {
    apache: bool,
    daemons: u8,
    /// The Apache child died before it read the answer.
    module_died: bool,
    /// A daemon died after it said "accepted".
    daemon_died: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Module {
    alive: bool,
    sender: Sender,
    next: Next,
    request: usize,
    in_hand: Option<usize>,
    /// One idle connection for each target, at most.
    pool: Vec<Option<usize>>,
    /// A signal has interrupted this request; one is enough to see what that does.
    interrupted: bool,
    /// It has sent for this request what [`Setting::talkative`] is about.
    has_talked: bool,
}

/// [`Do`], as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Next {
    TakeIdle(usize),
    Connect(usize),
    Send,
    Receive,
    /// The first half of [`Do::StopAndReceive`].
    Stop,
    ReceiveLate,
    /// The client's fate is decided.
    HangUp,
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Daemon {
    alive: bool,
    restarts: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Connection {
    target: usize,
    pair: Pair<Message>,
    daemon: At,
}

/// Where the daemon is with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Backlog,
    Idle,
    /// It holds an offer: of this request.
    Holds(usize),
    /// It has said "accepted", and will go on.
    Said(usize),
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Message {
    Handoff(usize),
    /// To be ignored.
    More,
    Says(Word),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Word {
    Accepted,
    Busy,
    Draining,
    Bad,
    /// An answer of a version that the module does not know.
    Unknown,
}

impl Word {
    const ALL: [(Self, &str); 5] = [
        (Self::Accepted, "says accepted"),
        (Self::Busy, "says busy"),
        (Self::Draining, "says draining"),
        (Self::Bad, "says bad"),
        (Self::Unknown, "says what is not understood"),
    ];

    /// `None`: it cannot be decoded.
    fn answer(self) -> Option<Answer> {
        Some(match self {
            Self::Accepted => Answer::Accepted,
            Self::Busy => Answer::Busy { retry_after: Duration::ZERO, reason: String::new() },
            Self::Draining => Answer::Draining,
            Self::Bad => Answer::Bad { reason: String::new() },
            Self::Unknown => return None,
        })
    }
}

/// What happened, and what came of it.
pub type Step = (Event, World);

/// Who did what.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub who: Side,
    /// The target, or the connection of a daemon.
    pub where_: usize,
    pub what: &'static str,
}

impl World {
    /// Each daemon runs, and with `kept` there is an idle connection to each.
    pub fn new(setting: Setting, kept: bool) -> Self {
        let targets = 0..setting.targets;
        let connection = |target| Connection { target, pair: Pair::new(), daemon: At::Idle };
        let mut world = Self {
            module: Module {
                alive: true,
                sender: Sender::new(setting.targets),
                next: Next::Ended,
                request: 0,
                in_hand: None,
                pool: targets.clone().map(|target| kept.then_some(target)).collect(),
                interrupted: false,
                has_talked: false,
            },
            daemons: vec![Daemon { alive: true, restarts: 0 }; setting.targets],
            connections: if kept { targets.map(connection).collect() } else { Vec::new() },
            clients: vec![Client::default(); setting.requests],
        };
        world.begin(0);
        world
    }

    fn begin(&mut self, request: usize) {
        self.module.request = request;
        self.module.interrupted = false;
        self.module.has_talked = false;
        self.module.sender = Sender::new(self.daemons.len());
        let first = self.module.sender.start();
        self.carry_out(first);
    }

    /// Why this must not be.
    pub fn wrong(&self) -> Option<&'static str> {
        let two = |client: &Client| u8::from(client.apache) + client.daemons > 1;
        if self.clients.iter().any(two) {
            return Some("two owners");
        }
        let excused = |client: &Client| client.module_died || client.daemon_died;
        let none = |client: &Client| !client.apache && client.daemons == 0 && !excused(client);
        let is_over = |connection: &Connection| match connection.daemon {
            At::Closed => true,
            At::Idle | At::Backlog => !connection.pair.has_unread(Side::Daemon),
            At::Holds(_) | At::Said(_) => false,
        };
        let over = self.module.next == Next::Ended && self.connections.iter().all(is_over);
        (over && self.clients[..=self.module.request].iter().any(none)).then_some("no owner")
    }

    /// Whether the Apache child lives and is not done.
    pub fn module_goes_on(&self) -> bool {
        self.module.alive && self.module.next != Next::Ended
    }

    /// Everything that may happen next. Steps of the module come first, and their number is returned.
    pub fn steps(&self, setting: Setting) -> (Vec<Step>, usize) {
        let mut steps = Vec::new();
        self.module_steps(setting, &mut steps);
        let of_module = steps.len();
        self.daemon_steps(setting, &mut steps);
        self.deaths(setting, &mut steps);
        for (_, world) in &mut steps {
            world.forget();
        }
        (steps, of_module)
    }

    // ---- The module ----

    fn module_steps(&self, setting: Setting, steps: &mut Vec<Step>) {
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

    fn hang_up(&mut self) {
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

    fn carry_out(&mut self, next: Do) {
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

    // ---- The daemons ----

    fn daemon_steps(&self, setting: Setting, steps: &mut Vec<Step>) {
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

    // ---- Deaths ----

    fn deaths(&self, setting: Setting, steps: &mut Vec<Step>) {
        if self.module.alive {
            let mut world = self.clone();
            let module = &mut world.module;
            module.alive = false;
            if !matches!(std::mem::replace(&mut module.next, Next::Ended), Next::HangUp | Next::Ended) {
                world.clients[module.request].module_died = true;
            }
            let held = module.pool.iter_mut().filter_map(Option::take).chain(module.in_hand.take());
            for index in held {
                world.connections[index].pair.close(Side::Module);
            }
            steps.push((Event { who: Side::Module, where_: 0, what: "dies" }, world));
        }
        for (target, daemon) in self.daemons.iter().enumerate() {
            let mut world = self.clone();
            let event = |what| Event { who: Side::Daemon, where_: target, what };
            if daemon.alive {
                world.daemon_dies(target);
                steps.push((event("dies"), world));
            } else if daemon.restarts < setting.restarts {
                world.daemons[target] = Daemon { alive: true, restarts: daemon.restarts + 1 };
                steps.push((event("is started again"), world));
            }
        }
    }

    fn daemon_dies(&mut self, target: usize) {
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

    /// Drops connections that both sides have closed, so that states that differ in nothing else are one.
    fn forget(&mut self) {
        let mut index = 0;
        while index < self.connections.len() {
            let connection = &self.connections[index];
            if connection.daemon == At::Closed && !connection.pair.is_open(Side::Module) {
                self.connections.remove(index);
                let module = &mut self.module;
                for held in module.pool.iter_mut().chain([&mut module.in_hand]).flatten() {
                    if *held > index {
                        *held -= 1;
                    }
                }
            } else {
                index += 1;
            }
        }
    }
}
