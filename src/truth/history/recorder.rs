//! Writing and reading histories.
//!
//! A recorder writes through one bounded buffer; it never drops a record
//! silently: what cannot be written is reported by [`Recorder::finish`]. A
//! file whose last line is torn (its writer was killed) reads up to that line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::{History, Record};

/// Records one history may have, in memory and when read.
pub const HISTORY_RECORDS_MAX: usize = 20_000_000;
const BUFFER_BYTES: usize = 256 * 1024;
const FORMAT: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the history cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("line {line} is not a record: {why}")]
    Record { line: usize, why: String },
    #[error("the first line is not the header of a history of format {FORMAT}")]
    Header,
    #[error("the history has more than {records_max} records")]
    TooLong { records_max: usize },
}

#[derive(Serialize, Deserialize)]
struct Header {
    usher_history: u32,
}

enum Sink {
    Memory {
        records: Vec<Record>,
        records_max: usize,
    },
    File(BufWriter<File>),
}

struct Inner {
    sink: Sink,
    /// The first failure; nothing is recorded after it.
    failed: Option<HistoryError>,
}

/// Takes records from any thread.
pub struct Recorder(Mutex<Inner>);

impl Recorder {
    /// Keeps up to `records_max` records in memory.
    #[must_use]
    pub fn in_memory(records_max: usize) -> Self {
        Self::new(Sink::Memory {
            records: Vec::new(),
            records_max,
        })
    }

    /// Writes a new file.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn to_file(path: &Path) -> Result<Self, HistoryError> {
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
        let header = Header {
            usher_history: FORMAT,
        };
        write_line(&mut file, &header)?;
        Ok(Self::new(Sink::File(file)))
    }

    fn new(sink: Sink) -> Self {
        Self(Mutex::new(Inner { sink, failed: None }))
    }

    /// Takes one record. Failures are kept for `finish`: a client under test
    /// has no use for them.
    pub fn record(&self, record: Record) {
        let mut inner = self.lock();
        if inner.failed.is_some() {
            return;
        }
        let taken = match &mut inner.sink {
            Sink::Memory {
                records,
                records_max,
            } if records.len() >= *records_max => Err(HistoryError::TooLong {
                records_max: *records_max,
            }),
            Sink::Memory { records, .. } => {
                records.push(record);
                Ok(())
            }
            Sink::File(file) => write_line(file, &record),
        };
        inner.failed = taken.err();
    }

    /// Flushes; answers the records of a recorder in memory, and an empty
    /// history for one that wrote a file.
    ///
    /// # Errors
    /// The first failure, if any record is missing.
    pub fn finish(self) -> Result<History, HistoryError> {
        let inner = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = inner.failed {
            return Err(error);
        }
        match inner.sink {
            Sink::Memory { records, .. } => Ok(History::new(records)),
            Sink::File(mut file) => {
                file.flush()?;
                Ok(History::default())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each record is taken whole or not at all: a panic elsewhere harms none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_line(file: &mut impl Write, line: &impl Serialize) -> Result<(), HistoryError> {
    serde_json::to_writer(&mut *file, line).map_err(io::Error::from)?;
    file.write_all(b"\n")?;
    Ok(())
}

/// Reads a history from a file.
///
/// # Errors
/// [`HistoryError`], naming the line.
pub fn read(path: &Path) -> Result<History, HistoryError> {
    read_from(BufReader::new(File::open(path)?), HISTORY_RECORDS_MAX)
}

/// Reads a history of at most `records_max` records.
///
/// # Errors
/// [`HistoryError`], naming the line.
pub fn read_from(mut lines: impl BufRead, records_max: usize) -> Result<History, HistoryError> {
    let mut text = Vec::new();
    lines.read_until(b'\n', &mut text)?;
    match serde_json::from_slice::<Header>(&text) {
        Ok(header) if header.usher_history == FORMAT => {}
        _ => return Err(HistoryError::Header),
    }
    let mut records = Vec::new();
    for line in 2.. {
        text.clear();
        lines.read_until(b'\n', &mut text)?;
        // Without its newline a line is torn, or there is none.
        if text.last() != Some(&b'\n') {
            break;
        }
        if records.len() == records_max {
            return Err(HistoryError::TooLong { records_max });
        }
        let record = serde_json::from_slice(&text).map_err(|error| HistoryError::Record {
            line,
            why: error.to_string(),
        })?;
        records.push(record);
    }
    Ok(History::new(records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::planted::clean_history;

    fn written(history: &History) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("history.jsonl");
        let recorder = Recorder::to_file(&path).expect("file");
        for record in &history.records {
            recorder.record(record.clone());
        }
        recorder.finish().expect("written");
        (dir, path)
    }

    #[test]
    fn every_kind_of_record_survives_the_file() {
        let history = clean_history();
        let (_dir, path) = written(&history);
        assert_eq!(read(&path).expect("read").records, history.records);
    }

    #[test]
    fn a_torn_last_line_is_left_out() {
        let history = clean_history();
        let (_dir, path) = written(&history);
        let mut bytes = std::fs::read(&path).expect("bytes");
        bytes.truncate(bytes.len() - 3);
        let torn = read_from(bytes.as_slice(), HISTORY_RECORDS_MAX).expect("read");
        let (_, whole) = history.records.split_last().expect("records");
        assert_eq!(torn.records, whole);
    }

    #[test]
    fn a_bad_line_is_named() {
        let text = "{\"usher_history\":1}\n{\"no\":1}\n";
        let error = read_from(text.as_bytes(), 10).expect_err("bad");
        assert!(
            matches!(error, HistoryError::Record { line: 2, .. }),
            "{error}"
        );
        for text in ["", "{}\n", "{\"usher_history\":2}\n", "no\n"] {
            let error = read_from(text.as_bytes(), 10).expect_err(text);
            assert!(matches!(error, HistoryError::Header), "{error}");
        }
    }

    #[test]
    fn memory_is_bounded_and_says_so() {
        let history = clean_history();
        let recorder = Recorder::in_memory(2);
        for record in &history.records {
            recorder.record(record.clone());
        }
        let error = recorder.finish().expect_err("too long");
        assert!(matches!(error, HistoryError::TooLong { records_max: 2 }));
    }

    #[test]
    fn it_records_from_many_threads() {
        let record = &clean_history().records[0];
        let recorder = Recorder::in_memory(1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| recorder.record(record.clone())));
            }
        });
        assert_eq!(recorder.finish().expect("all").records.len(), 400);
    }
}
