//! JSON values as YAML, in blocks; texts stay in the quotes of JSON, which YAML reads the same way.

use serde_json::Value;

/// The document.
pub(super) fn written(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

/// Only for documents of our own making: it calls itself as deep as they are nested.
fn write(out: &mut String, value: &Value, indent: usize) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                out.push_str(&pad);
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                below(out, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&pad);
                out.push('-');
                below(out, item, indent);
            }
        }
        other => {
            out.push_str(&pad);
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

/// What stands behind `name:` or `-`: a plain value on the same line, others on lines of their own.
fn below(out: &mut String, value: &Value, indent: usize) {
    let nested = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        out.push('\n');
        write(out, value, indent + 2);
    } else {
        out.push(' ');
        write(out, value, 0);
    }
}
