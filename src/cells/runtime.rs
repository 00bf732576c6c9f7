//! The one place where async is: a current-thread tokio runtime on one thread of its own, behind calls that block with
//! a deadline. Knows nothing of Docker.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::{Stream, StreamExt};
use tokio::runtime::{Builder, Handle};
use tokio::task::AbortHandle;

/// How much later than its deadline a call gives up when not even the runtime's clock answers.
const SLACK: Duration = Duration::from_secs(1);

/// How long the blocking helpers (name lookups, file reads) may hold up the end of the runtime.
const WIND_UP: Duration = Duration::from_secs(2);

/// A runtime and its thread, which ends and is joined when the last user lets go.
pub struct Runtime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why a call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The deadline passed; it had this long.
    TimedOut(Duration),
    /// The call panicked, or the runtime is ending.
    Broke,
}

impl Runtime {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the operating system has no thread or no poll descriptor left.
    pub fn start() -> io::Result<Arc<Self>> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("docker-io".to_owned()).spawn(move || {
            // Ends when the sender speaks and when it is dropped.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(WIND_UP);
        })?;
        Ok(Arc::new(Self { handle, stop: Some(stop), thread: Some(thread) }))
    }

    /// Starts a call, which is given up after `limit`.
    pub fn begin<T, F>(&self, limit: Duration, call: F) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = sync_channel(1);
        let task = self.handle.spawn(async move {
            let outcome = tokio::time::timeout(limit, call).await;
            // Nobody listens any more where the caller gave up.
            let _ = sender.send(outcome.map_err(|_| Unanswered::TimedOut(limit)));
        });
        Pending { receiver, task: task.abort_handle(), limit, until: Instant::now() + limit + SLACK }
    }

    /// Makes a call and waits for its end, at most for `limit`.
    ///
    /// # Errors
    /// As [`Unanswered`] says; the call is given up.
    pub fn run<T, F>(&self, limit: Duration, call: F) -> Result<T, Unanswered>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.begin(limit, call).wait()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was printed already, and there is nobody to hand it to.
            let _ = thread.join();
        }
    }
}

/// A call under way; dropping it gives it up.
pub struct Pending<T> {
    receiver: Receiver<Result<T, Unanswered>>,
    task: AbortHandle,
    limit: Duration,
    until: Instant,
}

impl<T> Pending<T> {
    /// Waits for at most `slice`; `None` when it is still under way.
    pub fn poll(&mut self, slice: Duration) -> Option<Result<T, Unanswered>> {
        let left = self.until.saturating_duration_since(Instant::now());
        match self.receiver.recv_timeout(slice.min(left)) {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Disconnected) => Some(Err(Unanswered::Broke)),
            Err(RecvTimeoutError::Timeout) if left <= slice => Some(Err(Unanswered::TimedOut(self.limit))),
            Err(RecvTimeoutError::Timeout) => None,
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// As [`Unanswered`] says.
    pub fn wait(mut self) -> Result<T, Unanswered> {
        let whole = self.limit + SLACK;
        loop {
            if let Some(outcome) = self.poll(whole) {
                return outcome;
            }
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Source<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// A stream read from a thread that blocks, an item at a time: nothing is read ahead, so nothing piles up.
pub struct Streaming<T> {
    runtime: Arc<Runtime>,
    /// Gone once the stream has ended or broken.
    source: Option<Source<T>>,
}

/// What a look at a stream brought.
#[derive(Debug)]
pub enum Next<T> {
    /// The next item.
    Item(T),
    /// Nothing yet.
    Idle,
    /// It ended, and stays so.
    Ended,
}

impl<T: Send + 'static> Streaming<T> {
    /// Takes the stream over; it must have come from a call on the same runtime.
    pub fn new(runtime: Arc<Runtime>, source: Source<T>) -> Self {
        Self { runtime, source: Some(source) }
    }

    /// Waits for the next item, at most for `wait`. No item is lost by looking too briefly.
    ///
    /// # Errors
    /// [`Unanswered::Broke`] when the stream panicked or the runtime is ending; the stream ends with it.
    pub fn next(&mut self, wait: Duration) -> Result<Next<T>, Unanswered> {
        let Some(mut source) = self.source.take() else { return Ok(Next::Ended) };
        // The look has its own limit inside, and hands the stream back; the outer one only guards the runtime.
        let looked = self.runtime.run(wait + SLACK, async move {
            let item = tokio::time::timeout(wait, source.next()).await;
            (source, item)
        });
        let (source, item) = looked?;
        match item {
            Ok(None) => Ok(Next::Ended),
            Ok(Some(item)) => {
                self.source = Some(source);
                Ok(Next::Item(item))
            }
            Err(_) => {
                self.source = Some(source);
                Ok(Next::Idle)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Runtime, Streaming, Unanswered};
    use std::time::{Duration, Instant};

    const SOON: Duration = Duration::from_millis(30);
    /// What is answered at once is answered before this, however busy the machine.
    const LATE: Duration = Duration::from_secs(30);

    #[test]
    fn a_call_has_a_deadline() {
        let runtime = Runtime::start().unwrap();
        assert_eq!(runtime.run(LATE, async { 7 }), Ok(7));
        let begun = Instant::now();
        let forever = runtime.run(SOON, std::future::pending::<()>());
        assert_eq!(forever, Err(Unanswered::TimedOut(SOON)));
        assert!(begun.elapsed() < LATE);
    }

    #[test]
    fn a_panic_inside_is_an_answer_that_never_came() {
        let runtime = Runtime::start().unwrap();
        let broken = runtime.run(LATE, async { assert_eq!(1, 2, "meant to panic") });
        assert_eq!(broken, Err(Unanswered::Broke));
        assert_eq!(runtime.run(LATE, async { 7 }), Ok(7), "and the runtime goes on");
    }

    #[test]
    fn a_stream_that_is_looked_at_too_briefly_loses_nothing() {
        let runtime = Runtime::start().unwrap();
        let source = futures::stream::unfold(0, |n| async move {
            tokio::time::sleep(SOON).await;
            (n < 2).then_some((n, n + 1))
        });
        let mut stream = Streaming::new(runtime, Box::pin(source));
        let (mut seen, mut idle) = (vec![], 0);
        loop {
            match stream.next(SOON / 3).unwrap() {
                Next::Item(item) => seen.push(item),
                Next::Idle => idle += 1,
                Next::Ended => break,
            }
        }
        assert_eq!(seen, [0, 1]);
        assert!(idle > 0);
    }
}
