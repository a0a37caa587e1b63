//! A stream as steps: events written out, paced, and disturbed where that is asked for.

use std::time::Duration;

use crate::answer::Step;
use crate::dialect::{Dialect, Event, Place, Said};
use crate::faults::{Faults, Within};
use crate::text;

/// Pieces that are ready together are sent together, up to about this many bytes.
const TOGETHER: usize = 16 * 1024;

/// The steps of a streamed answer; `delay` lies between content events.
pub(crate) fn steps(dialect: Dialect, said: &Said, faults: &Faults, delay: Duration) -> Vec<Step> {
    let mut out = Out { dialect, said, faults, steps: Vec::new(), ready: String::new(), events: 0 };
    if faults.text.bom {
        out.ready.push('\u{feff}');
    }
    out.write_all(&dialect.stream(said), delay);
    out.flush();
    out.steps
}

struct Out<'a> {
    dialect: Dialect,
    said: &'a Said,
    faults: &'a Faults,
    steps: Vec<Step>,
    /// Written, and not yet a step.
    ready: String,
    /// How many events were written.
    events: usize,
}

impl Out<'_> {
    fn write_all(&mut self, events: &[Event], delay: Duration) {
        let mut due = self.faults.within.clone();
        due.sort_by_key(|(after, _)| *after);
        let first = |within: &Within| matches!(within, Within::ErrorFirst | Within::StallFirst);
        if let Some((_, within)) = due.iter().find(|(_, within)| first(within)) {
            self.disturb(*within);
            return;
        }
        let contents = events.iter().filter(|event| event.place == Place::Content).count();
        let mut said = 0;
        let mut due = due.into_iter().peekable();
        for event in events {
            let content = event.place == Place::Content;
            let over = said == contents && event.place != Place::Lead;
            while let Some((_, within)) = due.next_if(|(after, _)| over || content && *after <= said) {
                if self.disturb(within) {
                    return;
                }
            }
            if content && said > 0 && !delay.is_zero() {
                self.flush();
                self.steps.push(Step::Wait(delay));
            }
            self.write(event);
            said += usize::from(content);
            if content && said == 1 && self.faults.content.unknown_event {
                self.write(&self.dialect.unknown());
            }
        }
    }

    /// Whether nothing comes after it.
    fn disturb(&mut self, within: Within) -> bool {
        let step = match within {
            Within::ErrorFirst | Within::Error => {
                for event in self.dialect.error(self.said, self.events) {
                    self.write(&event);
                }
                return true;
            }
            Within::Eof => return true,
            Within::Stall | Within::StallFirst => Step::Stall,
            Within::Abort => Step::Cut { reset: false },
            Within::TcpReset => Step::Cut { reset: true },
            Within::Reset(code) => Step::Reset(code),
            Within::GoAway => Step::GoAway,
        };
        self.flush();
        self.steps.push(step);
        within != Within::GoAway
    }

    fn write(&mut self, event: &Event) {
        if self.faults.no_end && event.place == Place::End {
            return;
        }
        let start = self.ready.len();
        text::write(&mut self.ready, event, &self.faults.text);
        self.events += 1;
        if start > 0 && self.ready.len() > TOGETHER {
            let last = self.ready.split_off(start);
            self.flush();
            self.ready = last;
        }
    }

    fn flush(&mut self) {
        if !self.ready.is_empty() {
            self.steps.push(Step::Send(std::mem::take(&mut self.ready).into()));
        }
    }
}
