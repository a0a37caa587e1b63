//! Figures of the process, from /proc (proc(5)), under the names that all Prometheus clients use.

use std::fs;

use super::exposition::Exposition;

/// Writes what can be read; what cannot is left out.
pub(super) fn write(to: &mut Exposition) {
    let page = rustix::param::page_size() as u64;
    let ticks = rustix::param::clock_ticks_per_second();
    if let Some(pages) = field(&read("/proc/self/statm"), 1) {
        to.gauge("process_resident_memory_bytes", "Resident memory.", pages * page);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        to.gauge("process_open_fds", "Open file descriptors.", open.count());
    }
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        to.gauge("process_max_fds", "Limit of open file descriptors.", limit);
    }
    // The command's name, in parentheses, may hold anything; what follows the last one is numbers.
    let stat = read("/proc/self/stat");
    let numbers = stat.rsplit_once(") ").map_or("", |(_, numbers)| numbers);
    // Numbered from 3: 14 and 15 are user and system time, 20 threads, 22 the start.
    if let (Some(user), Some(system)) = (field(numbers, 11), field(numbers, 12)) {
        #[expect(clippy::cast_precision_loss, reason = "ticks of one process")]
        let seconds = (user + system) as f64 / ticks as f64;
        to.family("process_cpu_seconds_total", "counter", "CPU time, user and system.");
        to.sample("process_cpu_seconds_total", "", seconds);
    }
    if let Some(threads) = field(numbers, 17) {
        to.gauge("process_threads", "Threads.", threads);
    }
    if let (Some(start), Some(boot)) = (field(numbers, 19), boot_time()) {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
        let seconds = boot as f64 + start as f64 / ticks as f64;
        to.gauge("process_start_time_seconds", "When the process was started, Unix time.", seconds);
    }
}

fn boot_time() -> Option<u64> {
    read("/proc/stat").lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

fn field(text: &str, index: usize) -> Option<u64> {
    text.split_ascii_whitespace().nth(index)?.parse().ok()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::exposition::Format;
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
    }

    #[test]
    fn the_figures_are_those_of_this_process() {
        let mut to = Exposition::new(Format::Text);
        write(&mut to);
        let text = to.finish();
        assert!(value(&text, "process_resident_memory_bytes") > 1e6);
        assert!((3.0..10_000.0).contains(&value(&text, "process_open_fds")));
        assert!(value(&text, "process_max_fds") >= 64.0);
        assert!(value(&text, "process_threads") >= 1.0);
        let age = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
            - value(&text, "process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
