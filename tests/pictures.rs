//! Pictures as inputs of the command line, and the highest scores of its outputs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{ExtendedColorType, ImageEncoder};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_graph-opt")).arg("run").args(args).output().unwrap()
}

fn err(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

/// A folder with pictures and a model that gives its input back.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn png(&self, name: &str, width: u32, height: u32, pixels: &[u8]) -> String {
        let color = match pixels.len() as u32 / (width * height) {
            1 => ExtendedColorType::L8,
            3 => ExtendedColorType::Rgb8,
            _ => ExtendedColorType::Rgba8,
        };
        let path = self.at(name);
        image::save_buffer(&path, pixels, width, height, color).unwrap();
        path
    }

    fn model(&self, inputs: &str) -> String {
        let path = self.at("model.gir");
        let text = format!("graph @g({inputs}) -> (%y) opset 13 {{\n %y = Identity %x : ?\n}}");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The type and bytes of the input that a run of the model got.
    fn input(&self, ty: &str, args: &[&str]) -> (String, Vec<u8>) {
        let (model, out) = (self.model(&format!("%x: {ty}")), self.at("out"));
        let o = run(&[&[&model, "-o", &out, "--json"], args].concat());
        assert_eq!(o.status.code(), Some(0), "{ty} {args:?}: {}", err(&o));
        let v: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
        let npy = std::fs::read(Path::new(&out).join("y.npy")).unwrap();
        let header = usize::from(u16::from_le_bytes([npy[8], npy[9]]));
        let ty = v["result"]["outputs"][0]["type"].as_str().unwrap();
        (ty.to_owned(), npy[10 + header..].to_vec())
    }

    fn f32s(&self, ty: &str, args: &[&str]) -> Vec<f32> {
        let bytes = self.input(ty, args).1;
        bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
    }

    /// The pixels that a run got, as they are.
    fn raw(&self, ty: &str, args: &[&str]) -> Vec<f32> {
        self.f32s(ty, &[args, &["--image-norm", "raw"]].concat())
    }

    fn fails(&self, inputs: &str, args: &[&str], with: &[&str]) {
        let model = self.model(inputs);
        let o = run(&[&[model.as_str()], args].concat());
        assert_eq!(o.status.code(), Some(2), "{args:?}: {}", err(&o));
        for what in with {
            assert!(err(&o).contains(what), "{args:?}: expected {what:?}, found {}", err(&o));
        }
    }
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{found:?} {expected:?}");
    }
}

/// Pixels that all differ: 4 wide, 2 high, red, green and blue.
const PIXELS: [u8; 24] = [
    0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32, 100, 110, 120, 130, 140, 150, 160, 170, 180, 190,
    200, 255,
];

/// The pixels of one colour after the other, in this order.
fn planes(order: [usize; 3]) -> Vec<u8> {
    order.iter().flat_map(|&c| PIXELS.iter().skip(c).step_by(3).copied()).collect()
}

#[test]
fn pixels_are_laid_out_as_the_type_says() {
    let p = Place::new();
    let png = p.png("a.png", 4, 2, &PIXELS);
    let unit = |all: &[u8]| all.iter().map(|&x| f32::from(x) / 255.0).collect::<Vec<_>>();
    let named = format!("x={png}");
    for args in [["--input", &png], ["--input", &named]] {
        close(&p.f32s("f32[1,3,2,4]", &args), &unit(&planes([0, 1, 2])));
    }
    let bgr = ["--input", &png, "--image-color", "bgr"];
    close(&p.f32s("f32[1,3,2,4]", &bgr), &unit(&planes([2, 1, 0])));
    close(&p.f32s("f32[3,2,4]", &["--input", &png]), &unit(&planes([0, 1, 2])));
    close(&p.f32s("f32[N,2,4,3]", &["--input", &png]), &unit(&PIXELS));
    let (ty, bytes) = p.input("u8[1,2,4,3]", &["--input", &png]);
    assert_eq!((ty.as_str(), &bytes[..]), ("u8[1,2,4,3]", &PIXELS[..]));
    let (_, bytes) = p.input("i8[1,3,2,4]", &["--input", &png]);
    let signed: Vec<i8> = planes([0, 1, 2]).iter().map(|&x| (i16::from(x) - 128) as i8).collect();
    assert_eq!(bytes.iter().map(|&b| b as i8).collect::<Vec<_>>(), signed);
    let (ty, bytes) = p.input("f16[1,3,2,4]", &["--input", &png, "--image-norm", "raw"]);
    let halves: Vec<f32> =
        bytes.chunks_exact(2).map(|c| half::f16::from_le_bytes([c[0], c[1]]).to_f32()).collect();
    assert_eq!(ty, "f16[1,3,2,4]");
    assert_eq!(halves, planes([0, 1, 2]).iter().map(|&x| f32::from(x)).collect::<Vec<_>>());
    // Without what it is transparent for.
    let with_alpha: Vec<u8> =
        PIXELS.chunks_exact(3).flat_map(|c| [c[0], c[1], c[2], c[0]]).collect();
    let png = p.png("alpha.png", 4, 2, &with_alpha);
    close(&p.f32s("f32[1,3,2,4]", &["--input", &png]), &unit(&planes([0, 1, 2])));
}

#[test]
fn grey_is_luma() {
    let p = Place::new();
    let png = p.png("a.png", 4, 1, &[255, 0, 0, 0, 255, 0, 0, 0, 255, 90, 90, 90]);
    // 0.299, 0.587 and 0.114 of 255.
    assert_eq!(
        p.raw("f32[1,1,1,4]", &["--input", &png, "--image-layout", "nchw"]),
        [76., 150., 29., 90.]
    );
    let png = p.png("grey.png", 4, 2, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(p.raw("f32[1,1,2,4]", &["--input", &png]), [1., 2., 3., 4., 5., 6., 7., 8.]);
    // Grey in three channels.
    let three = [1., 2., 3., 4., 5., 6., 7., 8.].repeat(3);
    assert_eq!(p.raw("f32[1,3,2,4]", &["--input", &png]), three);
}

#[test]
fn pixels_are_scaled_as_training_had_them() {
    let p = Place::new();
    let png = p.png("a.png", 1, 2, &[51, 102, 204, 0, 128, 255]);
    let ty = "f32[1,3,2,1]";
    let with = |args: &[&str]| {
        let all = ["--input", &png, "--image-layout", "nchw"];
        p.f32s(ty, &[&all[..], args].concat())
    };
    let each = |order: [usize; 3], f: &dyn Fn(f32, usize) -> f32| {
        let pixels = [[51f32, 102., 204.], [0., 128., 255.]];
        let of = |(place, c): (usize, usize)| pixels.map(|p| f(p[c], place)).to_vec();
        order.into_iter().enumerate().flat_map(of).collect::<Vec<f32>>()
    };
    let rgb = [0, 1, 2];
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let imagenet = |x: f32, c: usize| (x / 255.0 - mean[c]) / std[c];
    close(&with(&["--image-norm", "imagenet"]), &each(rgb, &imagenet));
    // The mean of blue stays that of blue.
    let bgr = |x: f32, place: usize| imagenet(x, 2 - place);
    close(&with(&["--image-norm", "imagenet", "--image-color", "bgr"]), &each([2, 1, 0], &bgr));
    close(&with(&["--image-norm", "signed"]), &each(rgb, &|x, _| x / 127.5 - 1.0));
    close(&with(&["--image-norm", "unit"]), &each(rgb, &|x, _| x / 255.0));
    close(&with(&["--image-norm", "raw"]), &each(rgb, &|x, _| x));
    // Numbers of one's own stand in the order of the input.
    let own = ["--image-scale", "1", "--image-mean", "103.9,116.8,123.7", "--image-color", "bgr"];
    let caffe = |x: f32, place: usize| x - [103.9, 116.8, 123.7][place];
    close(&with(&own), &each([2, 1, 0], &caffe));
    close(&with(&["--mean", "0.5", "--std", "0.5"]), &each(rgb, &|x, _| (x / 255.0 - 0.5) / 0.5));
    let both = ["--input", &png, "--image-norm", "raw", "--image-mean", "1"];
    p.fails("%x: f32[1,3,2,2]", &both, &["cannot be used with"]);
    let grey = ["--input", &png, "--image-norm", "imagenet"];
    p.fails("%x: f32[1,1,2,2]", &grey, &["--image-norm has 3 numbers", "1 channels"]);
    let args = ["--input", &png, "--image-norm", "unit"];
    p.fails("%x: u8[1,2,2,3]", &args, &["takes pixels as they are"]);
}

/// Rows of numbers made `width` wide and `height` high: bilinear, over all pixels when made smaller.
fn bilinear(rows: &[Vec<f64>], width: usize, height: usize) -> Vec<Vec<f64>> {
    fn line(all: &[f64], n: usize) -> Vec<f64> {
        let scale = all.len() as f64 / n as f64;
        let one = |i: usize| {
            let centre = (i as f64 + 0.5) * scale;
            let weight =
                |j: usize| (1.0 - (j as f64 + 0.5 - centre).abs() / scale.max(1.0)).max(0.0);
            let sum: f64 = (0..all.len()).map(weight).sum();
            all.iter().enumerate().map(|(j, x)| x * weight(j)).sum::<f64>() / sum
        };
        (0..n).map(one).collect()
    }
    let wide: Vec<Vec<f64>> = rows.iter().map(|r| line(r, width)).collect();
    let column = |x: usize| wide.iter().map(|r| r[x]).collect::<Vec<_>>();
    let columns: Vec<Vec<f64>> = (0..width).map(|x| line(&column(x), height)).collect();
    (0..height).map(|y| columns.iter().map(|c| c[y]).collect()).collect()
}

#[test]
fn pictures_get_the_extents_of_the_input() {
    let p = Place::new();
    let rows: Vec<Vec<f64>> = (0..6u32)
        .map(|y| (0..12u32).map(|x| f64::from((37 * x + 91 * y) % 251)).collect())
        .collect();
    let pixels: Vec<u8> = rows.iter().flatten().map(|&x| x as u8).collect();
    let png = p.png("a.png", 12, 6, &pixels);
    let check = |how: &str, (height, width): (usize, usize), expected: Vec<Vec<f64>>| {
        let ty = format!("f32[1,1,{height},{width}]");
        let found = p.raw(&ty, &["--input", &png, "--image-resize", how]);
        let expected = expected.concat();
        assert_eq!(found.len(), expected.len(), "{how}");
        for (a, b) in found.iter().zip(&expected) {
            // Whole numbers, rounded once.
            assert!((f64::from(*a) - b).abs() < 0.501, "{how}: {found:?} {expected:?}");
        }
    };
    let part = |all: Vec<Vec<f64>>, y: usize, x: usize, height: usize, width: usize| {
        all[y..y + height].iter().map(|r| r[x..x + width].to_vec()).collect::<Vec<_>>()
    };
    check("stretch", (4, 5), bilinear(&rows, 5, 4));
    check("stretch", (9, 16), bilinear(&rows, 16, 9));
    // The whole is 8 wide and 4 high.
    check("crop", (4, 4), part(bilinear(&rows, 8, 4), 0, 2, 4, 4));
    // It is 10 wide, and as high as that makes it.
    check("crop", (2, 10), part(bilinear(&rows, 10, 5), 2, 0, 2, 10));
    check("crop:5", (4, 4), part(bilinear(&rows, 10, 5), 0, 3, 4, 4));
    let around = |grey: f64| {
        let mut all = vec![vec![grey; 8]; 8];
        all[2..6].clone_from_slice(&bilinear(&rows, 8, 4));
        all
    };
    check("pad", (8, 8), around(114.0));
    check("pad:0", (8, 8), around(0.0));
    let args = ["--input", &png, "--image-resize", "crop:4"];
    p.fails("%x: f32[1,1,5,5]", &args, &["5 × 5 do not fit into the 8 × 4"]);
    for bad in ["crop:0", "crop:", "pad:256", "fit"] {
        let args = ["--input", &png, "--image-resize", bad];
        p.fails("%x: f32[1,1,5,5]", &args, &["expected stretch, crop"]);
    }
    let long = p.png("long.png", 16000, 1, &[0; 16000]);
    let args = ["--input", &long, "--image-resize", "crop"];
    p.fails("%x: f32[1,1,500,500]", &args, &["long.png", "takes too much memory"]);
}

#[test]
fn open_extents_are_given_or_those_of_the_picture() {
    let p = Place::new();
    let png = p.png("a.png", 4, 2, &PIXELS);
    assert_eq!(p.input("f32[1,3,h,w]", &["--input", &png]).0, "f32[1,3,2,4]");
    let o = run(&[&p.model("%x: f32[1,3,h,w]"), "--input", &png]);
    assert!(err(&o).contains("2 high and 4 wide, from"), "{}", err(&o));
    let dims = ["--input", &png, "--dim", "h=6", "--dim", "w=5"];
    assert_eq!(p.input("f32[1,3,h,w]", &dims).0, "f32[1,3,6,5]");
    let shape = ["--input", &png, "--input-shape", "x:1,6,5,3"];
    assert_eq!(p.input("f32[n,h,w,c]", &shape).0, "f32[1,6,5,3]");
    p.fails("%x: f32[1,c,h,w]", &["--input", &png], &["expected f32", "with 1 or 3 channels"]);
}

#[test]
fn several_pictures_are_a_batch() {
    let p = Place::new();
    let a = format!("x={}", p.png("a.png", 4, 2, &PIXELS));
    let b = format!("x={}", p.png("b.png", 4, 2, &[7; 24]));
    let two = ["--input", &a, "--input", &b];
    for ty in ["u8[N,2,4,3]", "u8[2,2,4,3]"] {
        let (found, bytes) = p.input(ty, &two);
        assert_eq!(found, "u8[2,2,4,3]");
        assert_eq!(bytes, [PIXELS, [7; 24]].concat());
    }
    p.fails("%x: u8[1,2,4,3]", &two, &["takes a batch of 1, found pictures: 2"]);
    p.fails("%x: u8[2,4,3]", &two, &["takes a batch of 1, found pictures: 2"]);
    p.fails("%x: u8[3,2,4,3]", &two, &["takes a batch of 3, found pictures: 2"]);
    let dim = [&two[..], &["--dim", "N=3"]].concat();
    p.fails("%x: u8[N,2,4,3]", &dim, &["takes a batch of 3, found pictures: 2"]);
}

#[test]
fn what_is_no_picture_or_no_place_for_one_is_refused() {
    let p = Place::new();
    let png = p.png("a.png", 4, 2, &PIXELS);
    let named = format!("x={png}");
    let other = p.at("b.png");
    std::fs::write(&other, "no picture").unwrap();
    p.fails("%x: f32[1,3,2,4]", &["--input", &other], &["b.png: "]);
    let none = p.at("c.png");
    p.fails("%x: f32[1,3,2,4]", &["--input", &none], &["c.png: ", "No such file"]);
    // A header that promises a billion pixels.
    let mut huge = std::fs::read(&png).unwrap();
    huge[16..20].copy_from_slice(&40_000u32.to_be_bytes());
    huge[20..24].copy_from_slice(&25_000u32.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&huge[12..29]);
    huge[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    std::fs::write(&other, huge).unwrap();
    p.fails("%x: f32[1,3,2,4]", &["--input", &other], &["b.png: ", "exceed"]);
    p.fails("%x: f32[1,3,2,3]", &["--input", &png], &["--image-layout nchw or nhwc"]);
    assert_eq!(
        p.input("f32[1,3,2,3]", &["--input", &png, "--image-layout", "nhwc"]).0,
        "f32[1,3,2,3]"
    );
    p.fails(
        "%x: f32[1,3,2,4], %z: f32[1,3,8,8]",
        &["--input", &png],
        &["\"x\"", "\"z\"", "--input x="],
    );
    p.fails(
        "%x: f32[5], %z: f32[6]",
        &["--input", &png],
        &["no input of the model is for pictures"],
    );
    p.fails("%x: f32[5]", &["--input", &png], &["do not fit input \"x\" of type f32[5]"]);
    p.fails("%x: i64[1,3,2,4]", &["--input", &png], &["expected f32, f16"]);
    p.fails("%x: f32[1,4,2,2]", &["--input", &named], &["with 1 or 3 channels"]);
    let wrong = format!("nope={png}");
    p.fails("%x: f32[1,3,2,4]", &["--input", &wrong], &["no input is named \"nope\""]);
    p.fails("%x: f32[1,3,2,4]", &["--image-color", "bgr"], &["no --input is one"]);
}

#[test]
fn photographs_are_upright() {
    let p = Place::new();
    // The left half is black, the right one white.
    let pixels: Vec<u8> = (0..16 * 16).map(|i| if i % 16 < 8 { 0 } else { 255 }).collect();
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 100)
        .write_image(&pixels, 16, 16, ExtendedColorType::L8)
        .unwrap();
    // The tag "orientation" with 6: the camera was turned, and the picture is turned clockwise.
    let tiff = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut turned = jpeg[..2].to_vec();
    turned.extend([0xff, 0xe1]);
    turned.extend((tiff.len() as u16 + 2).to_be_bytes());
    turned.extend(tiff);
    turned.extend(&jpeg[2..]);
    let (plain, exif) = (p.at("a.jpg"), p.at("b.JPEG"));
    std::fs::write(&plain, jpeg).unwrap();
    std::fs::write(&exif, turned).unwrap();
    let at = |path: &str| {
        let found = p.raw("f32[1,1,16,16]", &["--input", path]);
        [found[4 * 16 + 4], found[4 * 16 + 12], found[12 * 16 + 4], found[12 * 16 + 12]]
    };
    assert_eq!(at(&plain), [0., 255., 0., 255.]);
    assert_eq!(at(&exif), [0., 0., 255., 255.]);
}

/// A file with these numbers.
fn npy(path: &str, shape: &str, values: &[f32]) {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    values.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_highest_scores_have_their_labels() {
    let p = Place::new();
    let (x, labels) = (p.at("x.npy"), p.at("labels"));
    npy(&x, "2, 4", &[1.0, 3.0, 3.0, -1.0, f32::NAN, 0.0, f32::NEG_INFINITY, 5.0]);
    let model = p.model("%x: f32[2,4]");
    let input = format!("x={x}");
    let top = |args: &[&str]| {
        let all = [&[&model, "--input", &input, "--json", "--top", "2"], args].concat();
        let o = run(&all);
        assert_eq!(o.status.code(), Some(0), "{args:?}: {}", err(&o));
        let v: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
        v["result"]["outputs"][0]["top"].clone()
    };
    let rows = top(&["--softmax"]);
    let class = |row: usize, i: usize| &rows[row]["classes"][i];
    assert_eq!(rows[1]["row"], serde_json::json!([1]));
    // Of equal scores the first one is first, and NaN is last.
    assert_eq!((&class(0, 0)["index"], &class(0, 1)["index"]), (&1.into(), &2.into()));
    assert_eq!((&class(1, 0)["index"], &class(1, 1)["index"]), (&3.into(), &1.into()));
    assert_eq!(class(0, 0)["score"], 3.0);
    assert!(class(0, 0)["label"].is_null());
    let expected = 1.0 / (2.0 + (-2f64).exp() + (-4f64).exp());
    assert!((class(0, 0)["probability"].as_f64().unwrap() - expected).abs() < 1e-12);
    let forms = [
        "n1 tench, Tinca tinca\nn2 dog\n\nn4 é\n",
        r#"["n1 tench, Tinca tinca", "n2 dog", "", "n4 é"]"#,
        r#"{"0": "n1 tench, Tinca tinca", "3": "n4 é", "1": ["n2", "dog"], "2": ""}"#,
        r#"{"a": 1, "id2label": {"0": "0", "1": "n2 dog", "2": "", "3": "n4 é"}}"#,
    ];
    for text in forms {
        std::fs::write(&labels, text).unwrap();
        let rows = top(&["--labels", &labels]);
        assert_eq!(rows[0]["classes"][0]["label"], "n2 dog", "{text}");
        assert_eq!(rows[1]["classes"][0]["label"], "n4 é", "{text}");
    }
    let o = run(&[&model, "--input", &input, "--top", "3", "--labels", &labels, "--softmax"]);
    let text = String::from_utf8_lossy(&o.stdout).into_owned();
    let line = text.lines().find(|l| l.contains("n2 dog")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["0", "1", "3", "0.4643", "n2", "dog"]);
    for (text, why) in [
        ("a\nb\nc\n", "3 labels, but output \"y\" has 4 classes"),
        ("", "found none"),
        ("[1, 2]", "expected a label, found 1"),
        (r#"{"0": "a", "4": "b"}"#, "expected the numbers 0 to 1 as keys, found \"4\""),
        (r#"{"0": "a", "00": "b"}"#, "each number once"),
        ("{", "EOF"),
    ] {
        std::fs::write(&labels, text).unwrap();
        let args = ["--input", &input, "--top", "2", "--labels", &labels];
        p.fails("%x: f32[2,4]", &args, &[why]);
    }
}

#[test]
fn scores_are_along_the_axis_that_has_some() {
    let p = Place::new();
    let x = p.at("x.npy");
    npy(&x, "1, 3, 1, 1", &[1.0, 2.0, 3.0]);
    let input = format!("x={x}");
    let o = run(&[&p.model("%x: f32[1,3,1,1]"), "--input", &input, "--top", "1", "--json"]);
    let v: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    let top = &v["result"]["outputs"][0]["top"];
    assert_eq!(top[0]["classes"][0]["index"], 2, "{v}");
    assert_eq!(top[0]["row"], serde_json::json!([0, 0, 0]));
    npy(&x, "3, 3, 1, 1", &[0.0; 9]);
    let args = ["--input", &input, "--top", "1"];
    p.fails("%x: f32[3,3,1,1]", &args, &["no output has scores over classes"]);
    p.fails("%x: f32[3,3,1,1]", &["--softmax"], &["--top"]);
}

/// Every command that takes inputs takes pictures, too.
#[test]
fn models_are_compared_on_a_picture() {
    let p = Place::new();
    let png = p.png("a.png", 4, 2, &PIXELS);
    let model = PathBuf::from(p.model("%x: f32[1,3,h,w]"));
    let args = ["verify", model.to_str().unwrap(), model.to_str().unwrap(), "--by", "run"];
    let more = ["--input", &png, "--dim", "h=8", "--dim", "w=8", "--image-resize", "pad"];
    let o = Command::new(env!("CARGO_BIN_EXE_graph-opt")).args(args).args(more).output().unwrap();
    assert_eq!(o.status.code(), Some(0), "{}", err(&o));
}
