//! Waiting without a door: for who asks in plain data and has a thread to spare.

use std::sync::mpsc::channel;

use super::Api;
use super::message::{Parked, Response};
use crate::broker::Outcome;

impl Api {
    /// Answers a parked request when its operation has ended; holds the caller's thread until then at
    /// most as long as a request is kept waiting.
    #[must_use]
    pub fn wait(&self, parked: Parked) -> Response {
        let (tell, told) = channel();
        let then = move |outcome| {
            // Nobody else holds the other end.
            let _ = tell.send(outcome);
        };
        self.orders.when_done(&parked.instance, &parked.operation, parked.patience, Box::new(then));
        // Dropped uncalled, it is answered like a broker that stops.
        parked.answer(told.recv().unwrap_or(Outcome::Stopping)).0
    }
}
