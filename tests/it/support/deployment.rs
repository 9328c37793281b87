//! A deployment of Stowage: its settings, its data folder, and how it is asked, whether it runs in a process or in this one.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use stowage::dicom::testing::BuiltFile;
use tempfile::TempDir;

use super::dicom::Name;
use super::http::{Request, Response, Transport};
use super::multipart;
use super::server::{FILES, wait_until};

/// What a [`Server`](super::server::Server) and a [`TestApp`](super::app::TestApp) have in common.
pub(crate) struct Deployment {
    pub(super) url: String,
    pub(super) transport: Transport,
    pub(super) settings: Vec<(String, String)>,
    pub(super) folder: TempDir,
}

impl Deployment {
    /// With an empty folder; it is not reached yet.
    pub(super) fn new(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self {
            url: String::new(),
            transport: Transport::Socket(String::new()),
            settings,
            folder,
        }
    }

    /// Where it answers, `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A setting it was started with.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        let found = self.settings.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Begins a request.
    pub(crate) fn request(&self, method: &str, target: &str) -> Request {
        Request::to(&self.transport, method, target)
    }

    /// Gets with `Accept: */*`.
    pub(crate) fn get(&self, target: &str) -> Response {
        self.request("GET", target).accept("*/*").send()
    }

    /// Waits until the health check answers so: its answer is remembered for a second.
    pub(crate) fn wait_for_health(&self, status: u16) {
        wait_until(&format!("health is {status}"), || {
            self.get("/health/check").status == status
        });
    }

    /// Gets with an `Accept` header.
    pub(crate) fn get_as(&self, target: &str, accept: &str) -> Response {
        self.request("GET", target).accept(accept).send()
    }

    /// Stores files in one request; `root` such as `/v2`.
    pub(crate) fn store<'a>(
        &self,
        root: &str,
        files: impl IntoIterator<Item = &'a BuiltFile>,
    ) -> Response {
        let files = files.into_iter().map(|file| file.bytes.as_slice());
        self.request("POST", &format!("{root}/studies"))
            .header("Content-Type", &multipart::content_type())
            .accept("application/dicom+json")
            .body(multipart::body(files))
            .send()
    }

    /// The stored bytes of an instance, or none.
    pub(crate) fn stored(&self, name: &Name) -> Option<Vec<u8>> {
        let target = format!("/dicom-web{}", name.path());
        let answer = self.get_as(&target, "application/dicom; transfer-syntax=*");
        match answer.status {
            404 => None,
            _ => Some(answer.expect(200).body),
        }
    }

    /// Runs a sub-command on the same data.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        self.command_with(&[], arguments)
    }

    /// Runs a sub-command on the same data with further settings.
    pub(crate) fn command_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
        self.program()
            .env_remove("STOWAGE_ADDRESS_FILE")
            .env_remove("STOWAGE_FAULT")
            .env_remove("STOWAGE_FAULT_TRACE")
            .envs(settings.iter().copied())
            .args(arguments)
            .output()
            .expect("the stowage binary can be started")
    }

    /// Fails unless index and blobs fit together, all digests included; returns what was said.
    #[track_caller]
    pub(crate) fn fsck(&self) -> String {
        let output = self.command(&["fsck", "--digests", "--young-seconds", "0"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "fsck found problems:\n{said}{}\nlog:\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.printed()
        );
        said
    }

    /// All files below the folder of the blobs, those of uploads under way included.
    pub(crate) fn blob_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.data().join("blobs")];
        while let Some(folder) = folders.pop() {
            // A folder may vanish while the sweeper runs.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    _ if entry.path().extension().is_some_and(|e| e == "lock") => {}
                    _ => files.push(entry.path()),
                }
            }
        }
        files
    }

    /// What its process printed so far; nothing where it has none.
    pub(super) fn printed(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The binary with these settings on this data.
    pub(super) fn program(&self) -> Command {
        let (folder, settings) = (self.folder.path(), &self.settings);
        let built = || env!("CARGO_BIN_EXE_stowage").into();
        let mut command =
            Command::new(std::env::var_os("STOWAGE_TEST_BINARY").unwrap_or_else(built));
        // What the shell that runs the tests has set must not reach the server.
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("STOWAGE_") || name_text.starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        if let Some((_, files)) = settings.iter().find(|(name, _)| name == FILES) {
            let mut limited = Command::new("sh");
            limited
                .args(["-c", &format!("ulimit -n {files} && exec \"$@\""), "sh"])
                .arg(command.get_program());
            for (name, value) in command.get_envs() {
                if value.is_none() {
                    limited.env_remove(name);
                }
            }
            command = limited;
        }
        command
            .env("STOWAGE_LISTEN", "127.0.0.1:0")
            .env("STOWAGE_DATA_DIR", folder.join("data"))
            .env("STOWAGE_ADDRESS_FILE", folder.join("address"))
            .current_dir(folder);
        for (name, value) in settings {
            command.env(name, value);
        }
        command
    }
}
