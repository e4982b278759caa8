//! Decompression by magic number, never by name: gzip (RFC 1952, several members one after another) and zstd (RFC 8878,
//! several frames, skippable ones too); anything else comes through as it is.
//!
//! What the reader behind it must be able to tell apart, it tells by the kind of the error: a stream that breaks off is
//! `UnexpectedEof`, one that is damaged `InvalidData`, one that grows past a bound `FileTooLarge` ([`problem_kind`]).

use crate::domain::ProblemKind;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Error, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Times that a document may grow on decompression. Scanner reports repeat themselves: real ones come to 20–60, ARF
/// files to 90; deflate cannot exceed 1032, zstd can.
pub const MAX_RATIO: u64 = 400;

/// Up to this size no ratio is looked at: a small document of blanks harms nobody.
const RATIO_FREE: u64 = 64 << 20;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BUFFER: usize = 128 << 10;

/// Opens a stream of bytes that may be compressed. `max_bytes` counts what comes out; `max_ratio` is [`MAX_RATIO`]
/// unless there is reason for another.
///
/// # Errors
/// The first bytes cannot be read. Later faults come from the reader.
pub fn open(reader: impl Read + Send + 'static, max_bytes: u64, max_ratio: u64) -> io::Result<Box<dyn BufRead + Send>> {
    let taken = Arc::new(AtomicU64::new(0));
    let mut counted = Counted { inner: reader, taken: Arc::clone(&taken) };
    let mut magic = [0u8; 4];
    let mut have = 0;
    while have < magic.len() {
        match counted.read(&mut magic[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let is_zstd = have == 4 && (magic == ZSTD || is_skippable(magic));
    let is_gzip = have >= 2 && magic[..2] == GZIP;
    let whole = Cursor::new(magic).take(have as u64).chain(counted);
    Ok(if is_gzip {
        let inner = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, whole));
        limited(Gzip { inner }, max_bytes, Some((taken, max_ratio)))
    } else if is_zstd {
        let source = BufReader::with_capacity(BUFFER, whole);
        let decoder = Zstd { source, decoder: FrameDecoder::new(), between: true, failed: false };
        limited(decoder, max_bytes, Some((taken, max_ratio)))
    } else {
        limited(whole, max_bytes, None)
    })
}

/// Opens a regular file that may be compressed; refuses pipes and devices, which could make us wait for ever.
///
/// # Errors
/// It cannot be opened, is not a regular file, or its first bytes cannot be read.
pub fn open_path(path: &Path, max_bytes: u64, max_ratio: u64) -> io::Result<Box<dyn BufRead + Send>> {
    // Opening a pipe without a writer blocks, so it is looked at first. Whoever may swap the file in between may also
    // write whatever evidence he likes.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    open(File::open(path)?, max_bytes, max_ratio)
}

/// The problem that an error of a reader opened here is.
pub fn problem_kind(error: &Error) -> ProblemKind {
    match error.kind() {
        ErrorKind::UnexpectedEof => ProblemKind::Truncated,
        ErrorKind::FileTooLarge => ProblemKind::Limit,
        ErrorKind::InvalidData => ProblemKind::Malformed,
        ErrorKind::PermissionDenied => ProblemKind::Denied,
        ErrorKind::NotFound | ErrorKind::InvalidInput => ProblemKind::Source,
        ErrorKind::TimedOut => ProblemKind::Timeout,
        _ => ProblemKind::Internal,
    }
}

/// RFC 8878 section 3.1.2: 0x184D2A50 to 0x184D2A5F, little endian.
fn is_skippable(magic: [u8; 4]) -> bool {
    u32::from_le_bytes(magic) & 0xffff_fff0 == 0x184d_2a50
}

/// Counts what is taken from the source.
struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.taken.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

fn limited(inner: impl Read + Send + 'static, max_bytes: u64, ratio: Option<(Arc<AtomicU64>, u64)>) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(BUFFER, Limited { inner, given: 0, max_bytes, ratio }))
}

/// Refuses to give more than allowed.
struct Limited<R> {
    inner: R,
    given: u64,
    max_bytes: u64,
    ratio: Option<(Arc<AtomicU64>, u64)>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.given = self.given.saturating_add(n as u64);
        if self.given > self.max_bytes {
            return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than the {} bytes allowed", self.max_bytes)));
        }
        if let Some((taken, max_ratio)) = &self.ratio {
            let taken = taken.load(Ordering::Relaxed);
            if self.given > RATIO_FREE && self.given / taken.max(1) > *max_ratio {
                let message = format!("{taken} bytes unpack to more than {} bytes, over {max_ratio} times as many", self.given);
                return Err(Error::new(ErrorKind::FileTooLarge, message));
            }
        }
        Ok(n)
    }
}

/// gzip with its errors put into our words.
struct Gzip<R: BufRead> {
    inner: MultiGzDecoder<R>,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buf).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => Error::new(ErrorKind::UnexpectedEof, "the gzip stream breaks off"),
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                Error::new(ErrorKind::InvalidData, format!("the gzip stream is damaged: {e}"))
            }
            _ => e,
        })
    }
}

/// zstd frames one after another. ruzstd decodes one frame and leaves the checksum to its caller.
struct Zstd<R: BufRead> {
    source: R,
    decoder: FrameDecoder,
    /// True between frames, where the stream may end.
    between: bool,
    /// After an error the decoder's state means nothing.
    failed: bool,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(Error::new(ErrorKind::InvalidData, "the zstd stream is damaged"));
        }
        // The decoder is another's code on bytes from outside; should it panic, only this document is lost.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.step(buf)))
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::InvalidData, "the zstd stream is damaged")));
        self.failed = result.is_err();
        result
    }
}

impl<R: BufRead> Zstd<R> {
    fn step(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if self.between && !self.begin()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let strategy = BlockDecodingStrategy::UptoBytes(buf.len());
                if let Err(e) = self.decoder.decode_blocks(&mut self.source, strategy) {
                    return Err(self.explain(&e));
                }
            }
            let n = self.decoder.read(buf)?;
            if n > 0 {
                return Ok(n);
            }
            // Everything of this frame has been given.
            let (written, computed) = (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum());
            if written.is_some() && written != computed {
                return Err(Error::new(ErrorKind::InvalidData, "the zstd stream is damaged: its checksum does not match"));
            }
            self.between = true;
        }
    }

    /// Begins the next frame; false at the end of the stream.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.between = false;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut (&mut self.source).take(u64::from(length)), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(Error::new(ErrorKind::UnexpectedEof, "the zstd stream breaks off"));
                    }
                }
                Err(e) => return Err(self.explain(&e)),
            }
        }
    }

    fn explain(&mut self, error: &FrameDecoderError) -> Error {
        if matches!(error, FrameDecoderError::WindowSizeTooBig { .. }) {
            return Error::new(ErrorKind::FileTooLarge, format!("the zstd stream asks for too much memory: {error}"));
        }
        // The decoder says in a dozen ways that a read came short; that the source is at its end says it in one.
        match self.source.fill_buf() {
            Ok([]) => Error::new(ErrorKind::UnexpectedEof, "the zstd stream breaks off"),
            Ok(_) => Error::new(ErrorKind::InvalidData, format!("the zstd stream is damaged: {error}")),
            Err(e) => e,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut e = GzEncoder::new(Vec::new(), Compression::default());
        e.write_all(data).unwrap();
        e.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        compress_to_vec(data, CompressionLevel::Fastest)
    }

    fn read_with(bytes: Vec<u8>, max_bytes: u64) -> Result<Vec<u8>, (ErrorKind, String)> {
        let mut out = Vec::new();
        open(Cursor::new(bytes), max_bytes, MAX_RATIO).and_then(|mut r| r.read_to_end(&mut out)).map_err(|e| (e.kind(), e.to_string()))?;
        Ok(out)
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<u8>, (ErrorKind, String)> {
        read_with(bytes, 1 << 40)
    }

    /// Varied enough that the compressors make real blocks of it.
    fn report() -> Vec<u8> {
        (0..3000u32)
            .flat_map(|i| format!("{{\"check\":\"c{}\",\"result\":\"pass\"}}\n", i.wrapping_mul(2_654_435_761)).into_bytes())
            .collect()
    }

    #[test]
    fn gzip_zstd_and_plain_come_out_alike() {
        let plain = report();
        assert_eq!(read(plain.clone()), Ok(plain.clone()));
        assert_eq!(read(gzip(&plain)), Ok(plain.clone()));
        assert_eq!(read(zstd(&plain)), Ok(plain.clone()));
        for short in [&b""[..], b"[", b"[]", b"\x1f", b"\x28\xb5\x2f"] {
            assert_eq!(read(short.to_vec()), Ok(short.to_vec()));
        }
    }

    #[test]
    fn members_and_frames_one_after_another_are_one_document() {
        let (a, b) = (report(), b"{\"check\":\"last\"}\n".to_vec());
        let whole = [a.clone(), b.clone()].concat();
        assert_eq!(read([gzip(&a), gzip(&b)].concat()), Ok(whole.clone()));
        assert_eq!(read([zstd(&a), zstd(&b)].concat()), Ok(whole.clone()));
        let skippable = [&0x184d_2a53u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"abc"].concat();
        assert_eq!(read([skippable.clone(), zstd(&a), skippable.clone(), zstd(&b), skippable].concat()), Ok(whole));
    }

    #[test]
    fn a_stream_that_breaks_off_is_truncated_wherever_it_does() {
        for (packed, first) in [(gzip(&report()), 2), (zstd(&report()), 4)] {
            for cut in (first..packed.len()).step_by(packed.len() / 50).chain([packed.len() - 1, packed.len() - 5]) {
                let got = read(packed[..cut].to_vec());
                assert_eq!(
                    got.as_ref().map_err(|e| e.0).err(),
                    Some(ErrorKind::UnexpectedEof),
                    "cut at {cut} of {}: {got:?}",
                    packed.len()
                );
            }
        }
        let two = [gzip(b"a"), gzip(&report())].concat();
        assert_eq!(read(two[..two.len() / 2].to_vec()).map_err(|e| e.0), Err(ErrorKind::UnexpectedEof));
    }

    #[test]
    fn a_damaged_stream_is_an_error_and_never_a_panic() {
        for packed in [gzip(&report()), zstd(&report())] {
            for at in (4..packed.len()).step_by(packed.len() / 100 + 1) {
                let mut bad = packed.clone();
                bad[at] ^= 0x55;
                // A flip in gzip's name or time fields changes nothing that counts.
                if let Ok(out) = read(bad) {
                    assert_eq!(out, report(), "a flip at {at} changed the document unnoticed");
                }
            }
        }
    }

    #[test]
    fn size_and_ratio_are_bounded() {
        let (kind, message) = read_with(report(), 1000).unwrap_err();
        assert_eq!((kind, message.as_str()), (ErrorKind::FileTooLarge, "larger than the 1000 bytes allowed"));
        assert_eq!(read_with(gzip(&report()), 1000).unwrap_err().0, ErrorKind::FileTooLarge);
        assert_eq!(read_with(report(), report().len() as u64), Ok(report()));

        let bomb = gzip(&vec![b' '; 80 << 20]);
        let mut reader = open(Cursor::new(bomb), u64::MAX, MAX_RATIO).unwrap();
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert_eq!(problem_kind(&error), ProblemKind::Limit);
        assert!(error.to_string().contains("over 400 times as many"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let error = open_path(Path::new("/dev/zero"), 10, 10).err().unwrap();
        assert_eq!(error.to_string(), "not a regular file");
    }
}
