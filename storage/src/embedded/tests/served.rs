//! What goes wrong with one request to the API is nothing to the others.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::unbounded;

use super::super::http::{Server, ServerOptions};
use super::super::{Embedded, Options};
use crate::{Clock, Expect, Key, Store, SystemClock, Ttl};

const PATIENCE: Duration = Duration::from_secs(20);

fn serve(options: Options) -> (Arc<Embedded>, Server) {
    let store = Arc::new(Embedded::in_memory(options).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(Arc::clone(&store), listener, ServerOptions::basic("u", "p")).unwrap();
    (store, server)
}

/// Asks, and reads nothing yet.
fn begin(server: &Server, target: &str) -> TcpStream {
    let mut connection = TcpStream::connect(server.address()).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    // u:p
    let head =
        format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dTpw\r\nConnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).unwrap();
    connection
}

fn rest(mut connection: TcpStream) -> String {
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(server: &Server, target: &str) -> String {
    rest(begin(server, target)).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// The snapshot was taken where everybody is answered: nobody was while the file was opened again.
#[test]
fn a_backup_waits_for_the_file_by_itself() {
    let (store, server) = serve(Options::default());
    store.put(&Key::parse("/a").unwrap(), b"x", None, Expect::Anything).unwrap();
    let held = store.shared.database.hold();
    thread::scope(|scope| {
        let (tell, told) = unbounded();
        for _ in 0..3 {
            let (tell, server) = (tell.clone(), &server);
            scope.spawn(move || tell.send(status(server, "/backup")));
        }
        // Two are under way, and one is too many.
        assert_eq!(told.recv_timeout(PATIENCE).as_deref(), Ok("503"));
        for _ in 0..16 {
            assert_eq!(status(&server, "/v2/keys/a"), "200");
        }
        drop(held);
        assert_eq!([(); 2].map(|()| told.recv_timeout(PATIENCE).unwrap()), ["200"; 2]);
    });
}

/// Panics where it is asked for the time on a thread of this name.
struct Broken {
    broken: AtomicBool,
    thread: &'static str,
}

impl Clock for Broken {
    fn now(&self) -> Instant {
        let is_here = thread::current().name() == Some(self.thread);
        assert!(!is_here || !self.broken.load(Ordering::SeqCst), "what the test wants");
        SystemClock.now()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall()
    }
}

fn serve_broken(thread: &'static str) -> (Arc<Broken>, Arc<Embedded>, Server) {
    let clock = Arc::new(Broken { broken: AtomicBool::new(true), thread });
    let (store, server) = serve(Options { clock: Arc::clone(&clock) as _, ..Options::default() });
    (clock, store, server)
}

fn put(store: &Embedded) {
    let ttl = Some(Ttl::seconds(600));
    store.put(&Key::parse("/d/a").unwrap(), b"x", ttl, Expect::Anything).unwrap();
}

/// Each panic took a thread, and after two of them nobody listed anything any more.
#[test]
fn listings_outlive_a_panic() {
    let (clock, store, server) = serve_broken("store-listings");
    put(&store);
    assert_eq!([(); 4].map(|()| status(&server, "/v2/keys/d")), ["500"; 4]);
    clock.broken.store(false, Ordering::SeqCst);
    assert_eq!(status(&server, "/v2/keys/d"), "200");
}

/// The thread that tells them all was gone for good.
#[test]
fn watches_outlive_a_panic() {
    let (clock, store, server) = serve_broken("store-watches");
    let watch = || {
        let mut connection = begin(&server, "/v2/keys/d?wait=true&recursive=true");
        let mut head = [0; 12];
        connection.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        connection
    };
    let cut_off = watch();
    put(&store);
    let told = rest(cut_off);
    assert!(!told.ends_with("0\r\n\r\n"), "nobody takes it for the end of a watch: {told}");
    clock.broken.store(false, Ordering::SeqCst);
    let watch = watch();
    put(&store);
    let told = rest(watch);
    assert!(told.contains("/d/a") && told.ends_with("0\r\n\r\n"), "{told}");
}
