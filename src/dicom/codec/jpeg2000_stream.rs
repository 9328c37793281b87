//! Memory as a stream of `openjp2`: the one place with `unsafe` code.
//!
//! The library takes its input and gives its output through C-style callbacks with an untyped pointer;
//! it has no safe way to memory. Everything unsafe about that is in this file. The invariant: the
//! pointer handed over always comes from one `Rc<Memory>`, is only ever read as `&Memory`, and is
//! given back exactly once, by [`release`].

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;

use openjp2::Stream;
use openjp2::openjpeg::{
    opj_stream_set_read_function, opj_stream_set_seek_function, opj_stream_set_skip_function,
    opj_stream_set_user_data, opj_stream_set_write_function, opj_stream_t,
};

/// What a callback returns when there is nothing more to read, or no room to write.
const END: usize = usize::MAX;
/// Size of the library's own buffer.
const BUFFER_BYTES: usize = 64 << 10;

/// Bytes and a position in them, shared between a stream and its maker on one thread.
#[derive(Default)]
struct Memory {
    bytes: RefCell<Vec<u8>>,
    at: Cell<usize>,
}

impl Memory {
    fn read(&self, target: &mut [u8]) -> usize {
        let Ok(bytes) = self.bytes.try_borrow() else {
            return END;
        };
        let rest = bytes.get(self.at.get()..).unwrap_or_default();
        let count = rest.len().min(target.len());
        match (rest.get(..count), target.get_mut(..count)) {
            (Some(source), Some(target)) if count > 0 => target.copy_from_slice(source),
            _ => return END,
        }
        self.at.set(self.at.get() + count);
        count
    }

    /// Overwrites from the position on and grows the bytes as needed.
    fn write(&self, source: &[u8]) -> usize {
        let Ok(mut bytes) = self.bytes.try_borrow_mut() else {
            return END;
        };
        let at = self.at.get().min(bytes.len());
        let overlap = source.len().min(bytes.len() - at);
        let (over, beyond) = source.split_at(overlap);
        if bytes.try_reserve(beyond.len()).is_err() {
            return END;
        }
        if let Some(target) = bytes.get_mut(at..at + overlap) {
            target.copy_from_slice(over);
        }
        bytes.extend_from_slice(beyond);
        self.at.set(at + source.len());
        source.len()
    }

    fn seek(&self, position: i64) -> bool {
        let length = self.bytes.try_borrow().map_or(0, |bytes| bytes.len());
        match usize::try_from(position) {
            Ok(position) if position <= length => {
                self.at.set(position);
                true
            }
            _ => false,
        }
    }

    /// Moves by a distance; the distance, or -1 when it leads outside.
    fn skip(&self, distance: i64) -> i64 {
        let target = i64::try_from(self.at.get())
            .ok()
            .and_then(|at| at.checked_add(distance));
        match target {
            Some(target) if self.seek(target) => distance,
            _ => -1,
        }
    }
}

/// A stream that reads the bytes.
pub(super) fn reader(bytes: Vec<u8>) -> Stream {
    let length = bytes.len();
    let memory = Memory {
        bytes: RefCell::new(bytes),
        at: Cell::new(0),
    };
    let mut stream = Stream::new_custom(BUFFER_BYTES.min(length.max(1)), true);
    attach(&mut stream, Rc::new(memory));
    stream.set_stream_length(length as u64);
    stream
}

/// A stream that collects what is written to it.
pub(super) struct StreamWriter {
    stream: Stream,
    memory: Rc<Memory>,
}

impl StreamWriter {
    pub(super) fn new() -> Self {
        let memory = Rc::new(Memory::default());
        let mut stream = Stream::new_custom(BUFFER_BYTES, false);
        attach(&mut stream, Rc::clone(&memory));
        Self { stream, memory }
    }

    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Closes the stream and gives what was written.
    pub(super) fn into_bytes(mut self) -> std::io::Result<Vec<u8>> {
        self.stream.flush()?;
        drop(self.stream);
        Ok(self.memory.bytes.take())
    }
}

/// Hands one reference of the memory to the stream, with the callbacks that use it.
#[expect(
    unsafe_code,
    reason = "openjp2 sets callbacks only through functions with raw pointers"
)]
fn attach(stream: &mut Stream, memory: Rc<Memory>) {
    let stream: *mut opj_stream_t = (&raw mut *stream).cast();
    let memory = Rc::into_raw(memory).cast_mut().cast::<c_void>();
    // SAFETY: `stream` comes from a live `&mut Stream` held by this function, which is the type these
    // functions cast it back to, and it is used by nothing else meanwhile. The callbacks have the
    // signatures the library declares. `memory` stays valid until `release` takes its reference back,
    // and the library calls that once, when the stream is dropped. `Stream` holds a raw pointer and is
    // not `Send`, so the count of the `Rc` is touched by one thread only.
    unsafe {
        opj_stream_set_read_function(stream, Some(read));
        opj_stream_set_write_function(stream, Some(write));
        opj_stream_set_skip_function(stream, Some(skip));
        opj_stream_set_seek_function(stream, Some(seek));
        opj_stream_set_user_data(stream, memory, Some(release));
    }
}

// The callbacks below never panic: `Memory` checks every borrow and bound, because a panic could not
// leave an `extern "C"` function.

#[expect(unsafe_code, reason = "callback of openjp2, see `attach`")]
unsafe extern "C" fn read(buffer: *mut c_void, length: usize, memory: *mut c_void) -> usize {
    if buffer.is_null() || memory.is_null() {
        return END;
    }
    // SAFETY: the library calls this with the pointer given in `attach`, before `release`; only shared
    // references to it exist.
    let memory = unsafe { &*memory.cast_const().cast::<Memory>() };
    // SAFETY: `buffer` points to `length` initialized bytes that the library lends for this call: it
    // makes the pointer from a `&mut [u8]` of that length, which cannot overlap `memory`.
    let target = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    memory.read(target)
}

#[expect(unsafe_code, reason = "callback of openjp2, see `attach`")]
unsafe extern "C" fn write(buffer: *mut c_void, length: usize, memory: *mut c_void) -> usize {
    if buffer.is_null() || memory.is_null() {
        return END;
    }
    // SAFETY: as in `read`.
    let memory = unsafe { &*memory.cast_const().cast::<Memory>() };
    // SAFETY: `buffer` points to `length` initialized bytes that the library lends for this call: it
    // makes the pointer from a `&[u8]` of that length. They are only read.
    let source = unsafe { std::slice::from_raw_parts(buffer.cast_const().cast::<u8>(), length) };
    memory.write(source)
}

#[expect(unsafe_code, reason = "callback of openjp2, see `attach`")]
unsafe extern "C" fn skip(distance: i64, memory: *mut c_void) -> i64 {
    if memory.is_null() {
        return -1;
    }
    // SAFETY: as in `read`.
    unsafe { &*memory.cast_const().cast::<Memory>() }.skip(distance)
}

#[expect(unsafe_code, reason = "callback of openjp2, see `attach`")]
unsafe extern "C" fn seek(position: i64, memory: *mut c_void) -> i32 {
    if memory.is_null() {
        return 0;
    }
    // SAFETY: as in `read`.
    let memory = unsafe { &*memory.cast_const().cast::<Memory>() };
    i32::from(memory.seek(position))
}

#[expect(unsafe_code, reason = "callback of openjp2, see `attach`")]
unsafe extern "C" fn release(memory: *mut c_void) {
    if !memory.is_null() {
        // SAFETY: the pointer is the one `attach` made from an `Rc<Memory>`; the library calls this
        // once, when the stream is dropped, and none of the other callbacks after it.
        drop(unsafe { Rc::from_raw(memory.cast_const().cast::<Memory>()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gives_its_bytes_skips_and_ends() {
        let mut stream = reader((0..200).collect());
        let mut buffer = [0; 10];
        assert_eq!(stream.read(&mut buffer).unwrap(), 10);
        assert_eq!(stream.skip(150).unwrap(), 150);
        assert_eq!(stream.read(&mut buffer).unwrap(), 10);
        assert_eq!(buffer[0], 160);
        assert!(stream.skip(100).is_err());
        stream.seek(5).unwrap();
        stream.read(&mut buffer).unwrap();
        assert_eq!(buffer[0], 5);
    }

    #[test]
    fn a_writer_collects_and_overwrites() {
        let mut writer = StreamWriter::new();
        writer.stream().write(&[1; 100_000]).unwrap();
        writer.stream().seek(10).unwrap();
        writer.stream().write(&[2, 2]).unwrap();
        let bytes = writer.into_bytes().unwrap();
        assert_eq!(bytes.len(), 100_000);
        assert_eq!(bytes[9..13], [1, 2, 2, 1]);
    }

    #[test]
    fn memory_refuses_positions_outside() {
        let memory = Memory::default();
        assert_eq!(memory.write(&[1, 2, 3]), 3);
        assert_eq!(memory.skip(1), -1);
        assert_eq!(memory.skip(-3), -3);
        assert!(!memory.seek(-1));
        assert!(!memory.seek(4));
        assert_eq!(memory.read(&mut [0; 8]), 3);
        assert_eq!(memory.read(&mut [0; 8]), END);
    }
}
