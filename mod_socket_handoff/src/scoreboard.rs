//! Counts of handoffs by daemon, for /server-status: in memory that all child processes share.
//!
//! Nothing is locked. What a child has in flight is counted in words of its own, which end with it: a child that was
//! killed leaves nothing in flight behind.

mod report;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::refusal::Refusal;

pub(crate) use report::{html, plain};

/// So many daemons are told apart.
const DAEMONS: usize = 64;
/// A row for each of them, and one for everything else.
const ROWS: usize = DAEMONS + 1;
const OTHERS: usize = DAEMONS;
/// Child processes whose handoffs in flight are counted: more than Apache usually has.
const CHILDREN: usize = 4096;
/// The longest path with a row of its own, in words of 8 bytes.
const PATH: usize = 32;

// A row: what its words are.
/// A hash of the path, which claims the row; 0: the row is free.
const HASH: usize = 0;
/// Length of the path in bytes; 0: nobody has written it yet.
const LENGTH: usize = 1;
const TEXT: usize = 2;
const HANDED_OFF: usize = TEXT + PATH;
const REFUSED: usize = HANDED_OFF + 1;
const ROW: usize = REFUSED + Refusal::NOTES.len();

// The memory: first the children's process ids (0: free), then what each has in flight by row, then the rows.
const IN_FLIGHT: usize = CHILDREN;
const TABLE: usize = IN_FLIGHT + CHILDREN * ROWS;
/// Length of the memory, in words.
pub(crate) const WORDS: usize = TABLE + ROWS * ROW;

static BOARD: OnceLock<Scoreboard<'static>> = OnceLock::new();
/// This child's place.
static CHILD: OnceLock<usize> = OnceLock::new();

/// Uses `memory`, of [`WORDS`] words, from now on. For post_config: the children inherit it.
pub(crate) fn open(memory: &'static [AtomicU64]) {
    let _ = BOARD.set(Scoreboard(memory));
}

/// Takes a place for this child process. For child_init.
pub(crate) fn enter(pid: u64) {
    if let Some(child) = BOARD.get().and_then(|board| board.enter(pid)) {
        let _ = CHILD.set(child);
    }
}

/// Gives back the place of a child that has ended, in whatever way. For the parent.
pub(crate) fn leave(pid: u64) {
    if let Some(board) = BOARD.get() {
        board.leave(pid);
    }
}

/// All rows with something in them. `None`: nothing is counted, since there was no memory.
pub(crate) fn rows() -> Option<Vec<Row>> {
    BOARD.get().map(Scoreboard::rows)
}

/// Counts a refusal before any daemon was to be asked.
pub(crate) fn refused(refusal: &Refusal) {
    if let Some(board) = BOARD.get() {
        board.refused(OTHERS, refusal);
    }
}

/// A handoff that is being carried out, and counts as in flight until it is dropped.
pub(crate) struct InFlight(Option<(&'static Scoreboard<'static>, usize)>);

impl InFlight {
    /// Towards the daemon at `path`. If that has no row, `declared` tells under which path it is declared: whatever else
    /// an application may name gets a row when it has taken a client, so that nobody fills the table with nonsense.
    pub(crate) fn begin<'c>(path: &Path, declared: impl FnOnce() -> Option<&'c Path>) -> Self {
        Self(BOARD.get().map(|board| {
            let row = board.find(path).or_else(|| declared().map(|path| board.find_or_claim(path)));
            let row = row.unwrap_or(OTHERS);
            if let Some(child) = CHILD.get() {
                board.in_flight(*child, row).fetch_add(1, Relaxed);
            }
            (board, row)
        }))
    }

    /// The daemon at `path` has taken the client.
    pub(crate) fn handed_off(self, path: &Path) {
        if let Some((board, _)) = self.0 {
            board.handed_off(board.find_or_claim(path));
        }
    }

    /// Nobody has.
    pub(crate) fn refused(self, refusal: &Refusal) {
        if let Some((board, row)) = self.0 {
            board.refused(row, refusal);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let (Some((board, row)), Some(child)) = (self.0, CHILD.get()) {
            board.in_flight(*child, row).fetch_sub(1, Relaxed);
        }
    }
}

/// What is known of one daemon.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// `None`: all that have no row of their own, and requests that never came to a daemon.
    path: Option<Vec<u8>>,
    handed_off: u64,
    in_flight: u64,
    /// By reason, without those that never came up.
    refused: Vec<(&'static str, u64)>,
}

struct Scoreboard<'m>(&'m [AtomicU64]);

impl Scoreboard<'_> {
    fn enter(&self, pid: u64) -> Option<usize> {
        let is_free = |id: &AtomicU64| {
            // One's own is left over if the parent has not seen the process end that had this id before.
            id.load(Relaxed) == pid || id.compare_exchange(0, pid, AcqRel, Relaxed).is_ok()
        };
        let child = self.0[..CHILDREN].iter().position(is_free)?;
        (0..ROWS).for_each(|row| self.in_flight(child, row).store(0, Relaxed));
        Some(child)
    }

    fn leave(&self, pid: u64) {
        for id in self.0[..CHILDREN].iter().filter(|id| id.load(Relaxed) == pid) {
            id.store(0, Release);
        }
    }

    fn in_flight(&self, child: usize, row: usize) -> &AtomicU64 {
        &self.0[IN_FLIGHT + child * ROWS + row]
    }

    fn word(&self, row: usize, word: usize) -> &AtomicU64 {
        &self.0[TABLE + row * ROW + word]
    }

    fn handed_off(&self, row: usize) {
        self.word(row, HANDED_OFF).fetch_add(1, Relaxed);
    }

    fn refused(&self, row: usize, refusal: &Refusal) {
        if let Some(reason) = Refusal::NOTES.iter().position(|note| *note == refusal.note()) {
            self.word(row, REFUSED + reason).fetch_add(1, Relaxed);
        }
    }

    /// The row of a path that has one.
    fn find(&self, path: &Path) -> Option<usize> {
        let hash = hash(path.as_os_str().as_bytes());
        for row in probe(hash) {
            match self.word(row, HASH).load(Acquire) {
                0 => return None,
                found if found == hash => return Some(row),
                _ => {}
            }
        }
        None
    }

    /// The row of a path, from now on.
    fn find_or_claim(&self, path: &Path) -> usize {
        let path = path.as_os_str().as_bytes();
        if path.is_empty() || path.len() > PATH * 8 {
            return OTHERS;
        }
        let hash = hash(path);
        for row in probe(hash) {
            match self.word(row, HASH).compare_exchange(0, hash, AcqRel, Acquire) {
                Ok(_) => {
                    for (index, text) in words(path).enumerate() {
                        self.word(row, TEXT + index).store(text, Relaxed);
                    }
                    self.word(row, LENGTH).store(path.len() as u64, Release);
                    return row;
                }
                Err(found) if found == hash => return row,
                Err(_) => {}
            }
        }
        OTHERS
    }

    fn path(&self, row: usize) -> Vec<u8> {
        let length = usize::try_from(self.word(row, LENGTH).load(Acquire)).unwrap_or(0).min(PATH * 8);
        let text = (0..PATH).flat_map(|index| self.word(row, TEXT + index).load(Relaxed).to_le_bytes());
        text.take(length).collect()
    }

    fn rows(&self) -> Vec<Row> {
        let children: Vec<usize> = (0..CHILDREN).filter(|child| self.0[*child].load(Acquire) != 0).collect();
        let read = |row| {
            let count = |(index, note): (usize, &&'static std::ffi::CStr)| {
                let reason = note.to_str().unwrap_or_default();
                let count = self.word(row, REFUSED + index).load(Relaxed);
                (count > 0).then(|| (reason.strip_prefix("refused:").unwrap_or(reason), count))
            };
            Row {
                path: (row != OTHERS).then(|| self.path(row)),
                handed_off: self.word(row, HANDED_OFF).load(Relaxed),
                in_flight: children.iter().map(|child| self.in_flight(*child, row).load(Relaxed)).sum(),
                refused: Refusal::NOTES.iter().enumerate().filter_map(count).collect(),
            }
        };
        let is_used = |row: &usize| *row == OTHERS || self.word(*row, LENGTH).load(Acquire) != 0;
        let mut rows: Vec<Row> = (0..ROWS).filter(is_used).map(read).collect();
        rows.sort_by(|a, b| (a.path.is_none(), &a.path).cmp(&(b.path.is_none(), &b.path)));
        rows
    }
}

/// Where a path may have its row, in this order. The first free one ends the search: rows are never given back.
fn probe(hash: u64) -> impl Iterator<Item = usize> {
    let start = (hash % DAEMONS as u64) as usize;
    (0..DAEMONS).map(move |step| (start + step) % DAEMONS)
}

/// With 64 bits for 64 paths, two that are told apart by nothing else do not happen.
fn hash(path: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    words(path).fold(path.len() as u64, mix).max(1)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn others() -> Row {
        Row { path: None, handed_off: 0, in_flight: 0, refused: Vec::new() }
    }

    #[test]
    fn each_reason_has_a_name_of_its_own() {
        for (index, note) in Refusal::NOTES.iter().enumerate() {
            assert!(note.to_str().unwrap().starts_with("refused:"), "{note:?}");
            assert!(!Refusal::NOTES[..index].contains(note), "{note:?} twice");
        }
    }

    #[test]
    fn handoffs_and_refusals_are_counted_by_daemon() {
        let memory = memory();
        let board = Scoreboard(&memory);
        let (a, b) = (Path::new("/run/a.sock"), Path::new("/run/a-path-of-more-than-one-word/b.sock"));
        assert_eq!(board.find(a), None);
        for path in [a, b, a] {
            board.handed_off(board.find_or_claim(path));
            assert_eq!(board.find(path), Some(board.find_or_claim(path)));
        }
        board.refused(board.find_or_claim(a), &Refusal::Tls);
        board.refused(OTHERS, &Refusal::PathEmpty);
        board.refused(OTHERS, &Refusal::PathEmpty);
        assert_eq!(
            board.rows(),
            [
                Row { path: Some(b.as_os_str().as_bytes().into()), handed_off: 1, ..others() },
                Row {
                    path: Some(a.as_os_str().as_bytes().into()),
                    handed_off: 2,
                    refused: vec![("tls", 1)],
                    ..others()
                },
                Row { refused: vec![("path-empty", 2)], ..others() },
            ]
        );
    }

    #[test]
    fn a_child_that_has_ended_has_nothing_in_flight() {
        let memory = memory();
        let board = Scoreboard(&memory);
        let in_flight = || board.rows().iter().map(|row| row.in_flight).collect::<Vec<_>>();
        let row = board.find_or_claim(Path::new("/d"));
        let (one, other) = (board.enter(100).unwrap(), board.enter(200).unwrap());
        assert_ne!(one, other);
        board.in_flight(one, row).fetch_add(2, Relaxed);
        board.in_flight(other, row).fetch_add(1, Relaxed);
        board.in_flight(other, OTHERS).fetch_add(1, Relaxed);
        assert_eq!(in_flight(), [3, 1]);
        board.leave(100);
        assert_eq!(in_flight(), [1, 1]);
        assert_eq!(board.enter(300), Some(one), "its place is free");
        assert_eq!(in_flight(), [1, 1]);
        board.leave(100);
        assert_eq!(board.enter(200), Some(other), "an id that comes again starts anew");
        assert_eq!(in_flight(), [0, 0]);
    }

    #[test]
    fn what_has_no_room_counts_as_other() {
        let memory = memory();
        let board = Scoreboard(&memory);
        let rows: std::collections::BTreeSet<_> =
            (0..DAEMONS).map(|n| board.find_or_claim(Path::new(&format!("/run/{n}.sock")))).collect();
        assert_eq!(rows.len(), DAEMONS);
        assert!(!rows.contains(&OTHERS));
        assert_eq!(board.find_or_claim(Path::new("/run/more.sock")), OTHERS);
        assert_eq!(board.find(Path::new("/run/more.sock")), None);
        assert_eq!(
            board.find_or_claim(Path::new("/run/7.sock")),
            board.find(Path::new("/run/7.sock")).unwrap()
        );
        for path in ["", &"x".repeat(PATH * 8 + 1)] {
            assert_eq!(board.find_or_claim(Path::new(path)), OTHERS);
        }
        (0..CHILDREN as u64).for_each(|pid| assert!(board.enter(pid + 1).is_some()));
        assert_eq!(board.enter(1 << 20), None);
    }

    #[test]
    fn threads_that_meet_agree_on_the_rows() {
        let memory = memory();
        let path = |n: usize| format!("/run/{n}.sock");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let board = Scoreboard(&memory);
                scope.spawn(move || {
                    for n in 0..DAEMONS * 10 {
                        board.handed_off(board.find_or_claim(Path::new(&path((n + thread * 7) % DAEMONS))));
                    }
                });
            }
        });
        let rows = Scoreboard(&memory).rows();
        assert_eq!(rows.len(), DAEMONS + 1);
        assert!(rows.iter().all(|row| row.path.is_none() || row.handed_off == 40), "{rows:?}");
    }
}
