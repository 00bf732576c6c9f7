//! A member that is only two sockets: one that says its name and then echoes, as PostgreSQL's; one that answers
//! `GET /primary`, as Patroni's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A member. Dropping it closes its listening sockets and joins their threads.
pub struct Member {
    pub name: String,
    pub sql_port: u16,
    pub api_port: u16,
    leads: Arc<AtomicBool>,
    promoted: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Member {
    pub fn new(scope: &str, name: &str, leads: bool) -> Self {
        let (sql, api) = (listener(), listener());
        let (sql_port, api_port) = (port(&sql), port(&api));
        let leads = Arc::new(AtomicBool::new(leads));
        let promoted = Arc::new(AtomicBool::new(true));
        let stop = Arc::new(AtomicBool::new(false));
        let greeting = format!("{name}\n");
        let sql = serve(sql, Arc::clone(&stop), move |stream| echo(stream, &greeting));
        let scope = scope.to_owned();
        let (locked, writable) = (Arc::clone(&leads), Arc::clone(&promoted));
        let api = serve(api, Arc::clone(&stop), move |stream| {
            let leads = locked.load(Ordering::SeqCst);
            let status = if leads { "200 OK" } else { "503 Service Unavailable" };
            let role = if leads && writable.load(Ordering::SeqCst) { "primary" } else { "replica" };
            let patroni = format!(r#"{{"version": "4.0.4", "scope": "{scope}"}}"#);
            let body = format!(r#"{{"state": "running", "role": "{role}", "patroni": {patroni}}}"#);
            respond(stream, status, &body);
        });
        Self { name: name.to_owned(), sql_port, api_port, leads, promoted, stop, threads: vec![sql, api] }
    }

    pub fn lead(&self, leads: bool) {
        self.leads.store(leads, Ordering::SeqCst);
    }

    /// Holds the leader's lock, and its PostgreSQL is writable yet, or not.
    pub fn promote(&self, promoted: bool) {
        self.promoted.store(promoted, Ordering::SeqCst);
    }

    /// What Patroni would write about it.
    pub fn entry(&self) -> String {
        format!(
            r#"{{"role":"replica","state":"running","conn_url":"postgres://127.0.0.1:{}/postgres","api_url":"http://127.0.0.1:{}/patroni"}}"#,
            self.sql_port, self.api_port
        )
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for port in [self.sql_port, self.api_port] {
            // Wakes the thread, which then sees `stop`.
            drop(TcpStream::connect(("127.0.0.1", port)));
        }
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

fn serve(
    listener: TcpListener,
    stop: Arc<AtomicBool>,
    handle: impl Fn(TcpStream) + Send + Sync + 'static,
) -> JoinHandle<()> {
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming() {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let handle = Arc::clone(&handle);
            // Ends with its connection, at the latest when the test's process does.
            thread::spawn(move || handle(stream));
        }
    })
}

fn echo(mut stream: TcpStream, greeting: &str) {
    let mut buffer = [0; 1024];
    if stream.write_all(greeting.as_bytes()).is_err() {
        return;
    }
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 || stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn respond(mut stream: TcpStream, status: &str, body: &str) {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let Ok(copy) = stream.try_clone() else { return };
    let mut lines = BufReader::new(copy).lines();
    let Some(Ok(request)) = lines.next() else { return };
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    assert!(request.starts_with("GET /primary "), "{request}");
    // Whoever asked may be gone.
    let _ = write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}
