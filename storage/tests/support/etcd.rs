//! A real etcd, and a client for it or for whatever speaks like it.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use storage::EtcdV2;
use storage::remote::{Credentials, Reach, Timeouts};

/// Whether a real etcd can be started here.
pub fn etcd_is_installed() -> bool {
    Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// A client with patience for a loaded machine, but not too much.
pub fn client(address: SocketAddr, credentials: Option<(&str, &str)>) -> EtcdV2 {
    let credentials = credentials
        .map(|(user, password)| Credentials { username: user.to_owned(), password: password.to_owned() });
    let timeouts = Timeouts { connect: Duration::from_secs(1), total: Duration::from_secs(3) };
    let reach = Reach { timeouts, ..Reach::of(&[format!("http://{address}")]) };
    EtcdV2::connect(&reach, credentials).unwrap()
}

/// An etcd of its own, on loopback, with its own directory. Dropping it ends it.
pub struct Etcd {
    child: Child,
    pub address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Etcd {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (address, peer) = (free_address(), free_address());
        let peer = format!("http://{peer}");
        let client = format!("http://{address}");
        let child = Command::new("etcd")
            .arg("--enable-v2")
            .args(["--unsafe-no-fsync", "--log-level", "error"])
            .args(["--data-dir".as_ref(), dir.path().as_os_str()])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg(format!("--initial-cluster=default={peer}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut etcd = Self { child, address, _dir: dir };
        let deadline = Instant::now() + Duration::from_secs(30);
        while self::client(address, None).check().is_err() {
            assert_eq!(etcd.child.try_wait().unwrap(), None, "etcd ended by itself");
            assert!(Instant::now() < deadline, "etcd did not come up");
            thread::sleep(Duration::from_millis(50));
        }
        etcd
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself, which the test that needed it has noticed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
