//! Which paths an application may name in X-Socket-Handoff: whatever leads to a socket below the allowed prefix, by
//! whichever name, and nothing else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Apache, Builder, Client, Ending, Mpm, PATIENCE, Receiver, on_each_mpm};

on_each_mpm! {
    a_path_outside_the_prefix_is_refused,
    a_missing_path_outside_the_prefix_is_refused_like_an_existing_one,
    a_path_that_climbs_out_of_the_prefix_is_refused,
    a_path_that_climbs_and_stays_inside_is_handed_off,
    a_sibling_that_begins_with_the_prefix_is_refused,
    a_symlink_out_of_the_prefix_is_refused,
    a_directory_symlink_out_of_the_prefix_is_refused,
    symlinks_that_stay_inside_are_handed_off,
    a_relative_path_is_refused,
    an_empty_path_is_refused,
    a_directory_is_refused,
    a_file_that_is_no_socket_is_refused,
    a_path_too_long_for_a_socket_address_is_handed_off,
    a_prefix_that_is_a_symlink_allows_what_it_points_to,
    a_socket_swapped_for_a_symlink_never_leads_outside,
    a_directory_swapped_for_a_symlink_never_leads_outside,
}

const HAND_OFF: &str = "<?php
header('X-Socket-Handoff: ' . $_GET['to']);
header('X-Handoff-Data: {}');
echo 'never seen';";

/// An Apache with a daemon below its prefix, `run/inside.sock`, and one that must be left alone, `outside/d.sock`.
struct Site {
    apache: Apache,
    inside: Receiver,
    outside: Receiver,
}

impl Site {
    fn start(mpm: Mpm) -> Self {
        Self::with(Apache::builder(mpm))
    }

    fn with(builder: Builder) -> Self {
        let apache = builder.php_fpm(4).file("go.php", HAND_OFF).start();
        fs::create_dir(apache.root().join("outside")).unwrap();
        let inside = Receiver::bind(apache.socket_path("inside.sock"));
        let outside = Receiver::bind(apache.root().join("outside/d.sock"));
        Self { apache, inside, outside }
    }

    fn run(&self, name: &str) -> PathBuf {
        self.apache.socket_path(name)
    }

    #[track_caller]
    fn assert_handed_off(&self, path: impl AsRef<Path>) {
        let target = target(path.as_ref());
        let mut client = Client::connect(self.apache.addr());
        client.get(&target);
        self.inside.receive().respond("data: hi\n\n");
        let response = client.read_response();
        assert_eq!(
            (response.status(), response.text(), response.ending),
            (200, "data: hi\n\n", Ending::Closed)
        );
        let line = self.apache.wait_for_access_log(&target, PATIENCE);
        assert!(line.ends_with("handoff=handed-off"), "{line}");
    }

    #[track_caller]
    fn assert_refused(&self, path: impl AsRef<Path>, note: &str) {
        let path = path.as_ref();
        let response = Client::fetch(self.apache.addr(), &target(path));
        assert_eq!((response.status(), response.ending), (403, Ending::Framed), "{path:?}");
        let received = format!("{:?} {}", response.head, response.text());
        assert!(!received.contains(&*self.apache.root().to_string_lossy()), "it tells paths: {received}");
        assert!(!received.to_ascii_lowercase().contains("handoff"), "{received}");
        assert!(!received.contains("never seen"), "{received}");
        let line = self.apache.wait_for_access_log(&format!("{} ", target(path)), PATIENCE);
        assert!(line.ends_with(&format!("handoff=refused:{note}")), "{line}");
        self.assert_outside_was_left_alone();
    }

    #[track_caller]
    fn assert_outside_was_left_alone(&self) {
        assert!(self.outside.accept(Duration::ZERO).is_none(), "the daemon outside was connected to");
    }
}

fn target(path: &Path) -> String {
    format!("/go.php?to={}", path.display())
}

fn a_path_outside_the_prefix_is_refused(mpm: Mpm) {
    let site = Site::start(mpm);
    site.assert_refused(site.outside.path(), "path-outside-prefix");
    site.assert_handed_off(site.inside.path());
}

fn a_missing_path_outside_the_prefix_is_refused_like_an_existing_one(mpm: Mpm) {
    let site = Site::start(mpm);
    site.assert_refused(site.apache.root().join("outside/missing"), "path-outside-prefix");
    site.assert_refused(site.run("../missing/missing"), "path-outside-prefix");
}

fn a_path_that_climbs_out_of_the_prefix_is_refused(mpm: Mpm) {
    let site = Site::start(mpm);
    fs::create_dir(site.run("sub")).unwrap();
    for path in ["../outside/d.sock", "./../outside/d.sock", "sub/../../outside/d.sock"] {
        site.assert_refused(site.run(path), "path-outside-prefix");
    }
}

fn a_path_that_climbs_and_stays_inside_is_handed_off(mpm: Mpm) {
    let site = Site::start(mpm);
    fs::create_dir(site.run("sub")).unwrap();
    for path in ["sub/../inside.sock", "../run/inside.sock", "../outside/../run/inside.sock"] {
        site.assert_handed_off(site.run(path));
    }
}

fn a_sibling_that_begins_with_the_prefix_is_refused(mpm: Mpm) {
    let site = Site::start(mpm);
    fs::create_dir(site.apache.root().join("run-evil")).unwrap();
    let sibling = Receiver::bind(site.apache.root().join("run-evil/d.sock"));
    site.assert_refused(sibling.path(), "path-outside-prefix");
    assert!(sibling.accept(Duration::ZERO).is_none());
}

fn a_symlink_out_of_the_prefix_is_refused(mpm: Mpm) {
    let site = Site::start(mpm);
    symlink(site.outside.path(), site.run("absolute.sock")).unwrap();
    symlink("../outside/d.sock", site.run("relative.sock")).unwrap();
    symlink("absolute.sock", site.run("chain.sock")).unwrap();
    for name in ["absolute.sock", "relative.sock", "chain.sock"] {
        site.assert_refused(site.run(name), "path-outside-prefix");
    }
}

fn a_directory_symlink_out_of_the_prefix_is_refused(mpm: Mpm) {
    let site = Site::start(mpm);
    symlink(site.apache.root().join("outside"), site.run("absolute")).unwrap();
    symlink("../outside", site.run("relative")).unwrap();
    symlink("..", site.run("parent")).unwrap();
    for path in ["absolute/d.sock", "relative/d.sock", "parent/outside/d.sock"] {
        site.assert_refused(site.run(path), "path-outside-prefix");
    }
}

fn symlinks_that_stay_inside_are_handed_off(mpm: Mpm) {
    let site = Site::start(mpm);
    fs::create_dir(site.run("sub")).unwrap();
    symlink(site.inside.path(), site.run("absolute.sock")).unwrap();
    symlink("inside.sock", site.run("relative.sock")).unwrap();
    symlink("../inside.sock", site.run("sub/up.sock")).unwrap();
    symlink(site.run("sub"), site.run("directory")).unwrap();
    // From outside, but what counts is where it leads.
    symlink(site.run(""), site.apache.root().join("another-name")).unwrap();
    for path in ["absolute.sock", "relative.sock", "sub/up.sock", "directory/up.sock"] {
        site.assert_handed_off(site.run(path));
    }
    site.assert_handed_off(site.apache.root().join("another-name/inside.sock"));
}

fn a_relative_path_is_refused(mpm: Mpm) {
    let site = Site::start(mpm);
    for path in ["inside.sock", "./inside.sock", "run/inside.sock", "../run/inside.sock", "~/inside.sock"] {
        site.assert_refused(path, "path-relative");
    }
}

fn an_empty_path_is_refused(mpm: Mpm) {
    let site = Site::start(mpm);
    site.assert_refused("", "path-empty");
    site.assert_refused("%20", "path-empty");
}

fn a_directory_is_refused(mpm: Mpm) {
    let site = Site::start(mpm);
    fs::create_dir(site.run("sub")).unwrap();
    for path in ["", "sub", "sub/", "sub/.."] {
        site.assert_refused(site.run(path), "not-a-socket");
    }
}

/// Also a file which Apache's user may not write to: what is wrong with it is what it is, not its permissions.
fn a_file_that_is_no_socket_is_refused(mpm: Mpm) {
    let site = Site::start(mpm);
    for (name, mode) in [("writable", 0o666), ("read-only", 0o444)] {
        fs::write(site.run(name), "text").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(site.run(name), mode).unwrap();
        site.assert_refused(site.run(name), "not-a-socket");
    }
    symlink("/dev/null", site.run("null")).unwrap();
    site.assert_refused(site.run("null"), "path-outside-prefix");
}

fn a_path_too_long_for_a_socket_address_is_handed_off(mpm: Mpm) {
    let site = Site::start(mpm);
    let directory = site.run(&["a-rather-long-name-of-a-directory"; 8].join("/"));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("d.sock");
    assert!(path.as_os_str().len() > 108, "sun_path has 108 bytes");
    fs::rename(site.inside.path(), &path).unwrap();
    site.assert_handed_off(&path);
}

fn a_prefix_that_is_a_symlink_allows_what_it_points_to(mpm: Mpm) {
    let builder = Apache::builder(mpm).config("SocketHandoffAllowedPrefix \"${ROOT}/link\"");
    symlink("run", builder.sandbox().path().join("link")).unwrap();
    let site = Site::with(builder);
    site.assert_handed_off(site.apache.root().join("link/inside.sock"));
    site.assert_handed_off(site.inside.path());
    site.assert_refused(site.apache.root().join("link/../outside/d.sock"), "path-outside-prefix");
    site.assert_refused(site.outside.path(), "path-outside-prefix");
}

/// The name is by turns the daemon inside and a symlink to the one outside, each time replaced in one step.
fn a_socket_swapped_for_a_symlink_never_leads_outside(mpm: Mpm) {
    let site = Site::start(mpm);
    let (name, next) = (site.run("d.sock"), site.run("next.sock"));
    let (inside, outside) = (site.inside.path().to_owned(), site.outside.path().to_owned());
    fs::hard_link(&inside, &name).unwrap();
    race(site, &name.clone(), move || {
        symlink(&outside, &next).unwrap();
        fs::rename(&next, &name).unwrap();
        fs::hard_link(&inside, &next).unwrap();
        fs::rename(&next, &name).unwrap();
    });
}

/// The same one level up. Directories cannot be replaced in one step, so that the path is missing at times.
fn a_directory_swapped_for_a_symlink_never_leads_outside(mpm: Mpm) {
    let site = Site::start(mpm);
    let (name, aside) = (site.run("sub"), site.run("aside"));
    let outside = site.outside.path().parent().unwrap().to_owned();
    fs::create_dir(&name).unwrap();
    fs::hard_link(site.inside.path(), name.join("d.sock")).unwrap();
    race(site, &name.join("d.sock"), move || {
        fs::rename(&name, &aside).unwrap();
        symlink(&outside, &name).unwrap();
        fs::remove_file(&name).unwrap();
        fs::rename(&aside, &name).unwrap();
    });
}

/// Sends requests for `path` while a thread does nothing but `swap`, until some were handed off and some refused.
fn race(site: Site, path: &Path, swap: impl Fn() + Sync) {
    const REQUESTS: usize = 2000;
    let Site { apache, inside, outside } = site;
    let answering = inside.serve(|received| received.respond("data: inside\n\n"));
    let (done, handed_off, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let end = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                swap();
            }
        });
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for request in 0.. {
                        let both = [&handed_off, &refused].iter().all(|n| n.load(Ordering::Relaxed) > 0);
                        if Instant::now() > end || (request >= REQUESTS / 2 && both) {
                            break;
                        }
                        let response = Client::fetch(apache.addr(), &target(path));
                        match (response.status(), response.text()) {
                            (200, "data: inside\n\n") => handed_off.fetch_add(1, Ordering::Relaxed),
                            (403 | 503, _) => refused.fetch_add(1, Ordering::Relaxed),
                            other => panic!("{other:?}"),
                        };
                    }
                })
            })
            .collect();
        let results: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        swapping.join().unwrap();
        assert!(results.iter().all(Result::is_ok), "a client panicked");
    });
    assert!(outside.accept(Duration::ZERO).is_none(), "the daemon outside was connected to");
    let (handed_off, refused) = (handed_off.into_inner(), refused.into_inner());
    assert_eq!(answering.count(), handed_off);
    assert!(handed_off > 0 && refused > 0, "no race: {handed_off} handed off, {refused} refused");
}
