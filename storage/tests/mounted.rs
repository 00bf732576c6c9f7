//! The store on file systems of its own: ones that are full, and ones that cannot be written. Where nothing can be
//! mounted these tests show as ignored.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use storage::embedded::http::{Access, Server, ServerOptions};
use storage::embedded::{OpenError, Options};
use storage::{Deadline, Embedded, Expect, Key, Store, StoreError};

fn main() {
    let (tmpfs, ext4) = (Mount::tmpfs().is_some(), Mount::ext4().is_some());
    let test = |name: &str, run: fn(), possible: bool| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
        .with_ignored_flag(!possible)
    };
    let trials = vec![
        test("a_full_tmpfs_refuses_writes_until_there_is_room", || full(Mount::tmpfs().unwrap()), tmpfs),
        test("a_full_ext4_refuses_writes_until_there_is_room", || full(Mount::ext4().unwrap()), ext4),
        test("a_file_system_that_cannot_be_written_is_said_to_be_one", read_only, tmpfs),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A file system of 16 MiB that goes with this value.
struct Mount {
    at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mount {
    fn tmpfs() -> Option<Self> {
        Self::make(|at| run("mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs", at]))
    }

    fn ext4() -> Option<Self> {
        Self::make(|at| {
            let image = format!("{at}.image");
            let made = File::create(&image).and_then(|file| file.set_len(16 << 20));
            made.is_ok() && run("mkfs.ext4", &["-q", &image]) && run("mount", &["-o", "loop", &image, at])
        })
    }

    fn make(mount: impl FnOnce(&str) -> bool) -> Option<Self> {
        let dir = tempfile::tempdir().ok()?;
        let at = dir.path().join("mounted");
        fs::create_dir(&at).ok()?;
        mount(at.to_str()?).then_some(Self { at, _dir: dir })
    }

    fn again(&self, how: &str) {
        assert!(run("mount", &["-o", &format!("remount,{how}"), self.at.to_str().unwrap()]));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &[self.at.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Writes until there is no room.
fn fill(at: &Path) {
    let mut file = File::create(at).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![7; size]).is_ok() && file.sync_data().is_ok() {}
    }
}

fn full(mount: Mount) {
    let dir = mount.at.join("store");
    let store = Arc::new(Embedded::open(&dir, Options::default()).unwrap());
    let mut options = ServerOptions::basic("", "");
    options.access = Access::NoAuth;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(Arc::clone(&store), listener, options).unwrap();
    let key = |number: usize| Key::parse(&format!("/a/{number}")).unwrap();
    let put = |number: usize| store.put(&key(number), &vec![b'x'; 100_000], None, Expect::Absent);
    let mut written = 0;
    while written < 3 {
        put(written).unwrap();
        written += 1;
    }
    let filler = mount.at.join("filler");
    fill(&filler);
    // There may be room left within the file.
    let mut attempts = Vec::new();
    let mut next = written;
    let deadline = Deadline::after(Duration::from_secs(30));
    loop {
        attempts.push((next, put(next)));
        if matches!(attempts.last(), Some((_, Err(StoreError::Unavailable { .. })))) {
            break;
        }
        assert!(!deadline.has_passed(), "{attempts:?}");
        next += 1;
    }
    let Some((_, Err(refused))) = attempts.last() else { unreachable!() };
    assert!(refused.to_string().contains("No space left"), "{refused}");
    let (status, body) = put_by_http(&server, "/b", "1");
    assert_eq!((status, body["errorCode"].as_u64()), (500, Some(300)), "{body}");
    assert_eq!(store.get(&key(0)).unwrap().unwrap().value.len(), 100_000, "reads go on");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(matches!(put(next), Err(StoreError::Unavailable { .. })), "it is still full");
    fs::remove_file(&filler).unwrap();
    let deadline = Deadline::after(Duration::from_secs(60));
    while put_by_http(&server, "/b", "1").0 >= 300 {
        assert!(!deadline.has_passed(), "it does not write again");
        std::thread::sleep(Duration::from_millis(50));
    }
    put(100_000).unwrap();
    let check = |store: &Embedded| {
        for number in 0..written {
            assert!(store.get(&key(number)).unwrap().is_some(), "{number}");
        }
        for (number, outcome) in &attempts {
            let there = store.get(&key(*number)).unwrap().is_some();
            match outcome {
                Ok(_) => assert!(there, "{number} is lost"),
                Err(StoreError::Unavailable { .. }) => assert!(!there, "{number} was refused, and is there"),
                Err(_) => {}
            }
        }
        assert!(store.get(&key(100_000)).unwrap().is_some());
    };
    check(&store);
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["store.mark", "store.redb"], "nothing else stays behind");
    drop(server);
    drop(store);
    check(&Embedded::open(&dir, Options::default()).unwrap());
}

fn put_by_http(server: &Server, key: &str, value: &str) -> (u16, serde_json::Value) {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build();
    let url = format!("http://{}/v2/keys{key}", server.address());
    let mut answered = config.new_agent().put(url).send_form([("value", value)]).unwrap();
    let body = answered.body_mut().read_to_string().unwrap();
    (answered.status().as_u16(), serde_json::from_str(&body).unwrap())
}

fn read_only() {
    let mount = Mount::tmpfs().unwrap();
    let dir = mount.at.join("store");
    drop(Embedded::open(&dir, Options::default()).unwrap());
    mount.again("ro");
    let check = |dir: &Path| {
        let opened = Embedded::open(dir, Options::default());
        assert!(matches!(opened, Err(OpenError::Io { .. })), "{opened:?}");
        assert!(opened.unwrap_err().to_string().contains("Read-only"));
    };
    check(&dir);
    check(&mount.at.join("another"));
    mount.again("rw");
    drop(Embedded::open(&dir, Options::default()).unwrap());
}
