//! An application that writes all the time through the public port, in one session that it opens again when it is lost,
//! and remembers what it was told has been written.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use libtest_mimic::Failed;

use crate::shell::{ensure, until};
use crate::sql::sql;

/// How long it waits for a connection and for one write before it opens another session.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two writes.
const PACE: Duration = Duration::from_millis(5);

pub struct Writer {
    uri: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: Option<JoinHandle<Written>>,
}

/// What a writer has seen.
#[derive(Debug, Default)]
pub struct Written {
    /// Each number that it was told is written, with the timeline on which it is.
    acknowledged: Vec<(u64, String)>,
    /// How often it lost its session, or got none.
    pub failures: u64,
    /// The longest time from one acknowledgement to the next.
    pub longest: Duration,
}

impl Writer {
    /// Makes its table, and returns once it has written.
    pub fn start(uri: &str) -> Result<Self, Failed> {
        Self::with_patience(PATIENCE, uri)
    }

    /// One that is to lose no session: it does not give one up because the machine is busy.
    pub fn patient(uri: &str) -> Result<Self, Failed> {
        Self::with_patience(PATIENCE * 10, uri)
    }

    fn with_patience(patience: Duration, uri: &str) -> Result<Self, Failed> {
        sql(uri, "CREATE TABLE written (n bigint PRIMARY KEY, timeline text)")?;
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn({
            let (uri, stop, acknowledged) = (uri.to_owned(), Arc::clone(&stop), Arc::clone(&acknowledged));
            move || write(&uri, patience, &stop, &acknowledged)
        });
        let writer = Self { uri: uri.to_owned(), stop, acknowledged, thread: Some(thread) };
        writer.goes_on()?;
        Ok(writer)
    }

    /// How much it has written.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until something is written after now.
    pub fn goes_on(&self) -> Result<(), Failed> {
        let before = self.acknowledged();
        until(Duration::from_secs(90), || ensure(self.acknowledged() > before, "nothing is written for 90 s"))
    }

    /// Ends it once it can write, says what it came to, and makes sure that all that it was told is written is there, and
    /// was written by one leader after the other.
    pub fn finish(mut self, what: &str) -> Result<Written, Failed> {
        self.goes_on()?;
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().ok_or("the writer has ended")?;
        let written = thread.join().map_err(|_| "the writer panicked")?;
        println!(
            "{what}: {} writes acknowledged, {} sessions lost, longest gap {} ms",
            written.acknowledged.len(),
            written.failures,
            written.longest.as_millis(),
        );
        let rows = sql(&self.uri, "SELECT n FROM written")?;
        let kept: BTreeSet<u64> = rows.lines().filter_map(|row| row.parse().ok()).collect();
        let mut lost = written.acknowledged.iter().filter(|(n, _)| !kept.contains(n));
        if let Some(first) = lost.next() {
            let (last, count) = lost.fold((first, 1), |(_, count), row| (row, count + 1));
            return Err(
                format!("{what}: {count} rows acknowledged and lost, from {first:?} to {last:?}").into()
            );
        }
        // Timelines are hexadecimal, all of one length, and each new leader has a later one.
        let back = written.acknowledged.windows(2).find(|pair| pair[1].1 < pair[0].1);
        ensure(back.is_none(), format!("{what}: two leaders took writes: {back:?}"))?;
        Ok(written)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Written {
    /// On how many timelines it wrote: one more than there were changes of the leader.
    pub fn timelines(&self) -> usize {
        self.acknowledged.iter().map(|(_, timeline)| timeline).collect::<BTreeSet<_>>().len()
    }
}

/// A number is never tried twice: what was not acknowledged may be written all the same.
fn write(uri: &str, patience: Duration, stop: &AtomicBool, acknowledged: &AtomicU64) -> Written {
    let mut written = Written::default();
    let mut session: Option<Session> = None;
    let mut last: Option<Instant> = None;
    let mut next = 0;
    while !stop.load(Ordering::SeqCst) {
        next += 1;
        let timeline = match &mut session {
            Some(session) => session.write(next),
            None => {
                session = Session::open(uri, patience);
                session.as_mut().and_then(|session| session.write(next))
            }
        };
        if let Some(timeline) = timeline {
            let now = Instant::now();
            written.longest = written.longest.max(last.map_or(Duration::ZERO, |last| now - last));
            last = Some(now);
            written.acknowledged.push((next, timeline));
            acknowledged.fetch_add(1, Ordering::SeqCst);
        } else {
            session = None;
            written.failures += 1;
        }
        thread::sleep(PACE);
    }
    written
}

/// One psql that is told statements, one after the other.
struct Session {
    psql: Child,
    stdin: ChildStdin,
    rows: Receiver<String>,
    patience: Duration,
}

impl Session {
    fn open(uri: &str, patience: Duration) -> Option<Self> {
        let mut psql = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1", uri])
            .env("PGCONNECT_TIMEOUT", patience.as_secs().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let (stdin, stdout) = (psql.stdin.take()?, psql.stdout.take()?);
        let (tell, rows) = unbounded();
        // Ends with psql.
        thread::spawn(move || {
            for row in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(row).is_err() {
                    return;
                }
            }
        });
        Some(Self { psql, stdin, rows, patience })
    }

    /// Writes a number, and gives the timeline that it is written on.
    fn write(&mut self, number: u64) -> Option<String> {
        let timeline = "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
        writeln!(self.stdin, "INSERT INTO written SELECT {number}, {timeline} RETURNING n, timeline;")
            .ok()?;
        let row = self.rows.recv_timeout(self.patience).ok()?;
        let (written, timeline) = row.split_once('|')?;
        (written == number.to_string()).then(|| timeline.to_owned())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.psql.kill());
        drop(self.psql.wait());
    }
}
