//! As many streams as allowed, and more.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::time::Duration;

use common::process::Process;
use common::{Daemon, mock};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn above_the_limit_a_client_is_told_to_come_back() {
    let daemon = Daemon::start(|config| {
        config.server.max_connections = 1;
        config.backend = mock(Duration::from_secs(3600));
        config.server.close_timeout = Duration::from_millis(10);
    });
    let mut first = daemon.hand_off("{}");
    // Its place is taken once it is being answered.
    tokio::time::timeout(common::SOON, first.read_u8()).await.unwrap().unwrap();

    let refused = daemon.ask("{}").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.field("Retry-After"), Some("1"));
    assert!(refused.body.contains("all connections are in use"), "{}", refused.body);

    drop(first);
    let end = tokio::time::Instant::now() + common::SOON;
    loop {
        let mut next = daemon.hand_off("{}");
        let mut status = [0; 12];
        next.read_exact(&mut status).await.unwrap();
        if &status == b"HTTP/1.1 200" {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "the place is never given back");
    }
}

/// A table of descriptors that grows under load makes streams stand still.
#[test]
fn there_is_room_for_the_descriptors_of_all_streams_from_the_start() {
    let daemon = Process::start(&["--max-connections", "3000"]);
    assert!(daemon.room_for_open_files() >= 3000, "{}", daemon.room_for_open_files());
    // The limit of open files is a bound for it, not an obstacle.
    let daemon = Process::start_with_open_files(256, &["--max-connections", "3000"]);
    assert_eq!(daemon.room_for_open_files(), 256);
}
