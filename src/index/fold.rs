//! Folding of text for search: case, accents and width do not count.
//!
//! Invariant: folding is idempotent, and what it returns holds no control characters (names use U+0001… as marks).

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Folds a text: compatibility forms and accents away, lower case, white space runs to one space, trimmed.
pub(super) fn text(value: &str) -> String {
    let mut folded = String::with_capacity(value.len());
    for c in value.nfkd().filter(|c| !is_combining_mark(*c)) {
        if c.is_whitespace() || c.is_control() {
            if !folded.ends_with(' ') && !folded.is_empty() {
                folded.push(' ');
            }
        } else {
            folded.extend(c.to_lowercase());
        }
    }
    folded.truncate(folded.trim_end().len());
    // Lower-casing can bring marks back (U+0130), and the parts of a syllable belong together again.
    folded.nfc().filter(|c| !is_combining_mark(*c)).collect()
}

/// Folds the groups of a person name; components keep their `^`, empty ones at the end are dropped, and so are empty
/// groups.
pub(super) fn name(value: &str) -> Vec<String> {
    value
        .split('=')
        .map(|group| {
            let parts: Vec<String> = group.split('^').map(text).collect();
            parts.join("^").trim_end_matches('^').to_owned()
        })
        .filter(|group| !group.is_empty())
        .collect()
}
