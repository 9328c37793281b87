//! The files for containers fit the tree and the program; no container engine is needed to see it.

use std::fs;
use std::path::Path;

use crate::configuration::{program, settings};

#[test]
fn the_container_build_copies_only_what_exists_and_is_let_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(root.join(file)).expect("the file can be read");
    let ignored = read(".dockerignore");
    let dockerfile = read("Dockerfile");
    let mut copied = 0;
    for line in dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
    {
        if line.starts_with("--from") {
            continue;
        }
        let mut sources: Vec<&str> = line.split_whitespace().collect();
        sources.pop().expect("a COPY has a target");
        for source in sources {
            assert!(
                root.join(source).exists(),
                "the Dockerfile copies {source}, which does not exist"
            );
            assert!(
                ignored.lines().any(|line| line == format!("!{source}")),
                ".dockerignore keeps {source} out, which the Dockerfile copies"
            );
            copied += 1;
        }
    }
    assert!(copied > 3, "the Dockerfile was not understood");
}

#[test]
fn the_container_files_use_only_settings_that_exist() {
    let program = program();
    for file in ["Dockerfile", "compose.yaml"] {
        let unknown: Vec<String> = settings(file).difference(&program).cloned().collect();
        assert!(
            unknown.is_empty(),
            "{file} sets what the program does not know: {unknown:?}"
        );
    }
}

#[test]
fn the_container_image_is_built_with_the_required_toolchain_or_newer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfile =
        fs::read_to_string(root.join("Dockerfile")).expect("the Dockerfile can be read");
    let image = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("FROM rust:"))
        .expect("the Dockerfile builds in a Rust image");
    let minor = |version: &str| -> u32 {
        let minor = version
            .split(['.', '-'])
            .nth(1)
            .and_then(|part| part.parse().ok());
        minor.expect("a version has two numbers")
    };
    let required = env!("CARGO_PKG_RUST_VERSION");
    assert!(
        minor(image) >= minor(required),
        "{image} is older than {required}"
    );
}
