//! Store: what clients send is stored, durably and once, and each part gets a verdict with a reason.

mod body;
mod described;
mod expiry;
mod pictures;
mod refused;
mod replace;
mod report;
mod requests;

use serde_json::Value;

use crate::support::http::Response;

/// Status, items of the sequence, and of each item the codes of the tag.
fn codes(answer: &Response, sequence: &str, code: &str) -> Vec<Option<u64>> {
    items(&answer.json(), sequence)
        .iter()
        .map(|item| item[code]["Value"][0].as_u64())
        .collect()
}

/// The items of a sequence; none when it is absent.
fn items(report: &Value, sequence: &str) -> Vec<Value> {
    report[sequence]["Value"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

/// Failure reasons (0008,1197) of the failed instances (0008,1198).
fn failures(answer: &Response) -> Vec<Option<u64>> {
    codes(answer, "00081198", "00081197")
}

/// Comments (0000,0902) of the first item of a sequence.
fn comments(answer: &Response, sequence: &str) -> Vec<String> {
    let item = answer.json()[sequence]["Value"][0].clone();
    items(&item, "00741048")
        .iter()
        .map(|item| {
            item["00000902"]["Value"][0]
                .as_str()
                .expect("a comment is text")
                .to_owned()
        })
        .collect()
}
