//! Where a range lies: which pieces of a planned file or of a frame hold it, by arithmetic alone.

use std::ops::Range;

use crate::dicom::frames::ByteRange;
use crate::dicom::rewrite::FileSegment;

/// The parts of ranges that lie within a range of them all.
pub(super) fn within(
    ranges: impl Iterator<Item = ByteRange> + Send + 'static,
    wanted: Range<u64>,
) -> impl Iterator<Item = ByteRange> + Send + 'static {
    let mut at = 0_u64;
    let placed = ranges.map(move |range| {
        let start = at;
        at = at.saturating_add(range.length);
        (start, range)
    });
    let end = wanted.end;
    placed
        .take_while(move |(start, _)| *start < end)
        .filter_map(move |(start, range)| {
            let from = wanted.start.saturating_sub(start);
            let to = range.length.min(wanted.end - start);
            (from < to).then(|| ByteRange {
                offset: range.offset.saturating_add(from),
                length: to - from,
            })
        })
}

/// The segments that hold a range, and how many bytes the first of them has before it.
///
/// Frames are taken whole, numbers that are turned round too; `alike` says that all frames of a segment have as many bytes.
pub(super) fn cut(
    segments: Vec<FileSegment>,
    wanted: &Range<u64>,
    alike: bool,
) -> (Vec<FileSegment>, u64) {
    let (mut kept, mut skip, mut at) = (Vec::new(), 0, 0_u64);
    for segment in segments {
        let start = at;
        at = at.saturating_add(segment.len());
        let from = wanted.start.saturating_sub(start);
        let to = segment.len().min(wanted.end.saturating_sub(start));
        if from >= to {
            continue;
        }
        let (segment, before) = part(segment, from..to, alike);
        if kept.is_empty() {
            skip = before;
        }
        kept.push(segment);
    }
    (kept, skip)
}

/// A part of a segment that holds a range of it, and how many bytes it has before that.
fn part(segment: FileSegment, wanted: Range<u64>, alike: bool) -> (FileSegment, u64) {
    match segment {
        FileSegment::Bytes(mut bytes) => {
            bytes.truncate(usize::try_from(wanted.end).unwrap_or(usize::MAX));
            let skip = usize::try_from(wanted.start).map_or(bytes.len(), |s| s.min(bytes.len()));
            (FileSegment::Bytes(bytes.split_off(skip)), 0)
        }
        FileSegment::Copy { offset, .. } => {
            let copy = FileSegment::Copy {
                offset: offset.saturating_add(wanted.start),
                length: wanted.end - wanted.start,
            };
            (copy, 0)
        }
        FileSegment::Swap {
            offset,
            length,
            width,
        } => {
            let unit = u64::from(width.max(1));
            let start = wanted.start - wanted.start % unit;
            let end = wanted.end.next_multiple_of(unit).min(length);
            let swap = FileSegment::Swap {
                offset: offset.saturating_add(start),
                length: end - start,
                width,
            };
            (swap, wanted.start - start)
        }
        FileSegment::Frames { numbers, length } => {
            let count = u64::from(numbers.end().saturating_sub(*numbers.start())) + 1;
            let each = length / count;
            if !alike || each == 0 || !length.is_multiple_of(count) {
                return (FileSegment::Frames { numbers, length }, wanted.start);
            }
            let (first, last) = (wanted.start / each, (wanted.end - 1) / each);
            let number = |index: u64| {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                numbers.start().saturating_add(index)
            };
            let frames = FileSegment::Frames {
                numbers: number(first)..=number(last),
                length: (last - first + 1) * each,
            };
            (frames, wanted.start - first * each)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_segments_begins_in_the_one_that_holds_it() {
        let segments = || {
            vec![
                FileSegment::Bytes(b"0123456789".to_vec()),
                FileSegment::Copy {
                    offset: 1000,
                    length: 1 << 40,
                },
                FileSegment::Swap {
                    offset: 1 << 50,
                    length: 7,
                    width: 2,
                },
                FileSegment::Frames {
                    numbers: 1..=1000,
                    length: 1000 * 50,
                },
            ]
        };
        assert_eq!(
            cut(segments(), &(8..12), true),
            (
                vec![
                    FileSegment::Bytes(b"89".to_vec()),
                    FileSegment::Copy {
                        offset: 1000,
                        length: 2
                    }
                ],
                0
            )
        );
        let swapped = 10 + (1 << 40);
        assert_eq!(
            cut(segments(), &(swapped + 3..swapped + 7), true),
            (
                vec![FileSegment::Swap {
                    offset: (1 << 50) + 2,
                    length: 5,
                    width: 2
                }],
                1
            )
        );
        let frames = swapped + 7;
        let (whole, skip) = cut(segments(), &(frames + 60..frames + 61), false);
        assert_eq!((whole.len(), skip), (1, 60));
        assert_eq!(
            cut(segments(), &(frames + 49_999..frames + 50_000), true),
            (
                vec![FileSegment::Frames {
                    numbers: 1000..=1000,
                    length: 50
                }],
                49
            )
        );
    }

    #[test]
    fn ranges_before_and_behind_are_left_out() {
        let range = |offset, length| ByteRange { offset, length };
        let all = [
            range(100, 10),
            range(200, 0),
            range(300, 10),
            range(400, 10),
        ];
        let cut = |wanted| within(all.into_iter(), wanted).collect::<Vec<_>>();
        assert_eq!(cut(0..30), [range(100, 10), range(300, 10), range(400, 10)]);
        assert_eq!(cut(9..11), [range(109, 1), range(300, 1)]);
        assert_eq!(cut(25..26), [range(405, 1)]);
    }
}
