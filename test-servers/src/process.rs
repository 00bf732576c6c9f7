//! One server as a process: started, killed, held still, and started again with the same arguments.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take until it is ready, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);
const LOG_LINES: usize = 20;

/// A program with its arguments, and the process that runs it, if one does. Dropping it kills that process.
pub struct Process {
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
    paused: bool,
}

impl Process {
    /// Starts nothing yet. What it says is appended to `log`.
    pub fn new(program: PathBuf, arguments: Vec<OsString>, log: PathBuf) -> Self {
        Self { program, arguments, log, child: None, paused: false }
    }

    /// Starts it anew; what ran is killed.
    pub fn start(&mut self) -> io::Result<()> {
        self.stop();
        let log = File::options().create(true).append(true).open(&self.log)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            // Both servers would take settings from the environment.
            .env_clear()
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills it as a machine that loses power would. Nothing happens if it does not run.
    pub fn stop(&mut self) {
        self.paused = false;
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Whether it was started, neither stopped nor paused since.
    pub fn is_active(&self) -> bool {
        self.child.is_some() && !self.paused
    }

    /// Holds it still: its connections stay open and nobody answers. Returns when it is still.
    pub fn pause(&mut self) -> io::Result<()> {
        let pid = self.signal("STOP")?;
        self.paused = true;
        self.wait_for("standing still", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // The name before the state may hold anything, brackets included.
            let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
            Ok(state == Some('T'))
        })
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&mut self) -> io::Result<()> {
        self.signal("CONT")?;
        self.paused = false;
        Ok(())
    }

    fn signal(&self, name: &str) -> io::Result<u32> {
        let Some(child) = &self.child else {
            return Err(io::Error::other(format!("{} does not run", self.program.display())));
        };
        let pid = child.id();
        // The shell's own kill: there need not be a program of that name.
        let status =
            Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &pid.to_string()]).status()?;
        if status.success() { Ok(pid) } else { Err(self.error(&format!("no signal {name}"))) }
    }

    /// Asks until the answer is yes. What the question failed with last is part of the error.
    pub fn wait_for(&mut self, what: &str, mut ask: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = ask();
            if matches!(answer, Ok(true)) {
                return Ok(());
            }
            let Some(child) = &mut self.child else {
                return Err(self.error(&format!("does not run, and cannot come to be {what}")));
            };
            if let Some(status) = child.try_wait()? {
                return Err(self.error(&format!("ended by itself ({status}) before {what}")));
            }
            if Instant::now() >= deadline {
                let why = answer.err().map(|error| format!(" ({error})")).unwrap_or_default();
                return Err(self.error(&format!("not {what} after {} s{why}", PATIENCE.as_secs())));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines of what it has said.
    pub fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn error(&self, what: &str) -> io::Error {
        io::Error::other(format!("{}: {what}; its log ends:\n{}", self.program.display(), self.log()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where a program of this name is found on the PATH.
pub fn on_the_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}
