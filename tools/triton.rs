//! A model repository for Triton Inference Server: a model for each stage, and an ensemble that wires
//! them. Inputs with a default are no inputs for Triton, and keep it.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::path::Path;

use graph_opt_backends::inputs::required;
use graph_opt_ir::{DType, Graph, ValueId};

use crate::failure::{Result, unsupported};
use crate::model;
use crate::output::{self, failed};

/// Writes the repository into a folder: the ensemble `name`, whose inputs and outputs are those of
/// the whole, and `NAME_stageK` for each stage.
pub fn write(folder: &Path, name: &str, whole: &Graph, stages: &[Graph]) -> Result {
    let title = |i: usize| format!("{name}_stage{i}");
    let ensemble = ensemble(name, &title, whole, stages)?;
    for (i, stage) in stages.iter().enumerate() {
        let mut text = header(&title(i));
        text.push_str("platform: \"onnxruntime_onnx\"\nbackend: \"onnxruntime\"\n");
        text.push_str("max_batch_size: 0\n");
        tensors(&mut text, stage, "input", &required(stage))?;
        tensors(&mut text, stage, "output", stage.outputs())?;
        let version = made(folder, &title(i), &text)?;
        model::save_onnx(stage, &version.join("model.onnx"))?;
    }
    // An ensemble's version is an empty folder.
    made(folder, name, &ensemble).map(|_| ())
}

/// A name for the ensemble, from what the model is called.
pub fn name(model: &str) -> String {
    let model = model.strip_prefix("zoo:").unwrap_or(model);
    let stem = Path::new(model).file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    let name: String = stem.chars().map(plain).collect();
    match name.trim_start_matches(['.', '-']) {
        "" => "model".into(),
        name => name.into(),
    }
}

/// Makes a model's folder with its configuration; gives the folder of its first version.
fn made(folder: &Path, name: &str, config: &str) -> Result<std::path::PathBuf> {
    let model = folder.join(name);
    let version = model.join("1");
    std::fs::create_dir_all(&version).map_err(|e| failed(&version, &e))?;
    output::whole(&model.join("config.pbtxt"), config.as_bytes())?;
    Ok(version)
}

fn header(name: &str) -> String {
    format!("name: {}\n", quoted(name))
}

fn ensemble(
    name: &str,
    title: &dyn Fn(usize) -> String,
    whole: &Graph,
    stages: &[Graph],
) -> Result<String> {
    let mut text = header(name);
    text.push_str("platform: \"ensemble\"\nmax_batch_size: 0\n");
    let names = |g: &Graph, all: &[ValueId]| -> Vec<String> {
        all.iter().map(|&v| g.value(v).name.to_string()).collect()
    };
    // Who makes each value.
    let mut makers: HashMap<String, usize> = HashMap::new();
    let mut read: BTreeSet<String> = BTreeSet::new();
    let mut steps = String::new();
    for (i, stage) in stages.iter().enumerate() {
        let (inputs, outputs) = (names(stage, &required(stage)), names(stage, stage.outputs()));
        for (what, all) in [("reads", &inputs), ("gives", &outputs)] {
            if all.is_empty() {
                return Err(unsupported(format!(
                    "stage {i} {what} no value, and Triton has no such model"
                )));
            }
        }
        let _ = writeln!(steps, "  step {{\n    model_name: {}", quoted(&title(i)));
        let _ = writeln!(steps, "    model_version: -1");
        for (map, all) in [("input_map", &inputs), ("output_map", &outputs)] {
            for n in all {
                let n = quoted(n);
                let _ = writeln!(steps, "    {map} {{ key: {n} value: {n} }}");
            }
        }
        steps.push_str("  }\n");
        read.extend(inputs);
        makers.extend(outputs.into_iter().map(|n| (n, i)));
    }
    // An input that no stage reads cannot be one of the ensemble.
    let given = |v: &ValueId| read.contains(&*whole.value(*v).name);
    let inputs: Vec<ValueId> = required(whole).into_iter().filter(given).collect();
    tensors(&mut text, whole, "input", &inputs)?;
    let mut outputs: Vec<ValueId> = Vec::new();
    for &v in whole.outputs() {
        let name = &*whole.value(v).name;
        if !makers.contains_key(name) {
            return Err(unsupported(format!(
                "the output {name:?} is made by no stage, and an ensemble cannot hand it on"
            )));
        }
        if !outputs.contains(&v) {
            outputs.push(v);
        }
    }
    tensors(&mut text, whole, "output", &outputs)?;
    let _ = writeln!(text, "ensemble_scheduling {{\n{steps}}}");
    Ok(text)
}

/// Inputs or outputs of a model. Triton has no tensors without extents: of a scalar it sees `[1]`, and
/// its backend for ONNX Runtime makes a scalar of that where the model has one.
fn tensors(text: &mut String, g: &Graph, kind: &str, all: &[ValueId]) -> Result {
    for &v in all {
        let value = g.value(v);
        let refuse = |what: &str| {
            let (name, ty) = (&value.name, &value.ty);
            Err(unsupported(format!("{name:?} is {ty}, and Triton has no {what}")))
        };
        let Some(data_type) = value.ty.dtype().and_then(data_type) else {
            return refuse("such type");
        };
        let Some(mut dims) = value.ty.extents() else { return refuse("unknown extents here") };
        if dims.contains(&0) {
            return refuse("empty tensors");
        }
        if dims.is_empty() {
            dims.push(1);
        }
        let dims: Vec<String> = dims.iter().map(u64::to_string).collect();
        let (name, dims) = (quoted(&value.name), dims.join(", "));
        let _ = writeln!(
            text,
            "{kind} {{\n  name: {name}\n  data_type: {data_type}\n  dims: [ {dims} ]\n}}"
        );
    }
    Ok(())
}

fn data_type(t: DType) -> Option<&'static str> {
    Some(match t {
        DType::Bool => "TYPE_BOOL",
        DType::U8 => "TYPE_UINT8",
        DType::U16 => "TYPE_UINT16",
        DType::U32 => "TYPE_UINT32",
        DType::U64 => "TYPE_UINT64",
        DType::I8 => "TYPE_INT8",
        DType::I16 => "TYPE_INT16",
        DType::I32 => "TYPE_INT32",
        DType::I64 => "TYPE_INT64",
        DType::F16 => "TYPE_FP16",
        DType::BF16 => "TYPE_BF16",
        DType::F32 => "TYPE_FP32",
        DType::F64 => "TYPE_FP64",
        DType::String => "TYPE_STRING",
        _ => return None,
    })
}

/// A string of protobuf's text format.
fn quoted(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\{:03o}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph_opt_ir::text::parse;

    /// The ensemble of one stage.
    fn config(whole: &str, stage: &str) -> std::result::Result<String, String> {
        let (whole, stage) = (parse(whole).unwrap(), parse(stage).unwrap());
        ensemble("m", &|i| format!("m_stage{i}"), &whole, &[stage]).map_err(|f| f.message)
    }

    #[test]
    fn scalars_have_an_extent_and_outputs_stand_once() {
        let source = "graph @main(%x: i64[], %unread: f32[2]) -> (%y, %y) opset 13 {
               %y = Neg %x : i64[] ; n
             }";
        let stage = source.replace(", %unread: f32[2]", "").replace("%y, %y", "%y");
        let text = config(source, &stage).unwrap();
        let want = "input {\n  name: \"x\"\n  data_type: TYPE_INT64\n  dims: [ 1 ]\n}\n\
                    output {\n  name: \"y\"\n  data_type: TYPE_INT64\n  dims: [ 1 ]\n}\n\
                    ensemble_scheduling";
        assert!(text.contains(want), "{text}");
    }

    #[test]
    fn what_triton_lacks_is_refused_with_its_name() {
        for (source, what) in [
            (
                "(%x: c64[2]) -> (%y) opset 13 {\n%y = Identity %x : c64[2] ; n\n}",
                "\"x\" is c64[2]",
            ),
            ("(%x: f32[0]) -> (%y) opset 13 {\n%y = Neg %x : f32[0] ; n\n}", "no empty tensors"),
            (
                "(%x: f32[2]) -> (%y, %x) opset 13 {\n%y = Neg %x : f32[2] ; n\n}",
                "\"x\" is made by no stage",
            ),
        ] {
            let whole = format!("graph @main{source}");
            let e = config(&whole, &whole.replace("(%y, %x)", "(%y)")).unwrap_err();
            assert!(e.contains(what), "{what}: {e}");
        }
    }

    #[test]
    fn names_are_made_safe() {
        assert_eq!(name("zoo:resnet18@64x64"), "resnet18_64x64");
        assert_eq!(name("/a/b c/My Model.v2.onnx"), "My_Model.v2");
        assert_eq!(name("-"), "model");
        assert_eq!(name("../.onnx"), "onnx");
        assert_eq!(quoted("a\"b\\c\n\u{7f}é"), "\"a\\\"b\\\\c\\012\\177é\"");
    }
}
