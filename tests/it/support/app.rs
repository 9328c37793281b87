//! The service in the process of the test: what service tests use.

use std::ops::Deref;

use super::deployment::Deployment;
use super::http::Transport;
use super::in_process::App;
use super::server::on_postgres;

/// A service of its own with an empty archive, opened from settings by the start code of the binary and asked in the process.
///
/// Everything is a [`Deployment`]'s. What has to do with processes, connections and logs is a
/// [`Server`](super::server::Server)'s.
pub(crate) struct TestApp {
    // Before the folder it writes to.
    app: Option<App>,
    deployment: Deployment,
}

impl TestApp {
    /// Without a database it uses the `SQLite` one in its data folder.
    pub(crate) fn start(database: Option<&str>) -> Self {
        match database {
            Some(url) => Self::with(&[("STOWAGE_DATABASE_URL", url)]),
            None => Self::with(&[]),
        }
    }

    /// Opens it with settings, names and values as in the environment of the binary.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        let mut opened = Self {
            app: None,
            deployment: Deployment::new(settings),
        };
        opened.restart();
        opened
    }

    /// Stops it, as dropping it does.
    pub(crate) fn stop(&mut self) {
        drop(self.app.take());
    }

    /// Stops it, and opens it again on the same data.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let mut settings = self.deployment.settings.clone();
        let data = self.deployment.data().display().to_string();
        settings.push(("STOWAGE_DATA_DIR".to_owned(), data));
        let app = App::open(&settings);
        let client = app.client();
        self.deployment.url = format!("http://{}", client.host());
        self.deployment.transport = Transport::InProcess(client);
        self.app = Some(app);
    }
}

impl Deref for TestApp {
    type Target = Deployment;

    fn deref(&self) -> &Deployment {
        &self.deployment
    }
}

/// Runs a promise on a service of its own for each index: `SQLite`, then Postgres where there is one.
pub(crate) fn on_each_index(promise: impl Fn(&mut TestApp)) {
    on_each_index_with(&[], promise);
}

/// As [`on_each_index`], with settings.
pub(crate) fn on_each_index_with(settings: &[(&str, &str)], promise: impl Fn(&mut TestApp)) {
    println!("on SQLite");
    promise(&mut TestApp::with(settings));
    on_postgres(settings, |settings| promise(&mut TestApp::with(settings)));
}
