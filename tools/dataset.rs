//! Data sets as files: `.npz`, folders of `.npy`, and folders of images.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use graph_opt_backends::inputs::{Extents, required};
use graph_opt_backends::scale::dataset::Dataset;
use graph_opt_ir::{Graph, Tensor};

use crate::failure::{Result, usage};
use crate::input::unread;
use crate::npy;
use crate::pictures::{ENDINGS, Frame, Images, MOST_BYTES};

/// Reads the samples for a network, in batches of this size if the network takes any.
///
/// The path is a `.npz` file with an array for each input (`NAME` or `in:NAME`; `out:NAME` are left
/// out) and perhaps `labels` or `y`; a folder of such arrays as `.npy` files; or a folder of PNG and JPEG
/// images for a network of one input. If the images are in subfolders, these are the classes, in
/// alphabetical order. Images get the extents of the input or, where it has none, of the first image.
///
/// # Errors
/// If something cannot be read, does not fit the network, or takes more than 2 GiB.
pub fn read(path: &Path, graph: &Graph, images: &Images, batch: usize) -> Result<Dataset> {
    let at = |e: String| usage(format!("{}: {e}", path.display()));
    let npy = if path.is_dir() { files(path, &["npy"])? } else { Vec::new() };
    let arrays = if !path.is_dir() {
        unused(path, images)?;
        archive(path).map_err(at)?
    } else if !npy.is_empty() {
        unused(path, images)?;
        folder(&npy, graph)?
    } else {
        pictures(path, graph, images)?
    };
    Dataset::new(graph, arrays, batch).map_err(|e| at(e.to_string()))
}

/// Reads arrays one after the other, up to a size that holds for all together.
struct Arrays {
    all: Vec<(String, Tensor)>,
    room: u64,
}

impl Arrays {
    fn new() -> Self {
        Self { all: Vec::new(), room: MOST_BYTES }
    }

    fn add(&mut self, name: &str, file: impl std::io::Read) -> std::result::Result<(), String> {
        let name = name.strip_prefix("in:").unwrap_or(name);
        let t = npy::read(file, self.room, None)
            .map_err(|e| format!("{name}: {e} (arrays may take {} together)", gib(MOST_BYTES)))?;
        self.room -= t.ty().bytes().unwrap_or(0);
        self.all.push((name.to_owned(), t));
        Ok(())
    }
}

fn archive(path: &Path) -> std::result::Result<Vec<(String, Tensor)>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let expected = "expected a .npz file, or a folder of .npy files or of images";
    let mut npz =
        zip::ZipArchive::new(BufReader::new(file)).map_err(|e| format!("{e}; {expected}"))?;
    let mut arrays = Arrays::new();
    for i in 0..npz.len() {
        let entry = npz.by_index(i).map_err(|e| e.to_string())?;
        let name = entry.name().map_err(|e| e.to_string())?.into_owned();
        match name.strip_suffix(".npy") {
            Some(name) if !name.starts_with("out:") => arrays.add(name, entry)?,
            _ => {}
        }
    }
    Ok(arrays.all)
}

fn folder(files: &[PathBuf], graph: &Graph) -> Result<Vec<(String, Tensor)>> {
    let inputs = required(graph).into_iter().map(|v| &*graph.value(v).name).collect::<Vec<_>>();
    let mut arrays = Arrays::new();
    for path in files {
        let at = |e: String| usage(format!("{}: {e}", path.display()));
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        // As names of files have no slash.
        let input = inputs.iter().find(|name| name.replace('/', "_") == stem);
        let file = File::open(path).map_err(|e| unread(path, &e))?;
        arrays.add(input.copied().unwrap_or(&stem), BufReader::new(file)).map_err(at)?;
    }
    Ok(arrays.all)
}

fn pictures(path: &Path, graph: &Graph, images: &Images) -> Result<Vec<(String, Tensor)>> {
    let at = |e: String| usage(format!("{}: {e}", path.display()));
    let wanted = required(graph);
    let [input] = wanted[..] else {
        let n = wanted.len();
        return Err(at(format!("images need a network of one input, this one has {n}; use .npz")));
    };
    let input = graph.value(input);
    let frame =
        Frame::of(&input.name, &input.ty, &Extents::default(), images.layout).map_err(at)?;
    let (files, labels) = listed(path)?;
    if files.is_empty() {
        return Err(at("no .npy, .png, .jpg or .jpeg files in it or in its subfolders".into()));
    }
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let t = images.batch(&files, &input.name, &frame)?;
    let labels = labels.map(|all| ("labels".to_owned(), Tensor::i64s(&all)));
    Ok([(input.name.to_string(), t)].into_iter().chain(labels).collect())
}

/// Refuses options that have no effect.
fn unused(path: &Path, images: &Images) -> Result {
    match images.is_given() {
        true => Err(usage(format!(
            "{} holds arrays; --image-… options, --mean, --std and --scale are for folders of images",
            path.display()
        ))),
        false => Ok(()),
    }
}

/// The images of a folder, and the class of each if they are in subfolders.
fn listed(path: &Path) -> Result<(Vec<PathBuf>, Option<Vec<i64>>)> {
    let flat = files(path, &ENDINGS)?;
    let (mut all, mut labels) = (Vec::new(), Vec::new());
    let folders = entries(path)?.into_iter().filter(|p| p.is_dir());
    for (class, folder) in folders.enumerate() {
        let found = files(&folder, &ENDINGS)?;
        labels.extend(std::iter::repeat_n(class as i64, found.len()));
        all.extend(found);
    }
    match (flat.is_empty(), all.is_empty()) {
        (false, false) => Err(usage(format!(
            "{}: images both in it and in its subfolders; keep them in one folder, without labels, or in \
             a subfolder for each class",
            path.display()
        ))),
        (true, false) => Ok((all, Some(labels))),
        _ => Ok((flat, None)),
    }
}

/// What is in a folder, by name, without what is hidden.
fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let at = |e: std::io::Error| usage(format!("{}: {e}", path.display()));
    let all = std::fs::read_dir(path).map_err(at)?;
    let mut all = all.map(|e| Ok(e.map_err(at)?.path())).collect::<Result<Vec<_>>>()?;
    all.retain(|p| !p.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")));
    all.sort();
    Ok(all)
}

/// The files of a folder with one of these extensions, by name.
fn files(path: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut all = entries(path)?;
    all.retain(|p| {
        let extension = p.extension().unwrap_or_default();
        p.is_file() && extensions.iter().any(|e| extension.eq_ignore_ascii_case(e))
    });
    Ok(all)
}

fn gib(bytes: u64) -> String {
    format!("{} GiB", bytes >> 30)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use graph_opt_ir::text::parse;

    use super::*;

    const NONE: Images = Images {
        resize: None,
        layout: None,
        color: None,
        norm: None,
        mean: Vec::new(),
        std: Vec::new(),
        scale: None,
    };

    fn graph(input: &str) -> Graph {
        parse(&format!(
            "graph @g(%\"in/x\": {input}) -> (%out) opset 13 {{\n %out = Identity %\"in/x\" : ?\n}}"
        ))
        .unwrap()
    }

    fn png(path: &Path, width: u32, height: u32, pixels: &[u8]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let color = match pixels.len() as u32 / (width * height) {
            1 => image::ExtendedColorType::L8,
            _ => image::ExtendedColorType::Rgb8,
        };
        image::save_buffer(path, pixels, width, height, color).unwrap();
    }

    fn why(path: &Path, input: &str, images: &Images) -> String {
        read(path, &graph(input), images, 4).unwrap_err().message
    }

    #[test]
    fn folders_of_images_are_classes() {
        let dir = tempfile::tempdir().unwrap();
        let red_green = [255, 0, 0, 0, 255, 0];
        png(&dir.path().join("dog/b.PNG"), 2, 1, &red_green);
        png(&dir.path().join("cat/z.png"), 2, 1, &[0; 6]);
        png(&dir.path().join("cat/a.png"), 2, 1, &[255; 6]);
        std::fs::write(dir.path().join("cat/notes.txt"), "none").unwrap();
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        let d = read(dir.path(), &graph("f32[N,3,1,2]"), &NONE, 3).unwrap();
        assert_eq!(d.labels.unwrap()[0].to_i64s().unwrap(), [0, 0, 1]);
        let x = &d.inputs[0][0];
        assert_eq!(x.dims(), [3, 3, 1, 2]);
        let planar = [1., 0., 0., 1., 0., 0.];
        assert_eq!(x.to_f32s().unwrap(), [&[1.; 6][..], &[0.; 6], &planar].concat());
        // Channels last, stretched, and pixels as they are.
        let d = read(dir.path(), &graph("u8[1,2,2,3]"), &NONE, 3).unwrap();
        assert_eq!(d.inputs.len(), 3);
        assert_eq!(*d.inputs[2][0].bytes().unwrap(), [red_green; 2].concat());
        // Without a batch axis, in grey, with a mean and a deviation.
        let images = Images { mean: vec![0.5], std: vec![0.5], ..NONE };
        let d = read(dir.path(), &graph("f32[1,1,2]"), &images, 3).unwrap();
        assert_eq!(d.inputs[0][0].dims(), [1, 1, 2]);
        assert_eq!(d.inputs[0][0].to_f32s().unwrap(), [1.0, 1.0]);
        assert_eq!(d.inputs[1][0].to_f32s().unwrap(), [-1.0, -1.0]);
        let e = why(dir.path(), "f32[N,5,4,2]", &NONE);
        assert!(e.contains("do not fit input \"in/x\" of type f32[N,5,4,2]"), "{e}");
        let e = why(dir.path(), "u8[N,2,2,3]", &images);
        assert!(e.contains("takes pixels as they are"), "{e}");
        let two = Images { std: vec![1.0, 2.0], ..NONE };
        assert!(why(dir.path(), "f32[N,3,1,2]", &two).contains("--image-std has 2 numbers"));
        png(&dir.path().join("c.png"), 1, 1, &[0; 3]);
        assert!(
            why(dir.path(), "f32[N,3,1,2]", &NONE).contains("both in it and in its subfolders")
        );
    }

    #[test]
    fn flat_images_are_resized() {
        let dir = tempfile::tempdir().unwrap();
        png(&dir.path().join("a.png"), 2, 2, &[10, 20, 30, 40]);
        png(&dir.path().join("b.png"), 4, 4, &[200; 16]);
        // As large as the first one, where the network does not say.
        for input in ["f32[N,1,2,2]", "f32[N,1,H,W]"] {
            let images = Images { scale: Some(1.0), ..NONE };
            let d = read(dir.path(), &graph(input), &images, 2).unwrap();
            assert!(d.labels.is_none());
            let all = [10., 20., 30., 40., 200., 200., 200., 200.];
            assert_eq!(d.inputs[0][0].to_f32s().unwrap(), all);
        }
        std::fs::write(dir.path().join("b.png"), "not an image").unwrap();
        assert!(why(dir.path(), "f32[N,1,2,2]", &NONE).contains("b.png: "));
        let empty = tempfile::tempdir().unwrap();
        assert!(why(empty.path(), "f32[N,1,2,2]", &NONE).contains("no .npy, .png"));
    }

    #[test]
    fn arrays_come_from_archives_and_folders() {
        let dir = tempfile::tempdir().unwrap();
        let x = npy::write(&Tensor::f32s(&[4, 2], &[1.0; 8]).unwrap()).unwrap();
        let y = npy::write(&Tensor::i64s(&[0, 1, 2, 3])).unwrap();
        let path = dir.path().join("data.npz");
        let mut npz = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in [("in:in/x.npy", &x), ("labels.npy", &y), ("out:p.npy", &x)] {
            npz.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            npz.write_all(bytes).unwrap();
        }
        npz.finish().unwrap();
        let folder = dir.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("in_x.npy"), &x).unwrap();
        std::fs::write(folder.join("y.npy"), &y).unwrap();
        for from in [&path, &folder] {
            let d = read(from, &graph("f32[2,2]"), &NONE, 1).unwrap();
            assert_eq!((d.inputs.len(), d.samples), (2, 4));
            assert_eq!(d.labels.unwrap()[1].to_i64s().unwrap(), [2, 3]);
        }
        let e = why(&path, "f32[N,3]", &NONE);
        assert!(e.contains("data.npz: the array for input \"in/x\" is f32[4,2]"), "{e}");
        let e = why(&path, "f32[N,2]", &Images { scale: Some(1.0), ..NONE });
        assert!(e.contains("--scale are for folders of images"), "{e}");
        let e = why(&dir.path().join("none.npz"), "f32[N,2]", &NONE);
        assert!(e.contains("none.npz: "), "{e}");
        std::fs::write(&path, "no archive").unwrap();
        assert!(why(&path, "f32[N,2]", &NONE).contains("expected a .npz file"));
    }

    #[test]
    fn arrays_have_a_limit_together() {
        let mut arrays = Arrays { all: Vec::new(), room: 40 };
        let x = npy::write(&Tensor::f32s(&[4, 2], &[1.0; 8]).unwrap()).unwrap();
        arrays.add("a", &x[..]).unwrap();
        let e = arrays.add("b", &x[..]).unwrap_err();
        assert!(e.contains("b: f32[4,2] is larger than 8 bytes"), "{e}");
    }
}
