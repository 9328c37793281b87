//! The real binary as a child process: on a free port, with a data folder of its own.
//!
//! Invariant: the child and its data are gone when the value is dropped, also when the test fails.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take until it listens; generous, for loaded machines.
const START: Duration = Duration::from_secs(60);

/// A running `stowage`.
pub(crate) struct Server {
    child: Child,
    url: String,
    folder: TempDir,
}

impl Server {
    /// Starts the binary and returns once it listens. Without a database it uses the `SQLite` one in its data folder.
    pub(crate) fn start(database: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let address = folder.path().join("address");
        let log = File::create(folder.path().join("log")).expect("the log file can be made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stowage"));
        // What the shell that runs the tests has set must not reach the server.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STOWAGE_") {
                command.env_remove(name);
            }
        }
        command
            .env("STOWAGE_LISTEN", "127.0.0.1:0")
            .env("STOWAGE_DATA_DIR", folder.path().join("data"))
            .env("STOWAGE_ADDRESS_FILE", &address)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file can be shared"))
            .stderr(log);
        if let Some(database) = database {
            command.env("STOWAGE_DATABASE_URL", database);
        }
        let child = command.spawn().expect("the stowage binary can be started");
        let mut server = Self {
            child,
            url: String::new(),
            folder,
        };
        server.url = format!("http://{}", server.listening(&address));
        server
    }

    /// Where it answers, `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Everything the server printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until the address file holds a whole line.
    fn listening(&mut self, file: &Path) -> String {
        let begun = Instant::now();
        loop {
            if let Some(address) = fs::read_to_string(file)
                .ok()
                .and_then(|text| text.strip_suffix('\n').map(str::to_owned))
            {
                return address;
            }
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                panic!("stowage ended at its start with {status}:\n{}", self.log());
            }
            assert!(
                begun.elapsed() < START,
                "stowage did not listen within {START:?}:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
