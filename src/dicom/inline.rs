//! Binary values that lie in DICOM JSON itself, found one after the other.
//!
//! Invariants: no recursion and no tree, however deep the text is nested; a search goes on where it stopped.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::json::skip::{next_entry, next_member};
use super::members::{self, JsonElement};
use super::tag;

/// A binary value of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineValue {
    /// Where it lies: tags and 1-based numbers of items, as in a `BulkDataURI`.
    pub path: String,
    /// Its Value Representation.
    pub vr: String,
    /// Its bytes, little endian.
    pub bytes: Vec<u8>,
}

/// How far a data set was searched; one that begins knows nothing of the text.
#[derive(Debug, Clone)]
pub struct InlineSearch {
    /// What is still to be looked at, innermost last.
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Attributes of a data set, the next one behind the place.
    Attributes(usize),
    /// Items of a sequence with the name of its tag, the next one behind the place.
    Items {
        name: Range<usize>,
        at: usize,
        number: usize,
    },
}

impl Default for InlineSearch {
    fn default() -> Self {
        Self {
            steps: vec![Step::Attributes(1)],
        }
    }
}

impl InlineSearch {
    /// Whether all was looked at.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.is_empty()
    }

    /// The next values of a data set, `most` of them at most; always of the same text.
    pub fn next(&mut self, text: &str, most: usize) -> Vec<InlineValue> {
        let mut found = Vec::new();
        // Most data sets have none: that is seen at a glance.
        if memchr::memmem::find(text.as_bytes(), b"\"InlineBinary\"").is_none() {
            self.steps.clear();
        }
        while found.len() < most {
            match self.steps.pop() {
                None => break,
                Some(Step::Items { name, at, number }) => {
                    if let Some(item) = next_entry(text, at) {
                        let (at, number) = (item.end, number.saturating_add(1));
                        self.steps.push(Step::Items { name, at, number });
                        self.steps
                            .push(Step::Attributes(item.start.saturating_add(1)));
                    }
                }
                Some(Step::Attributes(at)) => {
                    let Some((name, element)) = next_member(text, at) else {
                        continue;
                    };
                    self.steps.push(Step::Attributes(element.end));
                    found.extend(self.look(text, &name, &element));
                }
            }
        }
        found
    }

    /// The value of an attribute; a sequence is looked into next.
    fn look(
        &mut self,
        text: &str,
        name: &Range<usize>,
        element: &Range<usize>,
    ) -> Option<InlineValue> {
        let mut at = element.start.saturating_add(1);
        while let Some((field, value)) = next_member(text, at) {
            at = value.end;
            match text.get(field)? {
                "Value" if text.as_bytes().get(value.start.saturating_add(1)) == Some(&b'{') => {
                    self.steps.push(Step::Items {
                        name: name.clone(),
                        at: value.start.saturating_add(1),
                        number: 0,
                    });
                }
                "InlineBinary" => {
                    let element = JsonElement::new(text.get(element.clone())?);
                    return Some(InlineValue {
                        path: self.path(text, name),
                        vr: element.vr().to_owned(),
                        bytes: BASE64.decode(element.inline_binary()?).ok()?,
                    });
                }
                _ => {}
            }
        }
        None
    }

    fn path(&self, text: &str, name: &Range<usize>) -> String {
        let mut path = String::new();
        for step in &self.steps {
            if let Step::Items { name, number, .. } = step {
                path.push_str(text.get(name.clone()).unwrap_or_default());
                path.push('/');
                path.push_str(itoa::Buffer::new().format(*number));
                path.push('/');
            }
        }
        path.push_str(text.get(name.clone()).unwrap_or_default());
        path
    }
}

/// The binary value at a path in the text itself; none when there is no such value.
#[must_use]
pub fn at_path(text: &str, path: &str) -> Option<InlineValue> {
    let mut data_set = text;
    let mut steps = path.split('/');
    loop {
        let wanted = tag::from_hex(steps.next()?)?;
        let [found] = members::find(data_set, [wanted]).ok()?;
        let element = found?;
        match steps.next() {
            None => {
                return Some(InlineValue {
                    path: path.to_owned(),
                    vr: element.vr().to_owned(),
                    bytes: BASE64.decode(element.inline_binary()?).ok()?,
                });
            }
            Some(number) => {
                let number: usize = number.parse().ok()?;
                data_set = element.items().nth(number.checked_sub(1)?)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        r#"{"00080005":{"vr":"CS","Value":["ISO_IR 192"]},"#,
        r#""00091001":{"vr":"UN","InlineBinary":"AQID"},"#,
        r#""00100010":{"vr":"PN","Value":[{"Alphabetic":"InlineBinary"}]},"#,
        r#""54000100":{"vr":"SQ","Value":[{},{"54001010":{"vr":"OW","InlineBinary":"BAU="},"#,
        r#""00081140":{"vr":"SQ","Value":[{"00420011":{"vr":"OB","InlineBinary":"Bg=="}}]}}]},"#,
        r#""7FE00010":{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"},"7FE00011":{"vr":"OB"}}"#
    );

    #[test]
    fn every_value_is_found_wherever_it_lies_and_however_many_are_taken_at_a_time() {
        let wanted: [(&str, &str, &[u8]); 3] = [
            ("00091001", "UN", &[1, 2, 3]),
            ("54000100/2/54001010", "OW", &[4, 5]),
            ("54000100/2/00081140/1/00420011", "OB", &[6]),
        ];
        for most in 1..5 {
            let mut search = InlineSearch::default();
            let mut found = Vec::new();
            while !search.is_done() {
                found.extend(search.next(TEXT, most));
            }
            let reported: Vec<_> = found
                .iter()
                .map(|value| (&*value.path, &*value.vr, &*value.bytes))
                .collect();
            assert_eq!(reported, wanted, "{most}");
            for value in found {
                assert_eq!(at_path(TEXT, &value.path), Some(value));
            }
        }
        for none in [
            "",
            "00080005",
            "54000100",
            "54000100/1/54001010",
            "54000100/0/54001010",
            "x/1",
        ] {
            assert_eq!(at_path(TEXT, none), None, "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_searched_to_an_end(text in "[\\[\\]{}\",:1 a]{0,60}") {
            let text = format!("{{\"InlineBinary\"{text}");
            let mut search = InlineSearch::default();
            while !search.is_done() {
                search.next(&text, 3);
            }
        }
    }
}
