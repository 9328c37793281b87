//! One address for several nodes: nginx where it is installed, else the client takes turns itself.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::server::wait_until;

/// What stands before the nodes.
pub(crate) enum Proxy {
    /// A running nginx.
    Nginx {
        child: Child,
        address: String,
        _folder: TempDir,
    },
    /// Nothing: requests go to one node after the other.
    Turns {
        nodes: Vec<String>,
        next: AtomicUsize,
    },
}

impl Proxy {
    /// Stands before two nodes whose `host:port` stays the same.
    pub(crate) fn before(nodes: &[String]) -> Self {
        let Some(program) = program() else {
            println!("SKIPPED nginx: it is not installed, so the client takes turns");
            return Self::Turns {
                nodes: nodes.to_vec(),
                next: AtomicUsize::new(0),
            };
        };
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let address = format!("127.0.0.1:{}", free_port());
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration(folder.path(), &address, nodes)).expect("it can be written");
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(folder.path())
            .args(["-g", "daemon off; master_process off;"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).expect("a log can be made"))
            .spawn()
            .expect("nginx can be started");
        wait_until("nginx listens", || {
            assert!(
                child.try_wait().expect("it can be asked").is_none(),
                "nginx ended: {}",
                fs::read_to_string(folder.path().join("log")).unwrap_or_default()
            );
            TcpStream::connect(&address).is_ok()
        });
        Self::Nginx {
            child,
            address,
            _folder: folder,
        }
    }

    /// Whether nginx is not installed.
    pub(crate) fn is_missing() -> bool {
        program().is_none()
    }

    /// Where the next request goes.
    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Nginx { address, .. } => address,
            Self::Turns { nodes, next } => {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                &nodes[turn % nodes.len()]
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Self::Nginx { child, .. } = self {
            // Its worker ends with it: the pipe between them closes.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is known").port()
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let programs = folders.map(|folder| folder.join("nginx"));
    let mut found = programs.filter(|program| program.is_file());
    found.next()
}

/// The file of the containers, with other addresses; there is no viewer.
fn configuration(folder: &Path, address: &str, nodes: &[String]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf");
    let text = fs::read_to_string(file).expect("the proxy's file can be read");
    let folder = folder.display().to_string();
    let mut pairs = vec![
        ("listen 8080".to_owned(), format!("listen {address}")),
        ("/tmp/nginx".to_owned(), folder),
        ("server ohif:80".to_owned(), "server 127.0.0.1:9".to_owned()),
    ];
    for (name, node) in ["stowage-a:8080", "stowage-b:8080"].iter().zip(nodes) {
        pairs.push(((*name).to_owned(), node.clone()));
    }
    pairs.into_iter().fold(text, |text, (name, value)| {
        assert!(text.contains(&name), "{name} is not in deploy/nginx.conf");
        text.replace(&name, &value)
    })
}
