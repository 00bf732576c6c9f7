//! HAProxy's master socket: asking, and reading the answers. Knows nothing of files, processes or routes.
//!
//! Found by trying with 2.6: the socket does not close after an answer unless `quit` follows on its own line, and loses
//! the answer when the asker closes its half; commands for a worker begin with `@!<pid>`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How long a single read or write may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is read; 2,000 instances make about 2 MB.
const MAX_ANSWER: u64 = 256 << 20;

/// The master socket of one HAProxy.
#[derive(Clone, Debug)]
pub struct Master {
    socket: PathBuf,
}

/// The processes of one HAProxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// The master's id, the same across reloads.
    pub master: u32,
    /// Whether the last reload failed and the worker before it goes on.
    pub last_reload_failed: bool,
    /// How often it was told to reload.
    pub reloads: u32,
    /// The worker that accepts connections.
    pub worker: Option<u32>,
    /// Workers of configurations past, which live until their last session ends.
    pub old: Vec<u32>,
}

/// A server by HAProxy's names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerName {
    /// The section.
    pub backend: String,
    /// The server in it.
    pub server: String,
}

/// What a worker knows of its servers.
pub type ServerStates = BTreeMap<ServerName, ServerState>;

/// What a worker knows of one server: columns of `show servers state`, in HAProxy's own numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// The port that is checked.
    pub check_port: u16,
    /// 0 down, 1 starting, 2 up, 3 stopping.
    pub op_state: u8,
    /// 0 when it is subject to nothing but its checks.
    pub admin_state: u32,
    /// For how many seconds it has been like this.
    pub since_s: u64,
    /// What the last check saw; up to 2 there was none.
    pub check_status: u8,
    /// What it made of it.
    pub check_result: u8,
    /// How many checks succeeded lately.
    pub check_health: u32,
}

impl ServerState {
    /// Whether sessions go there.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.op_state == 2
    }

    /// Whether it has been checked at least once, or can never be (its name has no address).
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.check_status > 2 || self.admin_state != 0
    }
}

/// A session that goes through a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The worker's own name for it.
    pub id: String,
    /// Where it goes.
    pub to: ServerName,
}

impl Master {
    /// The master that listens there, or will.
    #[must_use]
    pub fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Sends a command and reads its whole answer.
    ///
    /// # Errors
    /// When nobody listens there, or the answer does not end in time.
    pub fn ask(&self, command: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{command}\nquit\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Sends a command to the worker `pid`.
    ///
    /// # Errors
    /// As [`Master::ask`].
    pub fn ask_worker(&self, pid: u32, command: &str) -> io::Result<String> {
        self.ask(&format!("@!{pid} {command}"))
    }

    /// Which processes there are.
    ///
    /// # Errors
    /// As [`Master::ask`], and when the answer makes no sense.
    pub fn processes(&self) -> io::Result<Processes> {
        parse_processes(&self.ask("show proc")?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the master's answer makes no sense"))
    }

    /// The fingerprint of the configuration that a worker runs.
    ///
    /// # Errors
    /// As [`Master::ask`].
    pub fn description(&self, pid: u32) -> io::Result<Option<String>> {
        let answer = self.ask_worker(pid, "show info")?;
        let line = answer.lines().find_map(|line| line.strip_prefix("description:"));
        Ok(line.map(|line| line.trim().to_owned()))
    }

    /// What a worker knows of its servers.
    ///
    /// # Errors
    /// As [`Master::ask`].
    pub fn server_states(&self, pid: u32) -> io::Result<ServerStates> {
        Ok(parse_states(&self.ask_worker(pid, "show servers state")?))
    }

    /// The sessions that go through a worker.
    ///
    /// # Errors
    /// As [`Master::ask`].
    pub fn sessions(&self, pid: u32) -> io::Result<Vec<Session>> {
        Ok(self.ask_worker(pid, "show sess")?.lines().filter_map(parse_session).collect())
    }
}

fn parse_processes(answer: &str) -> Option<Processes> {
    let mut found = Processes::default();
    let mut section = "";
    for line in answer.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            section = title.trim();
            continue;
        }
        let mut words = line.split_whitespace();
        let (Some(pid), Some(kind)) = (words.next().and_then(|pid| pid.parse().ok()), words.next()) else {
            continue;
        };
        match (section, kind) {
            (_, "master") => {
                found.master = pid;
                found.reloads = words.next()?.parse().ok()?;
                // Such as `[failed: 1]`, how many reloads in a row.
                let failed = line.split_once("[failed:").and_then(|(_, rest)| rest.split(']').next());
                found.last_reload_failed = failed.is_some_and(|count| count.trim() != "0");
            }
            ("workers", "worker") => found.worker = Some(pid),
            ("old workers", "worker") => found.old.push(pid),
            _ => {}
        }
    }
    (found.master != 0).then_some(found)
}

fn parse_states(answer: &str) -> ServerStates {
    answer.lines().filter(|line| !line.starts_with('#')).filter_map(parse_state).collect()
}

fn parse_state(line: &str) -> Option<(ServerName, ServerState)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [_, backend, _, server, address, op_state, admin_state, _, _, since, rest @ ..] = &columns[..] else {
        return None;
    };
    let [status, result, health, _, _, _, _, _, port, _, _, check_port, ..] = rest else { return None };
    let name = ServerName { backend: (*backend).to_owned(), server: (*server).to_owned() };
    let state = ServerState {
        address: (*address).to_owned(),
        port: port.parse().ok()?,
        check_port: check_port.parse().ok()?,
        op_state: op_state.parse().ok()?,
        admin_state: admin_state.parse().ok()?,
        since_s: since.parse().ok()?,
        check_status: status.parse().ok()?,
        check_result: result.parse().ok()?,
        check_health: health.parse().ok()?,
    };
    Some((name, state))
}

fn parse_session(line: &str) -> Option<Session> {
    let (id, rest) = line.split_once(": ")?;
    let field = |name: &str| rest.split_whitespace().find_map(|word| word.strip_prefix(name));
    let to = ServerName { backend: field("be=")?.to_owned(), server: field("srv=")?.to_owned() };
    (id.starts_with("0x") && to.server != "<none>").then(|| Session { id: id.to_owned(), to })
}

#[cfg(test)]
mod tests {
    use super::{Processes, parse_processes, parse_session, parse_states};

    /// Answers of HAProxy 2.6.12, word for word.
    #[test]
    fn processes_are_told_apart() {
        let check = |answer: &str, expected: Option<Processes>| {
            assert_eq!(parse_processes(answer), expected, "{answer}")
        };
        check(
            "#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
             29859           master          6 [failed: 0]   0d00h13m06s     2.6.12-1+deb12u4\n\
             # workers\n\
             8369            worker          0               0d00h00m00s     2.6.12-1+deb12u4\n\
             # old workers\n\
             8132            worker          1               0d00h00m02s     2.6.12-1+deb12u4\n\
             # programs\n\n",
            Some(Processes {
                master: 29859,
                last_reload_failed: false,
                reloads: 6,
                worker: Some(8369),
                old: vec![8132],
            }),
        );
        check(
            "29859           master          8 [failed: 1]   0d00h14m00s     2.6.12-1+deb12u4\n\
             # workers\n\
             10178           worker          1               0d00h00m05s     2.6.12-1+deb12u4\n",
            Some(Processes {
                master: 29859,
                last_reload_failed: true,
                reloads: 8,
                worker: Some(10178),
                old: vec![],
            }),
        );
        check("", None);
        check("Permission denied\n", None);
    }

    #[test]
    fn states_are_read_by_their_columns() {
        let states = parse_states(
            "1\n# be_id be_name srv_id srv_name …\n\
             1 pg-b1 1 n1 127.0.0.1 2 0 1 1 642 15 3 2 6 0 0 0 - 25001 - 0 28001 - - 28001\n\
             1 pg-b1 2 n2 127.0.0.1 0 0 1 1 642 1 0 0 6 0 0 0 - 25002 - 0 28002 - - 28002\n\n\
             broken line\n",
        );
        let seen: Vec<(&str, bool, bool, u16, u16)> = states
            .iter()
            .map(|(name, state)| {
                (name.server.as_str(), state.is_up(), state.is_checked(), state.port, state.check_port)
            })
            .collect();
        assert_eq!(seen, [("n1", true, true, 25001, 28001), ("n2", false, false, 25002, 28002)]);
    }

    #[test]
    fn sessions_are_those_that_lead_to_servers() {
        let check = |line: &str, expected: &str| {
            let found = parse_session(line);
            let found =
                found.map(|s| format!("{} {}/{}", s.id, s.to.backend, s.to.server)).unwrap_or_default();
            assert_eq!(found, expected, "{line}");
        };
        check(
            "0x56405e51fd40: proto=tcpv4 src=127.0.0.1:51992 fe=pg-b1 be=pg-b1 srv=n1 ts=00 epoch=0 age=2s",
            "0x56405e51fd40 pg-b1/n1",
        );
        check("0x56405e643240: proto=sockpair src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00", "");
        check("", "");
    }
}
