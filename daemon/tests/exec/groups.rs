//! Every program ends, with all that it has started.

use super::harness::{eventually, is_running, line, script, whole};

/// Prints the pids of a child and of itself, and waits for the child.
const FAMILY: &str = "sleep 1000 & echo $! $$; wait";

fn pids(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_client_that_leaves_ends_the_whole_group() {
    for options in [&[][..], &["--http"]] {
        let running = script(options, FAMILY);
        let client = running.hand_off("{}");
        let mut seen = line(&client);
        // The head of the response.
        while options.contains(&"--http") && !seen.starts_with(|c: char| c.is_ascii_digit()) {
            seen = line(&client);
        }
        let pids = pids(&seen);
        assert!(pids.iter().all(|pid| is_running(pid)));
        drop(client);
        eventually("both processes end", || !pids.iter().any(|pid| is_running(pid)));
        assert!(running.log_line("client finished").contains("client_gone"));
        assert_eq!(running.children(), 0);
    }
}

#[test]
fn what_a_program_leaves_behind_is_ended_too() {
    let running = script(&[], "sleep 1000 & echo $!");
    let answer = running.ask("{}");
    eventually("the process in the background ends", || !is_running(answer.trim()));
}

#[test]
fn when_the_time_is_up_the_group_is_ended() {
    let running = script(&["--timeout", "1"], FAMILY);
    let answer = whole(running.hand_off("{}"));
    let pids = pids(answer.trim());
    eventually("both processes end", || !pids.iter().any(|pid| is_running(pid)));
    assert!(running.log_line("client finished").contains("outcome=\"timeout\""));
}

#[test]
fn a_program_may_end_in_its_own_way_at_sigterm() {
    let running = script(&["--timeout", "1"], "trap 'echo bye; exit 0' TERM; sleep 1000 & wait");
    assert_eq!(running.ask("{}"), "bye\n");
}
