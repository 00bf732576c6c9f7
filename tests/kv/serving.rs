//! `kv serve` as a daemon: how it begins, what it takes on while it runs, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use rustix::process::{Resource, getrlimit, setrlimit};
use storage::remote::{Credentials, Reach, Tls};
use storage::{EtcdV2, Expect, Key, Store};
use test_servers::{Certificates, free_address};

use crate::site::{PATIENCE, Running, authorization_of, get, get_with, program, run};

type Scenario = fn() -> Result<(), Failed>;

/// As the issue has it.
const WATCHES: usize = 2_000;

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, Scenario); 5] = [
        ("serve_says_what_is_wrong_with_a_start", wrong_starts),
        ("serve_follows_its_password", follows_its_password),
        ("serve_lets_users_in_by_their_roles", follows_its_users),
        ("serve_speaks_https", speaks_https),
        ("serve_tells_every_watcher_that_it_ends", tells_watchers),
    ];
    scenarios.into_iter().map(|(name, run)| Trial::test(format!("embedded::{name}"), run)).collect()
}

fn serve(directory: &Path, address: SocketAddr, path: &str, more: &[&str]) -> Command {
    let mut command = program();
    command.args(["kv", "serve", "--listen", &address.to_string(), "--path", path]).args(more);
    command.current_dir(directory);
    command
}

fn local() -> Result<SocketAddr, Failed> {
    Ok(free_address([127, 0, 0, 1].into())?)
}

fn wrong_starts() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let certificates = Certificates::make(&[])?;
    fs::write(directory.join("file"), "a file")?;
    fs::create_dir_all(directory.join("damaged"))?;
    fs::write(directory.join("damaged/store.redb"), "x".repeat(9000))?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let served = Running::start(&mut serve(directory, local()?, "served", &["--no-auth"]))?;
    served.wait_for("serving served on 127.0.0.1:")?;
    let cert = certificates.server.certificate.to_string_lossy().into_owned();
    let key = certificates.client.key.to_string_lossy().into_owned();
    let check = |address: SocketAddr, path: &str, more: &[&str], code: i32, expected: &str| {
        let ran = run(&mut serve(directory, address, path, more), b"")?;
        let fits = ran.code == code && ran.stderr.contains(expected);
        if fits {
            Ok(())
        } else {
            Err(Failed::from(format!("{path} {more:?}: {ran:?}, expected {expected}")))
        }
    };
    let free = local()?;
    let open = ["--no-auth"].as_slice();
    check(taken.local_addr()?, "new", open, 1, "cannot listen on 127.0.0.1:")?;
    assert!(!directory.join("new").exists(), "a start that fails makes nothing");
    check(free, "file", open, 1, "cannot serve file: ")?;
    check(free, "file/below", open, 1, "cannot serve file/below: ")?;
    check(free, "damaged", open, 1, "cannot serve damaged: damaged/store.redb is not a sound store: ")?;
    assert_eq!(fs::read_to_string(directory.join("damaged/store.redb"))?, "x".repeat(9000));
    check(free, "served", open, 1, "served/store.redb is in use by another process")?;
    check(free, "new", &[], 2, "--no-auth")?;
    check(free, "new", &["--user", "u", "--password-file", "missing"], 1, "missing cannot be read")?;
    let guest = ["--user", "patroni-broker-guest-b1", "--password-file", "missing"];
    check(free, "new", &guest, 2, "must not begin as the names of instances do")?;
    check(free, "new", &["--no-auth", "--tls-cert", &cert], 2, "belong together")?;
    let pair = ["--no-auth", "--tls-cert", &cert, "--tls-key", "missing"];
    check(free, "new", &pair, 1, "--tls-key")?;
    let pair = ["--no-auth", "--tls-cert", &cert, "--tls-key", &key];
    check(free, "new", &pair, 1, "holds a key that is not the certificate's")?;
    let users = "[[users]]\nname = \"a:b\"\nrole = \"reader\"\npassword = \"x\"\n[[users]]\nname = \"u\"\nrole = \"router\"\n\
                 password = \"x\"\n[[others]]\n";
    fs::write(directory.join("users"), users)?;
    fs::write(directory.join("password"), "hush\n")?;
    let owner = ["--user", "u", "--password-file", "password", "--users"];
    let with = |file: &'static str| [owner.as_slice(), &[file]].concat();
    for problem in [
        "users[0].name: must not be empty and not hold a colon",
        "users[0].role: must be",
        "users[1].name: u is that of the store's own user",
        "users[1].host: is required",
        "others: ",
    ] {
        check(free, "new", &with("users"), 1, problem)?;
    }
    check(free, "new", &with("password"), 1, "password")?;
    check(free, "new", &with("missing"), 1, "missing")?;
    check(free, "new", &["--no-auth", "--users", "users"], 2, "--users is of no use with --no-auth")?;
    assert!(!directory.join("new").exists());
    assert_eq!(served.end("-INT")?, 0);
    Ok(())
}

fn follows_its_password() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let address = local()?;
    let file = directory.path().join("password");
    fs::write(&file, "first\n")?;
    let access = ["--user", "patroni-broker", "--password-file", "password"];
    let served = Running::start(&mut serve(directory.path(), address, "data", &access))?;
    served.wait_for("serving data on")?;
    let check = |password: &str, expected: u16| {
        let found = get(address, "/v2/keys", password)?.0;
        if found == expected { Ok(()) } else { Err(Failed::from(format!("{password}: {found}"))) }
    };
    check("first", 200)?;
    fs::write(&file, "second\n")?;
    check("second", 401)?;
    served.signal("-HUP")?;
    served.wait_for("taken on")?;
    check("second", 200)?;
    check("first", 401)?;
    fs::remove_file(&file)?;
    served.signal("-HUP")?;
    served.wait_for("everything stays as it is: password cannot be read")?;
    check("second", 200)?;
    let said = served.said();
    assert!(said.contains("open files: at most"), "{said}");
    assert!(!said.contains("second") && !said.contains("first"), "{said}");
    assert_eq!(served.end("-TERM")?, 0);
    Ok(())
}

/// A router's user reads routes and no records, and who is taken off the file is out.
fn follows_its_users() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let address = local()?;
    let users = |tables: &str| fs::write(directory.path().join("users"), tables);
    let table = |name: &str, role: &str, password: &str| {
        format!("[[users]]\nname = \"{name}\"\nrole = {role}\npassword = \"{password}\"\n")
    };
    let router = "\"router\"\nhost = \"h\"";
    fs::write(directory.path().join("password"), "hush\n")?;
    users(&table("looks", router, "first"))?;
    let access = ["--user", "patroni-broker", "--password-file", "password", "--users", "users"];
    let served = Running::start(&mut serve(directory.path(), address, "data", &access))?;
    served.wait_for("serving data on")?;
    let who = Credentials { username: "patroni-broker".to_owned(), password: "hush".to_owned() };
    let owner = EtcdV2::connect(&Reach::of(&[format!("http://{address}")]), Some(who));
    let owner = owner.map_err(|error| error.to_string())?;
    for path in [ROUTE, RECORD] {
        owner.put(&Key::parse(path).expect("it is a key"), b"1", None, Expect::Absent)?;
    }
    let check = |user: &str, password: &str, expected: [u16; 3]| {
        let status = |path: &str| {
            get_with(address, &format!("/v2/keys{path}"), &authorization_of(user, password))
                .map(|found| found.0)
        };
        let backup = get_with(address, "/backup", &authorization_of(user, password))?.0;
        let found = [status(ROUTE)?, status(RECORD)?, backup];
        if found == expected { Ok(()) } else { Err(Failed::from(format!("{user} {password}: {found:?}"))) }
    };
    const OUT: [u16; 3] = [401; 3];
    const ROUTER: [u16; 3] = [200, 401, 401];
    check("looks", "first", ROUTER)?;
    check("looks", "second", OUT)?;
    users(&[table("looks", router, "second"), table("other", "\"monitor\"", "third")].concat())?;
    check("looks", "first", ROUTER)?;
    served.signal("-HUP")?;
    served.wait_for("taken on")?;
    check("looks", "first", OUT)?;
    check("looks", "second", ROUTER)?;
    check("other", "third", OUT)?;
    users(&table("looks", "\"reader\"", "fourth"))?;
    served.signal("-HUP")?;
    served.wait_for("everything stays as it is: ")?;
    check("looks", "second", ROUTER)?;
    let found = get(address, &format!("/v2/keys{RECORD}"), "hush")?.0;
    assert_eq!(found, 200, "the owner's");
    let said = served.said();
    assert!(["first", "second", "third", "fourth"].iter().all(|password| !said.contains(password)), "{said}");
    assert_eq!(served.end("-TERM")?, 0);
    Ok(())
}

const ROUTE: &str = "/routing/allocation/b1";
const RECORD: &str = "/service/b1/state";

fn speaks_https() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let (certificates, others) = (Certificates::make(&[])?, Certificates::make(&[])?);
    let address = local()?;
    fs::write(directory.path().join("password"), "hush\n")?;
    let show = |certificates: &Certificates| -> Result<(), Failed> {
        fs::copy(&certificates.server.certificate, directory.path().join("cert"))?;
        fs::copy(&certificates.server.key, directory.path().join("key"))?;
        Ok(())
    };
    show(&certificates)?;
    let options = ["--user", "u", "--password-file", "password", "--tls-cert", "cert", "--tls-key", "key"];
    let served = Running::start(&mut serve(directory.path(), address, "data", &options))?;
    served.wait_for(&format!("serving data by https on {address}"))?;
    let client = |authority: &Path| -> Result<EtcdV2, Failed> {
        let tls = Tls { ca: Some(fs::read_to_string(authority)?), client: None };
        let reach = Reach { tls: Some(tls), ..Reach::of(&[format!("https://{address}")]) };
        let who = Credentials { username: "u".to_owned(), password: "hush".to_owned() };
        Ok(EtcdV2::connect(&reach, Some(who)).map_err(|error| error.to_string())?)
    };
    let entry = Key::parse("/a").expect("it is a key");
    client(&certificates.authority)?.put(&entry, b"1", None, Expect::Absent)?;
    assert!(client(&certificates.stranger_authority)?.get(&entry).is_err());
    show(&others)?;
    assert!(client(&others.authority)?.get(&entry).is_err(), "nobody said that there is another");
    served.signal("-HUP")?;
    served.wait_for("taken on")?;
    assert_eq!(client(&others.authority)?.get(&entry)?.map(|entry| entry.value), Some(b"1".to_vec()));
    assert!(client(&certificates.authority)?.get(&entry).is_err(), "the old one is not shown any more");
    assert_eq!(served.end("-TERM")?, 0);
    Ok(())
}

/// Each hears the end of its answer, not the end of its connection.
fn tells_watchers() -> Result<(), Failed> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let directory = tempfile::tempdir()?;
    let address = local()?;
    // As a login shell starts it: it needs more than its soft limit allows.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 1024; exec \"$0\" \"$@\""]);
    let serving = serve(directory.path(), address, "data", &["--no-auth"]);
    command.arg(serving.get_program()).args(serving.get_args()).current_dir(directory.path());
    let served = Running::start(&mut command)?;
    served.wait_for("serving data on")?;
    let watch = || -> Result<BufReader<TcpStream>, Failed> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /v2/keys/a?wait=true HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut reader = BufReader::with_capacity(512, stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err("a watch was not begun".into());
            }
        }
        Ok(reader)
    };
    let watches = (0..WATCHES).map(|_| watch()).collect::<Result<Vec<_>, Failed>>()?;
    assert_eq!(served.end("-TERM")?, 0);
    for (number, mut watch) in watches.into_iter().enumerate() {
        let mut rest = String::new();
        let read = watch.read_to_string(&mut rest);
        assert!(read.is_ok() && rest == "0\r\n\r\n", "watch {number}: {read:?} {rest:?}");
    }
    Ok(())
}
