//! How long an engine may take. Every one is a bound on a wait, not a guess at how long it takes.

use std::time::Duration;

/// The deadlines of one cell's calls.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// For a question. Defaults to 10 s.
    pub look: Duration,
    /// For creating a container, placing its files or starting it: a busy disk may take its time. Defaults to 30 s.
    pub change: Duration,
    /// For stopping, on top of the grace that the container has. Defaults to 10 s.
    pub stop_margin: Duration,
    /// For removing a container with its volumes, until it is off the engine's list. Defaults to 60 s.
    pub remove: Duration,
    /// For a command inside a container, from its start to its end. Defaults to 60 s.
    pub exec: Duration,
    /// For pulling an image, all in all. Defaults to 15 min.
    pub pull: Duration,
    /// For the next word while an image is pulled. Defaults to 2 min.
    pub pull_silence: Duration,
    /// How long a stream of events may be silent before the engine is asked whether it is still there. Defaults to 20 s.
    pub watch_silence: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(10),
            change: Duration::from_secs(30),
            stop_margin: Duration::from_secs(10),
            remove: Duration::from_secs(60),
            exec: Duration::from_secs(60),
            pull: Duration::from_secs(15 * 60),
            pull_silence: Duration::from_secs(2 * 60),
            watch_silence: Duration::from_secs(20),
        }
    }
}
