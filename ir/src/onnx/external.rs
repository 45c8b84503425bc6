//! External data: the place of a tensor's elements in another file, and whether that file may be read.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::file::File;
use super::proto::entry as proto;
use super::wire::fields_in;
use crate::tensor::Data;

/// The place of `need` bytes of elements, from the `external_data` of a TensorProto.
pub(super) fn locate(file: &File, entries: &[Range<usize>], need: u64) -> Result<Data, String> {
    let (mut location, mut offset, mut length) = (None, None, None);
    for e in entries {
        let (key, value) = entry(file, e)?;
        let slot = match key {
            "location" => &mut location,
            "offset" => &mut offset,
            "length" => &mut length,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(format!("expected one {key} of external data, found two"));
        }
    }
    let number = |what: &str, v: Option<&str>| match v {
        None => Ok(None),
        Some(v) => v.parse::<u64>().map(Some).map_err(|_| {
            format!("expected a whole number as {what} of external data, found {v:?}")
        }),
    };
    let location = location.ok_or("expected a location of external data, found none")?;
    let offset = number("offset", offset)?.unwrap_or(0);
    let len = number("length", length)?.unwrap_or(need);
    if len != need {
        return Err(format!("expected {need} bytes of external data, found {len}"));
    }
    let (path, size) = open(file, location)?;
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(Data::External { path, offset, len }),
        _ => Err(format!(
            "external data at {offset} with {len} bytes reaches past the end of {location:?}, which has {size} bytes"
        )),
    }
}

fn entry<'a>(file: &'a File, range: &Range<usize>) -> Result<(&'a str, &'a str), String> {
    let (mut key, mut value) = ("", "");
    for f in fields_in(&file.buf, range) {
        let f = f.map_err(|e| e.what)?;
        let slot = match f.number {
            proto::KEY => &mut key,
            proto::VALUE => &mut value,
            _ => continue,
        };
        if let Some(r) = f.bytes() {
            *slot = file.str(r).map_err(|e| e.to_string())?;
        }
    }
    Ok((key, value))
}

fn open(file: &File, location: &str) -> Result<(Arc<PathBuf>, u64), String> {
    if let Some((path, size)) = file.data.borrow().get(location) {
        return Ok((Arc::clone(path), *size));
    }
    let Some(dir) = &file.dir else {
        return Err(
            "its elements are in another file, which is read only with the folder of the model"
                .into(),
        );
    };
    check_location(location)?;
    let path = dir
        .join(location)
        .canonicalize()
        .map_err(|e| format!("cannot open external data {location:?}: {e}"))?;
    if !path.starts_with(dir) {
        return Err(format!("external data {location:?} leads out of the model's folder"));
    }
    let meta =
        path.metadata().map_err(|e| format!("cannot open external data {location:?}: {e}"))?;
    if !meta.is_file() {
        return Err(format!("external data {location:?} is not a regular file"));
    }
    let found = (Arc::new(path), meta.len());
    file.data.borrow_mut().insert(location.into(), found.clone());
    Ok(found)
}

/// Refuses locations that are not below the model's folder on every operating system.
fn check_location(location: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("external data location {location:?} {why}"));
    if location.is_empty() {
        return refuse("is empty");
    }
    if location.contains('\0') {
        return refuse("contains a NUL byte");
    }
    let drive = location.as_bytes().get(1) == Some(&b':');
    if location.starts_with(['/', '\\']) || drive || Path::new(location).is_absolute() {
        return refuse("is not relative");
    }
    let plain = |c: Component<'_>| {
        matches!(c, Component::Normal(_) | Component::CurDir | Component::ParentDir)
    };
    if !Path::new(location).components().all(plain) {
        return refuse("is not relative");
    }
    let mut depth = 0i64;
    for part in location.split(['/', '\\']) {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        if depth < 0 {
            return refuse("leads out of the model's folder");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_location;

    #[test]
    fn only_places_below_the_folder() {
        for ok in ["w.bin", "sub/w.bin", "./w.bin", "sub/../w.bin", "a b/ü.bin", "..w"] {
            assert_eq!(check_location(ok), Ok(()), "{ok}");
        }
        for bad in [
            "",
            "/w",
            "\\w",
            "\\\\host\\w",
            "C:\\w",
            "c:w",
            "../w",
            "a/../../w",
            "a\\..\\..\\w",
            "w\0.bin",
            "./../w",
        ] {
            assert!(check_location(bad).is_err(), "{bad}");
        }
    }
}
