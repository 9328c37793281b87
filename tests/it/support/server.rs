//! The real binary as a child process: on a free port, with a data folder of its own.
//!
//! Invariant: the child and its data are gone when the value is dropped, also when the test fails.

use std::fs::{self, File};
use std::ops::Deref;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::deployment::Deployment;
use super::http::Transport;
use super::postgres;

/// How long anything may take that the test waits for; generous, for loaded machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// Set beside other settings: how many files the process may have open.
pub(crate) const FILES: &str = "FILES";

/// A running `stowage`.
pub(crate) struct Server {
    child: Child,
    deployment: Deployment,
}

/// Runs a promise on a process of its own for each index: `SQLite`, then Postgres where there is one.
pub(crate) fn on_each_index_process(settings: &[(&str, &str)], promise: impl Fn(&mut Server)) {
    println!("on SQLite");
    promise(&mut Server::with(settings));
    on_postgres_with(settings, promise);
}

/// Runs a promise on a process whose index is in Postgres, where there is one.
pub(crate) fn on_postgres_with(settings: &[(&str, &str)], promise: impl Fn(&mut Server)) {
    on_postgres(settings, |settings| promise(&mut Server::with(settings)));
}

/// Runs something with settings that name an empty database in Postgres, where there is one.
pub(super) fn on_postgres(settings: &[(&str, &str)], promise: impl Fn(&[(&str, &str)])) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let Some(url) = runtime.block_on(postgres::database()) else {
        return;
    };
    println!("on Postgres");
    let database = [("STOWAGE_DATABASE_URL", url.as_str())];
    promise(&[settings, &database].concat());
}

impl Deref for Server {
    type Target = Deployment;

    fn deref(&self) -> &Deployment {
        &self.deployment
    }
}

impl Server {
    /// Starts the binary and returns once it listens. Without a database it uses the `SQLite` one in its data folder.
    pub(crate) fn start(database: Option<&str>) -> Self {
        match database {
            Some(url) => Self::with(&[("STOWAGE_DATABASE_URL", url)]),
            None => Self::with(&[]),
        }
    }

    /// Starts the binary with settings.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        let deployment = Deployment::new(settings);
        let mut server = Self {
            child: spawn(&deployment),
            deployment,
        };
        server.listen();
        server
    }

    /// As [`Self::with`], of which another node can be started: its index is in Postgres, and its blobs are in this folder.
    /// None where there is no Postgres.
    pub(crate) fn first_node(blobs: &TempDir, settings: &[(&str, &str)]) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let database = runtime.block_on(postgres::database())?;
        let blobs = format!("file://{}", blobs.path().display());
        let stores = [
            ("STOWAGE_DATABASE_URL", database.as_str()),
            ("STOWAGE_BLOB_URL", blobs.as_str()),
        ];
        Some(Self::with(&[&stores, settings].concat()))
    }

    /// Another node on the same stores with the same settings, but for the fault of this one and what is `changed`.
    pub(crate) fn second_node(&self, changed: &[(&str, &str)]) -> Self {
        let own = self.settings.iter();
        let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
        let stays =
            |name: &str| name != "STOWAGE_FAULT" && changed.iter().all(|(other, _)| *other != name);
        let mut settings: Vec<_> = own.filter(|(name, _)| stays(name)).collect();
        settings.extend(changed);
        Self::with(&settings)
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the server printed so far.
    pub(crate) fn log(&self) -> String {
        self.printed()
    }

    /// A value of `/proc/{pid}/status` in KiB, such as `VmRSS` or `VmHWM`.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let text = text.expect("the server runs");
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("no {field} in {text}"))
    }

    /// Forgets the peak of `VmHWM`.
    pub(crate) fn reset_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("the peak can be reset");
    }

    /// Whether the process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("the child can be asked")
            .is_none()
    }

    /// Ends it without warning, as a crash does; [`Self::wait`] for it.
    pub(crate) fn kill(&self) {
        self.signal("KILL");
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Lets it stand still, as a machine that is suspended or swaps does, until [`Self::resume`].
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.pid())])
            .status();
        assert!(sent.expect("a shell").success());
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        let child = &mut self.child;
        wait_until("the server ends", || {
            ended = child.try_wait().expect("the child can be asked");
            ended.is_some()
        });
        ended.expect("it has ended")
    }

    /// Starts it again on the same data, after [`Self::wait`].
    pub(crate) fn restart(&mut self) {
        let _ = fs::remove_file(self.folder.path().join("address"));
        self.child = spawn(&self.deployment);
        self.listen();
    }

    /// Files and sockets it has open.
    pub(crate) fn open_files(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        open.expect("the server runs").count()
    }

    /// Connections of clients that neither side has closed.
    pub(crate) fn connections(&self) -> usize {
        let (_, port) = self.address().rsplit_once(':').expect("an address");
        let port = format!(":{:04X}", port.parse::<u16>().expect("a port"));
        let table = fs::read_to_string("/proc/net/tcp").expect("the table can be read");
        let is_open = |line: &&str| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, state) = (fields.next(), fields.nth(1));
            local.is_some_and(|local| local.ends_with(&port)) && state == Some("01")
        };
        table.lines().filter(is_open).count()
    }

    /// Changes a setting from the next start on; none takes it away.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) {
        self.deployment.settings.retain(|(known, _)| known != name);
        let setting = value.map(|value| (name.to_owned(), value.to_owned()));
        self.deployment.settings.extend(setting);
    }

    /// Starts it again although it may end before it listens, after [`Self::wait`].
    pub(crate) fn restart_to_die(&mut self) {
        let _ = fs::remove_file(self.folder.path().join("address"));
        self.child = spawn(&self.deployment);
    }

    /// Begins a sub-command on the same data, which a test may end.
    pub(crate) fn begin_command(&self, arguments: &[&str]) -> Child {
        self.program()
            .env_remove("STOWAGE_ADDRESS_FILE")
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the stowage binary can be started")
    }

    /// Runs a command; returns what it said and the most memory it took in KiB, without the pages of files.
    pub(crate) fn command_peak(&self, arguments: &[&str]) -> (Output, u64) {
        let mut running = self
            .program()
            .env_remove("STOWAGE_ADDRESS_FILE")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the stowage binary can be started");
        let status = format!("/proc/{}/status", running.id());
        let mut peak = 0;
        while running.try_wait().expect("it can be asked").is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let kib = |field: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(field));
                let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
                number.unwrap_or(0_u64)
            };
            peak = peak.max(kib("VmHWM").saturating_sub(kib("RssFile")));
            thread::sleep(Duration::from_millis(2));
        }
        let output = running.wait_with_output().expect("what it said");
        (output, peak)
    }

    /// Waits until it listens, and asks there from now on.
    fn listen(&mut self) {
        self.deployment.url = self.listening();
        self.deployment.transport = Transport::Socket(self.address().to_owned());
    }

    /// Waits until the address file holds a whole line.
    fn listening(&mut self) -> String {
        let file = self.folder.path().join("address");
        let begun = Instant::now();
        loop {
            if let Some(address) = fs::read_to_string(&file)
                .ok()
                .and_then(|text| text.strip_suffix('\n').map(str::to_owned))
            {
                return format!("http://{address}");
            }
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                panic!("stowage ended at its start with {status}:\n{}", self.log());
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "stowage did not listen within {PATIENCE:?}:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("the server's log:\n{}", self.log());
        }
    }
}

/// Waits for a condition; fails when it does not come true.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// As [`wait_until`], for a condition that has to be awaited.
pub(crate) async fn wait_until_async(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    end_of(what, waited).await;
}

/// Waits for the end of something; fails when it does not come.
pub(crate) async fn end_of<T>(what: &str, work: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, work).await;
    ended.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

fn spawn(deployment: &Deployment) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(deployment.folder.path().join("log"))
        .expect("the log file can be made");
    deployment
        .program()
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log file can be shared"))
        .stderr(log)
        .spawn()
        .expect("the stowage binary can be started")
}

/// Runs a program and returns what it printed; a failure ends the test with the program's own words.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}:\n{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}
