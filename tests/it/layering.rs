//! The layers of `src/` import downward only; no layer names a crate that another layer is there to hide.
//!
//! Rules as in `docs/architecture.md`. Read is the source text without comments, so a link in a doc comment is no import.

mod circles;
mod names;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A layer, the layers it may import, the crates it may not name.
struct Layer {
    name: &'static str,
    imports: &'static [&'static str],
    never: &'static [&'static str],
}

const LAYERS: [Layer; 19] = [
    Layer {
        name: "command",
        imports: &[
            "start", "http", "dimse", "archive", "config", "memory", "scope", "dicom",
        ],
        never: &["axum", "sqlx", "object_store"],
    },
    // Puts the layers together; below it nobody knows it.
    Layer {
        name: "start",
        imports: &[
            "http", "dimse", "archive", "index", "blob", "auth", "config", "memory", "scope",
            "tasks", "trace", "dicom",
        ],
        never: &["sqlx"],
    },
    Layer {
        name: "http",
        imports: &[
            "archive", "auth", "config", "fault", "memory", "meter", "scope", "shares", "tasks",
            "trace", "dicom",
        ],
        never: &["sqlx", "object_store"],
    },
    Layer {
        name: "dimse",
        imports: &[
            "archive", "auth", "config", "memory", "meter", "scope", "shares", "tasks", "trace",
            "dicom",
        ],
        never: &[
            "axum",
            "http",
            "tower",
            "tower_http",
            "sqlx",
            "object_store",
        ],
    },
    Layer {
        name: "archive",
        imports: &[
            "index", "blob", "checksum", "config", "fault", "memory", "meter", "scope", "shares",
            "tasks", "trace", "dicom",
        ],
        never: &["axum", "http", "tower", "tower_http", "sqlx"],
    },
    Layer {
        name: "index",
        imports: &["checksum", "config", "scope", "fault", "dicom"],
        never: &["axum", "http", "tower", "tower_http"],
    },
    Layer {
        name: "blob",
        imports: &["checksum", "config", "scope", "fault", "memory", "dicom"],
        never: &["axum", "http", "tower", "tower_http", "sqlx"],
    },
    Layer {
        name: "auth",
        imports: &["config", "scope", "dicom"],
        never: &["sqlx", "object_store"],
    },
    Layer {
        name: "config",
        imports: &["scope", "dicom"],
        never: &["axum", "sqlx", "object_store"],
    },
    // Of the binary alone.
    Layer {
        name: "allocator",
        imports: &[],
        never: &["axum", "http", "sqlx", "object_store", "tokio"],
    },
    Layer {
        name: "checksum",
        imports: &[],
        never: &["axum", "http", "sqlx", "object_store", "tokio"],
    },
    Layer {
        name: "memory",
        imports: &[],
        never: &["axum", "http", "sqlx", "object_store"],
    },
    Layer {
        name: "shares",
        imports: &[],
        never: &["axum", "http", "sqlx", "object_store"],
    },
    Layer {
        name: "meter",
        imports: &[],
        never: &["axum", "http", "tokio", "sqlx", "object_store"],
    },
    Layer {
        name: "tasks",
        imports: &["meter"],
        never: &["axum", "http", "sqlx", "object_store"],
    },
    Layer {
        name: "trace",
        imports: &[],
        never: &["axum", "sqlx", "object_store"],
    },
    Layer {
        name: "scope",
        imports: &["dicom"],
        never: &["axum", "sqlx", "object_store"],
    },
    Layer {
        name: "fault",
        imports: &[],
        never: &["axum", "sqlx", "object_store", "tokio"],
    },
    Layer {
        name: "dicom",
        imports: &[],
        never: &[
            "axum",
            "http",
            "tower",
            "tower_http",
            "sqlx",
            "object_store",
            "tokio",
            "async_trait",
            "multer",
        ],
    },
];

#[test]
fn imports_point_downward_only() {
    let mut wrong = Vec::new();
    for (path, module) in sources() {
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == module[0]) else {
            continue;
        };
        let code = without_comments(&fs::read_to_string(&path).expect("a source file can be read"));
        for target in imports(&code, module.len()) {
            let known = LAYERS.iter().any(|other| other.name == target);
            if known && target != layer.name && !layer.imports.contains(&target.as_str()) {
                wrong.push(format!(
                    "{}: {} imports {target}",
                    path.display(),
                    layer.name
                ));
            }
        }
        for name in layer.never {
            if names_crate(&code, name) {
                wrong.push(format!(
                    "{}: {} names the crate {name}",
                    path.display(),
                    layer.name
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the layers are broken:\n{}",
        wrong.join("\n")
    );
}

/// What takes a while for what is stored or sent to be, and where it may stand: not on a thread of requests.
const SLOW: [(&str, &[(&str, &str)]); 3] = [
    (
        "zstd::",
        &[(
            "http/layers/content_coding.rs",
            "bodies as they come, 64 KiB at a time",
        )],
    ),
    (
        "metadata::unpack(",
        &[
            ("archive/texts.rs", "in the lane for text"),
            ("archive/services/render/source.rs", "in the lane for text"),
            ("index/tags.rs", "on the blocking pool"),
            ("index/exchange.rs", "on the blocking pool"),
            (
                "index/rows.rs",
                "only for a tag that was added between the walk and the commit",
            ),
        ],
    ),
    (
        "serde_json::from_",
        &[
            (
                "http/tags.rs",
                "bodies of 1 MiB at most, results of operations",
            ),
            ("http/ui/share.rs", "bodies of 16 KiB at most"),
            (
                "index/bulk_update_commit.rs",
                "values that a bulk update sets",
            ),
            ("index/exchange.rs", "what query tags one instance has"),
            (
                "archive/open_instance.rs",
                "the bulk table, which the limits of a file bound",
            ),
            ("archive/jobs/scrub.rs", "results of an operation"),
            ("index/operations.rs", "resources of an operation"),
            (
                "index/instance_row.rs",
                "layout and pixel description, which are short",
            ),
            ("index/tag_values.rs", "one value that is no sequence"),
            ("http/webhooks.rs", "bodies of 16 KiB at most"),
            (
                "http/webhooks/message.rs",
                "what this server wrote of one event",
            ),
            ("start/webhooks.rs", "a file of 1 MiB at most, once"),
            ("archive/services/retention.rs", "the file of rules, once"),
            (
                "archive/services/forward.rs",
                "the file of rules, once, and what this server wrote of one event",
            ),
            (
                "archive/services/backup/place.rs",
                "a manifest of 64 KiB at most, in a command of its own",
            ),
            (
                "http/remote/connection.rs",
                "a refusal of 64 KiB at most, in a command of its own",
            ),
            (
                "http/remote/search.rs",
                "a page of another server, in a command of its own",
            ),
            (
                "http/remote/send.rs",
                "an answer of another server, in a command of its own",
            ),
            (
                "http/remote/connection.rs",
                "a refusal of 64 KiB at most, in a command of its own",
            ),
            (
                "http/remote/search.rs",
                "a page of another server, in a command of its own",
            ),
            (
                "http/remote/send.rs",
                "an answer of another server, in a command of its own",
            ),
            (
                "archive/workitems/arrivals.rs",
                "the file of rules, once, and the attributes of one study at a time",
            ),
            (
                "archive/services/commitment_results.rs",
                "a request or a result, of 20,000 instances at most",
            ),
        ],
    ),
];

/// Calls whose argument runs where it keeps no request waiting.
const ASIDE: [&str; 4] = ["spawn_blocking(", ".run(", ".work(", "blocking("];

#[test]
fn stored_text_is_unpacked_and_parsed_where_it_keeps_no_request_waiting() {
    let mut wrong = Vec::new();
    for (path, module) in sources() {
        if !["http", "archive", "index", "start"].contains(&module[0].as_str()) {
            continue;
        }
        let file = format!("{}.rs", module.join("/"));
        let text = fs::read_to_string(&path).expect("a source file can be read");
        let code = without_comments(&text);
        let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        for (call, places) in SLOW {
            let known = places.iter().any(|(place, _)| *place == file);
            if code.contains(call) && !known {
                wrong.push(format!("{file} calls {call}"));
            }
        }
        for (start, call) in code.match_indices("metadata::unpack(") {
            if in_async(code, start) && !ASIDE.iter().any(|aside| inside(code, aside, start)) {
                wrong.push(format!("{file} calls {call} in an async function"));
            }
        }
    }
    assert!(wrong.is_empty(), "slow work:\n{}", wrong.join("\n"));
    assert!(in_async("async fn a() { x }", 15) && in_async("async move { x }", 13));
    assert!(!in_async("async fn a() {} fn b() { x }", 25));
    assert!(inside("f(.run(|| { x }))", ".run(", 12) && !inside("g.run(a); x", ".run(", 10));
}

/// Whether a place lies in the body of an async function or block.
fn in_async(code: &str, at: usize) -> bool {
    code.match_indices("async ").any(|(start, _)| {
        let open = code[start..].find('{').map(|open| start + open);
        open.is_some_and(|open| open < at && closes(code, open, ('{', '}')) > at)
    })
}

/// Whether a place lies in the arguments of a call.
fn inside(code: &str, call: &str, at: usize) -> bool {
    code.match_indices(call).any(|(start, _)| {
        let open = start + call.len() - 1;
        open < at && closes(code, open, ('(', ')')) > at
    })
}

/// Where the bracket closes that opens at a place.
fn closes(code: &str, open: usize, (opening, closing): (char, char)) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        if c == opening {
            depth += 1;
        } else if c == closing {
            depth -= 1;
            if depth == 0 {
                return open + at;
            }
        }
    }
    code.len()
}

#[test]
fn every_module_of_the_crate_has_its_layer() {
    let modules: BTreeSet<String> = sources()
        .into_iter()
        .map(|(_, module)| module[0].clone())
        .collect();
    let strange: Vec<&String> = modules
        .iter()
        .filter(|name| !["main", "lib"].contains(&name.as_str()))
        .filter(|name| LAYERS.iter().all(|layer| layer.name != name.as_str()))
        .collect();
    assert!(strange.is_empty(), "no layer is stated for {strange:?}");
    assert!(modules.contains("dicom"), "src/ was not found: {modules:?}");
}

#[test]
fn imports_are_found_in_every_spelling() {
    let code = "use crate::index::Index;\nuse crate::{ blob::{self, Key}, dicom };\nlet x = crate::auth::f();";
    let found = |code: &str, depth| imports(code, depth).into_iter().collect::<Vec<_>>();
    assert_eq!(found(code, 2), ["auth", "blob", "dicom", "index"]);
    assert_eq!(found("use super::super::http::error;", 2), ["http"]);
    assert_eq!(
        found("use super::error; use super::super::store;", 3),
        Vec::<String>::new()
    );
    assert_eq!(found("use super::scope::Scope;", 1), ["scope"]);
    assert_eq!(
        without_comments(
            "let a = \"http://x\"; // crate::http\n/* crate::index\n /* */ */ b\n//! crate::auth\n'\"' // c"
        ),
        "let a = \"http://x\"; \n b\n\n'\"' "
    );
    assert_eq!(
        without_comments("r#\"a \" // b\"# // c"),
        "r#\"a \" // b\"# "
    );
    assert!(names_crate("use sqlx::Row;", "sqlx") && names_crate("x: ::sqlx::Pool", "sqlx"));
    assert!(!names_crate("use crate::http::x; my_http::y", "http"));
}

/// Every source file with its module path; `src/index/sqlite/mod.rs` is `[index, sqlite]`.
fn sources() -> Vec<(PathBuf, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src/ can be listed") {
            let path = entry.expect("src/ can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path
                    .strip_prefix(&root)
                    .expect("it was found below src/")
                    .with_extension("");
                let mut module: Vec<String> = relative
                    .iter()
                    .map(|part| part.to_string_lossy().into_owned())
                    .collect();
                if module.len() > 1 && module.last().is_some_and(|last| last == "mod") {
                    module.pop();
                }
                found.push((path, module));
            }
        }
    }
    found
}

/// Modules at the crate's root that the code of a module `depth` levels below it names.
fn imports(code: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        if !word_before(code, start) && !code[..start].ends_with('$') {
            found.extend(first_names(&code[start + "crate::".len()..]));
        }
    }
    let mut rest = code;
    while let Some(start) = rest.find("super::") {
        let mut path = &rest[start..];
        let mut climbed = 0;
        while let Some(behind) = path.strip_prefix("super::") {
            path = behind;
            climbed += 1;
        }
        // Inside an inline module one `super` only leaves that module; a name that is no layer is dropped by the caller.
        if climbed >= depth {
            found.extend(first_names(path));
        }
        rest = path;
    }
    found
}

/// The names a path begins with: one, or those of a group in braces.
fn first_names(path: &str) -> Vec<String> {
    let identifier = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![identifier(path)];
    };
    let mut names = vec![identifier(group.trim_start())];
    let mut open = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            ',' if open == 1 => names.push(identifier(group[at + 1..].trim_start())),
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    names
}

/// Whether code names an external crate at the head of a path.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(start, _)| {
        let before = code[..start].trim_end();
        let in_path = before.ends_with("::")
            && (word_before(before, before.len() - 2) || before.ends_with(">::"));
        code[start + name.len()..].starts_with("::") && !word_before(code, start) && !in_path
    })
}

fn word_before(code: &str, at: usize) -> bool {
    code[..at]
        .chars()
        .next_back()
        .is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// The code without line and block comments; string and character literals are left as they are.
fn without_comments(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        } else if rest.starts_with("/*") {
            rest = &rest[block_comment(rest)..];
            continue;
        } else if let Some(length) = raw_string(rest) {
            length
        } else if c == '"' {
            string(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("'/'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else {
            c.len_utf8()
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

/// Length of the block comment that text begins with; they nest.
fn block_comment(text: &str) -> usize {
    let mut open = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            open += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            open -= 1;
            at += 2;
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
        if open == 0 {
            return at;
        }
    }
    text.len()
}

/// Length of the raw string literal that text begins with, if it does; an identifier that ends in `r` is none.
fn raw_string(text: &str) -> Option<usize> {
    let behind = text.strip_prefix('r')?;
    let hashes = behind.bytes().take_while(|byte| *byte == b'#').count();
    let content = behind[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = content
        .find(&close)
        .map_or(content.len(), |at| at + close.len());
    Some(1 + hashes + 1 + end)
}

/// Length of the string literal that text begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
