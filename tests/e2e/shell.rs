//! Commands as a user types them.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

/// Runs a script in bash and gives what it wrote to stdout; anything but exit code 0 is a failure.
pub fn bash(script: &str, environment: &[(&str, &str)]) -> Result<String, Failed> {
    let output = run(script, environment)?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        return Err(format!("{script}\n{}\n{out}\n{err}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a script in bash, whatever comes of it.
pub fn run(script: &str, environment: &[(&str, &str)]) -> Result<Output, Failed> {
    let mut command = Command::new("bash");
    command.args(["-c", script]).envs(environment.iter().copied()).stdin(Stdio::null());
    Ok(command.output()?)
}

/// Whether a script ends well, now.
pub fn succeeds(script: &str) -> bool {
    run(script, &[]).is_ok_and(|output| output.status.success())
}

/// Tries again until it gives something, or fails with the last failure once the time is over.
pub fn until<T>(wait: Duration, mut attempt: impl FnMut() -> Result<T, Failed>) -> Result<T, Failed> {
    let deadline = Instant::now() + wait;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(failed) if Instant::now() > deadline => return Err(failed),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Fails with this text unless it is so.
pub fn ensure(so: bool, otherwise: impl Into<String>) -> Result<(), Failed> {
    if so { Ok(()) } else { Err(otherwise.into().into()) }
}
