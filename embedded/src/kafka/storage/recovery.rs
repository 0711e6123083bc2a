//! Reads a partition's file at start, and takes off an end that is not sound.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::kafka::batch::{BatchHeader, HEADER_BYTES, crc_holds};
use crate::kafka::log::{Log, Place};

const READ_BYTES: usize = 1 << 20;

/// The log in the file at `path` from `start_offset` on, and the bytes of it. What follows the last sound batch goes to a file
/// beside it, ending in `.cut`.
pub(super) fn recover(path: &Path, start_offset: i64) -> io::Result<(Log, u64)> {
    let mut log = Log::default();
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((log, 0)),
        Err(error) => return Err(error),
    };
    let file_bytes = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(READ_BYTES, &file);
    let mut sound_bytes = 0;
    let mut batch = Vec::new();
    while let Some(header) = next_batch(&mut reader, file_bytes - sound_bytes, &mut batch)? {
        if header.base_offset != log.end_offset() || header.last_offset_delta < 0 {
            break;
        }
        log.push(&header, Place::File(sound_bytes));
        sound_bytes += batch.len() as u64;
    }
    if sound_bytes < file_bytes {
        cut(path, &file, sound_bytes, file_bytes)?;
    }
    // A start beyond the end would be of records that were acknowledged and are lost; the log then ends where it ends.
    let start_offset = start_offset.min(log.end_offset());
    let _ = log.delete_before(start_offset);
    Ok((log, sound_bytes))
}

/// Reads one batch into `batch`; `None` where no sound batch follows.
fn next_batch(reader: &mut impl Read, left_bytes: u64, batch: &mut Vec<u8>) -> io::Result<Option<BatchHeader>> {
    if left_bytes < HEADER_BYTES as u64 {
        return Ok(None);
    }
    batch.resize(HEADER_BYTES, 0);
    reader.read_exact(batch)?;
    let Some(header) = BatchHeader::read(batch).filter(|header| header.size as u64 <= left_bytes) else {
        return Ok(None);
    };
    batch.resize(header.size, 0);
    reader.read_exact(&mut batch[HEADER_BYTES..])?;
    Ok(Some(header).filter(|_| crc_holds(batch)))
}

fn cut(path: &Path, mut file: &File, sound_bytes: u64, file_bytes: u64) -> io::Result<()> {
    let aside = path.with_extension("cut");
    tracing::warn!(
        file = %path.display(),
        cut_bytes = file_bytes - sound_bytes,
        kept_in = %aside.display(),
        "the end of a log is not whole and was taken off"
    );
    file.seek(SeekFrom::Start(sound_bytes))?;
    io::copy(&mut file, &mut File::create(&aside)?)?;
    file.set_len(sound_bytes)?;
    file.sync_all()
}
