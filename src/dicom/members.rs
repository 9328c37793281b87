//! DICOM JSON read member by member: the text is looked through, no tree is made of it.
//!
//! Invariants: no recursion, however deep the text is nested; no memory that grows with it, as everything given out lies
//! in the text itself; a look through all members takes time in proportion to the text.

use std::borrow::Cow;

use dicom_core::Tag;
use serde_json::value::RawValue;

use super::tag;

/// A text that is not DICOM JSON (PS3.18 Annex F).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is not DICOM JSON {left} bytes before its end")]
pub struct Malformed {
    /// Bytes from the fault to the end of the text.
    pub left: usize,
}

/// The attributes of a data set, in the order of the text: the tag, and the element as JSON text.
///
/// After an error there is nothing more.
#[must_use]
pub fn members(data_set: &str) -> Members<'_> {
    Members(JsonFields::of(data_set))
}

/// The elements of those attributes of a data set that are named, in one look through the text.
///
/// # Errors
/// [`Malformed`] when the text is not DICOM JSON up to the last attribute that is found.
pub fn find<'t, const N: usize>(
    data_set: &'t str,
    wanted: [Tag; N],
) -> Result<[Option<JsonElement<'t>>; N], Malformed> {
    let mut found = [None; N];
    let mut missing = N;
    for member in members(data_set) {
        let (tag, element) = member?;
        for (slot, _) in found
            .iter_mut()
            .zip(wanted)
            .filter(|(slot, wanted)| slot.is_none() && *wanted == tag)
        {
            *slot = Some(element);
            missing = missing.saturating_sub(1);
        }
        if missing == 0 {
            break;
        }
    }
    Ok(found)
}

/// What [`members`] gives.
#[derive(Debug, Clone)]
pub struct Members<'t>(JsonFields<'t>);

impl<'t> Iterator for Members<'t> {
    type Item = Result<(Tag, JsonElement<'t>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = match self.0.next()? {
            Ok(field) => field,
            Err(error) => return Some(Err(error)),
        };
        Some(match tag::from_hex(name) {
            Some(tag) => Ok((tag, JsonElement(value))),
            None => Err(self.0.0.fail()),
        })
    }
}

/// One attribute: a JSON object with its VR and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonElement<'t>(&'t str);

impl<'t> JsonElement<'t> {
    /// An element that was found another way.
    #[must_use]
    pub const fn new(json: &'t str) -> Self {
        Self(json)
    }

    /// The whole element as JSON text.
    #[must_use]
    pub const fn json(self) -> &'t str {
        self.0
    }

    /// The Value Representation; empty when none is named.
    #[must_use]
    pub fn vr(self) -> &'t str {
        self.field("vr").and_then(plain).unwrap_or_default()
    }

    /// The values, each as JSON text: an object for an item or a name, a text, a number, or `null`.
    ///
    /// None when there is no value, or not in this form.
    #[must_use]
    pub fn values(self) -> Values<'t> {
        let fields = JsonFields::of(self.0);
        Values(
            fields
                .inside("Value", '[')
                .unwrap_or_else(|| JsonCursor::of("", '[')),
        )
    }

    /// The value as base64.
    #[must_use]
    pub fn inline_binary(self) -> Option<&'t str> {
        self.field("InlineBinary").and_then(plain)
    }

    /// Where the value is.
    #[must_use]
    pub fn bulk_data_uri(self) -> Option<Cow<'t, str>> {
        self.field("BulkDataURI").and_then(string)
    }

    /// The strings among the values; of a name the alphabetic group, else another one.
    pub fn strings(self) -> impl Iterator<Item = Cow<'t, str>> + use<'t> {
        self.values().filter_map(string)
    }

    /// The numbers among the values, whether written as numbers or as strings.
    pub fn numbers(self) -> impl Iterator<Item = f64> + use<'t> {
        self.values().filter_map(number)
    }

    /// The integers among the values, whether written as numbers or as strings.
    pub fn integers(self) -> impl Iterator<Item = i64> + use<'t> {
        self.values().filter_map(integer)
    }

    /// The items of a sequence, each as the JSON text of a data set, for [`members`].
    pub fn items(self) -> impl Iterator<Item = &'t str> + use<'t> {
        self.values().filter(|value| value.starts_with('{'))
    }

    fn field(self, name: &str) -> Option<&'t str> {
        let mut fields = JsonFields::of(self.0).map_while(Result::ok);
        fields.find_map(|(found, value)| (found == name).then_some(value))
    }
}

/// What [`JsonElement::values`] gives.
#[derive(Debug, Clone)]
pub struct Values<'t>(JsonCursor<'t>);

impl<'t> Iterator for Values<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        if !self.0.advance(']') {
            return None;
        }
        self.0.value().ok()
    }
}

/// A JSON text as a string: a string, or the alphabetic group of a name, else another one; without padding.
#[must_use]
pub fn string(json: &str) -> Option<Cow<'_, str>> {
    let text = if json.starts_with('{') {
        let group = |wanted: &str| JsonElement(json).field(wanted).and_then(unquoted);
        ["Alphabetic", "Ideographic", "Phonetic"]
            .into_iter()
            .find_map(group)
    } else {
        unquoted(json)
    };
    let padding = [' ', '\0'];
    text.map(|text| match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(padding)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(padding).to_owned()),
    })
}

/// A JSON text as a number: a number, or a string that is one.
#[must_use]
pub fn number(json: &str) -> Option<f64> {
    if json.starts_with('"') {
        return unquoted(json)?.trim_matches([' ', '\0']).parse().ok();
    }
    json.parse().ok()
}

/// A JSON text as an integer, cut off to it when it has a fraction.
#[must_use]
pub fn integer(json: &str) -> Option<i64> {
    let exact = || json.parse().ok();
    let cut = || {
        let number = number(json).filter(|number| number.abs() < 9e15)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "an integral part below 2^53"
        )]
        Some(number.trunc() as i64)
    };
    exact().or_else(cut)
}

/// What stands between the quotes.
fn unquoted(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inside))
}

/// What stands between the quotes, where it needs no escapes.
fn plain(json: &str) -> Option<&str> {
    match unquoted(json)? {
        Cow::Borrowed(text) => Some(text),
        Cow::Owned(_) => None,
    }
}

/// The members of any JSON object.
#[derive(Debug, Clone)]
struct JsonFields<'t>(JsonCursor<'t>);

impl<'t> JsonFields<'t> {
    fn of(object: &'t str) -> Self {
        Self(JsonCursor::of(object, '{'))
    }

    /// The start of an array or object among the members, which is not read to its end.
    fn inside(mut self, name: &str, opening: char) -> Option<JsonCursor<'t>> {
        while self.0.advance('}') {
            if self.0.name().ok()? == name {
                return Some(JsonCursor::of(self.0.rest, opening));
            }
            self.0.value().ok()?;
        }
        None
    }
}

impl<'t> Iterator for JsonFields<'t> {
    type Item = Result<(&'t str, &'t str), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.0.advance('}') {
            return self.0.broken.take().map(Err);
        }
        let name = self.0.name();
        Some(name.and_then(|name| Ok((name, self.0.value()?))))
    }
}

/// A place in an object or array.
#[derive(Debug, Clone)]
struct JsonCursor<'t> {
    /// What was not read yet.
    rest: &'t str,
    /// Nothing of it was read yet.
    first: bool,
    /// Nothing follows: the end was read, or something that is wrong.
    done: bool,
    /// What is wrong, until it was told.
    broken: Option<Malformed>,
}

impl<'t> JsonCursor<'t> {
    fn of(text: &'t str, opening: char) -> Self {
        let rest = text.trim_ascii_start().strip_prefix(opening);
        let broken = rest.is_none().then_some(Malformed { left: text.len() });
        Self {
            rest: rest.unwrap_or_default(),
            first: true,
            done: broken.is_some(),
            broken,
        }
    }

    fn fail(&mut self) -> Malformed {
        self.done = true;
        Malformed {
            left: self.rest.len(),
        }
    }

    /// Goes to the next entry; whether there is one.
    fn advance(&mut self, closing: char) -> bool {
        if self.done {
            return false;
        }
        let rest = self.rest.trim_ascii_start();
        if rest.starts_with(closing) {
            self.done = true;
        } else if std::mem::take(&mut self.first) {
            self.rest = rest;
        } else if let Some(next) = rest.strip_prefix(',') {
            self.rest = next.trim_ascii_start();
        } else {
            self.broken = Some(self.fail());
        }
        !self.done
    }

    /// The name at this place, which is stepped over.
    fn name(&mut self) -> Result<&'t str, Malformed> {
        let named = self.rest.strip_prefix('"').and_then(|rest| {
            let (name, behind) = rest.split_once('"')?;
            let value = behind.trim_ascii_start().strip_prefix(':')?;
            Some((name, value))
        });
        let Some((name, value)) = named else {
            return Err(self.fail());
        };
        self.rest = value;
        Ok(name)
    }

    /// The value at this place, which is stepped over.
    fn value(&mut self) -> Result<&'t str, Malformed> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<&'t RawValue>();
        match values.next() {
            Some(Ok(value)) => {
                self.rest = self.rest.get(values.byte_offset()..).unwrap_or_default();
                Ok(value.get())
            }
            _ => Err(self.fail()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Result<Vec<u32>, Malformed> {
        let number = |tag: Tag| u32::from(tag.0) << 16 | u32::from(tag.1);
        members(text)
            .map(|member| member.map(|(tag, _)| number(tag)))
            .collect()
    }

    #[test]
    fn members_are_given_in_their_order() {
        let text = r#"{"00080005":{"vr":"CS","Value":["A","B\"\\"]},"00081115":{"vr":"SQ","Value":[{},{"00080018":{"vr":"UI"}}]},"7FE00010":{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"}}"#;
        assert_eq!(tags(text), Ok(vec![0x0008_0005, 0x0008_1115, 0x7FE0_0010]));
        let [names, items, pixels, none] = find(
            text,
            [
                Tag(8, 5),
                Tag(8, 0x1115),
                Tag(0x7FE0, 0x10),
                Tag(0x10, 0x10),
            ],
        )
        .unwrap();
        assert_eq!(names.unwrap().vr(), "CS");
        assert_eq!(names.unwrap().strings().collect::<Vec<_>>(), ["A", "B\"\\"]);
        let items: Vec<_> = items.unwrap().items().collect();
        assert_eq!(items, ["{}", r#"{"00080018":{"vr":"UI"}}"#]);
        assert_eq!(
            pixels.unwrap().bulk_data_uri().as_deref(),
            Some("bulkdata/7FE00010")
        );
        assert_eq!(none, None);
        assert_eq!(tags("{}"), Ok(vec![]));
        assert_eq!(
            tags(" { \"00080005\" : { } , \"00080006\" : {} } "),
            Ok(vec![0x0008_0005, 0x0008_0006])
        );
    }

    #[test]
    fn values_are_read_as_what_they_are() {
        let element = |values: &str| format!(r#"{{"vr":"XX","Value":{values}}}"#);
        let numbers = |values: &str| {
            let text = element(values);
            JsonElement(&text).numbers().collect::<Vec<_>>()
        };
        assert_eq!(
            numbers(r#"[1,-2.5,"3 ",null,"x",1e3]"#),
            [1.0, -2.5, 3.0, 1000.0]
        );
        let text = element(r#"["12",7.9,9007199254740993,"1e2"]"#);
        assert_eq!(
            JsonElement(&text).integers().collect::<Vec<_>>(),
            [12, 7, 9_007_199_254_740_993, 100]
        );
        let text =
            element(r#"[{"Ideographic":"山"},{"Alphabetic":"A^B","Phonetic":"x"},null,"plain "]"#);
        assert_eq!(
            JsonElement(&text).strings().collect::<Vec<_>>(),
            ["山", "A^B", "plain"]
        );
        let inline = r#"{"vr":"OB","InlineBinary":"AAE="}"#;
        assert_eq!(JsonElement(inline).inline_binary(), Some("AAE="));
        assert_eq!(JsonElement(inline).values().count(), 0);
    }

    #[test]
    fn what_is_no_json_ends_in_one_error() {
        let broken = [
            "",
            "[]",
            "{",
            "{\"0008",
            r#"{"00080005"}"#,
            r#"{"00080005":}"#,
            r#"{"00080005":{}"#,
            r#"{"00080005":{},}"#,
            r#"{"00080005":{} "00080006":{}}"#,
            r#"{"0008000Z":{}}"#,
            r#"{"00080005":{"vr":"CS}}"#,
        ];
        for text in broken {
            let found: Vec<_> = members(text).take(9).collect();
            assert!(
                found.last().is_some_and(Result::is_err),
                "{text}: no error at the end"
            );
            assert!(
                found.iter().rev().skip(1).all(Result::is_ok),
                "{text}: something follows the error"
            );
        }
    }

    #[test]
    fn depth_and_number_do_not_matter() {
        let depth = 20_000;
        let deep = format!(
            "{{\"00081115\":{}{}}}",
            "{\"Value\":[".repeat(depth),
            "]}".repeat(depth)
        );
        assert_eq!(tags(&deep).map(|tags| tags.len()), Ok(1));
        let many: Vec<String> = (0..100_000)
            .map(|at| format!("\"{at:08X}\":{{}}"))
            .collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(tags(&many).map(|tags| tags.len()), Ok(100_000));
    }
}
