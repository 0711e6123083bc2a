//! A folder as the place for dead letters: every process appends to a file of its own.

use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;

/// A file that is appended to, line by line.
#[derive(Debug)]
pub(super) struct FilePlace {
    folder: PathBuf,
    pub(super) path: PathBuf,
    /// And how long it is, up to the end of the last line that is whole.
    open: Option<(File, u64)>,
}

impl FilePlace {
    pub(super) fn new(folder: PathBuf, name: &str) -> Self {
        let path = folder.join(format!("{name}.jsonl"));
        Self { folder, path, open: None }
    }

    /// Appends whole lines; when this returns they are on disk.
    pub(super) async fn append(&mut self, lines: &[u8]) -> std::io::Result<()> {
        // Not put back after a failure, or when this future is dropped: the next attempt opens the file anew.
        let (mut file, length) = match self.open.take() {
            Some(open) => open,
            None => open(&self.folder, &self.path).await?,
        };
        let written = async {
            file.write_all(lines).await?;
            file.flush().await?;
            file.sync_data().await
        };
        if let Err(error) = written.await {
            // Of a line cut short nothing should stay; if it does, the reader passes over it.
            let _ = file.set_len(length).await;
            return Err(error);
        }
        self.open = Some((file, length + lines.len() as u64));
        Ok(())
    }
}

async fn open(folder: &Path, path: &Path) -> std::io::Result<(File, u64)> {
    tokio::fs::create_dir_all(folder).await?;
    let mut file = OpenOptions::new().create(true).append(true).open(path).await?;
    let mut length = file.metadata().await?.len();
    // A line cut short by an earlier failure must not swallow the next one.
    if length > 0 {
        file.write_all(b"\n").await?;
        length += 1;
    }
    File::open(folder).await?.sync_all().await?;
    Ok((file, length))
}
