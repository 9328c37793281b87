//! The files for containers fit the tree and the program; no container engine is needed to see it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

use crate::configuration::{program, settings};

/// The files that describe services.
const COMPOSE: [&str; 2] = ["compose.yaml", "compose.cluster.yaml"];

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
    for file in [
        "Dockerfile",
        "compose.yaml",
        "compose.cluster.yaml",
        "deploy/cluster",
    ] {
        let mut set = settings(file);
        // What the script tells the command it runs.
        set.remove("STOWAGE_URL");
        let unknown: Vec<String> = set.difference(&program).cloned().collect();
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

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(path).expect("the file can be read")
}

fn compose(file: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&read(file)).expect("it is YAML");
    assert_eq!(documents.len(), 1, "{file}");
    documents.remove(0)
}

/// The services of a file, each with what it merges in.
fn services(file: &Yaml) -> Vec<(String, Yaml)> {
    let services = file["services"].as_hash().expect("there are services");
    let merged = services.iter().map(|(name, service)| {
        let mut all = service["<<"].as_hash().cloned().unwrap_or_default();
        all.extend(service.as_hash().expect("a service").clone());
        (name.as_str().expect("a name").to_owned(), Yaml::Hash(all))
    });
    merged.collect()
}

/// A list of texts, or the keys of a map.
fn names(yaml: &Yaml) -> Vec<String> {
    let text = |yaml: &Yaml| yaml.as_str().expect("a text").to_owned();
    match yaml {
        Yaml::Array(list) => list.iter().map(text).collect(),
        Yaml::Hash(map) => map.keys().map(text).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn services_refer_only_to_what_is_declared_or_lies_in_the_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in COMPOSE {
        let file = compose(name);
        let all = services(&file);
        let known: BTreeSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let (volumes, secrets) = (names(&file["volumes"]), names(&file["secrets"]));
        let mut used = BTreeSet::new();
        for (service, it) in &all {
            assert!(
                it["image"].as_str().is_some(),
                "{name}: {service} has no image"
            );
            for needed in names(&it["depends_on"]) {
                assert!(
                    known.contains(needed.as_str()),
                    "{name}: {service} waits for {needed}"
                );
                let other = &all
                    .iter()
                    .find(|(other, _)| *other == needed)
                    .expect("known")
                    .1;
                let healthy = it["depends_on"][needed.as_str()]["condition"].as_str()
                    == Some("service_healthy");
                let own_image = other["image"].as_str() == Some("stowage");
                // The image of Stowage brings its health check along.
                assert!(
                    !healthy || own_image || !other["healthcheck"].is_badvalue(),
                    "{name}: {service} waits for the health of {needed}, which has no check"
                );
            }
            for secret in names(&it["secrets"]) {
                assert!(
                    secrets.contains(&secret),
                    "{name}: {service} wants the secret {secret}"
                );
                used.insert(secret);
            }
            for volume in names(&it["volumes"]) {
                let (source, _) = volume.split_once(':').expect("source:target");
                if source.starts_with('.') {
                    assert!(
                        root.join(source).is_file(),
                        "{name}: {service} mounts {source}"
                    );
                } else {
                    assert!(
                        volumes.iter().any(|v| v == source),
                        "{name}: {service} wants {source}"
                    );
                    used.insert(source.to_owned());
                }
            }
            for port in names(&it["ports"]) {
                assert!(
                    port.starts_with("127.0.0.1:"),
                    "{name}: {service} is open to others without access control"
                );
            }
            // No secret stands in the file: each comes from one of its own.
            let settings = it["environment"].as_hash().cloned().unwrap_or_default();
            for (setting, value) in settings {
                let (setting, value) = (
                    setting.as_str().expect("a name"),
                    value.as_str().expect("a text"),
                );
                let secret = setting.contains("PASSWORD")
                    || setting.contains("SECRET")
                    || setting.contains("CREDENTIALS");
                assert!(!secret || setting.ends_with("_FILE"), "{name}: {setting}");
                let file = value.strip_prefix("/run/secrets/");
                assert!(
                    file.is_none_or(|file| names(&it["secrets"]).iter().any(|s| s == file)),
                    "{name}: {setting}"
                );
            }
        }
        let declared: BTreeSet<String> = volumes.into_iter().chain(secrets).collect();
        assert_eq!(used, declared, "{name} declares what nobody uses");
    }
}

#[test]
fn the_cluster_file_has_two_nodes_that_share_everything_but_their_spool() {
    let file = compose("compose.cluster.yaml");
    let all = services(&file);
    let nodes: Vec<&Yaml> = all
        .iter()
        .filter(|(_, it)| it["image"].as_str() == Some("stowage"))
        .map(|(_, it)| it)
        .collect();
    assert_eq!(nodes.len(), 2);
    assert_eq!(nodes[0]["environment"], nodes[1]["environment"]);
    assert_ne!(nodes[0]["volumes"], nodes[1]["volumes"]);
    let proxy = read("deploy/nginx.conf");
    for (name, it) in &all {
        let proxied = it["image"]
            .as_str()
            .is_some_and(|image| image == "stowage" || image.contains("/ohif/"));
        assert_eq!(
            proxy.contains(&format!("server {name}:")),
            proxied,
            "{name}"
        );
    }
}

#[test]
fn every_secret_that_a_compose_file_reads_is_made_by_the_script() {
    let script = read("deploy/secrets");
    for name in COMPOSE {
        let file = compose(name);
        for secret in names(&file["secrets"]) {
            let path = file["secrets"][secret.as_str()]["file"]
                .as_str()
                .expect("a file");
            let path = path.trim_start_matches("./");
            assert!(script.contains(&format!(">{path}")), "{name}: {path}");
        }
    }
}

#[test]
fn the_image_runs_as_nobody_special_and_asks_itself_for_its_health() {
    let dockerfile = read("Dockerfile");
    let last = dockerfile.rsplit("\nFROM ").next().expect("a last stage");
    let at = |text: &str| {
        last.find(text)
            .unwrap_or_else(|| panic!("no {text} in\n{last}"))
    };
    assert!(at("\nUSER 10001:10001") < at("\nENTRYPOINT"));
    at("CMD [\"stowage\", \"health\"]");
    at("COPY --from=build");
    assert!(
        last.starts_with("scratch\n") && dockerfile.matches("\nFROM ").count() == 3,
        "one stage builds, one gathers libraries, one runs and has nothing else"
    );
}

#[test]
fn the_compose_files_need_nothing_that_old_readers_do_not_know() {
    for name in COMPOSE {
        let file = compose(name);
        // docker-compose 1.29 refuses the whole file.
        assert!(file["name"].is_badvalue(), "{name}");
        // Projects are named after the folder then, and two files of one folder must not share data.
        let project = name.replace("compose.", "stowage-").replace("yaml", "");
        let project = project.trim_end_matches(['-', '.']);
        for volume in names(&file["volumes"]) {
            let wanted = format!("{project}_{volume}");
            assert_eq!(
                file["volumes"][volume.as_str()]["name"].as_str(),
                Some(wanted.as_str())
            );
        }
        for (service, it) in services(&file) {
            let image = it["image"].as_str().unwrap_or_default();
            // Podman asks no registry for a name that names none.
            assert!(
                image == "stowage" || image.starts_with("docker.io/"),
                "{name}: {service}"
            );
            // The image has its own; podman-compose would run one of the file in a shell, which the image does not have.
            assert!(
                image != "stowage" || it["healthcheck"].is_badvalue(),
                "{name}: {service}"
            );
        }
    }
}

/// Runs the gate's step for dependencies with a `cargo deny` that says this of advisories; its exit code and its notes.
fn gate(advisories: &str, fails: bool) -> (Option<i32>, String) {
    let script = read(".ci/run");
    let from = script.find("dependencies() {").expect("the step is there");
    let step = &script[from..];
    let step = &step[..step.find("\n}\n").expect("it ends") + 3];
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().display();
    let cargo = format!(
        "#!/bin/sh\n[ \"$3\" = advisories ] || exit 0\ncat <<'END'\n{advisories}\nEND\nexit {}\n",
        u8::from(fails)
    );
    for name in ["cargo", "cargo-deny"] {
        let file = folder.path().join(name);
        std::fs::write(&file, &cargo).expect("the stand-in can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, mode).expect("it can be made a program");
    }
    let all = format!(
        "set -euo pipefail\nPATH={path}:$PATH CARGO_TARGET_DIR={path} notes={path}/notes\n: >$notes\n{step}\ndependencies"
    );
    let ran = std::process::Command::new("bash")
        .args(["-c", &all])
        .output();
    let ran = ran.expect("a shell");
    let notes = std::fs::read_to_string(folder.path().join("notes")).unwrap_or_default();
    (ran.status.code(), notes)
}

#[test]
fn the_gate_asks_for_advisories_and_says_when_it_could_not() {
    assert_eq!(gate("advisories ok", false), (Some(0), String::new()));
    let away = "error: failed to fetch advisory database https://github.com/rustsec/advisory-db";
    let (code, notes) = gate(away, true);
    assert!(
        code == Some(0) && notes.contains("could not be reached"),
        "{code:?} {notes}"
    );
    let hole = "error[vulnerability]: a hole\n the advisory database says so";
    assert_eq!(gate(hole, true), (Some(1), String::new()));
    let policy = read(".cargo/deny.toml");
    assert!(
        policy.contains("RUSTSEC-2021-0153"),
        "the one exception is named"
    );
}
