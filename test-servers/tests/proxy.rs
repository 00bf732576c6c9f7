//! Each of the proxy's modes does what it says, to connections that are open and to new ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use test_servers::{Mode, Proxy};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";

/// Answers every request on every connection, until the test's process ends.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).is_ok_and(|length| length > 0) {
                    stream.write_all(ANSWER.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

/// What a client sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Answer(&'static str),
    /// These bytes, and then the end.
    Part(String),
    Nothing,
    Reset,
    Refused,
}

/// For what is going to come, and for what is not.
const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(1);

/// A connection, and how long anything is waited for on it.
fn connect_for(proxy: &Proxy, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(proxy.address())?;
    stream.set_read_timeout(Some(patience))?;
    Ok(stream)
}

fn connect(proxy: &Proxy) -> io::Result<TcpStream> {
    connect_for(proxy, PATIENCE)
}

fn ask(stream: &mut TcpStream) -> Seen {
    let seen = |error: io::Error| match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Seen::Reset,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Seen::Nothing,
        _ => panic!("{error:?}"),
    };
    if let Err(error) = stream.write_all(b"PUT /a?b=1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n") {
        return seen(error);
    }
    let (mut answer, mut buffer) = (String::new(), [0; 1024]);
    while answer != ANSWER {
        match stream.read(&mut buffer) {
            Ok(0) => return Seen::Part(answer),
            Ok(length) => answer.push_str(std::str::from_utf8(&buffer[..length]).unwrap()),
            Err(error) => return seen(error),
        }
    }
    Seen::Answer(ANSWER)
}

fn ask_anew(proxy: &Proxy) -> Seen {
    ask_anew_for(proxy, PATIENCE)
}

fn ask_anew_for(proxy: &Proxy, patience: Duration) -> Seen {
    match connect_for(proxy, patience) {
        Ok(mut stream) => ask(&mut stream),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Seen::Refused,
        // The connection may break before it is used.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Seen::Reset,
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn each_mode_does_what_it_says() {
    let upstream = upstream();
    let half = || Seen::Part(ANSWER.trim_end_matches("56789").to_owned());
    let nothing = || Seen::Part(String::new());
    let check = |mode: Mode, open: Seen, new: Seen, forwarded: usize| {
        let proxy = Proxy::start(upstream).unwrap();
        let mut stream = connect(&proxy).unwrap();
        assert_eq!(ask(&mut stream), Seen::Answer(ANSWER), "{mode:?}: before");
        proxy.set(mode).unwrap();
        let patience = |seen: &Seen| if *seen == Seen::Nothing { SILENCE } else { PATIENCE };
        stream.set_read_timeout(Some(patience(&open))).unwrap();
        assert_eq!(ask(&mut stream), open, "{mode:?}: an open connection");
        assert_eq!(ask_anew_for(&proxy, patience(&new)), new, "{mode:?}: a new connection");
        assert_eq!(proxy.requests(), vec!["PUT /a?b=1"; 1 + forwarded], "{mode:?}");
        assert_eq!(proxy.count("PUT /a"), 1 + forwarded, "{mode:?}");
        assert_eq!(proxy.count("POST"), 0, "{mode:?}");
        assert_eq!(proxy.bytes_forwarded(), 42 * (1 + forwarded as u64), "{mode:?}");
        proxy.set(Mode::Pass).unwrap();
        assert_eq!(ask_anew(&proxy), Seen::Answer(ANSWER), "{mode:?}: after");
    };
    check(Mode::Pass, Seen::Answer(ANSWER), Seen::Answer(ANSWER), 2);
    check(Mode::LoseAnswers, nothing(), nothing(), 2);
    check(Mode::WithholdAnswers, Seen::Nothing, Seen::Nothing, 2);
    check(Mode::Truncate, half(), half(), 2);
    check(Mode::Hang, Seen::Nothing, Seen::Nothing, 0);
    check(Mode::Reset, Seen::Reset, Seen::Reset, 0);
    // What is closed takes no more: writing to it may succeed once, and then breaks.
    check(Mode::Refuse, nothing(), Seen::Refused, 0);
}

#[test]
fn a_reset_is_seen_by_who_waits() {
    let proxy = Proxy::start(upstream()).unwrap();
    let mut stream = connect(&proxy).unwrap();
    assert_eq!(ask(&mut stream), Seen::Answer(ANSWER));
    proxy.set(Mode::Reset).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_cut_ends_what_is_open_and_nothing_else() {
    let proxy = Proxy::start(upstream()).unwrap();
    let mut stream = connect(&proxy).unwrap();
    assert_eq!(ask(&mut stream), Seen::Answer(ANSWER));
    proxy.cut();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(ask_anew(&proxy), Seen::Answer(ANSWER));
}

#[test]
fn it_ends_with_its_test_and_gives_its_port_back() {
    let proxy = Proxy::start(upstream()).unwrap();
    let mut stream = connect(&proxy).unwrap();
    assert_eq!(ask(&mut stream), Seen::Answer(ANSWER));
    let address = proxy.address();
    drop(proxy);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    TcpListener::bind(address).unwrap();
}

#[test]
fn a_server_that_is_not_there_is_nobody() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start(nobody).unwrap();
    let seen = ask_anew(&proxy);
    assert!(seen == Seen::Part(String::new()) || seen == Seen::Reset, "{seen:?}");
    assert_eq!(proxy.requests().len(), 0);
}
