//! Opening what should be a file, without waiting for anything.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// What stands at a path.
pub(super) enum Opened {
    File(File, Metadata),
    /// A directory, a device or a pipe.
    Other,
}

/// Opens a file to be read, if it is one.
pub(super) fn open(path: &Path) -> io::Result<Opened> {
    // Before opening, which may do something to a device.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Ok(Opened::Other);
    }
    // By now it may be another, and opening a pipe would wait for somebody to write to it.
    let file = without_waiting(File::options().read(true)).open(path)?;
    let metadata = file.metadata()?;
    Ok(if metadata.is_file() { Opened::File(file, metadata) } else { Opened::Other })
}

#[cfg(unix)]
fn without_waiting(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Means nothing to files.
    options.custom_flags(libc::O_NONBLOCK)
}

#[cfg(not(unix))]
fn without_waiting(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_pipe_that_takes_the_place_of_the_file_is_not_waited_for() {
        let folder = std::env::temp_dir().join(format!("pointsman-open-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [path, file, pipe] = ["rules", "file", "pipe"].map(|name| folder.join(name));
        fs::write(&file, "default => prod").unwrap();
        fs::copy(&file, &path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let done = Arc::new(AtomicBool::new(false));
        let (told, tells) = mpsc::channel();
        let reading = (path.clone(), done.clone());
        std::thread::spawn(move || {
            while !reading.1.load(Ordering::Relaxed) {
                // It is not there for a moment between two names.
                let opened = open(&reading.0);
                let _ = told.send(matches!(opened, Ok(Opened::File(..) | Opened::Other)));
            }
        });
        let begun = Instant::now();
        // Either is at the path in turn, as the names are links to them.
        let next = folder.join("next");
        while begun.elapsed() < Duration::from_secs(2) {
            for what in [&pipe, &file] {
                fs::hard_link(what, &next).unwrap();
                fs::rename(&next, &path).unwrap();
                let _ = fs::remove_file(&next);
            }
        }
        let opened = tells.try_iter().filter(|opened| *opened).count();
        // The last is the file, so that it goes on if it was not held up.
        let goes_on = tells.recv_timeout(Duration::from_secs(5));
        done.store(true, Ordering::Relaxed);
        let _ = fs::remove_dir_all(&folder);
        assert!(goes_on.is_ok() && opened > 1000, "{opened} were opened");
    }
}
