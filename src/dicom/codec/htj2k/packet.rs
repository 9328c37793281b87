//! Packets: the code-blocks of one resolution of one component, behind a header that says which are there and how long
//! they are (T.800 annex B.10).

use super::block::{BlockCoder, SIDE};
use super::wavelet::Band;

/// Appends the packet of the subbands of a resolution; `magnitude_bits` of each band (T.800 equation E-2).
pub(super) fn append(bands: &[(&Band, u32)], coder: &mut BlockCoder, packet: &mut Vec<u8>) {
    let mut body = Vec::new();
    let mut header = HeaderWriter::default();
    let mut grids = Vec::with_capacity(bands.len());
    for &(band, magnitude_bits) in bands {
        grids.push((Grid::encode(band, coder, &mut body), magnitude_bits));
    }
    header.put(!body.is_empty());
    if !body.is_empty() {
        for (grid, magnitude_bits) in &grids {
            grid.describe(*magnitude_bits, &mut header);
        }
    }
    header.finish(packet);
    packet.append(&mut body);
}

/// The code-blocks of a subband.
struct Grid {
    columns: usize,
    rows: usize,
    /// Bytes of each; none where all coefficients are zero.
    lengths: Vec<usize>,
}

impl Grid {
    fn encode(band: &Band, coder: &mut BlockCoder, body: &mut Vec<u8>) -> Self {
        let (columns, rows) = (band.columns.div_ceil(SIDE), band.rows.div_ceil(SIDE));
        let mut lengths = Vec::with_capacity(columns * rows);
        for rows in band.samples.chunks((band.columns * SIDE).max(1)) {
            for left in (0..band.columns).step_by(SIDE) {
                let right = band.columns.min(left + SIDE);
                let block = rows
                    .chunks_exact(band.columns)
                    .filter_map(|row| row.get(left..right));
                let before = body.len();
                coder.encode(block, body);
                lengths.push(body.len() - before);
            }
        }
        Self {
            columns,
            rows,
            lengths,
        }
    }

    /// Inclusion, missing bit-planes, passes and length of each code-block.
    fn describe(&self, magnitude_bits: u32, header: &mut HeaderWriter) {
        let missing = self.lengths.iter().map(|&length| u32::from(length == 0));
        let mut included = TagTree::new(self.columns, self.rows, missing);
        // The one pass holds the lowest bit-plane, so all above it are missing, alike in all blocks.
        let planes = magnitude_bits - 1;
        let mut missing_planes =
            TagTree::new(self.columns, self.rows, self.lengths.iter().map(|_| planes));
        for (block, &length) in self.lengths.iter().enumerate() {
            included.put(block, 1, header);
            if length > 0 {
                missing_planes.put(block, planes + 1, header);
                // One pass.
                header.put(false);
                put_length(length, header);
            }
        }
    }
}

/// The length of a code-block: as many ones as it has bits beyond three, a zero, and these bits.
fn put_length(length: usize, header: &mut HeaderWriter) {
    let bits = (length.checked_ilog2().unwrap_or(0) + 1).max(3);
    (3..bits).for_each(|_| header.put(true));
    header.put(false);
    (0..bits)
        .rev()
        .for_each(|place| header.put(length >> place & 1 == 1));
}

/// A tag tree (T.800 §B.10.2): numbers of a grid, told by the minimum of each 2×2, again and again up to a single root.
struct TagTree {
    /// Leaves first.
    levels: Vec<Level>,
}

struct Level {
    columns: usize,
    nodes: Vec<TagTreeNode>,
}

#[derive(Clone, Copy)]
struct TagTreeNode {
    value: u32,
    /// What the reader knows the value to be at least.
    least: u32,
    known: bool,
}

impl TagTreeNode {
    const NONE: Self = Self {
        value: u32::MAX,
        least: 0,
        known: false,
    };
}

impl TagTree {
    fn new(columns: usize, rows: usize, values: impl Iterator<Item = u32>) -> Self {
        let nodes = values
            .map(|value| TagTreeNode {
                value,
                ..TagTreeNode::NONE
            })
            .collect();
        let mut levels = vec![Level { columns, nodes }];
        let (mut columns, mut rows) = (columns, rows);
        while columns * rows > 1 {
            let parents = (columns.div_ceil(2), rows.div_ceil(2));
            let mut nodes = vec![TagTreeNode::NONE; parents.0 * parents.1];
            let below = levels.last().map_or(&[][..], |level| &level.nodes);
            for (place, child) in below.iter().enumerate() {
                let parent = place / columns / 2 * parents.0 + place % columns / 2;
                if let Some(parent) = nodes.get_mut(parent) {
                    parent.value = parent.value.min(child.value);
                }
            }
            (columns, rows) = parents;
            levels.push(Level { columns, nodes });
        }
        Self { levels }
    }

    /// Tells whether the number of a leaf is below a limit, and which it is then.
    fn put(&mut self, leaf: usize, limit: u32, header: &mut HeaderWriter) {
        let columns = self.levels.first().map_or(1, |level| level.columns.max(1));
        let (column, row) = (leaf % columns, leaf / columns);
        let mut least = 0;
        for (depth, level) in self.levels.iter_mut().enumerate().rev() {
            let place = (row >> depth) * level.columns + (column >> depth);
            let Some(node) = level.nodes.get_mut(place) else {
                continue;
            };
            least = least.max(node.least);
            while least < limit && !node.known {
                if least < node.value {
                    header.put(false);
                    least += 1;
                } else {
                    header.put(true);
                    node.known = true;
                }
            }
            node.least = least;
        }
    }
}

/// Bits of a packet header: first bit highest; a byte after FF holds seven bits.
#[derive(Default)]
struct HeaderWriter {
    bytes: Vec<u8>,
    held: u8,
    count: u32,
}

impl HeaderWriter {
    fn room(&self) -> u32 {
        if self.bytes.last() == Some(&0xff) {
            7
        } else {
            8
        }
    }

    fn put(&mut self, bit: bool) {
        self.held = self.held << 1 | u8::from(bit);
        self.count += 1;
        if self.count == self.room() {
            self.bytes.push(self.held);
            (self.held, self.count) = (0, 0);
        }
    }

    /// Fills the last byte with zeros; a header does not end in FF.
    fn finish(mut self, packet: &mut Vec<u8>) {
        while self.count > 0 || self.bytes.last() == Some(&0xff) {
            self.put(false);
        }
        packet.append(&mut self.bytes);
    }
}
