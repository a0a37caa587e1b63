//! `make install`, `make enable` and `make disable`, into temporary directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A temporary DESTDIR, with a Debian-like configuration of Apache in it.
struct Target {
    dir: TempDir,
}

impl Target {
    fn new() -> Self {
        let target = Self { dir: TempDir::new().unwrap() };
        for name in ["mods-available", "mods-enabled"] {
            fs::create_dir_all(target.confdir().join(name)).unwrap();
        }
        fs::write(target.confdir().join("envvars"), "").unwrap();
        target
    }

    fn confdir(&self) -> PathBuf {
        self.dir.path().join("etc/apache2")
    }

    fn make(&self, goal: &str) -> Output {
        let mut command = Command::new("make");
        command
            .args(["--no-print-directory", goal])
            .arg(format!("DESTDIR={}", self.dir.path().display()))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .env("APACHE_CONFDIR", self.confdir())
            // Where a2enmod notes who enabled what.
            .env("APACHE_STATE_DIRECTORY", self.dir.path().join("state"));
        // What an outer `make test` was called with is not meant for this one.
        for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"] {
            command.env_remove(variable);
        }
        command.output().expect("running make")
    }

    #[track_caller]
    fn make_succeeds(&self, goal: &str) -> String {
        let output = self.make(goal);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "make {goal}: {said}");
        said
    }

    fn enabled(&self) -> Vec<String> {
        let entries = fs::read_dir(self.confdir().join("mods-enabled")).unwrap();
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn modules_dir() -> String {
    let apxs = std::env::var("APXS").unwrap_or_else(|_| "apxs".to_owned());
    let output = Command::new(apxs).args(["-q", "LIBEXECDIR"]).output().expect("running apxs");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn install_puts_the_module_where_apxs_says_and_the_daemon_into_bin() {
    let target = Target::new();
    target.make_succeeds("install");
    let module = target.dir.path().join(&modules_dir()[1..]).join("mod_socket_handoff.so");
    let daemon = target.dir.path().join("usr/local/bin/streaming-daemon");
    assert!(module.is_file(), "{}", module.display());
    assert!(Command::new(&daemon).arg("--help").output().unwrap().status.success());
}

#[test]
fn install_brings_units_and_settings_and_keeps_changed_ones() {
    let target = Target::new();
    target.make_succeeds("install");
    let unit =
        |name: &str| fs::read_to_string(target.dir.path().join("usr/local/lib/systemd/system").join(name));
    assert!(unit("streaming-daemon.service").unwrap().contains("ExecStart=/usr/local/bin/streaming-daemon "));
    assert!(unit("streaming-daemon.socket").unwrap().contains("ListenSequentialPacket="));

    let settings = target.dir.path().join("etc/streaming-daemon/daemon.toml");
    let daemon = target.dir.path().join("usr/local/bin/streaming-daemon");
    let checked = Command::new(&daemon).arg("--check-config").arg(&settings).output().unwrap();
    assert!(checked.status.success());
    fs::write(&settings, "# ours\n").unwrap();
    target.make_succeeds("install");
    assert_eq!(fs::read_to_string(&settings).unwrap(), "# ours\n");
}

#[test]
fn enable_and_disable_switch_the_module_for_a2enmod() {
    if !Path::new("/usr/sbin/a2enmod").exists() {
        println!("no a2enmod here");
        return;
    }
    let target = Target::new();
    target.make_succeeds("install");
    target.make_succeeds("enable");
    assert_eq!(target.enabled(), ["socket_handoff.conf", "socket_handoff.load"]);
    let load = fs::read_to_string(target.confdir().join("mods-enabled/socket_handoff.load")).unwrap();
    let line = format!("LoadModule socket_handoff_module {}/mod_socket_handoff.so", modules_dir());
    assert!(load.contains(&line), "{load}");

    target.make_succeeds("disable");
    assert!(target.enabled().is_empty(), "{:?}", target.enabled());
}

#[test]
fn enable_keeps_a_configuration_that_was_changed() {
    let target = Target::new();
    target.make_succeeds("install");
    let conf = target.confdir().join("mods-available/socket_handoff.conf");
    fs::write(&conf, "# ours\n").unwrap();
    target.make_succeeds("enable");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "# ours\n");
}

#[test]
fn enable_before_install_says_what_to_do() {
    let output = Target::new().make("enable");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("mod_socket_handoff.so is missing; run: sudo make install"), "{said}");
}

#[test]
fn without_a2enmod_the_line_for_the_configuration_is_printed() {
    let target = Target::new();
    fs::remove_dir_all(target.confdir()).unwrap();
    let said = target.make_succeeds("enable");
    assert!(said.contains("\nLoadModule socket_handoff_module /"), "{said}");
}

#[test]
fn help_lists_every_command() {
    let said = Target::new().make_succeeds("help");
    let commands = "build install enable disable demo test bench bench-module bench-daemon fuzz setup clean";
    for command in commands.split(' ') {
        assert!(said.contains(&format!("make {command} ")), "{command} in {said}");
    }
}
