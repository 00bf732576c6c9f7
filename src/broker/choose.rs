//! Chooses cells for new nodes among those that answer now.

use log::warn;

use super::BrokerError;
use super::core::Core;
use crate::model::CellGuid;
use crate::scheduler::{CellLoad, PlacementError};

impl Core {
    /// Chooses again without each chosen cell that does not answer, until all do. Only the `chosen` are asked, so that a
    /// large site costs no more. Cells that are `unfit` from the beginning stand beside why.
    pub(super) fn choose_cells<T>(
        &self,
        mut unfit: Vec<(CellGuid, String)>,
        choose: impl Fn(&[CellLoad], &[CellGuid]) -> Result<T, PlacementError>,
        chosen: impl Fn(&T) -> &[CellGuid],
    ) -> Result<T, BrokerError> {
        let loads = self.loads()?;
        loop {
            let excluded: Vec<CellGuid> = unfit.iter().map(|(guid, _)| guid.clone()).collect();
            let choice = match choose(&loads, &excluded) {
                Ok(choice) => choice,
                Err(error @ PlacementError::TooFewCells { .. }) if !unfit.is_empty() => {
                    let reasons: Vec<&str> = unfit.iter().map(|(_, reason)| reason.as_str()).collect();
                    return Err(BrokerError::NoCapacity {
                        reason: format!("{error}; {}", reasons.join("; ")),
                    });
                }
                Err(error) => return Err(BrokerError::InvalidParameters { reason: error.to_string() }),
            };
            let before = unfit.len();
            for guid in chosen(&choice) {
                if let Err(error) = self.cell(guid).and_then(|cell| cell.ping()) {
                    warn!("passed over while placing: {error}");
                    unfit.push((guid.clone(), error.to_string()));
                }
            }
            if unfit.len() == before {
                return Ok(choice);
            }
        }
    }
}
