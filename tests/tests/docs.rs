//! The commands of docs/OPERATIONS.md and docs/MIGRATION.md that are marked `<!-- test -->`, run as they stand there, with
//! other directories in place of the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Daemon, build_dir};

const DOCUMENTS: [&str; 2] = ["OPERATIONS.md", "MIGRATION.md"];

/// The socket that the documents use, and that a daemon listens on here.
const SOCKET: &str = "/run/streaming-daemon.sock";

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
    // Every command of the program is here; nothing else of the build directory.
    let binary = build_dir().join("streaming-daemon");
    for name in ["streaming-daemon", "fdrecv"] {
        std::os::unix::fs::symlink(&binary, path("bin").join(name)).unwrap();
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
                .replace("/etc/streaming-daemon/", &format!("{}/", path("etc").display()));
            run(name, &script, &path("bin"), directory.path());
            count += 1;
        }
    }
    assert!(count >= 4, "{count} blocks found");
}

fn make_writable(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
}

#[track_caller]
fn run(document: &str, script: &str, bin: &Path, directory: &Path) {
    let search: PathBuf = [bin.to_str().unwrap(), ":", &std::env::var("PATH").unwrap()].concat().into();
    let output = Command::new("sh")
        .args(["-euc", script])
        .env("PATH", search)
        .env_remove("RUST_LOG")
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{document}:\n{script}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
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
                    line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-") == anchor
                });
                assert!(found, "{name}: {link}");
            }
        }
    }
}
