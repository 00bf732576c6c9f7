//! An engine that is not there, or not in its right mind. No Docker is needed for these.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use patroni_broker::cells::{Cell, CellError, Deadlines, DockerCell, Runtime};
use patroni_broker::model::DockerAddress;

use crate::bench::{fake, free_port, site};

pub const SCENARIOS: &[(&str, fn())] = &[
    ("nobody_listens", nobody_listens),
    ("no_deadline_is_missed", no_deadline_is_missed),
    ("an_answer_that_is_none", an_answer_that_is_none),
    ("an_engine_says_no", an_engine_says_no),
    ("a_pull_that_fails_on_its_way", a_pull_that_fails_on_its_way),
    ("a_pull_that_falls_silent", a_pull_that_falls_silent),
    ("a_stream_that_is_dead", a_stream_that_is_dead),
    ("a_stream_that_is_only_idle", a_stream_that_is_only_idle),
];

const LIMIT: Duration = Duration::from_millis(200);

/// For an engine that answers, however busy the machine.
const AMPLE: Duration = Duration::from_secs(20);

fn cell_with(limit: Duration, address: DockerAddress) -> DockerCell {
    let deadlines = Deadlines {
        look: limit,
        change: limit,
        stop_margin: limit,
        remove: limit,
        exec: limit,
        pull: limit * 4,
        pull_silence: limit,
        watch_silence: LIMIT,
    };
    DockerCell::connect(site("faulty", address), Runtime::start().unwrap(), deadlines)
}

/// An engine that is to be given up soon.
fn cell(address: DockerAddress) -> DockerCell {
    cell_with(LIMIT, address)
}

/// An engine that answers.
fn patient(address: DockerAddress) -> DockerCell {
    cell_with(AMPLE, address)
}

type Call<'a> = &'a dyn Fn() -> Result<(), CellError>;

/// Every call, which must end in good time with an error that `expected` finds right.
fn check_all(cell: &DockerCell, expected: fn(&CellError) -> bool) {
    let spec = fake().spec();
    let name = &spec.name;
    let never = AtomicBool::new(false);
    let calls: [(&str, Call<'_>); 11] = [
        ("ping", &|| cell.ping().map(drop)),
        ("ensure_image", &|| cell.ensure_image("x:1", &mut |_| ())),
        ("create", &|| cell.create(&spec)),
        ("start", &|| cell.start(name)),
        ("stop", &|| cell.stop(name, Duration::ZERO)),
        ("remove", &|| cell.remove(name)),
        ("inspect", &|| cell.inspect(name).map(drop)),
        ("list", &|| cell.list(&[]).map(drop)),
        ("log_tail", &|| cell.log_tail(name, 1).map(drop)),
        ("exec", &|| cell.exec(name, &["true"]).map(drop)),
        ("watch", &|| cell.watch(&never, &mut |_| ())),
    ];
    for (call, make) in calls {
        let begun = Instant::now();
        let error = make().expect_err(call);
        assert!(expected(&error), "{call}: {error:?}");
        assert!(begun.elapsed() < LIMIT * 10, "{call}: {:?}", begun.elapsed());
    }
}

fn is_silent(error: &CellError) -> bool {
    matches!(error, CellError::NoAnswer { .. })
}

fn tcp(port: u16) -> DockerAddress {
    DockerAddress::Tcp { address: format!("127.0.0.1:{port}"), tls: None }
}

/// An engine of one's own: `answer` gets each request's first line, and the connection to answer on.
fn engine(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + Clone + 'static) -> DockerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // These threads end with the process: what they wait for is the test's own client.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    request.push(byte[0]);
                }
                let request = String::from_utf8_lossy(&request);
                answer(request.lines().next().unwrap_or_default(), &mut stream);
            });
        }
    });
    tcp(port)
}

fn respond(stream: &mut TcpStream, status: &str, body: &str) {
    let length = body.len();
    // The client may be gone, which is its good right.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
}

fn begin_stream(stream: &mut TcpStream) {
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n");
}

fn hang() {
    std::thread::sleep(Duration::from_secs(60));
}

fn nobody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let left_behind = directory.path().join("docker.sock");
    drop(std::os::unix::net::UnixListener::bind(&left_behind).unwrap());
    let addresses = [
        DockerAddress::Unix(PathBuf::from("/nowhere/docker.sock")),
        DockerAddress::Unix(left_behind),
        tcp(free_port()),
        DockerAddress::Tcp { address: "no port".to_owned(), tls: None },
    ];
    for address in addresses {
        check_all(&cell(address), is_silent);
    }
}

fn no_deadline_is_missed() {
    check_all(&cell(engine(|_, _| hang())), is_silent);
    // One that begins to answer and does not go on.
    check_all(
        &cell(engine(|_, stream| {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[");
            hang();
        })),
        is_silent,
    );
}

fn an_answer_that_is_none() {
    check_all(&cell(engine(|_, _| ())), is_silent);
    check_all(&cell(engine(|_, stream| respond(stream, "404 Not Found", "404 page not found\n"))), is_silent);
    check_all(
        &cell(engine(|_, stream| {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[");
        })),
        is_silent,
    );
    // A TLS engine spoken to in plain text.
    check_all(&cell(engine(|_, stream| drop(stream.write_all(b"\x15\x03\x01\x00\x02\x02\x46")))), is_silent);
}

fn an_engine_says_no() {
    let cell =
        patient(engine(|_, stream| respond(stream, "500 Oops", r#"{"message":"no, and that is that"}"#)));
    let spec = fake().spec();
    let said = cell.inspect(&spec.name).unwrap_err();
    assert_eq!(said.to_string(), "cell faulty refuses: no, and that is that");
    assert!(matches!(cell.list(&[]), Err(CellError::Refused { .. })), "not an empty list");
    assert!(matches!(cell.remove(&spec.name), Err(CellError::Refused { .. })), "not a success");
    assert!(matches!(cell.ping(), Err(CellError::NoAnswer { .. })));
}

fn a_pull_that_fails_on_its_way() {
    let cell = patient(engine(|request, stream| {
        if request.contains("/images/create") {
            begin_stream(stream);
            let _ = writeln!(stream, r#"{{"status":"Pulling from x","id":"1"}}"#);
            let _ = writeln!(stream, r#"{{"errorDetail":{{"message":"denied"}},"error":"denied"}}"#);
        } else {
            respond(stream, "404 Not Found", r#"{"message":"No such image"}"#);
        }
    }));
    let mut lines = Vec::new();
    let missing = cell.ensure_image("x:1", &mut |line| lines.push(line.to_owned())).unwrap_err();
    assert_eq!(missing.to_string(), "cell faulty has no image x:1 and cannot get it: denied");
    assert_eq!(lines, ["1: Pulling from x"]);
}

fn a_pull_that_falls_silent() {
    let cell = cell(engine(|request, stream| {
        if request.contains("/images/create") {
            begin_stream(stream);
            let _ = writeln!(stream, r#"{{"status":"Pulling from x","id":"1"}}"#);
            hang();
        }
        respond(stream, "404 Not Found", r#"{"message":"No such image"}"#);
    }));
    let begun = Instant::now();
    let silent = cell.ensure_image("x:1", &mut |_| ()).unwrap_err();
    assert!(is_silent(&silent), "{silent:?}");
    assert!(begun.elapsed() < LIMIT * 8, "{:?}", begun.elapsed());
}

/// A link that was taken down says nothing, like an engine on which nothing happens.
fn a_stream_that_is_dead() {
    // Long enough to open the stream on a busy machine.
    let look = Duration::from_secs(2);
    let cell = cell_with(
        look,
        engine(|request, stream| {
            if request.contains("/events") {
                begin_stream(stream);
            }
            hang();
        }),
    );
    let begun = Instant::now();
    let mut heard = 0;
    let dead = cell.watch(&AtomicBool::new(false), &mut |_| heard += 1).unwrap_err();
    assert!(is_silent(&dead), "{dead:?}");
    assert_eq!(heard, 1, "the stream was open");
    assert!(begun.elapsed() < look * 10, "{:?}", begun.elapsed());
}

fn a_stream_that_is_only_idle() {
    let version = r#"{"Version":"1","ApiVersion":"1.41","GitCommit":"","GoVersion":"","Os":"","Arch":"","KernelVersion":""}"#;
    let cell = patient(engine(move |request, stream| {
        if request.contains("/events") {
            begin_stream(stream);
            hang();
        }
        respond(stream, "200 OK", version);
    }));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| cell.watch(&stop, &mut |_| ()));
        std::thread::sleep(LIMIT * 15);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(watch.join().unwrap(), Ok(()));
    });
}
