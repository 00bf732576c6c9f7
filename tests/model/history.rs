//! Whether what several callers saw can be explained by some order of their calls, each done at one moment between its
//! request and its answer, one after the other as the model has it. A call that waits for an operation begins it at that
//! moment, and the operation has ended when it is answered.

use std::collections::HashSet;

use crate::calls::Call;
use crate::model::{Exchange, Model, unique};
use crate::site::Reply;

/// A call of one of the callers. Moments only grow, and no two are the same.
pub struct Event {
    pub call: Call,
    pub operation: Option<String>,
    pub reply: Reply,
    pub asked: usize,
    pub answered: usize,
}

/// Whether some order explains all of them; they are calls about one instance.
pub fn is_explained(events: &[Event]) -> bool {
    let mut search = Search { events, seen: HashSet::new() };
    search.go(0, 0, vec![Model::default()])
}

struct Search<'a> {
    events: &'a [Event],
    /// What has led to nothing.
    seen: HashSet<(u64, u64, String)>,
}

impl Search<'_> {
    /// `begun` and `ended` are sets of calls.
    fn go(&mut self, begun: u64, ended: u64, states: Vec<Model>) -> bool {
        let all = self.events.len();
        if begun.count_ones() as usize == all {
            let unfinished = (0..all).filter(|call| ended & 1 << call == 0);
            return !finish(states, unfinished).is_empty();
        }
        if states.is_empty() || !self.seen.insert((begun, ended, format!("{states:?}"))) {
            return false;
        }
        for next in (0..all).filter(|next| begun & 1 << next == 0) {
            let asked = self.events[next].asked;
            // Whoever was answered before this one asked has begun, and has ended.
            let before: Vec<usize> = (0..all).filter(|other| self.events[*other].answered < asked).collect();
            if before.iter().any(|other| begun & 1 << other == 0) {
                continue;
            }
            let answered: Vec<usize> = before.into_iter().filter(|other| ended & 1 << other == 0).collect();
            let over = answered.iter().fold(ended, |over, other| over | 1 << other);
            let states = finish(states.clone(), answered.into_iter());
            let event = &self.events[next];
            let exchange = Exchange {
                number: next,
                call: &event.call,
                operation: event.operation.as_deref(),
                reply: &event.reply,
            };
            let after = unique(states.iter().flat_map(|state| state.after(&exchange)).collect());
            if self.go(begun | 1 << next, over, after) {
                return true;
            }
        }
        false
    }
}

/// The states when these calls have been answered.
fn finish(states: Vec<Model>, calls: impl Iterator<Item = usize>) -> Vec<Model> {
    calls.fold(states, |states, call| unique(states.iter().flat_map(|state| state.finished(call)).collect()))
}
