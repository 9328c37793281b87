//! Searched texts and words of names: how long they may be, and what no database takes.

use crate::dicom::normalize;

/// Longest searched text in characters: Postgres refuses index entries of 2,700 bytes, and four columns may meet.
pub(super) const MAX_TEXT: usize = 400;

/// Most words of a name group that are indexed.
pub(super) const MAX_WORDS: usize = 16;

/// The suffixes of a normalized name group that start at a word, with numbered marks behind the words.
pub(super) fn word_suffixes(group: &str) -> Vec<String> {
    let mut words = normalize::words(group);
    words.truncate(MAX_WORDS);
    (0..words.len())
        .filter_map(|start| words.get(start..))
        .map(join_words)
        .collect()
}

/// Bounds a text and drops its NULs.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(MAX_TEXT).collect()
}

/// Joins words, with the mark of its position before each but the first.
fn join_words(words: &[String]) -> String {
    let mut joined = String::new();
    for (mark, word) in (0_u8..=u8::MAX).zip(words) {
        if mark > 0 {
            joined.push(char::from(mark));
        }
        joined.push_str(word);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_from_each_of_its_words() {
        assert_eq!(
            word_suffixes("van der berg^jo"),
            [
                "van\u{1}der\u{2}berg\u{3}jo",
                "der\u{1}berg\u{2}jo",
                "berg\u{1}jo",
                "jo"
            ]
        );
        assert!(word_suffixes("^ ^").is_empty());
        assert_eq!(word_suffixes(&"a ".repeat(100)).len(), MAX_WORDS);
    }

    #[test]
    fn texts_are_bounded_and_without_nul() {
        assert_eq!(clean("a\0b"), "ab");
        assert_eq!(clean(&"é".repeat(1000)).chars().count(), MAX_TEXT);
    }
}
