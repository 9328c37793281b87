//! A throw-away Postgres: one server per test process, a fresh database per test.
//!
//! Invariant: the server ends and its files vanish when the test process ends, however it ends: a shell that waits for
//! the end of its standard input looks after it, and that input is a pipe only this process holds open.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, PgConnection, QueryBuilder};
use stowage::index::{IndexOptions, open};
use tokio::sync::OnceCell;

/// Initialises a cluster in a temporary folder, starts it, says where it is, and ends it at the end of input.
const SCRIPT: &str = r#"
set -e
cd /
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || { kill -INT $pid; wait $pid; } 2>/dev/null; rm -rf "$dir"' EXIT
"$1/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1
"$1/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off -c full_page_writes=off \
    -c max_connections=300 -c shared_buffers=128MB -c deadlock_timeout=100ms -c autovacuum=off \
    >>"$dir/log" 2>&1 </dev/null &
pid=$!
until "$1/pg_isready" -q -h "$dir"; do
    kill -0 $pid
    sleep 0.05
done
echo "$dir"
cat >/dev/null
"#;

/// Likewise, with a server that stops at once and starts again when it is told to, and syncs nothing either: it is the
/// process that crashes, not the machine.
const OWN: &str = r#"
cd /
dir=$(mktemp -d)
pid=
end() { [ -z "$pid" ] || { kill -"$1" $pid; wait $pid; }; pid=; } 2>/dev/null
trap 'end INT; rm -rf "$dir"' EXIT
"$1/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || exit 1
start() {
    "$1/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off -c shared_buffers=32MB >>"$dir/log" 2>&1 </dev/null &
    pid=$!
    until "$1/pg_isready" -q -h "$dir"; do kill -0 $pid || exit 1; sleep 0.05; done
}
start "$1"
echo "$dir"
while read -r order; do
    case $order in
        stop) end QUIT ;;
        start) start "$1" ;;
    esac
    echo done
done
"#;

/// A Postgres of one test alone, which can crash.
pub(crate) struct Own {
    keeper: Child,
    said: BufReader<std::process::ChildStdout>,
    url: String,
}

impl Own {
    /// Starts one; none where the programs are missing, and the output says so.
    pub(crate) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            println!("SKIPPED postgres: no server programs");
            return None;
        };
        let mut keeper = as_user()
            .args(["sh", "-c", OWN, "sh"])
            .arg(&programs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let mut said = BufReader::new(keeper.stdout.take().expect("it is piped"));
        let mut folder = String::new();
        said.read_line(&mut folder).expect("it speaks");
        let folder = folder.trim().replace('/', "%2F");
        assert!(!folder.is_empty(), "Postgres did not start");
        let url = format!("postgres://postgres@localhost/postgres?host={folder}");
        Some(Self { keeper, said, url })
    }

    /// Where its database is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends it as a crash does; it recovers at the next start.
    pub(crate) fn crash(&mut self) {
        self.order("stop");
    }

    /// Starts it again.
    pub(crate) fn come_back(&mut self) {
        self.order("start");
    }

    fn order(&mut self, order: &str) {
        let input = self.keeper.stdin.as_mut().expect("it is piped");
        writeln!(input, "{order}").expect("the keeper lives");
        let mut done = String::new();
        self.said.read_line(&mut done).expect("the keeper answers");
        assert_eq!(done, "done\n");
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Databases are told apart by it.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database of its own with the schema of the index; none when there is no Postgres, and the output says why.
///
/// # Panics
/// When there is none although `STOWAGE_TEST_REQUIRE_POSTGRES` is set.
pub(crate) async fn database() -> Option<String> {
    static TEMPLATE: OnceCell<()> = OnceCell::const_new();
    let server = required_server()?;
    let template = format!("stowage_template_{}", std::process::id());
    TEMPLATE
        .get_or_init(|| make_template(server, &template))
        .await;
    Some(make(server, &[" template ", &template]).await)
}

/// Like [`database`], without anything in it.
pub(crate) async fn empty_database() -> Option<String> {
    Some(make(required_server()?, &[]).await)
}

/// Ends every connection to a database.
pub(crate) async fn disconnect(url: &str) {
    let name = url
        .split('?')
        .next()
        .and_then(|base| base.rsplit('/').next());
    end_connections(
        required_server().expect("there is a server"),
        name.unwrap_or(""),
    )
    .await;
}

/// Whether its server programs are not installed.
pub(crate) fn is_missing() -> bool {
    programs().is_none()
}

fn required_server() -> Option<&'static Server> {
    match server() {
        Ok(server) => Some(server),
        Err(reason) => {
            assert!(
                std::env::var_os("STOWAGE_TEST_REQUIRE_POSTGRES").is_none(),
                "Postgres is required, but {reason}"
            );
            println!("SKIPPED postgres: {reason}");
            None
        }
    }
}

/// Makes a database with a new name; returns its URL.
async fn make(server: &Server, like: &[&str]) -> String {
    let name = format!(
        "stowage_{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    run(
        server,
        &[&["create database ", name.as_str()], like].concat(),
    )
    .await;
    server.url(&name)
}

/// Where databases are made.
struct Server {
    /// URL before the database name, and behind it.
    url: (String, String),
    /// Keeps the pipe open.
    _keeper: Option<Child>,
}

impl Server {
    fn url(&self, database: &str) -> String {
        format!("{}{database}{}", self.url.0, self.url.1)
    }
}

async fn make_template(server: &Server, name: &str) {
    run(server, &["create database ", name]).await;
    let index = open(&server.url(name), &IndexOptions::default()).await;
    drop(index.expect("the template can be migrated"));
    end_connections(server, name).await;
}

async fn end_connections(server: &Server, name: &str) {
    let mut connection = connect(server).await;
    sqlx::query("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = $1")
        .bind(name)
        .execute(&mut connection)
        .await
        .expect("connections to a database can be ended");
}

async fn connect(server: &Server) -> PgConnection {
    let connection = PgConnection::connect(&server.url("postgres")).await;
    connection.expect("the test server answers")
}

async fn run(server: &Server, pieces: &[&str]) {
    let mut statement = QueryBuilder::new("");
    for piece in pieces {
        statement.push(piece);
    }
    let done = statement.build().execute(&mut connect(server).await).await;
    done.expect("a database can be made");
}

/// The server of this process: the one the environment names, or one started from installed programs.
fn server() -> Result<&'static Server, &'static str> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    let server = SERVER.get_or_init(|| match std::env::var("STOWAGE_TEST_DATABASE_URL") {
        Ok(url) => Ok(Server {
            url: split_url(&url),
            _keeper: None,
        }),
        Err(_) => start(),
    });
    server.as_ref().map_err(String::as_str)
}

/// Takes the database name out of a URL.
fn split_url(url: &str) -> (String, String) {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let (base, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let end = base[authority..]
        .find('/')
        .map_or(base.len(), |at| authority + at);
    (format!("{}/", &base[..end]), query.to_owned())
}

fn start() -> Result<Server, String> {
    let programs = programs().ok_or("no initdb in PATH or /usr/lib/postgresql/*/bin")?;
    let mut keeper = as_user()
        .args(["sh", "-c", SCRIPT, "sh"])
        .arg(&programs)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the server cannot be started: {error}"))?;
    let mut folder = String::new();
    let output = keeper.stdout.take().ok_or("the server has no output")?;
    let read = BufReader::new(output).read_line(&mut folder);
    match read {
        Ok(length) if length > 0 => Ok(Server {
            url: (
                "postgres://postgres@localhost/".to_owned(),
                format!("?host={}", folder.trim().replace('/', "%2F")),
            ),
            _keeper: Some(keeper),
        }),
        _ => Err("the server did not start".to_owned()),
    }
}

/// Begins a command that does not run as root: the server refuses that.
fn as_user() -> Command {
    let uid = Command::new("id").arg("-u").output();
    if uid.is_ok_and(|output| output.stdout == b"0\n") {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        command
    } else {
        Command::new("env")
    }
}

/// Folder of the newest installed server programs.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    let complete = |folder: &PathBuf| {
        ["initdb", "postgres", "pg_isready"]
            .iter()
            .all(|program| Path::new(folder).join(program).is_file())
    };
    folders.into_iter().find(complete)
}
