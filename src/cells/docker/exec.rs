//! Runs a command inside a container.

use std::time::Duration;

use dockworker::errors::Error as DockworkerError;
use dockworker::{CreateExecOptions, Docker, StartExecOptions};
use futures::StreamExt;

use super::DockerCell;
use super::fault::Fault;
use crate::cells::ExecOutput;
use crate::model::ContainerName;

/// How much output is kept, in bytes; the rest is read and dropped, so that the command can end.
const OUTPUT_KEPT: usize = 64 * 1024;

/// How often the engine is asked whether a command whose output has ended has ended too.
const END_GLANCE: Duration = Duration::from_millis(20);

impl DockerCell {
    pub(super) fn run_inside(&self, name: &ContainerName, command: &[&str]) -> Result<ExecOutput, Fault> {
        let found = self.find_existing(name)?;
        let mut options = CreateExecOptions::new();
        for word in command {
            options.cmd((*word).to_owned());
        }
        self.call(self.deadlines.exec, move |docker| async move { run(&docker, &found.id, &options).await })
    }
}

async fn run(docker: &Docker, id: &str, options: &CreateExecOptions) -> Result<ExecOutput, DockworkerError> {
    let made = docker.exec_container(id, options).await?;
    let mut frames = docker.start_exec(&made.id, &StartExecOptions::new()).await?;
    let mut output = Vec::new();
    while let Some(frame) = frames.next().await {
        let frame = frame?.frame;
        let room = OUTPUT_KEPT - output.len();
        output.extend_from_slice(&frame[..frame.len().min(room)]);
    }
    loop {
        let seen = docker.exec_inspect(&made.id).await?;
        if let (false, Some(code)) = (seen.Running, seen.ExitCode) {
            let output = String::from_utf8_lossy(&output).into_owned();
            return Ok(ExecOutput { exit_code: i64::from(code), output });
        }
        tokio::time::sleep(END_GLANCE).await;
    }
}
