//! Tells systemd how the daemon is (`NOTIFY_SOCKET`, sd_notify(3)), and that it lives (`WATCHDOG_USEC`).

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How often the status is told when there is no watchdog.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The way to systemd; without one, everything goes nowhere.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// Longest silence that the watchdog takes for life.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// What the environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        let variable = |name| env::var(name).ok();
        Self::new(variable("NOTIFY_SOCKET"), variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"))
    }

    fn new(socket: Option<String>, watchdog: Option<String>, pid: Option<String>) -> Self {
        let to = socket.and_then(|name| {
            let address = match name.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&name),
            };
            let socket = UnixDatagram::unbound().ok()?;
            // A systemd that is busy must not hold the runtime up.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address.ok()?))
        });
        let ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = watchdog.filter(|_| ours).and_then(|time| time.parse().ok());
        Self { to, watchdog: watchdog.filter(|time| *time > 0).map(Duration::from_micros) }
    }

    /// Handoffs are accepted.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// The shutdown has begun.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// Tells again and again, for as long as it is polled, that the runtime lives, and what `status` says.
    pub async fn keep_alive(&self, status: impl Fn() -> String) {
        if self.to.is_none() {
            return std::future::pending().await;
        }
        // Twice as often as needed, sd_watchdog_enabled(3).
        let interval = self.watchdog.map_or(STATUS_INTERVAL, |longest| longest / 2);
        let mut ticks = tokio::time::interval(interval);
        let mut told = String::new();
        loop {
            ticks.tick().await;
            let status = status();
            if self.watchdog.is_some() {
                self.send("WATCHDOG=1");
            }
            if status != told {
                self.send(&format!("STATUS={status}"));
                told = status;
            }
        }
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.to {
            // systemd asks nobody to care whether it hears.
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_socket_has_a_path_or_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        Notifier::new(text(path.to_str().unwrap()), None, None).ready("here");
        let mut buffer = [0; 100];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=here");

        let name = format!("streaming-daemon-{}", std::process::id());
        let receiver = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::new(text(&format!("@{name}")), None, None).stopping("bye");
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"STOPPING=1\nSTATUS=bye");
    }

    #[test]
    fn without_systemd_nothing_happens() {
        Notifier::default().ready("nobody listens");
        Notifier::new(text("/no/such/socket"), None, None).ready("nobody listens");
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        assert_eq!(Notifier::new(None, text("5000000"), text("1")).watchdog, None);
        assert_eq!(Notifier::new(None, text("0"), None).watchdog, None);
        assert_eq!(Notifier::new(None, text("5000000"), None).watchdog, Some(Duration::from_secs(5)));
    }
}
