//! A door that runs out of descriptors. How many there are is a matter of the whole process, so the door has one of its
//! own: this file, run again with fewer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use door::{Call, Handler, Head, Limits, Response, Server, Verdict};

const PATIENCE: Duration = Duration::from_secs(20);
const DESCRIPTORS: usize = 64;

struct Quick;

impl Handler for Quick {
    type Admitted = ();

    fn admit(&self, _head: &Arc<Head>) -> Verdict<()> {
        Verdict::Answer(Response::text(200, "quick"))
    }

    fn handle(&self, _call: Call<()>) {}
}

/// Counts what is said to the log, and shows it.
struct Log(AtomicUsize);

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.level() == log::Level::Error {
            self.0.fetch_add(1, Ordering::SeqCst);
            eprintln!("{}", record.args());
        }
    }

    fn flush(&self) {}
}

static LOG: Log = Log(AtomicUsize::new(0));

/// The door of the tests below: takes the descriptors for itself, gives them back, and tells what it has logged, as it
/// is told.
#[test]
#[ignore = "a part of the tests beside it"]
fn the_door_with_few_descriptors() {
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let limits = Limits { accept_pause: Duration::from_millis(50), ..Limits::default() };
    let server =
        Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), None, limits, Arc::new(Quick)).unwrap();
    println!("\n{}", server.address());
    let mut taken = Vec::new();
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            // Those of connections that are just being closed as well.
            "take" => (0..5).for_each(|_| {
                taken.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
                std::thread::sleep(Duration::from_millis(20));
            }),
            "give" => taken.clear(),
            "give one" => drop(taken.pop()),
            "log" => println!("{}", LOG.0.load(Ordering::SeqCst)),
            other => panic!("{other}"),
        }
        println!("done");
    }
}

struct Door {
    process: std::process::Child,
    said: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Door {
    fn start() -> Self {
        let mut process = Command::new("prlimit")
            .arg(format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}"))
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--nocapture", "--exact", "the_door_with_few_descriptors"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("prlimit, of util-linux");
        let said = BufReader::new(process.stdout.take().unwrap());
        let mut door = Self { process, said, address: String::new() };
        door.address =
            std::iter::from_fn(|| Some(door.line())).find(|line| line.starts_with("127.")).unwrap();
        door
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "the door has ended");
        line.trim().to_owned()
    }

    /// Tells it something, and gives what it says before it is done.
    fn tell(&mut self, word: &str) -> String {
        writeln!(self.process.stdin.as_mut().unwrap(), "{word}").unwrap();
        let said: Vec<String> =
            std::iter::from_fn(|| Some(self.line())).take_while(|line| line != "done").collect();
        said.join("\n")
    }

    /// Waits until it has logged so many lines.
    fn logs(&mut self, lines: &str) -> bool {
        (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            self.tell("log") == lines
        })
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(&self) -> String {
        let mut stream = self.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer in time");
        answer
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn who_trickles_makes_room_where_descriptors_are_short() {
    let mut door = Door::start();
    let crowd: Vec<TcpStream> = (0..3 * DESCRIPTORS).map(|_| door.connect()).collect();
    for mut stream in &crowd {
        // Those who have made room already are not told.
        drop(stream.write_all(b"GET / HTTP/1.1\r\nX: "));
    }
    for _ in 0..10 {
        assert!(door.ask().ends_with("quick"));
    }
    assert_ne!(door.tell("log"), "0", "descriptors were not short");
}

/// The system says that descriptors are short before it looks whether anybody wants one.
#[test]
fn the_last_descriptor_costs_nobody_his_place() {
    let mut door = Door::start();
    assert!(door.ask().ends_with("quick"));
    door.tell("take");
    door.tell("give one");
    let mut last = door.connect();
    for _ in 0..10 {
        last.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 1024];
        let length = last.read(&mut answer).unwrap();
        assert!(answer[..length].ends_with(b"quick"), "he was given up");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(door.tell("log"), "0");
}

#[test]
fn where_nobody_can_make_room_it_waits_and_recovers_and_says_so_once() {
    let mut door = Door::start();
    assert!(door.ask().ends_with("quick"));
    door.tell("take");
    let mut outside = door.connect();
    outside.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(door.logs("1"), "it is in trouble");
    outside.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(outside.read(&mut [0]).is_err(), "there was a descriptor left");
    assert_eq!(door.tell("log"), "1", "ten attempts are one trouble");
    door.tell("give");
    outside.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(outside.read(&mut [0]).unwrap(), 1);
    assert!(door.ask().ends_with("quick"));
    door.tell("take");
    let _outside = door.connect();
    assert!(door.logs("2"), "another trouble is another line");
}
