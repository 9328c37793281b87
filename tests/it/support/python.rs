//! Python for the tests: one virtual environment with the pinned packages of `tests/requirements.txt`.
//!
//! It lies in Cargo's folder for test files and is made once, whoever comes first; a changed list of packages makes it
//! anew. Invariant: a half made environment is never used, for the list is written into it last.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Sample files that may be taken from the pydicom package, and the folder of its data they lie in.
const FILES: [(&str, &str); 12] = [
    ("CT_small.dcm", "test_files"),
    ("MR_small_implicit.dcm", "test_files"),
    ("MR_small_RLE.dcm", "test_files"),
    ("MR_small_jp2klossless.dcm", "test_files"),
    ("MR_small_jpeg_ls_lossless.dcm", "test_files"),
    ("SC_rgb_jpeg_dcmtk.dcm", "test_files"),
    ("SC_rgb_jpeg_gdcm.dcm", "test_files"),
    ("image_dfl.dcm", "test_files"),
    ("liver_1frame.dcm", "test_files"),
    ("reportsi.dcm", "test_files"),
    ("rtplan.dcm", "test_files"),
    ("chrH31.dcm", "charset_files"),
];

/// The interpreter of the virtual environment.
pub(crate) fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(home).expect("Cargo's folder for test files can be made");
        // Several test processes may run at once; the lock goes with the file handle.
        let lock = File::create(home.join("python.lock")).expect("the lock file can be made");
        lock.lock().expect("the lock file can be locked");
        environment(&home.join("python"))
    })
}

/// Makes the virtual environment unless it is there with the wanted packages; returns its interpreter.
fn environment(folder: &Path) -> PathBuf {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requirements.txt");
    let wanted = fs::read(&list).expect("tests/requirements.txt can be read");
    let installed = folder.join("requirements.txt");
    let interpreter = folder.join("bin/python");
    // The interpreter is a link; it dangles when the Python it was made with is gone.
    if interpreter.exists() && fs::read(&installed).is_ok_and(|there| there == wanted) {
        return interpreter;
    }
    run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder),
        "python3 with its venv module is missing; tests/run installs it",
    );
    run(
        Command::new(&interpreter)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(&list),
        "the packages of tests/requirements.txt cannot be installed",
    );
    fs::write(&installed, wanted).expect("the virtual environment can be written to");
    interpreter
}

/// A sample file of the pydicom package; only the names in [`FILES`].
pub(crate) fn sample(name: &str) -> PathBuf {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    let data = DATA.get_or_init(|| {
        let output = run(
            Command::new(interpreter()).args([
                "-c",
                "import os, pydicom.data; print(os.path.dirname(pydicom.data.__file__))",
            ]),
            "the pydicom package does not load",
        );
        PathBuf::from(output.trim())
    });
    let (_, folder) = FILES
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("{name} is not among the files the tests may use"));
    data.join(folder).join(name)
}

/// All sample files, in the order of [`FILES`].
pub(crate) fn samples() -> Vec<PathBuf> {
    FILES.iter().map(|(name, _)| sample(name)).collect()
}

/// Runs a command to its end and returns what it printed; a failure ends the test with the command's own words.
fn run(command: &mut Command, failure: &str) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{failure}: {error}"));
    assert!(
        output.status.success(),
        "{failure}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
