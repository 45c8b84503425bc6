//! The header is what cbindgen writes, and what stands between C and Rust lets nothing through. Neither links graph-opt.
#![allow(unsafe_code)] // Pointers from C.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests.

#[path = "../src/boundary.rs"]
mod boundary;

use std::path::Path;
use std::ptr::null;

use boundary::{c_text, caught, handle, list, text};

/// `UPDATE_HEADER=1 cargo test -p graph-opt-c` writes it.
#[test]
fn the_header_is_current() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config);
    let sources = ["lib.rs", "boundary.rs"].map(|f| here.join("src").join(f));
    let builder = sources.iter().fold(builder, |b, source| b.with_src(source));
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    let path = here.join("graph_opt.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let committed = std::fs::read(&path).unwrap();
    assert!(committed == header, "UPDATE_HEADER=1 renews {}", path.display());
    // All functions are there.
    let (header, source) = (String::from_utf8(header).unwrap(), include_str!("../src/lib.rs"));
    let names = source.split("pub extern \"C\" fn ").skip(1).map(|f| f.split('(').next().unwrap());
    let missing: Vec<&str> = names.filter(|f| !header.contains(&format!("{f}("))).collect();
    assert!(missing.is_empty() && header.contains("GRAPH_OPT_EXIT_DOES_NOT_FIT"), "{missing:?}");
}

#[test]
fn wrong_pointers_are_refused() {
    assert_eq!(text("a", null()).unwrap_err(), "a: expected a text, found NULL");
    assert_eq!(text("a", c"b".as_ptr()), Ok("b"));
    assert!(text("a", c"\xff".as_ptr()).unwrap_err().starts_with("a: expected UTF-8"));
    assert_eq!(list::<u8>("a", null(), 0), Ok(&[][..]));
    assert_eq!(list::<u8>("a", null(), 1).unwrap_err(), "a: expected 1 elements, found NULL");
    let words = [1u64, 2];
    assert_eq!(list("a", words.as_ptr(), 2), Ok(&words[..]));
    assert!(list("a", words.as_ptr(), usize::MAX / 2).unwrap_err().contains("cannot be at"));
    let odd = words.as_ptr().cast::<u8>().wrapping_add(1).cast::<u64>();
    assert!(list("a", odd, 1).unwrap_err().contains("cannot be at"));
    assert_eq!(handle::<u8>("a", null()).unwrap_err(), "a: expected a handle, found NULL");
    assert_eq!(c_text("a\0b").as_bytes(), b"ab");
}

#[test]
fn panics_become_errors() {
    assert_eq!(caught(|| 1), Ok(1));
    let none: [u8; 0] = [];
    let index = std::hint::black_box(3);
    let message = caught(|| none[index]).unwrap_err();
    assert!(message.starts_with("internal error: panic: index out of bounds"), "{message}");
    assert!(caught(|| panic!("this")).unwrap_err().ends_with("this"));
    let odd = caught(|| std::panic::panic_any(7)).unwrap_err();
    assert!(odd.ends_with("unknown"), "{odd}");
}
