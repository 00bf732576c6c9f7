//! Guests of the store that no record speaks for: a broker that had lost its lease admitted one late.

use log::{info, warn};
use storage::StoreError;

use super::core::Core;
use crate::model::InstanceId;

impl Core {
    /// Dismisses the guests of instances that have no record. Guests are admitted after their record is written, by
    /// whom has the instance's lease: who has it and sees no record ends nothing that somebody begins.
    pub(super) fn reap_guests(&self) -> Result<(), StoreError> {
        let Some(guests) = self.drivers.guests() else { return Ok(()) };
        for name in guests.guests()? {
            if self.is_stopping() {
                return Ok(());
            }
            let Ok(instance) = InstanceId::parse(&name) else { continue };
            // Looked at first without: the lease of a live instance is not to be taken in passing.
            if self.has_record(&instance)? {
                continue;
            }
            let Some(_lease) = self.take(&instance)? else { continue };
            if !self.has_record(&instance)? {
                info!("dismissing the store's guest {name}, which no record speaks for");
                match guests.dismiss(&name) {
                    // This one never goes; the others may.
                    Err(error @ StoreError::Corrupt { .. }) => warn!("the guest {name} stays: {error}"),
                    answer => answer?,
                }
            }
        }
        Ok(())
    }

    fn has_record(&self, instance: &InstanceId) -> Result<bool, StoreError> {
        match self.instances.load(instance) {
            Ok(record) => Ok(record.is_some()),
            // What nobody can read speaks for its guest, and must not keep the others from being looked at.
            Err(StoreError::Corrupt { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}
