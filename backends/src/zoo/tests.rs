//! The networks against what was published of them, and runs of those that are small enough.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use graph_opt_ir::{DType, Def, Op, Tensor, Use, verify};

use super::*;
use crate::Backend;
use crate::cpu::Cpu;

/// Name, shape of the result, number of learned parameters, and a size at which it runs quickly.
///
/// The numbers are torchvision's, but for: YOLOv2 (50,983,561 weights in Darknet's file, of which
/// 20,672 are running statistics), GoogLeNet (BVLC's model), and U-Net, ESPCN and Aidge's
/// tutorial, which follow from their layers.
const TABLE: &[(&str, &str, u64, &str)] = &[
    ("aidge-tutorial", "f32[4,32,64,64]", 3 * 9 * 32 + 32 + 2 * 32, ""),
    ("alexnet", "f32[1,1000]", 61_100_840, "@64x64"),
    ("vgg11", "f32[1,1000]", 132_863_336, "@32x48"),
    ("vgg16", "f32[1,1000]", 138_357_544, "@64x64"),
    ("vgg16-features", "f32[1,512,7,7]", 14_714_688, "@64x64"),
    ("resnet18", "f32[1,1000]", 11_689_512, "@64x64"),
    ("resnet50", "f32[1,1000]", 25_557_032, "@64x64"),
    ("mobilenetv2", "f32[1,1000]", 3_504_872, "@96x64"),
    ("squeezenet", "f32[1,1000]", 1_235_496, "@64x64"),
    ("yolov2", "f32[1,425,19,19]", 50_983_561 - 20_672, "@64x96"),
    ("yolov2-first16", "f32[1,256,38,38]", 3_424_160, "@64x96"),
    ("unet", "f32[1,2,256,256]", 31_031_810, "@32x48"),
    ("inception-v1", "f32[1,1000]", 6_998_552, "@64x64"),
    ("densenet121", "f32[1,1000]", 7_978_856, "@64x64"),
    ("vit-b16", "f32[1,1000]", 86_567_656, "@32x48"),
    ("mnist-qdq", "f32[1,10]", 8 * 25 + 8 + 16 * 8 * 25 + 16 + 10 * 256 + 10, ""),
    ("superres", "f32[1,1,672,672]", 59_657, "@32x48"),
];

/// Elements of the constants that training would change.
fn learned(g: &Graph) -> u64 {
    let counts = |u: Use| {
        let op = &g.node(u.node).op;
        match op {
            // Running statistics are measured, scales and zero points chosen.
            Op::BatchNormalization(_) => u.index < 3,
            Op::QuantizeLinear(_) | Op::DequantizeLinear(_) => u.index == 0,
            // Shapes and indices are part of the architecture.
            Op::Reshape(_) | Op::Split(_) | Op::Gather(_) => false,
            _ => true,
        }
    };
    let size = |t: &Tensor| if t.dims().is_empty() { 0 } else { t.len() as u64 };
    let constants = g.values().filter(|(_, v)| v.uses().all(counts));
    constants.filter_map(|(_, v)| v.constant().map(|t| size(t))).sum()
}

#[test]
fn every_network_is_as_published() {
    assert_eq!(
        TABLE.iter().map(|t| t.0).collect::<Vec<_>>(),
        NAMES.iter().map(|n| n.0).collect::<Vec<_>>()
    );
    for &(name, shape, parameters, _) in TABLE {
        let g = build(name).unwrap();
        assert_eq!(verify::verify(&g), Ok(()), "{name}");
        assert_eq!(&*g.name, name);
        let out: Vec<String> = g.outputs().iter().map(|&v| g.value(v).ty.to_string()).collect();
        assert_eq!(out, [shape], "{name}");
        assert_eq!(learned(&g), parameters, "{name}");
        let idle = g.values().find(|(_, v)| v.uses().len() == 0 && !v.is_output());
        assert!(idle.is_none(), "{name}: nothing reads {idle:?}");
    }
}

/// Pixels in 0..1.
fn pixels(g: &Graph) -> Vec<Tensor> {
    let one = |v| {
        let dims = graph_opt_ir::Type::extents(&g.value(v).ty).unwrap();
        let n = dims.iter().product::<u64>() as usize;
        Tensor::from_bytes(DType::F32, dims, weights::uniform(7, n, 0.0, 1.0)).unwrap()
    };
    g.inputs().iter().map(|&v| one(v)).collect()
}

#[test]
fn activations_neither_die_nor_explode() {
    for &(name, _, _, size) in TABLE {
        let g = Arc::new(build(&format!("{name}{size}")).unwrap());
        let outs =
            Cpu::default().prepare(g.clone()).unwrap().run(&pixels(&g), g.outputs()).unwrap();
        let y = outs[0].to_f32s().unwrap();
        let (n, mean) = (y.len() as f64, y.iter().map(|&x| f64::from(x)).sum::<f64>());
        let mean = mean / n;
        let spread = y.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        let spread = spread.sqrt();
        println!("{name}{size}: mean {mean:.4}, deviation {spread:.4}");
        assert!(y.iter().all(|x| x.is_finite()), "{name}");
        // The softmax of GoogLeNet divides by 1000 classes.
        let least = if name == "inception-v1" { 1e-4 } else { 0.1 };
        assert!((least..100.0).contains(&spread), "{name}: deviation {spread}");
    }
}

#[test]
fn quantized_activations_use_their_range() {
    let g = Arc::new(build("mnist-qdq").unwrap());
    let quantized: Vec<_> = g
        .schedule()
        .filter(|&n| matches!(g.node(n).op, Op::QuantizeLinear(_)))
        .flat_map(|n| g.node(n).outputs.iter().flatten().copied())
        .collect();
    let outs = Cpu::default().prepare(g.clone()).unwrap().run(&pixels(&g), &quantized).unwrap();
    for (t, &v) in outs.iter().zip(&quantized) {
        let steps = t.to_i64s().unwrap();
        let (lo, hi) = (*steps.iter().min().unwrap(), *steps.iter().max().unwrap());
        println!("{}: {lo}..={hi}", g.value(v).name);
        assert!(hi - lo > 60, "{}: {lo}..={hi}", g.value(v).name);
        // Some may saturate, most must not.
        let saturated = steps.iter().filter(|s| [255, 127, -128].contains(*s)).count();
        assert!(saturated * 50 < steps.len(), "{}: {saturated}", g.value(v).name);
    }
}

#[test]
fn weights_do_not_depend_on_the_size() {
    let (a, b) = (build("resnet18").unwrap(), build("resnet18@96x64").unwrap());
    let of = |g: &Graph| g.values().filter_map(|(_, v)| v.constant().cloned()).collect::<Vec<_>>();
    assert!(of(&a) == of(&b));
    assert_eq!(a.value(a.inputs()[0]).ty.to_string(), "f32[1,3,224,224]");
    assert_eq!(b.value(b.inputs()[0]).ty.to_string(), "f32[1,3,96,64]");
}

#[test]
fn wrong_names_say_what_is_right() {
    let error = |name: &str| match build(name) {
        Ok(g) => panic!("{name} has {} nodes", g.len()),
        Err(e) => e.to_string(),
    };
    assert_eq!(error("resnet81"), "the zoo has no network resnet81; did you mean resnet18?");
    assert!(error("zebra").contains("aidge-tutorial, alexnet, vgg11"));
    for size in ["", "224", "224x", "0x1", "-1x4", "1x99999999999999999999", "4x4x4", "65537x1"] {
        assert!(error(&format!("vgg16@{size}")).contains("HEIGHTxWIDTH"), "{size}");
    }
    assert_eq!(error("mnist-qdq@32x32"), "mnist-qdq has a fixed size");
    assert!(error("vit-b16@65536x65536").contains("at most 65537 tokens, found 16777217"));
    assert!(error("yolov2@48x48").starts_with("yolov2 cannot have this size: "));
    assert!(error("alexnet@8x8").starts_with("alexnet cannot have this size: "));
    build("vgg16@1080x1920").unwrap();
}

/// Columns of a golden table of layers, or nothing, said loudly, where the tables are not there.
fn golden(file: &str) -> Option<Vec<Vec<String>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden").join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        eprintln!("SKIPPED: no golden table {}", path.display());
        return None;
    };
    let mut lines = text.lines();
    let columns =
        "layer,op,kernel,stride,pad,c_in,c_out,h_in,h_out,in_bytes,out_bytes,weight_bytes,macs";
    assert_eq!(lines.next(), Some(columns));
    Some(lines.map(|l| l.split(',').map(String::from).collect()).collect())
}

/// The network's convolutions and poolings in the golden tables' terms. Weights are those after
/// normalisation is folded in: each convolution has a bias.
fn layers(g: &Graph) -> Vec<Vec<String>> {
    let dims = |v| graph_opt_ir::Type::extents(&g.value(v).ty).unwrap();
    let mut rows = Vec::new();
    for id in g.schedule() {
        let n = g.node(id);
        let (op, kernel, strides, pads) = match &n.op {
            Op::Conv(c) => ("conv", c.kernel_shape.clone().unwrap(), &c.strides, &c.pads),
            Op::MaxPool(p) => ("pool", p.kernel_shape.clone(), &p.strides, &p.pads),
            _ => continue,
        };
        let (x, y) = (dims(n.inputs[0].unwrap()), dims(n.outputs[0].unwrap()));
        assert_eq!((x[2], y[2]), (x[3], y[3]));
        let (weights, macs) = match op {
            "conv" => {
                let w = dims(n.inputs[1].unwrap());
                let taps: u64 = w.iter().product();
                assert!(matches!(g.value(n.inputs[1].unwrap()).def, Def::Const(_)));
                (taps + w[0], taps * y[2] * y[3])
            }
            _ => (0, 0),
        };
        let first = |a: &Option<Vec<i64>>, default| a.as_ref().map_or(default, |a| a[0] as u64);
        let bytes = |d: &[u64]| 4 * d.iter().product::<u64>();
        let numbers = [
            kernel[0] as u64,
            first(strides, 1),
            first(pads, 0),
            x[1],
            y[1],
            x[2],
            y[2],
            bytes(&x),
            bytes(&y),
            4 * weights,
            macs,
        ];
        let mut row = vec![rows.len().to_string(), op.to_string()];
        row.extend(numbers.map(|n| n.to_string()));
        rows.push(row);
    }
    rows
}

#[test]
fn yolov2_begins_with_the_golden_layers() {
    let Some(want) = golden("yolov2-first16.layers.csv") else { return };
    assert_eq!(want.len(), 16);
    assert_eq!(layers(&build("yolov2").unwrap())[..16], want);
}

#[test]
fn vgg16_has_the_golden_layers() {
    let Some(want) = golden("vgg16-conv.layers.csv") else { return };
    assert_eq!(want.len(), 18);
    assert_eq!(layers(&build("vgg16").unwrap()), want);
}
