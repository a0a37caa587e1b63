//! One Apache child and the daemons it may ask, with everything that may happen next.
//!
//! What decides is the production code: [`Sender::next`] for the module, `Owner::after` for a daemon. The rest is what
//! surrounds them: the kernel, and that each side may be slow (nothing has to happen next), hang (nothing happens any
//! more) or die.

mod daemon;
mod module;

use std::time::Duration;

use handoff_protocol::v2::{Answer, Sender};

use crate::kernel::{Pair, Side};

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
    /// Whether daemons may end in an orderly way, which makes sure that nothing more comes before they look for the last
    /// time.
    pub drains: bool,
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

/// `Do`, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Next {
    TakeIdle(usize),
    Connect(usize),
    Send,
    Receive,
    /// The first half of `Do::StopAndReceive`.
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
