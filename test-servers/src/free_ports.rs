//! Ports for servers that can be stopped and started again.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below what the kernel gives to outgoing connections: one of those would take the port of a server that is down, and
/// a client that calls such a port may even be connected to itself. Above it all is what scripts and examples use.
const FIRST: u32 = 11_000;
const COUNT: u32 = 8_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An address whose port nobody uses, for TCP and UDP. No port is given twice in one process; tests of several
/// processes begin at different ones.
///
/// # Errors
///
/// If `ip` is no address of this machine, or every port is taken.
pub fn free_address(ip: IpAddr) -> io::Result<SocketAddr> {
    let begin = process::id().wrapping_mul(61);
    let mut last = None;
    for _ in 0..COUNT {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + number).expect("the range ends below 65536");
        let address = SocketAddr::new(ip, port);
        match TcpListener::bind(address).and_then(|_| UdpSocket::bind(address)) {
            Ok(_) => return Ok(address),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no port is free")))
}
