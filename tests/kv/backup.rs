//! `kv backup` and `kv restore`, against a store that is served and written to all the while.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use storage::embedded::Options;
use storage::embedded::restore::JUMP;
use storage::remote::{Credentials, Reach};
use storage::{Changed, Deadline, Embedded, EtcdV2, Expect, Key, Revision, Store, Ttl};
use test_servers::{Mode, Proxy};

use crate::site::{self, Engine, PATIENCE, Site, authorization, configure, program, run, until};

type Scenario = fn() -> Result<(), Failed>;

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, Scenario); 6] = [
        ("a_backup_is_of_one_moment", of_one_moment),
        ("a_backup_that_breaks_off_is_no_file", breaks_off),
        ("backups_are_bounded", bounded),
        ("a_restore_forgets_who_led", forgets_who_led),
        ("a_restore_touches_nothing_unless_it_can", refusals),
        ("a_restore_that_is_killed_leaves_a_store", killed),
    ];
    let mut trials: Vec<Trial> =
        scenarios.into_iter().map(|(name, run)| Trial::test(format!("embedded::{name}"), run)).collect();
    let other = Trial::test("etcd-v2::backups_are_not_ours", other_engine);
    trials.push(other.with_ignored_flag(!Engine::EtcdV2.is_there()));
    trials
}

fn key(path: &str) -> Key {
    Key::parse(path).expect("tests name keys")
}

fn client(endpoint: &str) -> Result<EtcdV2, Failed> {
    let who = Credentials { username: "patroni-broker".to_owned(), password: "hush".to_owned() };
    Ok(EtcdV2::connect(&Reach::of(&[endpoint.to_owned()]), Some(who)).map_err(|error| error.to_string())?)
}

type Content = BTreeMap<String, String>;

/// What a store in this directory holds.
fn content(directory: &Path) -> Result<(Content, Revision), Failed> {
    let store = Embedded::open(directory, Options::default())?;
    let listing = store.list(&Key::root())?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let entries = listing.entries.into_iter().map(|entry| (entry.key.to_string(), text(entry.value)));
    Ok((entries.collect(), listing.revision))
}

fn index_of(told: &str) -> Result<u64, Failed> {
    let json: serde_json::Value = serde_json::from_str(told)?;
    Ok(json["index"].as_u64().ok_or_else(|| format!("no index in {told}"))?)
}

/// Each writer notes the index of each of its writes, so that what the store held at any index is known.
fn of_one_moment() -> Result<(), Failed> {
    let site = Site::start(Engine::Embedded)?;
    let endpoint = site.endpoint();
    let journal = Mutex::new(BTreeMap::<u64, (String, String)>::new());
    let stop = AtomicBool::new(false);
    let put = |store: &EtcdV2, path: &str, value: &str| -> Result<(), Failed> {
        let Revision(index) = store.put(&key(path), value.as_bytes(), None, Expect::Anything)?;
        journal.lock().map_err(|_| "poisoned")?.insert(index, (path.to_owned(), value.to_owned()));
        Ok(())
    };
    let store = client(&endpoint)?;
    // More than goes out in one piece.
    for number in 0..40 {
        put(&store, &format!("/large/{number}"), &"x".repeat(50 << 10))?;
    }
    let told = thread::scope(|scope| -> Result<Vec<String>, Failed> {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let (put, stop, endpoint) = (&put, &stop, &endpoint);
                scope.spawn(move || -> Result<(), Failed> {
                    let store = client(endpoint)?;
                    for number in 0.. {
                        put(&store, &format!("/pair/{writer}/a"), &number.to_string())?;
                        put(&store, &format!("/pair/{writer}/b"), &number.to_string())?;
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let mut told = Vec::new();
        for number in 0..5 {
            told.push(site.says(&format!("backup backup-{number} --output json"), 0));
            thread::sleep(Duration::from_millis(30));
        }
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        told.into_iter().collect()
    })?;
    let journal = journal.into_inner().map_err(|_| "poisoned")?;
    let mut indices = Vec::new();
    for (number, told) in told.iter().enumerate() {
        let index = index_of(told)?;
        let expected: Content = journal.range(..=index).map(|(_, pair)| pair.clone()).collect();
        site.says(&format!("restore backup-{number} --path restored-{number}"), 0)?;
        let (found, revision) = content(&site.path(&format!("restored-{number}")))?;
        if found != expected || revision.0 != index + JUMP {
            let keys = |content: &Content| content.keys().cloned().collect::<Vec<_>>();
            let (found, expected) = (keys(&found), keys(&expected));
            return Err(format!("backup at {index}: {revision:?} {found:?}, expected {expected:?}").into());
        }
        for writer in 0..3 {
            let number =
                |name: &str| found.get(&format!("/pair/{writer}/{name}")).and_then(|text| text.parse().ok());
            let (a, b): (Option<u64>, Option<u64>) = (number("a"), number("b"));
            assert!(a == b || a == Some(b.map_or(0, |b| b + 1)), "{a:?} was written before {b:?}");
        }
        indices.push(index);
    }
    assert!(indices.windows(2).all(|pair| pair[0] < pair[1]), "nobody wrote meanwhile: {indices:?}");
    Ok(())
}

/// So many hold more than the system does for a reader that sleeps.
const MANY: usize = 100;

/// A quarter of a megabyte in each of so many keys.
fn fill(site: &Site, keys: usize) -> Result<(), Failed> {
    let store = client(&site.endpoint())?;
    let value = vec![b'x'; 250 << 10];
    for number in 0..keys {
        store.put(&key(&format!("/large/{number}")), &value, None, Expect::Absent)?;
    }
    Ok(())
}

fn breaks_off() -> Result<(), Failed> {
    let mut site = Site::start(Engine::Embedded)?;
    fill(&site, MANY)?;
    fs::write(site.path("there"), "as it was")?;
    let names = || -> Result<Vec<_>, Failed> {
        let mut names: Vec<_> = fs::read_dir(site.path(""))?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<std::io::Result<_>>()?;
        names.sort();
        Ok(names)
    };
    let before = names()?;
    let proxy = Proxy::start(site.address())?;
    proxy.set(Mode::Truncate)?;
    let elsewhere = tempfile::tempdir()?;
    let section = format!(
        "engine = \"embedded\"\npath = \"data\"\nlisten = \"127.0.0.1:4001\"\nadvertise = \"{}\"\npassword = \"hush\"",
        proxy.endpoint()
    );
    configure(elsewhere.path(), &section)?;
    let backup = |file: &Path| {
        let config = elsewhere.path().join("broker.toml");
        run(program().arg("--config").arg(config).args(["kv", "backup"]).arg(file), b"")
    };
    for name in ["there", "not-there"] {
        let ran = backup(&site.path(name))?;
        assert_eq!(ran.code, 1, "{ran:?}");
    }
    assert_eq!(names()?, before);
    assert_eq!(fs::read_to_string(site.path("there"))?, "as it was");
    proxy.set(Mode::Pass)?;
    assert_eq!(backup(&site.path("there"))?.code, 0);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(site.path("there"))?.permissions().mode() & 0o777, 0o600);

    // Its reader waits; then the server is killed.
    let mut reading =
        site.kv().args(["backup", "-"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdout = reading.stdout.take().ok_or("no stdout")?;
    let mut begun = [0; 1024];
    stdout.read_exact(&mut begun)?;
    site.stop()?;
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest)?;
    assert_eq!(reading.wait()?.code(), Some(1), "{} bytes", rest.len());
    let half = [begun.as_slice(), &rest].concat();
    fs::write(site.path("half"), half)?;
    let said = site.says("restore half --path elsewhere", 1)?;
    assert!(said.contains("it is cut off"), "{said}");
    assert!(!site.path("elsewhere").exists());
    Ok(())
}

/// Asks for a backup and reads the head of the answer.
fn ask(address: SocketAddr) -> Result<(BufReader<TcpStream>, String), Failed> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let authorization = authorization("hush");
    write!(stream, "GET /backup HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status)?;
    Ok((reader, status))
}

/// Readers that sleep hold up neither others nor the end.
fn bounded() -> Result<(), Failed> {
    let mut site = Site::start(Engine::Embedded)?;
    fill(&site, MANY)?;
    let first = ask(site.address())?;
    let second = ask(site.address())?;
    assert!(first.1.contains(" 200 ") && second.1.contains(" 200 "), "{} {}", first.1, second.1);
    let said = site.says("backup file", 1)?;
    assert!(said.contains("503: other backups are being taken"), "{said}");
    site.says("put /a 1", 0)?;
    drop(first);
    until("there is room for another backup", || site.says("backup file", 0).is_ok())?;
    let stranger = TcpStream::connect(site.address())?;
    let mut stranger = BufReader::new(stranger);
    stranger.get_mut().write_all(b"GET /backup HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut status = String::new();
    stranger.read_line(&mut status)?;
    assert!(status.contains(" 401 "), "{status}");
    assert_eq!(site.end("-TERM")?, 0);
    // What has come of it does not pass for the whole.
    let mut rest = Vec::new();
    let mut second = second.0;
    let ended = second.read_to_end(&mut rest);
    assert!(ended.is_err() || !rest.ends_with(b"\r\n0\r\n\r\n"));
    Ok(())
}

fn forgets_who_led() -> Result<(), Failed> {
    let mut site = Site::start(Engine::Embedded)?;
    let store = client(&site.endpoint())?;
    let ttl = Some(Ttl::seconds(3600));
    let put = |path: &str, ttl| store.put(&key(path), b"v", ttl, Expect::Absent);
    put("/service/b1/state", None)?;
    put("/service/b1/config", None)?;
    put("/service/b1/leader", ttl)?;
    put("/service/b1/members/n1", ttl)?;
    put("/service/b1/members/imported", None)?;
    put("/broker/leases/b1", ttl)?;
    put("/broker/routers/h", ttl)?;
    put("/postgresql/h:c:5432", ttl)?;
    let seen = put("/other", None)?;
    site.says("backup backup", 0)?;
    store.put(&key("/other"), b"later", None, Expect::Anything)?;
    let later = put("/made/later", None)?;
    site.end("-TERM")?;
    let told = site.says("restore backup --path data --replace", 0)?;
    assert!(
        told.contains("without 5 entries") && told.contains("the store that was there is data/store.redb.")
    );
    site.restart()?;

    let listing = store.list(&Key::root())?;
    let keys: Vec<&str> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
    let expected = ["/other", "/service/b1/config", "/service/b1/members/n1", "/service/b1/state"];
    assert_eq!(keys, expected);
    // Beyond what the store that is put aside had come to, not only beyond the backup.
    assert_eq!(listing.revision.0, later.0 + JUMP);
    let get = |target: &str| site::get(site.address(), &format!("/v2/keys/{target}"), "hush");
    let member = get("service/b1/members/n1")?.1;
    assert!(member["node"]["ttl"].as_u64().is_some_and(|ttl| ttl > 3500), "{member}");
    // Who watched the store that was is told, whatever he had seen of it.
    for index in [seen.0, later.0 + 1] {
        let told = get(&format!("?recursive=true&wait=true&waitIndex={index}"))?;
        assert_eq!((told.0, told.1["errorCode"].as_u64()), (400, Some(401)), "{}", told.1);
    }
    let changes = store.watch(&Key::root(), later, Deadline::after(PATIENCE))?;
    assert_eq!((changes.what, changes.revision), (Changed::Resync, listing.revision));
    Ok(())
}

fn refusals() -> Result<(), Failed> {
    let mut site = Site::start(Engine::Embedded)?;
    site.says("put /a 1", 0)?;
    site.says("backup good", 0)?;
    let good = fs::read(site.path("good"))?;
    let check = |site: &Site, words: &str, expected: &str| -> Result<(), Failed> {
        let said = site.says(&format!("restore {words}"), 1)?;
        if said.contains(expected) {
            Ok(())
        } else {
            Err(format!("{words}: {said}, expected {expected}").into())
        }
    };
    for replace in ["", " --replace"] {
        check(&site, &format!("good --path data{replace}"), "in use by another process: stop the broker")?;
    }
    site.end("-TERM")?;
    let before = fs::read(site.path("data/store.redb"))?;
    check(&site, "good --path data", "is there already; --replace puts it aside")?;
    let damaged = |at: usize| [&good[..at], &[good[at] ^ 1], &good[at + 1..]].concat();
    let bad: [(&str, Vec<u8>, &str); 5] = [
        ("cut-off", good[..good.len() - 1].to_vec(), "it is cut off"),
        ("damaged", damaged(good.len() - 1), "it is damaged"),
        ("damaged", damaged(good.len() / 2), "the backup cannot be used"),
        ("other", b"{\"format\": 1}\n".to_vec(), "it is no backup"),
        ("newer", b"{\"patroni-broker-backup\": 9}\n".to_vec(), "it has format 9"),
    ];
    for (name, bytes, expected) in bad {
        fs::write(site.path(name), bytes)?;
        check(&site, &format!("{name} --path fresh"), expected)?;
        check(&site, &format!("{name} --path data --replace"), expected)?;
    }
    check(&site, "missing --path fresh", "missing: the backup cannot be used: No such file")?;
    fs::write(site.path("file"), "")?;
    check(&site, "good --path file", "file")?;
    assert!(!site.path("fresh").exists());
    let left: Vec<_> = fs::read_dir(site.path("data"))?.collect::<std::io::Result<_>>()?;
    let left: Vec<_> = left.iter().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == "store.redb" || name == "store.mark"), "{left:?}");
    assert!(fs::read(site.path("data/store.redb"))? == before, "the store was touched");
    // What is damaged can be replaced.
    fs::write(site.path("data/store.redb"), "rubbish")?;
    let json = site.says("restore good --path data --replace --output json", 0)?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(fs::read_to_string(site.path(json["aside"].as_str().ok_or("no aside")?))?, "rubbish");
    site.restart()?;
    assert_eq!(site.says("get /a", 0)?, "1");
    Ok(())
}

const ROUNDS: u32 = 12;

/// At whatever moment: what was, or what is to be.
fn killed() -> Result<(), Failed> {
    let mut site = Site::start(Engine::Embedded)?;
    fill(&site, 8)?;
    site.says("put /when old", 0)?;
    site.says("backup old", 0)?;
    site.says("put /when new", 0)?;
    site.end("-TERM")?;
    let mut found = BTreeMap::<String, u32>::new();
    let begun = Instant::now();
    site.says("restore old --path other", 0)?;
    let whole = begun.elapsed();
    for round in 0..ROUNDS {
        // Each round begins with the newer state.
        site.says("restore old --path data --replace", 0)?;
        let store = Embedded::open(&site.path("data"), Options::default())?;
        store.put(&key("/when"), b"new", None, Expect::Anything)?;
        drop(store);
        let mut restoring = Command::new(program().get_program());
        let restoring = restoring.args(["kv", "restore", "old", "--path", "data", "--replace"]);
        let mut restoring =
            restoring.current_dir(site.path("")).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        thread::sleep(whole * round / (ROUNDS - 1));
        // It may have ended.
        let _ = restoring.kill();
        restoring.wait()?;
        let (content, _) = content(&site.path("data"))?;
        assert_eq!(content.len(), 9);
        *found.entry(content["/when"].clone()).or_default() += 1;
        for entry in fs::read_dir(site.path("data"))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("store.redb.") {
                fs::remove_file(entry.path())?;
            }
        }
    }
    println!("found {found:?}");
    assert!(found.contains_key("new"), "none was killed in time: {found:?}");
    Ok(())
}

fn other_engine() -> Result<(), Failed> {
    let site = Site::start(Engine::EtcdV2)?;
    let said = site.says("backup file", 1)?;
    assert!(said.contains("storage (etcd-v2)") && said.contains("etcdctl backup"), "{said}");
    assert!(!site.path("file").exists());
    Ok(())
}
