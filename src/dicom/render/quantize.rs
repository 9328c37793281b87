//! Reducing an RGB picture to 256 colors: exactly where it has no more, else by
//! median cut over a histogram of 5 bits per channel.

use std::collections::BTreeMap;

/// Cells of the histogram.
const CELLS: usize = 1 << 15;
/// Colors of a GIF palette.
const COLORS: usize = 256;

/// A palette (red, green, blue bytes) and an index into it for each pixel.
pub(super) struct Indexed {
    pub(super) palette: Vec<u8>,
    pub(super) indices: Vec<u8>,
}

/// Reduces a picture of 3 bytes per pixel.
pub(super) fn quantize(rgb: &[u8]) -> Indexed {
    let pixels = rgb.as_chunks::<3>().0;
    exact(pixels).unwrap_or_else(|| median_cut(pixels))
}

fn exact(pixels: &[[u8; 3]]) -> Option<Indexed> {
    let mut known: BTreeMap<[u8; 3], u8> = BTreeMap::new();
    let mut palette = Vec::new();
    let mut indices = Vec::with_capacity(pixels.len());
    let mut last = None;
    for &pixel in pixels {
        let index = match last {
            Some((color, index)) if color == pixel => index,
            _ => match known.get(&pixel) {
                Some(&index) => index,
                None => {
                    let index = u8::try_from(known.len()).ok()?;
                    known.insert(pixel, index);
                    palette.extend_from_slice(&pixel);
                    index
                }
            },
        };
        indices.push(index);
        last = Some((pixel, index));
    }
    Some(Indexed { palette, indices })
}

/// One cell of the histogram: how many pixels, and the sum of their colors.
#[derive(Clone, Copy, Default)]
struct HistogramCell {
    count: u64,
    sums: [u64; 3],
}

fn median_cut(pixels: &[[u8; 3]]) -> Indexed {
    let mut cells = vec![HistogramCell::default(); CELLS];
    for pixel in pixels {
        if let Some(cell) = cells.get_mut(cell_of(pixel)) {
            cell.count += 1;
            for (sum, &value) in cell.sums.iter_mut().zip(pixel) {
                *sum += u64::from(value);
            }
        }
    }
    let filled = (0..CELLS).filter(|&index| cells.get(index).is_some_and(|c| c.count > 0));
    let weighed = |members: Vec<usize>| (weight(&cells, &members), members);
    let mut boxes = vec![weighed(filled.collect())];
    while boxes.len() < COLORS {
        let heaviest = boxes
            .iter()
            .enumerate()
            .max_by_key(|(_, (weight, _))| *weight);
        let Some((index, (1.., _))) = heaviest else {
            break;
        };
        let (_, members) = boxes.swap_remove(index);
        let (low, high) = split(&cells, members);
        boxes.push(weighed(low));
        boxes.push(weighed(high));
    }
    let mut of_cell = vec![0_u8; CELLS];
    let mut palette = Vec::with_capacity(boxes.len() * 3);
    for (number, (_, members)) in (0_u8..=255).zip(&boxes) {
        palette.extend_from_slice(&mean(&cells, members));
        for &member in members {
            if let Some(index) = of_cell.get_mut(member) {
                *index = number;
            }
        }
    }
    let indices = pixels
        .iter()
        .map(|pixel| of_cell.get(cell_of(pixel)).copied().unwrap_or(0))
        .collect();
    Indexed { palette, indices }
}

fn cell_of(pixel: &[u8; 3]) -> usize {
    pixel
        .iter()
        .fold(0, |index, &value| (index << 5) | usize::from(value >> 3))
}

/// The 5-bit value of a cell along one channel.
fn coordinate(cell: usize, channel: usize) -> usize {
    (cell >> (10 - 5 * channel)) & 31
}

fn extent(members: &[usize], channel: usize) -> usize {
    let values = members.iter().map(|&cell| coordinate(cell, channel));
    values.clone().max().unwrap_or(0) - values.min().unwrap_or(0)
}

/// What splitting a box is worth: its pixels times its longest side, 0 for one cell.
fn weight(cells: &[HistogramCell], members: &[usize]) -> u64 {
    let pixels: u64 = members
        .iter()
        .filter_map(|&index| cells.get(index))
        .map(|c| c.count)
        .sum();
    let side = (0..3)
        .map(|channel| extent(members, channel))
        .max()
        .unwrap_or(0);
    pixels.saturating_mul(u64::try_from(side).unwrap_or(0))
}

/// Two non-empty halves, by pixels, along the longest side.
fn split(cells: &[HistogramCell], mut members: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
    let longest = (0..3)
        .max_by_key(|&channel| extent(&members, channel))
        .unwrap_or(0);
    members.sort_unstable_by_key(|&cell| coordinate(cell, longest));
    let count = |index: &usize| cells.get(*index).map_or(0, |cell| cell.count);
    let half = members.iter().map(count).sum::<u64>() / 2;
    let mut passed = 0;
    let cut = members.iter().position(|member| {
        passed += count(member);
        passed > half
    });
    let cut = cut.unwrap_or(0).clamp(1, members.len().saturating_sub(1));
    let high = members.split_off(cut);
    (members, high)
}

fn mean(cells: &[HistogramCell], members: &[usize]) -> [u8; 3] {
    let mut total = HistogramCell::default();
    for cell in members.iter().filter_map(|&index| cells.get(index)) {
        total.count += cell.count;
        for (sum, value) in total.sums.iter_mut().zip(cell.sums) {
            *sum += value;
        }
    }
    let count = total.count.max(1);
    total
        .sums
        .map(|sum| u8::try_from((sum + count / 2) / count).unwrap_or(u8::MAX))
}
