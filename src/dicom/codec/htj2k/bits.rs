//! The three bit streams of a code-block (T.814 §7.1): `MagSgn` and MEL run forward, VLC backward from the end. None of
//! them can make a byte FF that is followed by one above 8F.

/// `MagSgn`: first bit lowest; a byte after FF holds seven bits.
#[derive(Default)]
pub(super) struct MagSgnWriter {
    held: u64,
    count: u32,
    after_ff: bool,
}

impl MagSgnWriter {
    /// Adds the low bits of a value; at most 32, and those above are zero.
    #[inline]
    pub(super) fn put(&mut self, value: u64, count: u32, bytes: &mut Vec<u8>) {
        self.held |= value << self.count;
        self.count += count;
        if self.count >= 32 {
            let [a, b, c, d, ..] = self.held.to_le_bytes();
            let word = u32::from_le_bytes([a, b, c, d]);
            if self.after_ff || has_ff(word) {
                self.put_bytes(bytes);
            } else {
                bytes.extend_from_slice(&word.to_le_bytes());
                self.held >>= 32;
                self.count -= 32;
            }
        }
    }

    /// Writes bytes one by one, until less than eight bits are left.
    fn put_bytes(&mut self, bytes: &mut Vec<u8>) {
        while self.count >= 8 {
            let room = 8 - u32::from(self.after_ff);
            let byte = self.held.to_le_bytes()[0] & (0xff >> (8 - room));
            bytes.push(byte);
            self.held >>= room;
            self.count -= room;
            self.after_ff = byte == 0xff;
        }
    }

    /// Fills the last byte with ones; one that is FF is left out, as a decoder reads ones past the end.
    pub(super) fn finish(mut self, bytes: &mut Vec<u8>) {
        self.put_bytes(bytes);
        if self.count > 0 {
            let room = 8 - u32::from(self.after_ff);
            let byte = self.held.to_le_bytes()[0] | 0xff << self.count;
            let byte = byte & (0xff >> (8 - room));
            if byte != 0xff {
                bytes.push(byte);
            }
        } else if self.after_ff {
            bytes.pop();
        }
    }
}

/// Whether one of the bytes is FF.
fn has_ff(word: u32) -> bool {
    let zeros = !word;
    zeros.wrapping_sub(0x0101_0101) & word & 0x8080_8080 != 0
}

/// Bits of the count of a run, for each state of the run coder (T.814 table 2).
const RUN_BITS: [u32; 13] = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5];

/// MEL: an adaptive run coder; first bit highest, a byte after FF holds seven bits.
pub(super) struct MelWriter {
    bytes: Vec<u8>,
    held: u8,
    /// Bits that the byte held has left.
    room: u32,
    run: u32,
    state: usize,
}

impl MelWriter {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            held: 0,
            room: 8,
            run: 0,
            state: 0,
        }
    }

    fn run_bits(&self) -> u32 {
        RUN_BITS.get(self.state).copied().unwrap_or_default()
    }

    /// Adds an event; runs of `false` cost least.
    pub(super) fn put(&mut self, event: bool) {
        let bits = self.run_bits();
        if event {
            self.put_bit(false);
            for place in (0..bits).rev() {
                self.put_bit(self.run >> place & 1 == 1);
            }
            self.run = 0;
            self.state = self.state.saturating_sub(1);
        } else {
            self.run += 1;
            if self.run >> bits != 0 {
                self.put_bit(true);
                self.run = 0;
                self.state = (self.state + 1).min(RUN_BITS.len() - 1);
            }
        }
    }

    fn put_bit(&mut self, bit: bool) {
        self.held = self.held << 1 | u8::from(bit);
        self.room -= 1;
        if self.room == 0 {
            self.bytes.push(self.held);
            self.room = if self.held == 0xff { 7 } else { 8 };
            self.held = 0;
        }
    }
}

/// VLC: first bit lowest, bytes in the order in which they are read, that is from the end; a byte whose low bits are all
/// ones holds seven bits when the one before is above 8F.
pub(super) struct VlcWriter {
    bytes: Vec<u8>,
    held: u64,
    count: u32,
    after_high: bool,
}

impl VlcWriter {
    pub(super) fn new() -> Self {
        let mut writer = Self {
            bytes: Vec::new(),
            held: 0,
            count: 0,
            after_high: false,
        };
        writer.start();
        writer
    }

    /// Behind the last byte, which counts as FF, and with four ones where the length of both streams will stand.
    fn start(&mut self) {
        self.bytes.clear();
        (self.held, self.count, self.after_high) = (0xf, 4, true);
    }

    /// Adds the low bits of a value; at most 56, and those above are zero.
    #[inline]
    pub(super) fn put(&mut self, value: u64, count: u32) {
        self.held |= value << self.count;
        self.count += count;
        while self.count >= 8 {
            let byte = self.held.to_le_bytes()[0];
            let (byte, taken) = if self.after_high && byte & 0x7f == 0x7f {
                (0x7f, 7)
            } else {
                (byte, 8)
            };
            self.bytes.push(byte);
            self.after_high = byte > 0x8f;
            self.held >>= taken;
            self.count -= taken;
        }
    }
}

/// Ends MEL and VLC, which may share a byte where they meet, appends them with their length (T.814 §7.1.1), and leaves
/// both writers as new.
pub(super) fn append(mel: &mut MelWriter, vlc: &mut VlcWriter, bytes: &mut Vec<u8>) {
    if mel.run > 0 {
        mel.put_bit(true);
    }
    // The zero that follows FF belongs to what is fixed.
    let mel_fixed = u8::try_from(0xff << mel.room & 0xff_u32).unwrap_or_default();
    let mel_last = u8::try_from(u32::from(mel.held) << mel.room & 0xff).unwrap_or_default();
    let vlc_fixed = u8::try_from((1_u32 << vlc.count) - 1).unwrap_or_default();
    let vlc_last = vlc.held.to_le_bytes()[0];
    let both = mel_last | vlc_last;
    let agree = (both ^ mel_last) & mel_fixed == 0 && (both ^ vlc_last) & vlc_fixed == 0;
    // A first byte of VLC holds the length too, so MEL keeps away from it.
    if agree && both != 0xff && !vlc.bytes.is_empty() {
        vlc.bytes.push(both);
    } else {
        if mel_fixed != 0 {
            mel.bytes.push(mel_last);
        }
        if vlc_fixed != 0 {
            vlc.bytes.push(vlc_last);
        }
    }
    let length = mel.bytes.len() + vlc.bytes.len() + 1;
    let [low, high, ..] = length.to_le_bytes();
    if let Some(first) = vlc.bytes.first_mut() {
        *first = *first & 0xf0 | low & 0xf;
    }
    bytes.extend_from_slice(&mel.bytes);
    bytes.extend(vlc.bytes.iter().rev());
    bytes.push(high << 4 | low >> 4);
    mel.bytes.clear();
    (mel.held, mel.room, mel.run, mel.state) = (0, 8, 0, 0);
    vlc.start();
}
