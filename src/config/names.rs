//! Names that people give to rules, receivers and destinations.

/// Most characters of a name.
const LONGEST: usize = 64;

/// What a name must be like.
pub const NAME_RULE: &str = "a name has 1 to 64 letters, digits, dots, hyphens and underscores";

/// Whether a text is a name: short, and plain wherever it stands.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(plain)
}
