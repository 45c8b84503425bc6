//! Pictures as inputs: PNG and JPEG files, decoded within limits, resized, and laid out as the input has them.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use clap::ValueEnum;
use graph_opt_backends::inputs::Extents;
use graph_opt_ir::{DType, Tensor, Type};
use half::{bf16, f16};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GenericImageView, GrayImage, ImageBuffer, ImageDecoder, Pixel};

use crate::failure::{Result, say, usage};
use crate::input::unread;

/// The most bytes that the pictures of an input take together.
pub const MOST_BYTES: u64 = 2 << 30;
/// The most bytes that a picture takes while it is decoded, and its greatest width and height.
const IMAGE_BYTES: u64 = 256 << 20;
const IMAGE_SIDE: u32 = 1 << 14;
/// The most pixels that there are on the way from one size to another, at 16 bytes each.
const RESIZED_PIXELS: u64 = 64 << 20;
/// The grey that YOLO has around its pictures.
const AROUND: u8 = 114;

/// Endings of the names of pictures.
pub const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Whether a file is a picture, by its name.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    ENDINGS.iter().any(|e| extension.eq_ignore_ascii_case(e))
}

/// How pictures become inputs, alike in all commands: (pixel · scale − mean) / std, with pixels from 0 to 255.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Pictures")]
pub struct Images {
    /// How a picture gets the extents of the input: stretch; crop, its shorter side to the input's and then the
    /// centre, or crop:256, its shorter side to 256 first, as torchvision does; pad, the whole of it with grey
    /// around, as YOLO does, or pad:0, with black [default: stretch]
    #[arg(long = "image-resize", value_name = "HOW", value_parser = parse_resize)]
    pub resize: Option<Resize>,
    /// Where the channels are, if the type of the input leaves it open
    #[arg(long = "image-layout", value_name = "LAYOUT")]
    pub layout: Option<Layout>,
    /// The order of the channels [default: rgb]
    #[arg(long = "image-color", value_name = "ORDER")]
    pub color: Option<Color>,
    /// What pixels become [default: unit]
    #[arg(long = "image-norm", value_name = "NORM", conflicts_with_all = ["mean", "std", "scale"])]
    pub norm: Option<Norm>,
    /// Subtract this mean, one number or one a channel in the order of the input
    #[arg(
        long = "image-mean",
        alias = "mean",
        value_name = "MEAN",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub mean: Vec<f32>,
    /// Divide by this standard deviation, after the mean
    #[arg(long = "image-std", alias = "std", value_name = "STD", value_delimiter = ',')]
    pub std: Vec<f32>,
    /// Multiply pixels (0 to 255) by this first [default: 1/255]
    #[arg(long = "image-scale", alias = "scale", value_name = "SCALE")]
    pub scale: Option<f32>,
}

/// How a picture gets other extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// To the extents.
    Stretch,
    /// To cover the extents, or with its shorter side this long, and then the centre.
    Crop(Option<u32>),
    /// Into the extents, with this around.
    Pad(u8),
}

/// Where the channels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// Before height and width.
    Nchw,
    /// After them.
    Nhwc,
}

/// The order of the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// Red first.
    Rgb,
    /// Blue first, as OpenCV has it.
    Bgr,
}

/// What pixels become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Norm {
    /// 0 to 1.
    Unit,
    /// −1 to 1.
    Signed,
    /// 0 to 1, then by the mean and deviation of ImageNet.
    Imagenet,
    /// 0 to 1, then by the mean and deviation that CLIP has.
    Clip,
    /// 0 to 255.
    Raw,
}

impl Norm {
    /// Scale, mean and deviation; of red, green and blue if they differ.
    fn numbers(self) -> (f32, Vec<f32>, Vec<f32>) {
        match self {
            Self::Unit => (1.0 / 255.0, vec![0.0], vec![1.0]),
            Self::Signed => (2.0 / 255.0, vec![1.0], vec![1.0]),
            Self::Imagenet => (1.0 / 255.0, vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
            Self::Clip => (
                1.0 / 255.0,
                vec![0.481_454_66, 0.457_827_5, 0.408_210_73],
                vec![0.268_629_54, 0.261_302_6, 0.275_777_1],
            ),
            Self::Raw => (1.0, vec![0.0], vec![1.0]),
        }
    }
}

/// `stretch`, `crop`, `crop:SIDE`, `pad` or `pad:GREY`.
fn parse_resize(s: &str) -> std::result::Result<Resize, String> {
    let side = |n: &str| n.parse().ok().filter(|n| (1..=IMAGE_SIDE).contains(n));
    let found = match s.split_once(':') {
        None if s == "stretch" => Some(Resize::Stretch),
        None if s == "crop" => Some(Resize::Crop(None)),
        None if s == "pad" => Some(Resize::Pad(AROUND)),
        Some(("crop", n)) => side(n).map(|n| Resize::Crop(Some(n))),
        Some(("pad", n)) => n.parse().ok().map(Resize::Pad),
        _ => None,
    };
    found.ok_or_else(|| {
        let sides = format!("crop:SIDE (1 to {IMAGE_SIDE})");
        format!("expected stretch, crop, {sides}, pad or pad:GREY (0 to 255)")
    })
}

impl Images {
    /// Whether any option was given.
    pub fn is_given(&self) -> bool {
        self.resize.is_some() || self.layout.is_some() || self.color.is_some() || self.scaled()
    }

    /// Whether pixels are to become other numbers.
    fn scaled(&self) -> bool {
        let numbers = !self.mean.is_empty() || !self.std.is_empty() || self.scale.is_some();
        numbers || self.norm.is_some()
    }

    /// Factor and summand of each channel, in the order of the input.
    fn affine(&self, channels: usize) -> Result<Vec<(f32, f32)>> {
        let each = |option: &str, all: &[f32]| match all {
            [one] => Ok(vec![*one; channels]),
            all if all.len() == channels => Ok(all.to_vec()),
            all => Err(usage(format!(
                "{option} has {} numbers, expected one, or one for each of the {channels} channels",
                all.len()
            ))),
        };
        let (scale, mut mean, mut std) = self.norm.unwrap_or(Norm::Unit).numbers();
        if self.color == Some(Color::Bgr) {
            mean.reverse();
            std.reverse();
        }
        let (by_mean, by_std) = match self.norm {
            Some(_) => ("--image-norm", "--image-norm"),
            None => ("--image-mean", "--image-std"),
        };
        let own = |own: &[f32], preset| if own.is_empty() { preset } else { own.to_vec() };
        let (mean, std) =
            (each(by_mean, &own(&self.mean, mean))?, each(by_std, &own(&self.std, std))?);
        if std.contains(&0.0) {
            return Err(usage("--image-std is 0, expected a number that can divide"));
        }
        let scale = self.scale.unwrap_or(scale);
        Ok(mean.iter().zip(&std).map(|(mean, std)| (scale / std, -mean / std)).collect())
    }

    /// The pictures as the tensor of this input: one, or one for each place of the batch. Extents that neither
    /// the type nor `extents` has are those of the first picture.
    ///
    /// # Errors
    /// If the input is not for pictures, or not for so many; if a picture cannot be decoded or is too large.
    pub fn tensor(
        &self,
        files: &[&Path],
        name: &str,
        ty: &Type,
        extents: &Extents,
    ) -> Result<Tensor> {
        let frame = Frame::of(name, ty, extents, self.layout).map_err(usage)?;
        let n = files.len() as u64;
        if frame.batch.is_some_and(|batch| batch != n) {
            let batch = frame.batch.unwrap_or(0);
            return Err(usage(format!(
                "input {name:?} of type {ty} takes a batch of {batch}, found pictures: {n}; give --input \
                 {name}=FILE for each"
            )));
        }
        let t = self.batch(files, name, &frame)?;
        let [_, rest @ ..] = t.dims() else { return Ok(t) };
        if frame.ranked {
            return Ok(t);
        }
        t.reshaped(rest.to_vec()).map_err(|e| usage(format!("input {name:?}: {e}")))
    }

    /// The pictures in a batch of this input.
    ///
    /// # Errors
    /// If a picture cannot be decoded or is too large, or if they are too large together.
    pub fn batch(&self, files: &[&Path], name: &str, frame: &Frame) -> Result<Tensor> {
        let whole_numbers = matches!(frame.dtype, DType::U8 | DType::I8);
        if whole_numbers && self.scaled() {
            return Err(usage(format!(
                "input {name:?} takes pixels as they are, without --image-norm, --image-mean, --image-std and \
                 --image-scale"
            )));
        }
        let affine = self.affine(frame.channels)?;
        let shape = match (frame.height, frame.width, files) {
            (Some(h), Some(w), _) => (h, w),
            (h, w, [first, ..]) => {
                let (width, height) = decoded(first)?.dimensions();
                let (h, w) = (h.unwrap_or(height), w.unwrap_or(width));
                say(format!("input {name:?}: {h} high and {w} wide, from {}", first.display()));
                (h, w)
            }
            _ => return Err(usage(format!("input {name:?}: no picture"))),
        };
        let n = files.len() as u64;
        let [a, b, c] = frame.extents(shape.0, shape.1);
        let dims = vec![n, a, b, c];
        let ty = Type::tensor(frame.dtype, &dims);
        let size = ty.bytes().filter(|&bytes| bytes <= MOST_BYTES).ok_or_else(|| {
            let most = MOST_BYTES >> 30;
            usage(format!("{n} images would take more than {most} GiB as {ty}; give fewer"))
        })?;
        let mut bytes = Vec::with_capacity(size as usize);
        for file in files {
            append(&mut bytes, frame, &affine, &self.pixels(file, frame, shape)?);
        }
        Tensor::from_bytes(frame.dtype, dims, bytes).map_err(usage)
    }

    /// The pixels of a picture in this height and width, channels last.
    fn pixels(&self, path: &Path, frame: &Frame, (height, width): (u32, u32)) -> Result<Vec<u8>> {
        let image = decoded(path)?;
        let how = self.resize.unwrap_or(Resize::Stretch);
        let fitted = match frame.channels {
            1 => fit(luma(image), how, width, height),
            _ => fit(image.into_rgb8(), how, width, height),
        };
        let mut pixels = fitted.map_err(|e| usage(format!("{}: {e}", path.display())))?;
        if frame.channels == 3 && self.color == Some(Color::Bgr) {
            pixels.chunks_exact_mut(3).for_each(|p| p.swap(0, 2));
        }
        Ok(pixels)
    }
}

/// What an input takes of a picture.
pub struct Frame {
    dtype: DType,
    /// Whether it has a batch axis, and its extent if that is known.
    ranked: bool,
    batch: Option<u64>,
    channels: usize,
    /// Whether channels come before height and width.
    planar: bool,
    height: Option<u32>,
    width: Option<u32>,
}

impl Frame {
    /// Of this input, with these extents for symbolic dimensions.
    ///
    /// # Errors
    /// If the input is not for pictures, or if it is open where its channels are.
    pub fn of(
        name: &str,
        ty: &Type,
        extents: &Extents,
        layout: Option<Layout>,
    ) -> std::result::Result<Self, String> {
        let misfit = |want: &str| format!("images do not fit input {name:?} of type {ty}: {want}");
        let types = [DType::F32, DType::F16, DType::BF16, DType::F64, DType::U8, DType::I8];
        let wanted = "expected f32, f16, bf16, f64, u8 or i8 with 1 or 3 channels, then height and width, or after \
                      them";
        let dtype = ty.dtype().filter(|d| types.contains(d)).ok_or_else(|| misfit(wanted))?;
        let dims = ty.dims().unwrap_or_default();
        let extent = |axis: usize| dims[axis].known().or(extents.given(name, axis, &dims[axis]));
        let (ranked, first) = match dims.len() {
            3 => (false, 0),
            4 => (true, 1),
            _ => return Err(misfit(wanted)),
        };
        let sides = [extent(first), extent(first + 1), extent(first + 2)];
        let of = |planar: bool| {
            let [c, h, w] = if planar { sides } else { [sides[2], sides[0], sides[1]] };
            let channels = c.filter(|n| matches!(n, 1 | 3))? as usize;
            let side = |n: Option<u64>| match n {
                Some(n) => u32::try_from(n).ok().filter(|n| (1..=IMAGE_SIDE).contains(n)).map(Some),
                None => Some(None),
            };
            let batch = if ranked { extent(0) } else { Some(1) };
            Some(Self { dtype, ranked, batch, channels, planar, height: side(h)?, width: side(w)? })
        };
        let planar = of(true).filter(|_| layout != Some(Layout::Nhwc));
        let last = of(false).filter(|_| layout != Some(Layout::Nchw));
        match (planar, last) {
            (Some(_), Some(_)) => Err(misfit(
                "channels may be before or after height and width; give --image-layout nchw or nhwc",
            )),
            (Some(frame), None) | (None, Some(frame)) => Ok(frame),
            (None, None) => Err(misfit(wanted)),
        }
    }

    /// Whether an input may be for pictures, by its type.
    pub fn may_be(name: &str, ty: &Type, extents: &Extents) -> bool {
        let fits = |layout| Self::of(name, ty, extents, Some(layout)).is_ok();
        fits(Layout::Nchw) || fits(Layout::Nhwc)
    }

    /// Extents of one picture.
    fn extents(&self, height: u32, width: u32) -> [u64; 3] {
        let (c, h, w) = (self.channels as u64, u64::from(height), u64::from(width));
        if self.planar { [c, h, w] } else { [h, w, c] }
    }
}

/// Adds pixels, channel by channel within a pixel, in the order of the input.
fn append(bytes: &mut Vec<u8>, frame: &Frame, affine: &[(f32, f32)], pixels: &[u8]) {
    let mut add = |channel: usize, pixel: u8| {
        let (factor, summand) = affine[channel];
        let x = f32::from(pixel) * factor + summand;
        match frame.dtype {
            DType::U8 => bytes.push(pixel),
            // 0 to 255 as -128 to 127, which quantizers of signed bytes have.
            DType::I8 => bytes.push(pixel ^ 0x80),
            DType::F16 => bytes.extend(f16::from_f32(x).to_le_bytes()),
            DType::BF16 => bytes.extend(bf16::from_f32(x).to_le_bytes()),
            DType::F64 => bytes.extend(f64::from(x).to_le_bytes()),
            _ => bytes.extend(x.to_le_bytes()),
        }
    };
    if frame.planar {
        for c in 0..frame.channels {
            pixels.iter().skip(c).step_by(frame.channels).for_each(|&p| add(c, p));
        }
    } else {
        pixels.iter().enumerate().for_each(|(i, &p)| add(i % frame.channels, p));
    }
}

/// A picture, upright.
fn decoded(path: &Path) -> Result<DynamicImage> {
    let at = |e: String| usage(format!("{}: {e}", path.display()));
    let file = File::open(path).map_err(|e| unread(path, &e))?;
    let mut reader = image::ImageReader::new(BufReader::new(file));
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(IMAGE_BYTES);
    limits.max_image_width = Some(IMAGE_SIDE);
    limits.max_image_height = Some(IMAGE_SIDE);
    reader.limits(limits.clone());
    let reader = reader.with_guessed_format().map_err(|e| at(e.to_string()))?;
    let decode = || {
        let mut decoder = reader.into_decoder()?;
        // As `decode` does, which gives no orientation.
        limits.reserve(decoder.total_bytes())?;
        decoder.set_limits(limits)?;
        let orientation = decoder.orientation();
        let mut image = DynamicImage::from_decoder(decoder)?;
        // What does not parse says nothing.
        image.apply_orientation(orientation.unwrap_or(image::metadata::Orientation::NoTransforms));
        Ok(image)
    };
    decode().map_err(|e: image::ImageError| at(e.to_string()))
}

/// The luma of ITU-R BT.601, as Pillow and OpenCV make it.
fn luma(image: DynamicImage) -> GrayImage {
    if !image.color().has_color() {
        return image.into_luma8();
    }
    let rgb = image.into_rgb8();
    GrayImage::from_fn(rgb.width(), rgb.height(), |x, y| {
        let [r, g, b] = rgb.get_pixel(x, y).0.map(u32::from);
        image::Luma([((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16) as u8])
    })
}

/// The pixels of a picture in this width and height.
fn fit<P: Pixel<Subpixel = u8> + 'static>(
    image: ImageBuffer<P, Vec<u8>>,
    how: Resize,
    width: u32,
    height: u32,
) -> std::result::Result<Vec<u8>, String> {
    let (w, h) = image.dimensions();
    let scaled = |n: u32, by: u32, of: u32| u64::from(n) * u64::from(by) / u64::from(of);
    match how {
        Resize::Stretch => Ok(resized(image, width.into(), height.into())?.into_raw()),
        Resize::Crop(shorter) => {
            // The shorter side gets this length, or the whole just covers the extents.
            let (by_height, side) = match shorter {
                Some(side) => (h <= w, side),
                None if scaled(w, height, h) >= width.into() => (true, height),
                None => (false, width),
            };
            let (new_w, new_h) = match by_height {
                true => (scaled(w, side, h), side.into()),
                false => (side.into(), scaled(h, side, w)),
            };
            if new_w < width.into() || new_h < height.into() {
                return Err(format!(
                    "{width} × {height} do not fit into the {new_w} × {new_h} that the picture is resized to; crop \
                     from a longer side"
                ));
            }
            let whole = resized(image, new_w, new_h)?;
            // Halves go to the even number, as in torchvision.
            let start = |all: u64, part: u32| {
                (((all - u64::from(part)) as f64) / 2.0).round_ties_even() as u32
            };
            let (x, y) = (start(new_w, width), start(new_h, height));
            Ok(imageops::crop_imm(&whole, x, y, width, height).to_image().into_raw())
        }
        Resize::Pad(around) => {
            let r = (f64::from(width) / f64::from(w)).min(f64::from(height) / f64::from(h));
            let side = |n: u32, most: u32| ((f64::from(n) * r).round() as u32).clamp(1, most);
            let (new_w, new_h) = (side(w, width), side(h, height));
            let part = resized(image, new_w.into(), new_h.into())?;
            let colour = *P::from_slice(&vec![around; P::CHANNEL_COUNT.into()]);
            let mut all = ImageBuffer::from_pixel(width, height, colour);
            let (x, y) = ((width - new_w) / 2, (height - new_h) / 2);
            imageops::replace(&mut all, &part, x.into(), y.into());
            Ok(all.into_raw())
        }
    }
}

/// A picture in another size, bilinear, over all pixels when made smaller.
fn resized<P: Pixel<Subpixel = u8> + 'static>(
    image: ImageBuffer<P, Vec<u8>>,
    width: u64,
    height: u64,
) -> std::result::Result<ImageBuffer<P, Vec<u8>>, String> {
    let (w, h) = image.dimensions();
    if (u64::from(w), u64::from(h)) == (width, height) {
        return Ok(image);
    }
    // It is resized along its height first.
    let pixels = width.max(w.into()).saturating_mul(height);
    let sides = (u32::try_from(width).ok(), u32::try_from(height).ok());
    let (Some(width), Some(height), ..=RESIZED_PIXELS) = (sides.0, sides.1, pixels) else {
        return Err(format!("resizing {w} × {h} to {width} × {height} takes too much memory"));
    };
    Ok(imageops::resize(&image, width, height, FilterType::Triangle))
}
