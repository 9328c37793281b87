//! Lists the migrations of each database and the files of the web page (`ui/`), so that they go into the binary.
//!
//! Adding one is adding a file: `include_str!` and `include_bytes!` notice only changes of files they have already seen;
//! the folders are watched here.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let Some(out) = env::var_os("OUT_DIR") else {
        return Err(io::Error::other("OUT_DIR is not set: this is run by Cargo"));
    };
    let out = Path::new(&out);
    let mut migrations = String::new();
    for (name, folder) in [
        ("SQLITE", "migrations/sqlite"),
        ("POSTGRES", "migrations/postgres"),
    ] {
        let table = table(folder, "include_str!")?;
        // Writing to a String cannot fail.
        let _ = writeln!(migrations, "const {name}: &[(&str, &str)] = {table};");
    }
    fs::write(out.join("migrations.rs"), migrations)?;
    fs::write(out.join("ui_files.rs"), table("ui", "include_bytes!")?)
}

/// A slice of the names and the contents of the files below a folder of the crate, in the order of their names.
fn table(folder: &str, include: &str) -> io::Result<String> {
    println!("cargo:rerun-if-changed={folder}");
    let root = env::current_dir()?.join(folder);
    let mut files = Vec::new();
    // Absent where only dependencies are built, as in the first layer of the container.
    if root.is_dir() {
        walk(&root, &mut files)?;
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&root).map_err(io::Error::other)?;
        let name = name.display().to_string();
        // Not the folder of today: with a target folder that is kept, the next build may be of another clone.
        let path = format!("/{folder}/{name}");
        let path = format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?})");
        let _ = writeln!(table, "    ({name:?}, {include}({path})),");
    }
    table.push_str("]\n");
    Ok(table)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
