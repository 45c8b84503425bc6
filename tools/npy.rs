//! NumPy's `.npy` form, versions 1 to 3 (NEP 1): a magic number, the length of a header, the header as
//! a Python dictionary of three entries, and the elements. Read in one pass; no size in it is believed
//! before the file is seen to be that long.

use std::io::Read;

use graph_opt_backends::cpu;
use graph_opt_ir::tensor::Data;
use graph_opt_ir::{DType, Tensor, op};

const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header that is read. NumPy's own is a multiple of 64 bytes, mostly 128.
const HEADER: usize = 1 << 16;

/// Reads a tensor of at most `max_bytes`; of this type, if it is known.
///
/// # Errors
/// With what was expected and what was found.
pub fn read(
    mut file: impl Read,
    max_bytes: u64,
    expected: Option<&graph_opt_ir::Type>,
) -> Result<Tensor, String> {
    let io = |e: std::io::Error| e.to_string();
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(|_| "too short for a .npy file".to_owned())?;
    if !start.starts_with(MAGIC) {
        return Err("not a .npy file: it does not begin with \\x93NUMPY".into());
    }
    let length = match start[6] {
        1 => {
            let mut n = [0; 2];
            file.read_exact(&mut n).map_err(io)?;
            usize::from(u16::from_le_bytes(n))
        }
        2 | 3 => {
            let mut n = [0; 4];
            file.read_exact(&mut n).map_err(io)?;
            u32::from_le_bytes(n) as usize
        }
        v => return Err(format!("version {v} of the .npy form is not known")),
    };
    if length > HEADER {
        return Err(format!("its header claims {length} bytes, at most {HEADER} are read"));
    }
    let mut header = vec![0; length];
    file.read_exact(&mut header).map_err(|_| "its header is cut short".to_owned())?;
    let (dtype, dims, reversed) = parse(&header)?;
    let ty = graph_opt_ir::Type::tensor(dtype, &dims);
    if let Some(want) = expected
        && want.meet(&ty).is_none()
    {
        return Err(format!("it holds {ty}, expected {want}"));
    }
    let bytes = ty.bytes().filter(|&n| n <= max_bytes);
    let bytes = bytes.ok_or_else(|| format!("{ty} is larger than {max_bytes} bytes"))?;
    let mut data = Vec::new();
    // One byte more tells whether the file goes on.
    file.take(bytes + 1).read_to_end(&mut data).map_err(io)?;
    if data.len() as u64 != bytes {
        let found = if data.len() as u64 > bytes { "more" } else { "fewer" };
        return Err(format!("{ty} takes {bytes} bytes, the file has {found}"));
    }
    if reversed && dims.len() > 1 {
        return Err("in Fortran order; save it in C order".into());
    }
    Tensor::from_bytes(dtype, dims, data).map_err(|e| e.to_string())
}

/// The dictionary: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse(header: &[u8]) -> Result<(DType, Vec<u64>, bool), String> {
    let text = std::str::from_utf8(header).map_err(|_| "its header is no text".to_owned())?;
    let mut p = Parser(text);
    let (mut descr, mut order, mut shape) = (None, None, None);
    p.expect('{')?;
    while !p.eat('}') {
        let key = p.string()?;
        p.expect(':')?;
        match key {
            "descr" if descr.is_none() => descr = Some(p.string()?),
            "fortran_order" if order.is_none() => order = Some(p.truth()?),
            "shape" if shape.is_none() => shape = Some(p.numbers()?),
            _ => return Err(format!("its header has an entry {key:?} too many")),
        }
        if !p.eat(',') {
            p.expect('}')?;
            break;
        }
    }
    if !p.0.trim().is_empty() {
        return Err("its header goes on after the dictionary".into());
    }
    let (Some(descr), Some(order), Some(shape)) = (descr, order, shape) else {
        return Err("its header lacks descr, fortran_order or shape".into());
    };
    Ok((dtype(descr)?, shape, order))
}

fn dtype(descr: &str) -> Result<DType, String> {
    let code = descr.trim_start_matches(['<', '|', '=']);
    Ok(match code {
        _ if descr.starts_with('>') => return Err(format!("big-endian elements ({descr})")),
        "f4" => DType::F32,
        "f8" => DType::F64,
        "f2" => DType::F16,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "b1" => DType::Bool,
        _ => return Err(format!("element type {descr:?} is not supported")),
    })
}

struct Parser<'a>(&'a str);

impl<'a> Parser<'a> {
    fn eat(&mut self, c: char) -> bool {
        self.0 = self.0.trim_start();
        let rest = self.0.strip_prefix(c);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        let at: String = self.0.trim_start().chars().take(12).collect();
        if self.eat(c) { Ok(()) } else { Err(format!("its header: expected {c:?}, found {at:?}")) }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.eat('\'') { '\'' } else { self.expect('"').map(|()| '"')? };
        let end = self.0.split_once(quote).ok_or("its header: a string without an end")?;
        self.0 = end.1;
        Ok(end.0)
    }

    fn truth(&mut self) -> Result<bool, String> {
        self.0 = self.0.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.0.strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err("its header: fortran_order is neither True nor False".into())
    }

    fn numbers(&mut self) -> Result<Vec<u64>, String> {
        let mut all = Vec::new();
        self.expect('(')?;
        while !self.eat(')') {
            let rest = self.0.trim_start();
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let n =
                rest[..end].parse().map_err(|_| "its header: the shape is no list of numbers")?;
            all.push(n);
            // Python 2 wrote `3L`.
            self.0 = rest[end..].trim_start_matches('L');
            if !self.eat(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(all)
    }
}

/// The tensor as a `.npy` file. Of the types that NumPy lacks, floats are written as f32, whole numbers in 8
/// bits.
///
/// # Errors
/// If NumPy has no type for its elements, or they cannot be read.
pub fn write(t: &Tensor) -> Result<Vec<u8>, String> {
    let code = match t.dtype() {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::F16 => "<f2",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::Bool => "|b1",
        DType::String => return strings(t),
        DType::I4 | DType::I2 => return write(&cast(t, DType::I8)?),
        DType::U4 | DType::U2 => return write(&cast(t, DType::U8)?),
        other @ (DType::C64 | DType::C128) => {
            return Err(format!("a tensor of {other} has no .npy form"));
        }
        _ => return write(&cast(t, DType::F32)?),
    };
    let bytes = t.bytes().map_err(|e| e.to_string())?;
    framed(code, t.dims(), &bytes)
}

fn cast(t: &Tensor, to: DType) -> Result<Tensor, String> {
    let cast = op::Cast { to: to.to_onnx().into(), saturate: 1, round_mode: "up".into() };
    let most = cpu::DEFAULT_MAX_BYTES;
    let all = cpu::evaluate(&cast.into(), 25, &[Some(t.clone())], 1, most);
    all.map_err(|e| e.to_string())?.pop().ok_or_else(|| "no result".into())
}

/// Strings of one length in UTF-32, padded with zeros, as NumPy has them.
fn strings(t: &Tensor) -> Result<Vec<u8>, String> {
    let Data::Strings(all) = t.data() else { return Err("a tensor without strings".into()) };
    let text = |s: &Vec<u8>| std::str::from_utf8(s).map(|s| s.chars().collect::<Vec<char>>());
    let all = all.iter().map(text).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|_| "a string that is not UTF-8 has no .npy form".to_owned())?;
    let longest = all.iter().map(Vec::len).max().unwrap_or(0).max(1);
    if all.len().saturating_mul(longest) > 1 << 28 {
        return Err(format!("{} strings of up to {longest} characters are too many", all.len()));
    }
    let padded = all.iter().flat_map(|s| {
        let rest = std::iter::repeat_n('\0', longest - s.len());
        s.iter().copied().chain(rest).flat_map(|c| u32::from(c).to_le_bytes())
    });
    framed(&format!("<U{longest}"), t.dims(), &padded.collect::<Vec<u8>>())
}

/// A file of these elements of NumPy's type `code`.
fn framed(code: &str, dims: &[u64], bytes: &[u8]) -> Result<Vec<u8>, String> {
    let dims: Vec<String> = dims.iter().map(|d| format!("{d},")).collect();
    let mut header =
        format!("{{'descr': '{code}', 'fortran_order': False, 'shape': ({}), }}", dims.join(" "));
    // The elements begin at a multiple of 64.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| "a tensor of too many axes")?;
    Ok([MAGIC, &[1, 0], &length.to_le_bytes(), header.as_bytes(), bytes].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let length = header.len() as u32;
        let length = if version == 1 {
            length.to_le_bytes()[..2].to_vec()
        } else {
            length.to_le_bytes().to_vec()
        };
        [MAGIC, &[version, 0], &length, header.as_bytes(), data].concat()
    }

    #[test]
    fn reads_what_it_writes() {
        let all = [
            Tensor::f32s(&[2, 3], &[1.0, -0.0, f32::NAN, 4.0, 5.0, 6.0]).unwrap(),
            Tensor::f32s(&[], &[7.0]).unwrap(),
            Tensor::i64s(&[i64::MIN, 0, 3]),
            Tensor::f32s(&[0, 4], &[]).unwrap(),
        ];
        for t in all {
            let bytes = write(&t).unwrap();
            assert_eq!(read(&bytes[..], 1 << 20, Some(&t.ty())).unwrap(), t);
        }
    }

    #[test]
    fn broken_files_are_refused_at_once() {
        let f4 = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let deep = format!("{{'descr': {}", "[".repeat(60_000));
        let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }";
        let lies = "{'descr': '<f8', 'fortran_order': False, 'shape': (18446744073709551615, 2), }";
        let cases = [
            (vec![], "too short"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "claims 4294967295 bytes"),
            (b"not a file".to_vec(), "does not begin"),
            (file(9, f4, &[0; 8]), "version 9"),
            (file(1, f4, &[0; 7]), "fewer"),
            (file(1, f4, &[0; 9]), "more"),
            (file(2, &deep, &[]), "expected"),
            (file(1, huge, &[0; 8]), "larger than"),
            (file(1, lies, &[0; 8]), "larger than"),
            (file(1, "{'descr': '<f4', }", &[]), "lacks"),
            (
                file(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (), }", &[0; 4]),
                "big-endian",
            ),
            (
                file(1, "{'descr': 'O', 'fortran_order': False, 'shape': (), }", &[0; 4]),
                "not supported",
            ),
        ];
        for (bytes, what) in cases {
            let why = read(&bytes[..], 1 << 20, None).unwrap_err();
            assert!(why.contains(what), "{why}");
        }
        let one = file(1, f4, &[0; 8]);
        let want = graph_opt_ir::Type::tensor(DType::F32, &[3]);
        assert!(read(&one[..], 1 << 20, Some(&want)).unwrap_err().contains("expected f32[3]"));
    }
}
