//! A disk that forgets. What is written is seen at once, as through a system's page cache, and stays only once it is
//! synced: when the power goes, any part of the rest is there and any part is not, and one write may be torn.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::RngExt;
use rand::rngs::StdRng;
use redb::StorageBackend;

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    synced: Vec<u8>,
    seen: Vec<u8>,
    since: Vec<Write>,
    /// How many more calls that change something it takes; none if it takes all.
    left: Option<u64>,
    calls: u64,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Write {
    fn on(&self, bytes: &mut Vec<u8>, torn_at: Option<usize>) {
        match self {
            Self::Length(len) => bytes.resize(*len, 0),
            Self::Bytes(at, data) => {
                // Bytes after the end of a file that did not grow are nowhere.
                let end = (at + torn_at.unwrap_or(data.len()).min(data.len())).min(bytes.len());
                if *at < end {
                    bytes[*at..end].copy_from_slice(&data[..end - at]);
                }
            }
        }
    }
}

impl Disk {
    /// A disk on which this has been for long.
    pub(super) fn with(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Inside { synced: bytes.clone(), seen: bytes, ..Inside::default() })))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// The power goes after so many more writes, cuts and syncs.
    pub(super) fn cut_after(&self, calls: u64) {
        self.inside().left = Some(calls);
    }

    /// How many writes, cuts and syncs it has taken.
    pub(super) fn calls(&self) -> u64 {
        self.inside().calls
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.inside().seen.clone()
    }

    /// Puts other bytes where these were, behind the back of whoever has it open.
    pub(super) fn become_other(&self, bytes: Vec<u8>) {
        let mut inside = self.inside();
        inside.since.clear();
        inside.synced.clone_from(&bytes);
        inside.seen = bytes;
    }

    /// What is there when the power is back.
    pub(super) fn after_power_loss(&self, random: &mut StdRng) -> Self {
        let inside = self.inside();
        let mut bytes = inside.synced.clone();
        let chance = [0.0, 0.1, 0.5, 0.9, 1.0][random.random_range(0..5)];
        let kept: Vec<&Write> = inside.since.iter().filter(|_| random.random_bool(chance)).collect();
        for (nth, write) in kept.iter().enumerate() {
            let torn = match write {
                Write::Bytes(_, data) if nth + 1 == kept.len() && random.random_bool(0.7) => {
                    Some(random.random_range(0..=data.len() / SECTOR) * SECTOR)
                }
                _ => None,
            };
            write.on(&mut bytes, torn);
        }
        Self::with(bytes)
    }

    fn change(&self, write: Write) -> io::Result<()> {
        let mut inside = self.inside();
        inside.take()?;
        write.on(&mut inside.seen, None);
        inside.since.push(write);
        Ok(())
    }
}

impl Inside {
    fn take(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.calls += 1;
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inside().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inside = self.inside();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = from.checked_add(out.len()).filter(|end| *end <= inside.seen.len());
        out.copy_from_slice(&inside.seen[from..end.ok_or(io::ErrorKind::UnexpectedEof)?]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Write::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inside = self.inside();
        inside.take()?;
        let Inside { synced, since, .. } = &mut *inside;
        since.drain(..).for_each(|write| write.on(synced, None));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Write::Bytes(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}
