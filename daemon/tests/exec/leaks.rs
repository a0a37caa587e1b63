//! Many clients leave nothing behind.

use super::harness::{eventually, script, whole};

#[test]
fn a_thousand_clients_leak_neither_descriptors_nor_processes() {
    for options in [&["--max", "20"][..], &["--max", "20", "--http"]] {
        let running = script(options, "echo done");
        let before = running.open_files();
        for round in 0..50 {
            let clients: Vec<_> = (0..10).map(|_| running.hand_off("{}")).collect();
            for (number, client) in clients.into_iter().enumerate() {
                // Some leave at once.
                if (round + number) % 4 != 0 {
                    let answer = whole(client);
                    assert!(answer.ends_with("done\n"), "{answer:?}");
                }
            }
        }
        eventually("every descriptor is closed", || running.open_files() == before);
        eventually("every program is reaped", || running.children() == 0);
    }
}
