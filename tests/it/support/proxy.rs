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
    /// Stands before nodes whose `host:port` stays the same.
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
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx can be started");
        wait_until("nginx listens", || {
            assert!(
                child.try_wait().expect("it can be asked").is_none(),
                "nginx ended: {}",
                fs::read_to_string(folder.path().join("error.log")).unwrap_or_default()
            );
            TcpStream::connect(&address).is_ok()
        });
        Self::Nginx {
            child,
            address,
            _folder: folder,
        }
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

fn configuration(folder: &Path, address: &str, nodes: &[String]) -> String {
    let folder = folder.display();
    let servers: Vec<String> = nodes
        .iter()
        .map(|node| format!("server {node} max_fails=1 fail_timeout=1s;"))
        .collect();
    let servers = servers.join("\n    ");
    format!(
        "daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream nodes {{
    {servers}
    keepalive 8;
  }}
  server {{
    listen {address};
    client_max_body_size 0;
    location / {{
      proxy_pass http://nodes;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_request_buffering off;
    }}
  }}
}}
"
    )
}
