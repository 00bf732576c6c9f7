//! A file that is read as it is, while what is written stays in memory: redb can repair, read and check it there before
//! anything in the real one changes. Knows nothing of what is in the file.

use std::collections::HashMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

const PAGE: usize = 4096;

/// Looks like `base`, and leaves it alone. It takes the file's locks and does not give them back: whoever opens the
/// file itself through the same `base` has them already, so that nobody else can come in between.
#[derive(Debug)]
pub(super) struct Overlay {
    base: Arc<dyn StorageBackend>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// How much of the base is still to be seen: what was cut off once reads as zeros, should it grow again.
    base_len: u64,
    /// Whole pages by their number.
    pages: HashMap<u64, Box<[u8]>>,
}

impl Overlay {
    /// Over `base` as it is now.
    pub(super) fn new(base: Arc<dyn StorageBackend>) -> io::Result<Self> {
        let len = base.len()?;
        Ok(Self { base, written: Mutex::new(Written { len, base_len: len, pages: HashMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of the base, and zeros after its end.
    fn read_base(&self, base_len: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let seen = usize::try_from(base_len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (from_base, after) = out.split_at_mut(seen);
        after.fill(0);
        if from_base.is_empty() { Ok(()) } else { self.base.read(offset, from_base) }
    }
}

/// The parts of `len` bytes at `offset` by page: its number, the range in it, and where the part begins in the whole.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let count = (PAGE - within).min(len - done);
        let part = (at / PAGE as u64, within..within + count, done);
        done += count;
        (count > 0).then_some(part)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_base(written.base_len, offset, out)?;
        if !written.pages.is_empty() {
            for (page, within, at) in parts(offset, out.len()) {
                if let Some(bytes) = written.pages.get(&page) {
                    out[at..at + within.len()].copy_from_slice(&bytes[within]);
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        if len < written.len {
            let (last, within) = (len / PAGE as u64, (len % PAGE as u64) as usize);
            written.pages.retain(|page, _| *page <= last);
            if let Some(bytes) = written.pages.get_mut(&last) {
                bytes[within..].fill(0);
            }
        }
        written.base_len = written.base_len.min(len);
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let end = offset.checked_add(data.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        written.len = written.len.max(end);
        for (page, within, at) in parts(offset, data.len()) {
            if !written.pages.contains_key(&page) {
                let mut bytes = vec![0; PAGE].into_boxed_slice();
                self.read_base(written.base_len, page * PAGE as u64, &mut bytes)?;
                written.pages.insert(page, bytes);
            }
            if let Some(bytes) = written.pages.get_mut(&page) {
                bytes[within.clone()].copy_from_slice(&data[at..at + within.len()]);
            }
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.base.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.base.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.base.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.base.lock_shared_range(start, end)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.base.query_lock_range(start, end)
    }
}

/// A file that has been checked, for redb to keep: all calls go through.
#[derive(Clone, Debug)]
pub(super) struct Through(pub Arc<dyn StorageBackend>);

impl StorageBackend for Through {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::Overlay;

    /// Whatever is done to it, it reads as a file would to which the same was done, and what is below stays as it was.
    #[test]
    fn it_behaves_as_a_file_and_leaves_its_base_alone() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let base = Arc::new(InMemoryBackend::new());
            let content: Vec<u8> = (0..random.random_range(0..20_000)).map(|_| random.random()).collect();
            base.set_len(content.len() as u64).unwrap();
            base.write(0, &content).unwrap();
            let overlay = Overlay::new(base.clone()).unwrap();
            let mut model = content.clone();
            for _ in 0..40 {
                let len: usize = random.random_range(0..25_000);
                match random.random_range(0..4) {
                    0 => {
                        overlay.set_len(len as u64).unwrap();
                        model.resize(len, 0);
                    }
                    1 | 2 if !model.is_empty() => {
                        let at = random.random_range(0..model.len());
                        let data: Vec<u8> = (0..len.min(model.len() - at)).map(|_| random.random()).collect();
                        overlay.write(at as u64, &data).unwrap();
                        model[at..at + data.len()].copy_from_slice(&data);
                    }
                    _ => {}
                }
                let mut all = vec![1; model.len()];
                overlay.read(0, &mut all).unwrap();
                assert!(all == model, "seed {seed}");
                assert!(overlay.read(model.len() as u64, &mut [0]).is_err(), "seed {seed}: past its end");
            }
            let mut below = vec![0; content.len()];
            base.read(0, &mut below).unwrap();
            assert!(below == content && base.len().unwrap() == content.len() as u64, "seed {seed}");
        }
    }
}
