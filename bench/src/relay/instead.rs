//! What one would use instead of a handoff, on the same Apache: PHP that streams itself, and mod_proxy_http.

use std::fmt::{self, Display};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{Apache, Builder, Daemon, Mpm, PATIENCE};

use super::load::Load;
use super::mock::Mock;
use super::options::Options;
use super::plot::Kind;
use super::samples::Number;
use super::section::{Plot, Section};
use crate::request::fetch;
use crate::streams::clients::Clients;
use crate::streams::process::cpu_seconds;

/// Requests that Apache works on at once; Apache's own default is 400, Debian's 150.
const WORKERS: u16 = 256;
/// Processes of php-fpm. Debian's default is 5.
const PHP_CHILDREN: u16 = 32;
/// How long a stream lasts.
const STREAM: Duration = Duration::from_secs(12);
/// Streams before the first look at the memory, so that what is needed once is there.
const WARM_UP: usize = 20;
/// From the last request until streams are counted.
const SETTLING: Duration = Duration::from_secs(1);
/// For how long processor time is measured.
const WINDOW: Duration = Duration::from_secs(3);
/// Requests for a file while the streams run.
const FILES: usize = 10;

/// A way to the same stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A PHP script reads it and passes it on.
    Php,
    /// Apache's own proxy does.
    Proxy,
    /// A PHP script hands the connection off.
    HandOff,
}

/// What is measured together.
#[derive(Clone, Copy, Debug)]
struct Case {
    way: Way,
    streams: usize,
    per_second: u32,
    interval_ms: u64,
}

const CASES: [Case; 4] = [
    Case { way: Way::Php, streams: 320, per_second: 160, interval_ms: 20 },
    Case { way: Way::Proxy, streams: 320, per_second: 160, interval_ms: 20 },
    Case { way: Way::HandOff, streams: 320, per_second: 160, interval_ms: 20 },
    Case { way: Way::HandOff, streams: 3000, per_second: 750, interval_ms: 1000 },
];

impl Display for Case {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            Way::Php => write!(text, "php-fpm streams, {PHP_CHILDREN} processes")?,
            Way::Proxy => write!(text, "mod_proxy_http")?,
            Way::HandOff => write!(text, "handoff by PHP, {PHP_CHILDREN} processes")?,
        }
        match self.interval_ms {
            20 => Ok(()),
            interval => write!(text, "; an event every {interval} ms"),
        }
    }
}

/// What a case shows.
#[derive(Debug)]
struct Outcome {
    at_once: usize,
    busy_workers: usize,
    kib_per_stream: f64,
    cpu_s_per_million: f64,
    /// Milliseconds for a file, sorted; none: no answer for as long as [`fetch`] waits.
    files: Vec<Option<f64>>,
}

/// Measures each way on an Apache of its own.
///
/// # Errors
/// When something fails.
pub fn measure(_: &Options, _: &Path) -> Result<Section> {
    let mut section = Section::new(&format!(
        "The same Apache (event, {WORKERS} workers), streams of {} s, an event every 20 ms each",
        STREAM.as_secs()
    ));
    section.table(&[
        "",
        "streams asked for",
        "running at once",
        "busy workers of Apache",
        "a file meanwhile, ms: median",
        "the slowest",
        "KB PSS a stream",
        "CPU-s per million events, all processes",
    ]);
    for case in CASES {
        let outcome = case.measure()?;
        let Outcome { at_once, busy_workers, kib_per_stream, cpu_s_per_million, files } = &outcome;
        let file = |index: usize| {
            files[index].map_or("no answer in 20 s".to_owned(), |time| Number(time).to_string())
        };
        let (median, slowest) = (file(files.len() / 2), file(files.len() - 1));
        let (memory, cpu) = (Number(*kib_per_stream), Number(*cpu_s_per_million));
        section.row(&[&case, &case.streams, at_once, busy_workers, &median, &slowest, &memory, &cpu]);
        let label = match case.way {
            Way::Php => "php-fpm streams itself",
            Way::Proxy => "mod_proxy_http",
            Way::HandOff => "handoff: Apache, PHP and daemon",
        };
        let kind = if case.way == Way::HandOff { Kind::Ours } else { Kind::Other };
        if case.interval_ms == 20 {
            section.bar(Plot::Processor, kind, label, *cpu_s_per_million);
        }
        if case.way != Way::HandOff || case.interval_ms != 20 {
            section.bar(Plot::AtOnce, kind, label, *at_once as f64);
        }
        let missing = if case.way == Way::HandOff { case.streams - at_once } else { 0 };
        section.expect_none(missing, "streams of a handoff do not run");
    }
    Ok(section)
}

impl Case {
    fn measure(self) -> Result<Outcome> {
        eprintln!("  {self}");
        let mock = Mock::start((STREAM.as_millis() as u64 / self.interval_ms) as usize, self.interval_ms)?;
        let builder = Apache::builder(Mpm::Event)
            .workers(WORKERS)
            .config("LogLevel warn")
            .file("small.txt", "A small file.\n".repeat(20));
        let socket = builder.socket_path("daemon.sock");
        let apache = self.configure(builder, &mock).start();
        let daemon = (self.way == Way::HandOff)
            .then(|| Daemon::start(socket, ["--backend", "openai", "--openai-base", &mock.base_url()]));
        let servers = Servers { way: self.way, apache: &apache, daemon: daemon.as_ref() };
        fetch(apache.addr(), "/small.txt")?;
        let request = self.request(&mock);
        let load = Load::asked(apache.addr(), &request)?.connecting_late();
        load.pile_up(WARM_UP, self.per_second)?.read_first_events()?;
        apache.wait_until_idle(PATIENCE);
        let idle = servers.memory_kib(false);

        let mut clients = load.pile_up(self.streams, self.per_second)?;
        clients.read_until(Instant::now() + SETTLING)?;

        let at_once = clients.answering();
        let (cpu, events) = (servers.cpu_seconds(), clients.events());
        clients.read_until(Instant::now() + WINDOW)?;
        let (cpu, events) = (servers.cpu_seconds() - cpu, clients.events() - events);
        let full = servers.memory_kib(true);
        let files = files(&apache, &mut clients)?;
        // Asking takes a worker, and an answer where there is none free.
        let busy_workers = match at_once {
            _ if files[0].is_some_and(|time| time < 1000.0) => apache.busy_workers(),
            _ => usize::from(WORKERS),
        };
        Ok(Outcome {
            at_once,
            busy_workers,
            kib_per_stream: (full - idle) / at_once as f64,
            cpu_s_per_million: cpu * 1e6 / events as f64,
            files,
        })
    }

    fn configure(self, builder: Builder, mock: &Mock) -> Builder {
        match self.way {
            Way::Php => builder
                .php_fpm(PHP_CHILDREN)
                // Without it, events wait in Apache until there are many of them.
                .config("<Proxy \"unix:${PHP_SOCKET}|fcgi://localhost\">\nProxySet flushpackets=on\n</Proxy>")
                .file("stream.php", STREAM_PHP.replace("BASE", &mock.base_url())),
            Way::Proxy => builder
                .load("proxy_http")
                .vhost(&format!("ProxyPass /v1 {} flushpackets=on", mock.base_url())),
            Way::HandOff => {
                let socket = builder.socket_path("daemon.sock");
                let php = HAND_OFF_PHP.replace("SOCKET", &socket.display().to_string());
                builder.php_fpm(PHP_CHILDREN).file("hand-off.php", php)
            }
        }
    }

    fn request(self, mock: &Mock) -> Vec<u8> {
        let get = |path| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        match self.way {
            Way::Php => get("/stream.php").into_bytes(),
            Way::Proxy => mock.request(),
            Way::HandOff => get("/hand-off.php").into_bytes(),
        }
    }
}

const STREAM_PHP: &str = r#"<?php
header('Content-Type: text/event-stream');
while (ob_get_level()) ob_end_flush();
$answer = fopen('BASE/chat/completions', 'r', false, stream_context_create(['http' => [
    'method' => 'POST',
    'protocol_version' => '1.1',
    'header' => ['Content-Type: application/json', 'Connection: close'],
    'content' => '{"model":"m","messages":[{"role":"user","content":"Hello"}],"stream":true}',
]]));
while (($line = fgets($answer)) !== false) {
    echo $line;
    if ($line === "\n") flush();
}
"#;

const HAND_OFF_PHP: &str = r#"<?php
header('X-Socket-Handoff: SOCKET');
header('X-Handoff-Data: {"prompt":"Hello"}');
"#;

/// All processes that a stream goes through.
#[derive(Clone, Copy, Debug)]
struct Servers<'a> {
    way: Way,
    apache: &'a Apache,
    daemon: Option<&'a Daemon>,
}

impl Servers<'_> {
    fn cpu_seconds(self) -> f64 {
        let php = if self.way == Way::Proxy { Vec::new() } else { self.apache.php().server().children() };
        let daemon = self.daemon.map(|daemon| daemon.server().pid());
        self.apache.children().into_iter().chain(php).chain(daemon).map(cpu_seconds).sum()
    }

    /// Proportional set size. PHP's processes count as that of its streams where each stream needs one.
    fn memory_kib(self, with_streams: bool) -> f64 {
        let php = match with_streams && self.way == Way::Php {
            true => self.apache.php().server().children(),
            false => Vec::new(),
        };
        let daemon = self.daemon.map(|daemon| daemon.server().pid());
        let all = self.apache.children().into_iter().chain(php).chain(daemon);
        all.filter_map(|pid| pss_kib(pid).ok()).sum()
    }
}

fn pss_kib(pid: i32) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix("kB"));
    Ok(line.context("no Pss")?.trim().parse()?)
}

/// How long small files take, in milliseconds, while the clients read on.
fn files(apache: &Apache, clients: &mut Clients) -> Result<Vec<Option<f64>>> {
    let addr = apache.addr();
    let ask = move || {
        let mut times = Vec::new();
        for _ in 0..FILES {
            let start = Instant::now();
            let answered = fetch(addr, "/small.txt").is_ok();
            times.push(answered.then(|| start.elapsed().as_secs_f64() * 1e3));
            // Where one waits, the next would find other streams.
            if start.elapsed() > SETTLING {
                break;
            }
        }
        times
    };
    let asking = std::thread::spawn(ask);
    while !asking.is_finished() {
        clients.read_until(Instant::now() + Duration::from_millis(5))?;
    }
    let mut times = asking.join().map_err(|_| anyhow::anyhow!("asking for files panicked"))?;
    times.sort_by(|one, other| one.unwrap_or(f64::MAX).total_cmp(&other.unwrap_or(f64::MAX)));
    Ok(times)
}
