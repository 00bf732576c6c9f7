//! What `scripts/bench` asks of a store that speaks etcd's v2 API, where wrk is no use:
//!
//! ```text
//! store_load load ADDRESS KEYS              puts so many keys with values of 100 bytes, the first 10,000 as store.lua names them
//! store_load watch ADDRESS WATCHERS ROUNDS  milliseconds from a put to the last watcher's answer: median and longest
//! store_load wait ADDRESS PATH              milliseconds until a GET is answered with 200
//! store_load sync FILE SECONDS WRITES BYTES how often a second so many writes, each of so many bytes, and an fdatasync are done
//! ```

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// So many connections share one commit, so that loading does not take as long as what is measured.
const LOADERS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["load", address, keys] => load(address, keys.parse()?),
        ["watch", address, watchers, rounds] => watch(address, watchers.parse()?, rounds.parse()?),
        ["wait", address, path] => wait(address, path),
        ["sync", file, seconds, writes, bytes] => {
            sync(file, Duration::from_secs(seconds.parse()?), writes.parse()?, bytes.parse()?)
        }
        _ => Err("load, watch, wait or sync".into()),
    }
}

/// One connection that is kept.
struct Connection {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { address: address.to_owned(), stream: BufReader::with_capacity(1024, stream) })
    }

    fn ask(&mut self, method: &str, path: &str, form: &str) -> Outcome<()> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            self.address,
            form.len()
        );
        Ok(self.stream.get_mut().write_all(request.as_bytes())?)
    }

    /// The status, and the body's length where it is not in chunks.
    fn head(&mut self) -> Outcome<(u16, Option<u64>)> {
        let status = self.line()?.split(' ').nth(1).ok_or("no status")?.parse()?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok((status, length));
            }
            if let Some(given) = line.strip_prefix("content-length:") {
                length = Some(given.trim().parse()?);
            }
        }
    }

    fn body(&mut self, length: Option<u64>) -> Outcome<u64> {
        let Some(length) = length else { return self.chunks() };
        self.skip(length)?;
        Ok(length)
    }

    fn chunks(&mut self) -> Outcome<u64> {
        let mut whole = 0;
        loop {
            let length = u64::from_str_radix(&self.line()?, 16)?;
            self.skip(length + 2)?;
            whole += length;
            if length == 0 {
                return Ok(whole);
            }
        }
    }

    fn skip(&mut self, length: u64) -> Outcome<()> {
        let skipped = std::io::copy(&mut (&mut self.stream).take(length), &mut std::io::sink())?;
        if skipped == length { Ok(()) } else { Err("an answer broke off".into()) }
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err("the connection ended".into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn put(&mut self, path: &str, form: &str) -> Outcome<()> {
        self.ask("PUT", path, form)?;
        let (status, length) = self.head()?;
        self.body(length)?;
        if (200..300).contains(&status) { Ok(()) } else { Err(format!("{path}: {status}").into()) }
    }
}

fn load(address: &str, keys: usize) -> Outcome<()> {
    let form = format!("value={}", "v".repeat(100));
    let begun = Instant::now();
    thread::scope(|scope| -> Outcome<()> {
        let loaders: Vec<_> = (0..LOADERS)
            .map(|loader| {
                let form = &form;
                scope.spawn(move || -> Outcome<()> {
                    let mut connection = Connection::open(address)?;
                    for number in (loader..keys).step_by(LOADERS) {
                        connection.put(&format!("/v2/keys/bench/{}/{number}", number % 100), form)?;
                    }
                    Ok(())
                })
            })
            .collect();
        loaders.into_iter().try_for_each(|loader| loader.join().map_err(|_| "a loader panicked")?)
    })?;
    println!("{:.0}", keys as f64 / begun.elapsed().as_secs_f64());
    Ok(())
}

fn watch(address: &str, watchers: usize, rounds: usize) -> Outcome<()> {
    let mut writer = Connection::open(address)?;
    writer.put("/v2/keys/watched", "value=0")?;
    let mut waiting =
        (0..watchers).map(|_| Connection::open(address)).collect::<Outcome<Vec<Connection>>>()?;
    let mut took_ms = Vec::new();
    for round in 0..rounds {
        for watcher in &mut waiting {
            watcher.ask("GET", "/v2/keys/watched?wait=true", "")?;
        }
        // The head comes when the watch is on.
        let heads = waiting.iter_mut().map(|watcher| Ok(watcher.head()?.1));
        let lengths = heads.collect::<Outcome<Vec<Option<u64>>>>()?;
        let begun = Instant::now();
        writer.put("/v2/keys/watched", &format!("value={round}"))?;
        for (watcher, length) in waiting.iter_mut().zip(lengths) {
            if watcher.body(length)? == 0 {
                return Err("a watch ended without a change".into());
            }
        }
        took_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    took_ms.sort_by(f64::total_cmp);
    println!("{:.2} {:.2}", took_ms[took_ms.len() / 2], took_ms[took_ms.len() - 1]);
    Ok(())
}

fn wait(address: &str, path: &str) -> Outcome<()> {
    let begun = Instant::now();
    let answered = || -> Outcome<bool> {
        let mut connection = Connection::open(address)?;
        connection.ask("GET", path, "")?;
        Ok(connection.head()?.0 == 200)
    };
    while !matches!(answered(), Ok(true)) {
        if begun.elapsed() > PATIENCE {
            return Err("it does not answer".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    println!("{:.0}", begun.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}

/// The file has its size before: growing it, or filling its holes, would ask the file system's journal each time, and
/// neither store does that for a usual put. One write goes behind the one before, as in a log; several go all over the
/// file, as pages do.
fn sync(file: &str, duration: Duration, writes: u64, bytes: usize) -> Outcome<()> {
    let file = OpenOptions::new().write(true).open(file)?;
    let places = (file.metadata()?.len() / bytes as u64).saturating_sub(1).max(1);
    let stride = if writes == 1 { 1 } else { 7919 };
    let (mut place, mut took_ms) = (0, Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < duration {
        let data = vec![b'a' + (took_ms.len() % 26) as u8; bytes];
        let before = Instant::now();
        for _ in 0..writes {
            file.write_all_at(&data, place * bytes as u64)?;
            place = (place + stride) % places;
        }
        file.sync_data()?;
        took_ms.push(before.elapsed().as_secs_f64() * 1000.0);
    }
    took_ms.sort_by(f64::total_cmp);
    let rate = took_ms.len() as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} {:.2} {:.2} 0 0", took_ms[took_ms.len() / 2], took_ms[took_ms.len() * 99 / 100]);
    Ok(())
}
