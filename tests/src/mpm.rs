//! The three ways in which Apache runs its workers.

use std::fmt;

/// A multi-processing module of httpd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpm {
    /// Threads for requests, one listener thread that keeps idle connections.
    Event,
    /// Threads, each with its connection from accept to close.
    Worker,
    /// Processes, one connection each.
    Prefork,
}

impl Mpm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Event, Self::Worker, Self::Prefork];

    /// Name of its module, as in `mpm_event`.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Event => "mpm_event",
            Self::Worker => "mpm_worker",
            Self::Prefork => "mpm_prefork",
        }
    }

    /// Directives for `workers` workers at once: a fixed number, so that no child starts or ends in mid-test.
    ///
    /// Threaded: one child with all of them. The server limit leaves slots for the children of an earlier generation
    /// that still end after a graceful restart.
    pub(crate) fn tuning(self, workers: u16) -> String {
        match self {
            Self::Event | Self::Worker => format!(
                "ServerLimit 8\nStartServers 1\nThreadLimit {workers}\nThreadsPerChild {workers}\n\
                 MaxRequestWorkers {workers}\nMinSpareThreads 1\nMaxSpareThreads {workers}\n"
            ),
            Self::Prefork => format!(
                "ServerLimit {limit}\nStartServers {workers}\nMaxRequestWorkers {workers}\n\
                 MinSpareServers {workers}\nMaxSpareServers {spare}\n",
                limit = workers * 2,
                spare = workers + 1,
            ),
        }
    }
}

impl fmt::Display for Mpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.module())
    }
}

/// Makes three tests, `name::event`, `name::worker` and `name::prefork`, of each named function, which takes the [`Mpm`].
///
/// ```
/// e2e::on_each_mpm! { a_static_file_is_served }
///
/// fn a_static_file_is_served(mpm: e2e::Mpm) {
///     println!("on {mpm}");
/// }
/// # fn main() { a_static_file_is_served(e2e::Mpm::Event) }
/// ```
#[macro_export]
macro_rules! on_each_mpm {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn event() {
                super::$name($crate::Mpm::Event);
            }
            #[test]
            fn worker() {
                super::$name($crate::Mpm::Worker);
            }
            #[test]
            fn prefork() {
                super::$name($crate::Mpm::Prefork);
            }
        }
    )*};
}
