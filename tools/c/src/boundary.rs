//! Where C's pointers become Rust's types, and panics end.

use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The text that C points to.
pub fn text<'a>(what: &str, text: *const c_char) -> Result<&'a str, String> {
    if text.is_null() {
        return Err(format!("{what}: expected a text, found NULL"));
    }
    // SAFETY: it is not NULL, and the caller promises that it ends in a zero byte and stays as it is during the call.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|e| format!("{what}: expected UTF-8: {e}"))
}

/// The handle that C points to.
pub fn handle<'a, T>(what: &str, handle: *const T) -> Result<&'a T, String> {
    // SAFETY: the caller promises that a function of this library gave it, and that it is not freed during the call.
    unsafe { handle.as_ref() }.ok_or_else(|| format!("{what}: expected a handle, found NULL"))
}

/// The elements that C points to; NULL has none.
pub fn list<'a, T>(what: &str, first: *const T, count: usize) -> Result<&'a [T], String> {
    match (first.is_null(), count) {
        (_, 0) => return Ok(&[]),
        (true, _) => return Err(format!("{what}: expected {count} elements, found NULL")),
        _ => {}
    }
    if !first.is_aligned() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(format!("{what}: {count} elements cannot be at {first:?}"));
    }
    // SAFETY: it is neither NULL nor unaligned, the size is not too large, and the caller promises that there are so
    // many elements, which stay as they are during the call.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// A text for C.
pub fn c_text(text: &str) -> CString {
    let bytes = text.bytes().filter(|&b| b != 0).collect::<Vec<u8>>();
    // There is no zero byte left.
    CString::new(bytes).unwrap_or_default()
}

/// What `f` gives; for a panic, what it said.
pub fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        // What was thrown may itself panic when it is dropped.
        std::mem::forget(payload);
        format!("internal error: panic: {}", text.as_deref().unwrap_or("unknown"))
    })
}
