//! Every state that can be reached, breadth first.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use handoff_protocol::v2::sender::{Do, Saw};
use handoff_protocol::v2::{Answer, Sender};

use crate::world::{Event, Mutation, Setting, World};

/// What was found: how many states there are, and the shortest way to one that must not be.
#[derive(Debug)]
struct Found {
    states: usize,
    wrong: Option<(&'static str, Vec<Event>)>,
}

fn explore(setting: Setting) -> Found {
    let mut known: HashSet<Rc<World>> = HashSet::new();
    let mut came_from: Vec<(u32, Option<Event>)> = Vec::new();
    let mut frontier: Vec<(u32, Rc<World>)> = Vec::new();
    let mut add = |world: World, parent: u32, step: Option<Event>, next: &mut Vec<(u32, Rc<World>)>| {
        let world = Rc::new(world);
        if !known.insert(world.clone()) {
            return None;
        }
        let index = u32::try_from(came_from.len()).unwrap();
        came_from.push((parent, step));
        if let Some(what) = world.wrong() {
            return Some((what, way_to(&came_from, index)));
        }
        next.push((index, world));
        None
    };
    let mut wrong = None;
    for kept in [false, true] {
        wrong = wrong.or(add(World::new(setting, kept), u32::MAX, None, &mut frontier));
    }
    while wrong.is_none() && !frontier.is_empty() {
        let mut next = Vec::new();
        'states: for (parent, world) in frontier {
            let (steps, of_module) = world.steps(setting);
            assert!(!world.module_goes_on() || of_module > 0, "stuck: {world:?}");
            for (event, following) in steps {
                wrong = add(following, parent, Some(event), &mut next);
                if wrong.is_some() {
                    break 'states;
                }
            }
        }
        frontier = next;
    }
    Found { states: known.len(), wrong }
}

fn way_to(came_from: &[(u32, Option<Event>)], mut index: u32) -> Vec<Event> {
    let mut way = Vec::new();
    while let Some(&(parent, Some(event))) = came_from.get(index as usize) {
        way.push(event);
        index = parent;
    }
    way.reverse();
    way
}

#[track_caller]
fn nothing_is_wrong(setting: Setting) {
    let found = explore(setting);
    println!("{setting:?}: {} states", found.states);
    assert!(found.wrong.is_none(), "{:#?}", found.wrong);
}

const ONE: Setting = Setting {
    targets: 1,
    requests: 1,
    restarts: 1,
    talkative: false,
    drains: false,
    mutation: Mutation::None,
};

#[test]
fn one_handoff_with_a_fallback_has_exactly_one_owner() {
    nothing_is_wrong(Setting { targets: 2, ..ONE });
}

#[test]
fn handoffs_that_share_a_connection_have_exactly_one_owner_each() {
    nothing_is_wrong(Setting { requests: 2, ..ONE });
}

#[test]
fn daemons_that_end_in_an_orderly_way_leave_one_owner_each() {
    nothing_is_wrong(Setting { drains: true, ..ONE });
}

#[test]
fn an_answer_behind_a_reset_is_found() {
    nothing_is_wrong(Setting { talkative: true, ..ONE });
}

#[track_caller]
fn is_found_out(setting: Setting) {
    let (what, way) = explore(setting).wrong.expect("a way to something wrong");
    println!("{:?}: {what} after", setting.mutation);
    for Event { who, where_, what } in way {
        println!("  {who:?} {where_} {what}");
    }
    assert_eq!(what, "two owners");
}

#[test]
fn a_daemon_that_writes_before_it_was_heard_is_found_out() {
    for mutation in [Mutation::DaemonOwnsOnReceipt, Mutation::DaemonIgnoresEpipe] {
        is_found_out(Setting { mutation, ..ONE });
    }
}

#[test]
fn a_module_that_does_not_stop_and_then_look_is_found_out() {
    for mutation in [
        Mutation::ModuleGivesUpAtOnce,
        Mutation::ModuleLooksBeforeItStops,
        Mutation::ModuleStopsWithoutLooking,
    ] {
        is_found_out(Setting { mutation, ..ONE });
    }
}

#[test]
fn a_module_that_takes_a_reset_or_a_signal_for_the_end_is_found_out() {
    is_found_out(Setting { mutation: Mutation::SignalIsTheEnd, ..ONE });
    is_found_out(Setting { mutation: Mutation::ResetIsTheEnd, talkative: true, ..ONE });
    // Without more to say, an answer is never behind a reset.
    nothing_is_wrong(Setting { mutation: Mutation::ResetIsTheEnd, ..ONE });
}

/// Whatever it sees, and in whatever order, a sender comes to an end. Two things may repeat: [`Saw::Again`] is one reset
/// for each connection, or a signal; and [`Saw::NotAnAnswer`], after [`Do::StopAndReceive`], takes a message out of a
/// queue that no longer grows.
#[test]
fn a_module_that_lives_comes_to_an_end() {
    for targets in 1..4 {
        let sender = Sender::new(targets);
        let first = sender.start();
        let most = most_steps(&sender, &first, 0, &mut HashMap::new());
        println!("{targets} targets: at most {most} steps");
        assert!(most <= 14 * targets);
    }
}

/// The most things to do from a sender on, and from what it says next.
type Known = HashMap<(Sender, String), usize>;

/// The most things to do from here on, `next` included.
fn most_steps(sender: &Sender, next: &Do, before: usize, known: &mut Known) -> usize {
    assert!(before < 100, "no end");
    let here = (sender.clone(), format!("{next:?}"));
    if let Some(&most) = known.get(&here) {
        return most;
    }
    let answers = || {
        let busy = Answer::Busy { retry_after: Duration::ZERO, reason: String::new() };
        [Answer::Accepted, busy, Answer::Draining, Answer::Bad { reason: String::new() }].map(Saw::Answer)
    };
    let received = || [Saw::Again, Saw::NotAnAnswer, Saw::Closed, Saw::Nothing].into_iter().chain(answers());
    let seen: Vec<Saw> = match next {
        Do::TakeIdle(_) | Do::Connect(_) => vec![Saw::Connected, Saw::NotConnected],
        Do::Send => vec![Saw::Sent, Saw::NotSent],
        Do::Receive | Do::StopAndReceive | Do::ReceiveLate => received().collect(),
        Do::Swap | Do::Keep(_) => return 1,
    };
    let mut after = |saw: Saw| {
        let mut following = sender.clone();
        let repeats = matches!(saw, Saw::Again | Saw::NotAnAnswer);
        let then = following.next(saw);
        if repeats && then == *next && following == *sender {
            return 0;
        }
        most_steps(&following, &then, before + 1, known)
    };
    let most = 1 + seen.into_iter().map(&mut after).max().unwrap();
    known.insert(here, most);
    most
}
