//! Padding of stored text.

pub(super) fn unpadded(text: &str) -> &str {
    text.trim_end_matches(['\0', ' ']).trim_start_matches(' ')
}
