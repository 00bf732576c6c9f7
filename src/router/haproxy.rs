//! One HAProxy in its directory: checked, started, reloaded, adopted. It is a detached master with workers, and
//! outlives this process.
//!
//! | file | what it is |
//! | --- | --- |
//! | `haproxy.cfg` | the configuration in force |
//! | `haproxy.cfg.next` | one that is being checked |
//! | `server-states` | what the next worker is told of its servers |
//! | `master.sock`, `stats.sock` | where the master and the worker answer |
//! | `haproxy.pid` | the master's process id: ending that one ends them all |
//! | `haproxy.log` | what HAProxy said when it was last checked or started |
//! | `router.lock` | held by the router that drives it |

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use storage::Deadline;

use super::error::{ApplyError, RouterError};
use super::master::{Master, Processes};
use super::render::Rendered;

/// How long HAProxy may take to check a configuration, to start or to reload. Reading 2,000 instances takes less than
/// one second; a name server that does not answer takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often something that has no way to tell is looked at.
const GLANCE: Duration = Duration::from_millis(5);
/// The longest path of a directory whose sockets HAProxy can bind: it adds a temporary suffix, and the system's
/// limit is 107 bytes.
const MAX_DIRECTORY: usize = 75;
/// The oldest release that the router was tried with.
const OLDEST: (u32, u32) = (2, 6);

/// One HAProxy in its directory.
#[derive(Debug)]
pub struct Haproxy {
    program: PathBuf,
    directory: PathBuf,
    master: Master,
    _lock: File,
}

impl Haproxy {
    /// Makes sure that the program is there and fit and the directory ours. Starts nothing.
    ///
    /// # Errors
    /// [`RouterError`], each for an operator.
    pub fn prepare(program: &Path, directory: &Path) -> Result<Self, RouterError> {
        check_version(program)?;
        let broken = |source| RouterError::Directory { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(broken)?;
        let directory = directory.canonicalize().map_err(broken)?;
        if directory.as_os_str().len() > MAX_DIRECTORY {
            return Err(RouterError::LongDirectory { path: directory });
        }
        let lock = File::create(directory.join("router.lock")).map_err(broken)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RouterError::Busy { path: directory }),
            Err(TryLockError::Error(source)) => return Err(broken(source)),
        }
        let master = Master::at(directory.join("master.sock"));
        Ok(Self { program: program.to_owned(), directory, master, _lock: lock })
    }

    /// Where its files are: absolute, without links.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its master socket.
    #[must_use]
    pub fn master(&self) -> &Master {
        &self.master
    }

    /// Its processes, if it runs. A master in the middle of a reload is waited for.
    #[must_use]
    pub fn processes(&self) -> Option<Processes> {
        let deadline = Deadline::after(Duration::from_secs(3));
        loop {
            match self.master.processes() {
                Ok(processes) => return Some(processes),
                // Nobody holds the socket: waiting would not help.
                Err(error) if is_dead(&error) || deadline.has_passed() => return None,
                Err(_) => thread::sleep(GLANCE),
            }
        }
    }

    /// What the file of the configuration in force says, if there is one.
    #[must_use]
    pub fn config_in_force(&self) -> Option<String> {
        fs::read_to_string(self.config()).ok()
    }

    /// Has HAProxy check a configuration, without using it.
    ///
    /// # Errors
    /// [`ApplyError::Refused`] with HAProxy's words.
    pub fn check(&self, config: &Rendered) -> Result<(), ApplyError> {
        let next = self.directory.join("haproxy.cfg.next");
        fs::write(&next, &config.text)?;
        let mut command = self.command()?;
        command.arg("-c").arg("-f").arg(&next);
        let status = run(&mut command)?;
        if status.success() { Ok(()) } else { Err(self.refused()) }
    }

    /// Starts it with a configuration that was checked; it must not be running.
    ///
    /// # Errors
    /// [`ApplyError::Refused`] when it ended at once, for example since a port is taken.
    pub fn start(&self, config: &Rendered, states: &str) -> Result<Processes, ApplyError> {
        self.put_in_force(&config.text, states)?;
        let mut command = self.command()?;
        command
            .args(["-W", "-D", "-S"])
            .arg(format!("{},mode,600", self.directory.join("master.sock").display()));
        command.arg("-p").arg(self.directory.join("haproxy.pid")).arg("-f").arg(self.config());
        if !run(&mut command)?.success() {
            return Err(self.refused());
        }
        self.await_worker(config, |_| true)
    }

    /// Has the running one go over to a configuration that was checked, without closing or refusing a connection.
    ///
    /// # Errors
    /// [`ApplyError::Refused`] when the new worker could not start: the old one goes on, and its configuration is
    /// again the one in force.
    pub fn reload(
        &self,
        before: &Processes,
        config: &Rendered,
        states: &str,
    ) -> Result<Processes, ApplyError> {
        let previous = self.config_in_force();
        self.put_in_force(&config.text, states)?;
        // The master drops the connection as it starts anew, so that a lost answer says nothing.
        let _ = self.master.ask("reload");
        let outcome =
            self.await_worker(config, |now| now.reloads > before.reloads || now.master != before.master);
        if let (Err(_), Some(previous)) = (&outcome, previous) {
            fs::write(self.config(), previous)?;
        }
        outcome
    }

    /// Waits until a worker runs this configuration.
    fn await_worker(
        &self,
        config: &Rendered,
        took_notice: impl Fn(&Processes) -> bool,
    ) -> Result<Processes, ApplyError> {
        let deadline = Deadline::after(PATIENCE);
        loop {
            let seen = self.master.processes();
            if let Ok(now) = &seen
                && took_notice(now)
            {
                if now.last_reload_failed {
                    let reason = "its new worker could not start, perhaps since a port is taken".to_owned();
                    return Err(ApplyError::Refused { reason });
                }
                if let Some(worker) = now.worker
                    && self
                        .master
                        .description(worker)
                        .is_ok_and(|said| said.as_ref() == Some(&config.fingerprint))
                {
                    return Ok(now.clone());
                }
            }
            if deadline.has_passed() {
                let late = || io::Error::new(io::ErrorKind::TimedOut, "no worker took over in time");
                return Err(ApplyError::Failed(seen.err().unwrap_or_else(late)));
            }
            thread::sleep(GLANCE);
        }
    }

    /// Ends the master and all its workers, and with them every session.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn terminate(&self) -> io::Result<()> {
        let Some(processes) = self.processes() else { return Ok(()) };
        // A signal takes unsafe code or a program; the shell is always there.
        let mut kill = Command::new("/bin/sh");
        kill.args(["-c", "kill -TERM \"$1\"", "sh", &processes.master.to_string()]);
        run(kill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
        let deadline = Deadline::after(PATIENCE);
        while self.master.processes().is_ok() {
            if deadline.has_passed() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "HAProxy does not end"));
            }
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.directory.join("haproxy.cfg")
    }

    /// Each file is replaced as a whole: the master may read them at any moment.
    fn put_in_force(&self, config: &str, states: &str) -> io::Result<()> {
        for (name, text) in [("server-states", states), ("haproxy.cfg", config)] {
            let partial = self.directory.join(format!("{name}.partial"));
            fs::write(&partial, text)?;
            fs::rename(partial, self.directory.join(name))?;
        }
        Ok(())
    }

    /// HAProxy, to be called with a clean environment: it outlives this process, whose environment may hold secrets.
    fn command(&self) -> io::Result<Command> {
        let log = File::create(self.directory.join("haproxy.log"))?;
        let mut command = Command::new(&self.program);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.current_dir(&self.directory).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn refused(&self) -> ApplyError {
        let log = fs::read_to_string(self.directory.join("haproxy.log")).unwrap_or_default();
        let alerts: Vec<&str> = log.lines().filter(|line| line.contains("[ALERT]")).take(3).collect();
        ApplyError::Refused { reason: if alerts.is_empty() { log } else { alerts.join("; ") } }
    }
}

fn is_dead(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn check_version(program: &Path) -> Result<(), RouterError> {
    let broken = |source| RouterError::NoHaproxy { program: program.to_owned(), source };
    let output = Command::new(program).arg("-v").stdin(Stdio::null()).output().map_err(broken)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().next().unwrap_or_default();
    if parse_version(line).is_some_and(|version| version >= OLDEST) {
        return Ok(());
    }
    let version = line.chars().take(100).collect();
    Err(RouterError::UnfitHaproxy { program: program.to_owned(), version })
}

/// The release in `HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/`.
fn parse_version(line: &str) -> Option<(u32, u32)> {
    let (_, rest) = line.split_once("version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Runs a program to its end; one that takes too long is killed.
fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    let deadline = Deadline::after(PATIENCE);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if deadline.has_passed() {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "HAProxy takes too long"));
        }
        thread::sleep(GLANCE);
    }
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_read_from_the_first_line() {
        let check =
            |line: &str, expected: Option<(u32, u32)>| assert_eq!(parse_version(line), expected, "{line}");
        check("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", Some((2, 6)));
        check("HA-Proxy version 1.8.27-1 2020/11/06", Some((1, 8)));
        check("HAProxy version 3.0-dev1", Some((3, 0)));
        check("hello", None);
        check("", None);
    }
}
