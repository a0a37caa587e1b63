//! The commands of the documents that are marked `<!-- test -->`, run as they stand there, with other directories and ports
//! in place of the system's.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Daemon, build_dir};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

const DOCUMENTS: [&str; 3] = ["OPERATIONS.md", "MIGRATION.md", "BACKENDS.md"];

/// The socket that the documents use, and that a daemon listens on here.
const SOCKET: &str = "/run/streaming-daemon.sock";

/// Where the documents' mock API listens.
const API: &str = "127.0.0.1:8089";

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

/// The code blocks of `text` that follow `mark`.
fn blocks(text: &str, mark: &str) -> Vec<String> {
    let block = |rest: &str| {
        let (_language, rest) = rest.split_once('\n').unwrap();
        rest.split_once("\n```\n").expect("the end of the block").0.to_owned()
    };
    text.split(&format!("{mark}\n```")).skip(1).map(block).collect()
}

#[test]
fn the_commands_of_the_documents_work() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["run", "etc", "bin"] {
        fs::create_dir(path(name)).unwrap();
    }
    // Every command of the documents is here; nothing else of the build directory.
    for (name, binary) in
        [("streaming-daemon", "streaming-daemon"), ("fdrecv", "streaming-daemon"), ("mock-llm", "mock-llm")]
    {
        std::os::unix::fs::symlink(build_dir().join(binary), path("bin").join(name)).unwrap();
    }
    // Apache's user, as whom the daemon runs, has to get there.
    make_writable(directory.path());
    make_writable(&path("run"));
    let socket = path("run").join("daemon.sock");
    let _daemon = Daemon::start(&socket, ["--delay", "0"]);

    let mut count = 0;
    for name in DOCUMENTS {
        for block in blocks(&document(name), "<!-- test -->") {
            let script = block
                .replace("/tmp/", &format!("{}/", directory.path().display()))
                .replace(SOCKET, socket.to_str().unwrap())
                .replace(API, &free_address())
                .replace("/etc/streaming-daemon/", &format!("{}/", path("etc").display()));
            run(name, &script, &path("bin"), directory.path());
            count += 1;
        }
    }
    assert!(count >= 6, "{count} blocks found");
}

/// An address on which nobody listens at the moment.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn make_writable(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
}

/// One that waits for something in vain ends then.
const LONGEST_SCRIPT: Duration = Duration::from_secs(60);

#[track_caller]
fn run(document: &str, script: &str, bin: &Path, directory: &Path) {
    let search: PathBuf = [bin.to_str().unwrap(), ":", &std::env::var("PATH").unwrap()].concat().into();
    // A file, not a pipe: what a script that fails leaves behind would keep that open.
    let said = directory.join("said.txt");
    let to_file = || fs::OpenOptions::new().create(true).append(true).open(&said).unwrap();
    fs::write(&said, "").unwrap();
    let mut shell = Command::new("sh")
        .args(["-euc", script])
        .env("PATH", search)
        .env("NO_PROXY", "127.0.0.1")
        .env_remove("RUST_LOG")
        .current_dir(directory)
        .stdout(to_file())
        .stderr(to_file())
        .process_group(0)
        .spawn()
        .unwrap();
    let group = Pid::from_child(&shell);
    // Until the shell has been waited for, its group's number is nobody else's.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let deadline = Instant::now() + LONGEST_SCRIPT;
    while waitid(WaitId::Pid(group), ended).unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = kill_process_group(group, Signal::TERM);
    let status = shell.wait().unwrap();
    assert!(status.success(), "{document}:\n{script}\n{status}\n{}", fs::read_to_string(&said).unwrap());
}

#[test]
fn the_sections_of_backends_are_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("anthropic.key");
    fs::write(&key, "sk-0123456789\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let sections = blocks(&document("BACKENDS.md"), "<!-- test: toml -->");
    assert!(sections.len() >= 7, "{} sections found", sections.len());
    for section in sections {
        let section = section.replace("/etc/streaming-daemon/", &format!("{}/", directory.path().display()));
        let file = directory.path().join("daemon.toml");
        fs::write(&file, &section).unwrap();
        let output = Command::new(build_dir().join("streaming-daemon"))
            .arg("--check-config")
            .arg(&file)
            .env_clear()
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{section}\n{said}");
        // What cannot be known here is where systemd puts the keys.
        let warnings = said.lines().filter(|line| !line.contains("systemd credential"));
        assert_eq!(warnings.collect::<Vec<_>>(), [""; 0], "{section}");
    }
}

#[test]
fn the_kernel_settings_exist() {
    let settings = blocks(&document("OPERATIONS.md"), "<!-- test: sysctl -->");
    let names: Vec<&str> = settings[0].lines().map(|line| line.split_once(" = ").unwrap().0).collect();
    assert!(names.len() > 3);
    for name in names {
        let file = Path::new("/proc/sys").join(name.replace('.', "/"));
        assert!(file.exists(), "{name}");
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for name in DOCUMENTS {
        let text = document(name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.starts_with("http") {
                continue;
            }
            let target = if file.is_empty() { name } else { file };
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(target);
            assert!(path.exists(), "{name}: {link}");
            if !anchor.is_empty() {
                let headings = fs::read_to_string(path).unwrap();
                let found = headings.lines().filter(|line| line.starts_with('#')).any(|line| {
                    let mut heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                    heading.retain(|c| c.is_alphanumeric() || c == '-');
                    heading == anchor
                });
                assert!(found, "{name}: {link}");
            }
        }
    }
}
