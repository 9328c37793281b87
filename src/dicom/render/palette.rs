//! Palette color lookup tables, plain and segmented (PS3.3 §C.7.6.3.1.5, §C.7.9.2).
//!
//! Segmented tables are expanded without recursion, to at most the number of
//! entries the descriptor allows and in a bounded number of segments.

use super::lut::{LutData, entry_count, first_mapped, little_endian_words};

/// Segments expanded for one table before it is given up as hostile.
const MAX_SEGMENTS: usize = 65_536 * 2;

/// The tables of one color, before they are joined.
pub(super) struct Channel {
    /// Values of the Palette Color Lookup Table Descriptor.
    pub(super) descriptor: Vec<i64>,
    /// The table, or its segments.
    pub(super) data: LutData,
    /// Whether `data` holds segments.
    pub(super) segmented: bool,
}

/// Red, green and blue tables, 8 bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Palette {
    first: i32,
    colors: Vec<[u8; 3]>,
}

impl Palette {
    /// A palette from its first mapped value and its colors; `None` without any.
    pub fn new(first: i32, mut colors: Vec<[u8; 3]>) -> Option<Self> {
        colors.truncate(65_536);
        (!colors.is_empty()).then_some(Self { first, colors })
    }

    /// Joins the tables of three colors; `None` when one cannot be read.
    pub(super) fn from_channels(channels: &[Channel; 3], signed: bool) -> Option<Self> {
        let [count, first, _] = *channels[0].descriptor.first_chunk::<3>()?;
        let count = entry_count(count);
        let mut tables: [Vec<u16>; 3] = Default::default();
        for (table, channel) in tables.iter_mut().zip(channels) {
            *table = channel.expand()?;
        }
        // Writers disagree whether 8-bit entries lie in the low or the high byte, and what
        // the descriptor then says: a table with an entry above 255 is a 16-bit table.
        let wide = tables.iter().flatten().any(|&entry| entry > 255);
        let entry = |table: &[u16], index: usize| {
            let value = table.get(index).or(table.last()).copied().unwrap_or(0);
            let [low, high] = value.to_le_bytes();
            if wide { high } else { low }
        };
        let [red, green, blue] = &tables;
        let longest = red.len().max(green.len()).max(blue.len()).min(count);
        let colors = (0..longest)
            .map(|i| [entry(red, i), entry(green, i), entry(blue, i)])
            .collect();
        Self::new(first_mapped(first, signed), colors)
    }

    /// The color of a stored value; outside the table its first or last entry.
    pub(super) fn at(&self, stored: i32) -> [u8; 3] {
        let index = usize::try_from(stored.saturating_sub(self.first)).unwrap_or(0);
        self.colors
            .get(index)
            .or(self.colors.last())
            .copied()
            .unwrap_or([0; 3])
    }

    /// The color of a stored value, if the table maps it itself.
    pub(super) fn mapped(&self, stored: i32) -> Option<[u8; 3]> {
        let index = usize::try_from(stored.checked_sub(self.first)?).ok()?;
        self.colors.get(index).copied()
    }
}

impl Channel {
    fn expand(&self) -> Option<Vec<u16>> {
        let [count, _, bits] = *self.descriptor.first_chunk::<3>()?;
        let entries = entry_count(count);
        let table = if self.segmented {
            let (words, unit) = match &self.data {
                LutData::Words(words) => (words.clone(), 2),
                LutData::Bytes(bytes) if bits == 8 => {
                    (bytes.iter().map(|&b| u16::from(b)).collect(), 1)
                }
                LutData::Bytes(bytes) => (little_endian_words(bytes).collect(), 2),
            };
            expand_segments(&words, unit, entries)?
        } else {
            self.data.words(entries)
        };
        (!table.is_empty()).then_some(table)
    }
}

/// Expands segments (PS3.3 §C.7.9.2). `unit` is the bytes of one element of `data`.
fn expand_segments(data: &[u16], unit: usize, entries: usize) -> Option<Vec<u16>> {
    let mut table = Vec::with_capacity(entries);
    let mut position = 0;
    // Where to go on, and how many segments are left, while an indirect one is copied.
    let mut copying: Option<(usize, u16)> = None;
    for _ in 0..MAX_SEGMENTS {
        if let Some((resume, 0)) = copying {
            (position, copying) = (resume, None);
        }
        // A lone last element is padding to an even length.
        let Some(&[opcode, length]) = data.get(position..).and_then(|rest| rest.first_chunk())
        else {
            return copying.is_none().then_some(table);
        };
        if table.len() >= entries {
            return Some(table);
        }
        position += 2;
        let room = entries - table.len();
        match opcode {
            0 => {
                let values = data.get(position..)?.get(..usize::from(length))?;
                table.extend(values.iter().take(room));
                position += values.len();
            }
            1 => {
                let (&from, &to) = (table.last()?, data.get(position)?);
                table.extend(line(from, to, length).take(room));
                position += 1;
            }
            2 if copying.is_none() => {
                // Only the byte offset's own width differs between 8 and 16 bit tables.
                let width = 4 / unit;
                let offset = data
                    .get(position..)?
                    .get(..width)?
                    .iter()
                    .rev()
                    .fold(0_usize, |sum, &e| (sum << (8 * unit)) | usize::from(e));
                if offset % unit != 0 {
                    return None;
                }
                copying = Some((position + width, length));
                position = offset / unit;
                continue;
            }
            _ => return None,
        }
        if let Some((_, left)) = &mut copying {
            *left -= 1;
        }
    }
    None
}

/// The `length` values after `from` on the straight line that ends in `to`.
fn line(from: u16, to: u16, length: u16) -> impl Iterator<Item = u16> {
    let (from, to, length) = (i64::from(from), i64::from(to), i64::from(length));
    (1..=length).map(move |step| {
        // Rounded to nearest; the sum stays between the two ends.
        let doubled = 2 * (to - from) * step + length;
        u16::try_from(from + doubled.div_euclid(2 * length)).unwrap_or(0)
    })
}
