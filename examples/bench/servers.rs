//! The processes that are measured: the server itself, and nginx with prebuilt answers.

use std::fs;
use std::io::{Error, Result};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Base, Connection};
use crate::table;

/// A running process; it is ended when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) base: Base,
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx ends its workers only when it is asked to.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the server on a free port; what it does by itself now and then would fall into one round and not into another.
pub(crate) fn stowage(binary: &Path, data: &Path) -> Result<Server> {
    let file = data.join("address");
    fs::create_dir_all(data)?;
    let _ = fs::remove_file(&file);
    let child = Command::new(binary)
        .args([
            "--listen",
            "127.0.0.1:0",
            "--log",
            "warn",
            "--scrub-hours",
            "0",
            "--data-dir",
        ])
        .arg(data)
        .arg("--address-file")
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()?;
    let mut server = Server {
        child,
        base: Base {
            name: "stowage".to_owned(),
            address: String::new(),
            prefix: "/dicom-web".to_owned(),
        },
    };
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(address) = fs::read_to_string(&file)
            && !address.trim().is_empty()
        {
            server.base.address = address.trim().to_owned();
            return Ok(server);
        }
        if Instant::now() > end || server.child.try_wait()?.is_some() {
            return Err(Error::other("the server did not start"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Server {
    /// Forgets the peak so far; resident memory now, in MiB.
    pub(crate) fn reset_peak(&self) -> Result<f64> {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?;
        self.memory("VmRSS:")
    }

    /// Peak resident memory, in MiB.
    pub(crate) fn peak(&self) -> Result<f64> {
        self.memory("VmHWM:")
    }

    /// Processor time used so far by the process and those it started, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let workers = children.split_whitespace().map(table::cpu_seconds);
        Ok(table::cpu_seconds(&id.to_string())? + workers.sum::<Result<f64>>()?)
    }

    /// The same as a meter, when `base` is this server; what runs elsewhere cannot be metered.
    pub(crate) fn cpu_of<'a>(&'a self, base: &Base) -> Option<Box<dyn Fn() -> Result<f64> + 'a>> {
        (base.address == self.base.address).then(|| Box::new(|| self.cpu()) as Box<_>)
    }

    fn memory(&self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0)
            .ok_or_else(|| Error::other("no memory figures"))
    }
}

/// nginx as Debian ships it, two workers, without sendfile.
pub(crate) struct Nginx {
    pub(crate) server: Server,
    root: PathBuf,
}

/// Starts nginx on a free port with an empty folder to serve.
pub(crate) fn nginx(binary: &str, folder: &Path) -> Result<Nginx> {
    let root = folder.join("root");
    fs::create_dir_all(&root)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let at = folder.display();
    let user =
        if fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
            "user root;"
        } else {
            ""
        };
    let config = format!(
        "{user} daemon off; worker_processes 2; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; sendfile off; keepalive_requests 100000000; default_type application/octet-stream;\n\
         client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen 127.0.0.1:{port}; root {}; }} }}\n",
        root.display()
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let child = Command::new(binary)
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()?;
    let base = Base {
        name: "nginx".to_owned(),
        address: format!("127.0.0.1:{port}"),
        prefix: String::new(),
    };
    let server = Server { child, base };
    let end = Instant::now() + Duration::from_secs(10);
    while Connection::open(&server.base).is_err() {
        if Instant::now() > end {
            return Err(Error::other("nginx did not start: is it installed?"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Nginx { server, root })
}

impl Nginx {
    /// Serves `body` under a new path, which is returned.
    pub(crate) fn serve(&self, name: &str, body: &[u8]) -> Result<String> {
        fs::write(self.root.join(name), body)?;
        Ok(format!("/{name}"))
    }
}
