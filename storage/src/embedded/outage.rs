//! When the disk, or the file on it, has failed under the writer, and how that ends: the file is opened again, which
//! checks it and makes memory anew of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::Shared;
use super::sound;
use super::writer::WriteFailed;

/// How long nothing is tried after a failure, and how long expiry rests.
pub(super) const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Does what may panic. redb does so where a page that it reads makes no sense, which it meets here only if the file was
/// damaged after it had been opened. How far it had come is known when the file is opened again.
pub(super) fn survive<T>(act: impl FnOnce() -> Result<T, WriteFailed>) -> Result<T, WriteFailed> {
    // Nothing that was half done is used again: redb's part is closed, and memory is made anew.
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panicked| {
        let text = sound::said(&*panicked);
        Err(WriteFailed::CommitFailed {
            reason: format!("its file may be damaged: writing panicked ({text})"),
        })
    })
}

/// Whether the disk has failed. redb refuses to go on after a write that failed, whatever the disk may be like by then,
/// until its file is opened again.
#[derive(Default)]
pub(super) struct Disk {
    failure: Option<(WriteFailed, Instant)>,
}

impl Disk {
    /// After a failure, and not too often, opens the file again.
    pub(super) fn mend(&mut self, shared: &Shared) -> Result<(), WriteFailed> {
        let Some((failure, at)) = &self.failure else { return Ok(()) };
        let reason = failure.reason().to_owned();
        if at.elapsed() < AFTER_FAILURE {
            return Err(WriteFailed::NothingWritten { reason });
        }
        match survive(|| Ok(shared.open_again())).unwrap_or_else(|failure| Err(failure.reason().to_owned())) {
            Ok(()) => {
                log::info!("the embedded store writes again");
                self.failure = None;
                shared.set_trouble(None);
                Ok(())
            }
            Err(reason) => {
                if shared.trouble().as_ref() != Some(&reason) {
                    log::error!("the embedded store's file cannot be opened again: {reason}");
                    shared.set_trouble(Some(reason.clone()));
                }
                let failure = WriteFailed::NothingWritten { reason };
                self.failure = Some((failure.clone(), Instant::now()));
                Err(failure)
            }
        }
    }

    /// Compacts by `act`, unless the disk has failed. That meets damage, too.
    pub(super) fn compact(&mut self, shared: &Shared, act: impl FnOnce() -> Result<(), WriteFailed>) {
        if self.failure.is_none()
            && let Err(failure) = survive(act)
        {
            self.failed(shared, &failure);
        }
    }

    pub(super) fn failed(&mut self, shared: &Shared, failure: &WriteFailed) {
        match failure {
            WriteFailed::Corrupt { reason } => log::error!("the embedded store could not write: {reason}"),
            WriteFailed::NothingWritten { reason } | WriteFailed::CommitFailed { reason } => {
                if self.failure.is_none() {
                    log::error!("the embedded store cannot write, and tries again every second: {reason}");
                    self.failure = Some((failure.clone(), Instant::now()));
                    shared.set_trouble(Some(reason.clone()));
                }
            }
        }
    }
}

impl WriteFailed {
    fn reason(&self) -> &str {
        match self {
            Self::NothingWritten { reason } | Self::CommitFailed { reason } | Self::Corrupt { reason } => {
                reason
            }
        }
    }
}

impl Shared {
    /// Opens the file again after the disk failed. As at every open, TTLs run anew in full: nobody could refresh them.
    /// Where the commit that failed has reached the disk all the same, watchers read everything again.
    fn open_again(&self) -> Result<(), String> {
        let content = self.database.open_again().map_err(|error| error.to_string())?;
        self.take_over(content);
        Ok(())
    }
}
