//! A server that says one thing only.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::free_ports::free_address;

/// A client that stops in the middle of its request is given up, so that the next one is served.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers every request with the same bytes, then closes the connection, one request after the other.
pub struct StrangeServer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl StrangeServer {
    /// Starts one on 127.0.0.1. `answer` is sent as it is, status line and headers included; it may be empty.
    ///
    /// # Errors
    ///
    /// If there is no port.
    pub fn start(answer: impl Into<Vec<u8>>) -> io::Result<Self> {
        let address = free_address(Ipv4Addr::LOCALHOST.into())?;
        let listener = TcpListener::bind(address)?;
        let (requests, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end, answer) = (Arc::clone(&requests), Arc::clone(&ended), answer.into());
        let serving = thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                if read_request(&mut stream).is_ok() {
                    count.fetch_add(1, Ordering::SeqCst);
                    // A client may leave without waiting for it.
                    drop(stream.write_all(&answer));
                }
            }
        });
        Ok(Self { address, requests, ended, serving: Some(serving) })
    }

    /// Where it is reached: `http://…`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have come, to their last byte.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for StrangeServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes it from waiting for the next client.
        drop(TcpStream::connect(self.address));
        if let Some(serving) = self.serving.take() {
            drop(serving.join());
        }
    }
}

/// Reads a request whole: what is left unread when a connection is closed takes the answer back.
fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !is_whole(&request) {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&buffer[..length]);
    }
    Ok(())
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked") {
        return request.ends_with(b"0\r\n\r\n");
    }
    let length = head.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.lines().next());
    request.len() >= end + 4 + length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}
