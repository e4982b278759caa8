//! The latest instant at which counters were exposed, in a small file beside the ledger.
//!
//! Two slots of 24 bytes: instant (ms), sequence, check, each eight bytes little-endian. Writes go to the older slot,
//! so that a write torn by a kill leaves the other one whole.

use super::{Config, LedgerError};
use crate::domain::{Moment, Span};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const SLOT: usize = 24;

/// How far the mark may run ahead of what a power cut would leave. A kill loses nothing: the kernel has the bytes.
const SYNC_EVERY: Span = Span::MINUTE;

/// The last instant at which counters were exposed, kept in a file of its own beside the ledger.
#[derive(Debug)]
pub struct HighWaterMark {
    mark: Moment,
    file: Option<(File, String)>,
    sequence: u64,
    synced: Moment,
}

impl HighWaterMark {
    /// Opens the mark that belongs to `config`, before or after the ledger itself. Only the process that holds the ledger
    /// may raise it.
    ///
    /// # Errors
    /// The file system said no.
    pub fn open(config: &Config) -> Result<HighWaterMark, LedgerError> {
        let Config::Sqlite { path } = config else {
            return Ok(HighWaterMark { mark: Moment::default(), file: None, sequence: 0, synced: Moment::default() });
        };
        let path = beside(path, "-mark");
        let name = path.display().to_string();
        let io = |source| LedgerError::Io { path: name.clone(), source };
        if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).map_err(io)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        let mut bytes = Vec::with_capacity(2 * SLOT);
        (&mut file).take(2 * SLOT as u64).read_to_end(&mut bytes).map_err(io)?;
        let (sequence, mark) = bytes.chunks_exact(SLOT).filter_map(read_slot).max().unwrap_or_default();
        Ok(HighWaterMark { mark, file: Some((file, name)), sequence, synced: Moment::default() })
    }

    /// The latest instant exposed so far.
    pub fn get(&self) -> Moment {
        self.mark
    }

    /// Raises the mark to `now` before a response is sent, and returns the instant to expose: `now`, or the mark if
    /// the clock went back. Cheap: 24 bytes written in place; flushed to the disk at most once a minute.
    ///
    /// # Errors
    /// The file system said no.
    pub fn raise(&mut self, now: Moment) -> Result<Moment, LedgerError> {
        if now <= self.mark {
            return Ok(self.mark);
        }
        if let Some((file, name)) = &mut self.file {
            let sequence = self.sequence + 1;
            let write = |file: &mut File| {
                file.seek(SeekFrom::Start((sequence % 2) * SLOT as u64))?;
                file.write_all(&slot(sequence, now))?;
                if now.since(self.synced) >= SYNC_EVERY { file.sync_data().map(|()| true) } else { Ok(false) }
            };
            match write(file) {
                Ok(synced) => {
                    if synced {
                        self.synced = now;
                    }
                }
                Err(source) => return Err(LedgerError::Io { path: name.clone(), source }),
            }
            self.sequence = sequence;
        }
        self.mark = now;
        Ok(now)
    }
}

/// The file `path` with `suffix` behind its whole name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn slot(sequence: u64, mark: Moment) -> [u8; SLOT] {
    let mut out = [0; SLOT];
    out[..8].copy_from_slice(&mark.0.to_le_bytes());
    out[8..16].copy_from_slice(&sequence.to_le_bytes());
    let check = check(&out[..16]);
    out[16..].copy_from_slice(&check.to_le_bytes());
    out
}

fn read_slot(bytes: &[u8]) -> Option<(u64, Moment)> {
    let word = |i: usize| Some(u64::from_le_bytes(bytes.get(8 * i..8 * i + 8)?.try_into().ok()?));
    (word(2)? == check(&bytes[..16])).then_some((word(1)?, Moment(word(0)?.cast_signed())))
}

/// FNV-1a, 64 bit: against torn writes, not against people.
fn check(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(dir: &Path) -> Config {
        // The directory is made with it: the mark may be opened first.
        Config::Sqlite { path: dir.join("data").join("ledger.db") }
    }

    #[test]
    fn the_mark_survives_and_never_falls() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = at(dir.path());
        let mut mark = HighWaterMark::open(&config).expect("opens");
        assert_eq!(mark.get(), Moment(0));
        for now in [1000, 2000, 1500, 3000] {
            mark.raise(Moment(now)).expect("writes");
        }
        assert_eq!(mark.raise(Moment(10)).expect("writes"), Moment(3000), "the clock went back");
        drop(mark);
        assert_eq!(HighWaterMark::open(&config).expect("opens").get(), Moment(3000));
    }

    /// Whatever prefix of the newest write reached the disk, what is read is the newest or the one before.
    #[test]
    fn a_torn_write_leaves_the_other_slot() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = at(dir.path());
        let file = dir.path().join("data").join("ledger.db-mark");
        let mut mark = HighWaterMark::open(&config).expect("opens");
        mark.raise(Moment(1_000)).expect("writes");
        mark.raise(Moment(2_000)).expect("writes");
        let old = std::fs::read(&file).expect("reads");
        mark.raise(Moment(3_000)).expect("writes");
        let new = std::fs::read(&file).expect("reads");
        for cut in 0..=SLOT {
            let mut torn = old.clone();
            torn[SLOT..SLOT + cut].copy_from_slice(&new[SLOT..SLOT + cut]);
            std::fs::write(&file, &torn).expect("writes");
            let got = HighWaterMark::open(&config).expect("opens").get();
            assert!(got == Moment(2_000) || (cut == SLOT && got == Moment(3_000)) || torn == new, "{cut}: {got:?}");
        }
        std::fs::write(&file, b"rubbish").expect("writes");
        assert_eq!(HighWaterMark::open(&config).expect("opens").get(), Moment(0));
    }

    #[test]
    fn nothing_is_kept_in_memory_mode() {
        let mut mark = HighWaterMark::open(&Config::Memory).expect("opens");
        assert_eq!(mark.raise(Moment(5)).expect("raises"), Moment(5));
        assert_eq!(mark.get(), Moment(5));
    }
}
