//! The lab of `scripts/lab`: cells that are machines of their own, three etcds, a broker. It is made when the first
//! scenario asks for it, is used by one after the other, and goes with this process, however that ends.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::broker::Broker;
use crate::shell::{bash, ensure, until};

static LAB: Mutex<Option<Lab>> = Mutex::new(None);
/// Beside a lab that somebody uses by hand.
const NAME: &str = "e2e";

pub struct Lab {
    broker: Broker,
    cells: Vec<String>,
    /// Takes the lab down when it has no stdin any more: this process has let it go, or has ended.
    keeper: Child,
}

/// Runs a scenario in the lab. One that has failed leaves nothing that another could begin with: the next one gets a lab
/// that is new.
pub fn in_the_lab(scenario: fn(&Lab) -> Result<(), Failed>) -> Result<(), Failed> {
    let mut place = LAB.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = place.take().map_or_else(Lab::up, Ok)?;
    let walked = scenario(&lab).and_then(|()| lab.nothing_left());
    walked.map_err(|failed| lab.explained_by_members(failed))?;
    *place = Some(lab);
    Ok(())
}

/// Takes the lab down, if there is one.
pub fn down() {
    drop(LAB.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// `scripts/lab` with these words, for bash.
fn lab(words: &str) -> String {
    let (root, binary) = (env!("CARGO_MANIFEST_DIR"), env!("CARGO_BIN_EXE_patroni-broker"));
    format!(
        "PATRONI_BROKER_LAB={NAME} PATRONI_BROKER_BINARY='{binary}' timeout 300 '{root}/scripts/lab' {words}"
    )
}

impl Deref for Lab {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

impl Lab {
    fn up() -> Result<Self, Failed> {
        let keeper = Command::new("setsid")
            .args(["bash", "-c", &format!("cat >/dev/null; {}", lab("down"))])
            .stdin(Stdio::piped())
            .spawn()?;
        let mut made = Self {
            broker: Broker {
                uri: String::new(),
                config: PathBuf::new(),
                log: PathBuf::new(),
                docker: |cell| lab(&format!("docker {cell}")),
            },
            cells: Vec::new(),
            keeper,
        };
        bash(&lab("up"), &[])?;
        let told: Value = serde_json::from_str(&bash(&lab("status --json"), &[])?)?;
        let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
        made.broker.uri = text("uri");
        made.broker.config = text("config").into();
        made.broker.log = text("log").into();
        let cells = told["cells"].as_array().ok_or("the lab has no cells")?;
        made.cells = cells.iter().filter_map(|cell| cell["guid"].as_str().map(str::to_owned)).collect();
        Ok(made)
    }

    /// Hurts a cell, or heals it: `cut`, `heal`, `hang`, `resume`, `reboot`.
    pub fn cell(&self, what: &str, cell: &str) -> Result<(), Failed> {
        bash(&lab(&format!("{what} {cell}")), &[]).map(drop)
    }

    /// Ends the broker and starts it again, with what its configuration says by now.
    pub fn restart_broker(&self) -> Result<(), Failed> {
        bash(&lab("broker restart"), &[]).map(drop)
    }

    /// The names of the containers on a cell.
    pub fn containers(&self, cell: &str) -> Result<Vec<String>, Failed> {
        let listed = bash(&lab(&format!("docker {cell} ps --all --format '{{{{.Names}}}}'")), &[])?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// A failure with the broker's log added, and those of the members that can be asked, each from its end.
    fn explained_by_members(&self, failed: Failed) -> Failed {
        let mut text = self.explained(failed).message().unwrap_or_default().to_owned();
        for cell in &self.cells {
            for container in self.containers(cell).unwrap_or_default() {
                let words = format!("docker {cell} logs --tail 100 {container} 2>&1");
                let log = bash(&lab(&words), &[]).unwrap_or_default();
                text += &format!("\n--- {container} on {cell} logged last:\n{log}");
            }
        }
        text.into()
    }

    /// Waits until a cell has no containers.
    pub fn becomes_empty(&self, cell: &str) -> Result<(), Failed> {
        until(Duration::from_secs(90), || self.is_empty(cell))
    }

    /// Fails if a cell has containers.
    pub fn is_empty(&self, cell: &str) -> Result<(), Failed> {
        let left = self.containers(cell)?;
        ensure(left.is_empty(), format!("left on {cell}: {left:?}"))
    }

    /// No container, and no key of an instance.
    pub fn nothing_left(&self) -> Result<(), Failed> {
        self.cells.iter().try_for_each(|cell| self.is_empty(cell))?;
        self.no_key_left()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}
