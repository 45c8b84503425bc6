//! What becomes of a whole model: everything folds, what is too large to fold, names of dimensions.

use graph_opt_ir::onnx;
use graph_opt_passes::registry::OPTIMISE;

use super::{check, has_same_bits, inputs, judged, ops, outputs, parse, row, run};

/// onnxsim 260: outputs remain, with their names and values, and after the file was written, too.
#[test]
fn onnxsim_260_everything_folds() {
    for (model, nodes) in [
        // An output stays the result of a node.
        ("() -> (%y) opset 13 { %a = const [1,2] : f32[2]  %y = Add %a, %a : ? }", 0),
        ("() -> (%y, %z) opset 13 {
            %a = const [1,2] : f32[2]
            %y = Add %a, %a : ?
            %z = Add %a, %a : ?
          }", 0),
        ("(%x: f32[2,3]) -> (%y) opset 13 { %y = Shape %x : ? }", 0),
        ("(%x: f32[2,3]) -> (%y, %z) opset 13 {
            %s = Shape %x : ?
            %y = Identity %s : ?
            %z = Identity %s : ?
          }", 0),
        ("() -> (%y) opset 13 { %y = Constant {value=tensor([1,2] : f32[2])} : ? }", 1),
        ("() -> (%y) opset 13 {
            %a = Constant {value=tensor([1,2] : f32[2])} : ?
            %y = Identity %a : ?
          }", 0),
        ("(%q: bool[]) -> (%y) opset 13 {
            %y = If %q {then_branch=graph @t() -> (%p) { %p = Constant {value=tensor([1] : f32[1])} : ? },
                        else_branch=graph @e() -> (%o) { %a = const [2] : f32[1]  %o = Neg %a : ? }} : ?
          }", 1),
    ] {
        let g = parse(model);
        let names = |g: &graph_opt_ir::Graph| -> Vec<String> {
            g.outputs().iter().map(|&v| g.value(v).name.to_string()).collect()
        };
        for pipeline in ["simplify", OPTIMISE] {
            let (t, ..) = run(&g, pipeline);
            assert!(t.len() <= nodes.max(g.outputs().len()), "{pipeline}: {}\n{model}", ops(&t));
            let mut file = Vec::new();
            onnx::export(&t, &mut file).unwrap();
            let mut back = onnx::import(file, None).unwrap().graph;
            graph_opt_ir::infer::infer_graph(&mut back, &[]).unwrap();
            for t in [&t, &back] {
                assert_eq!(names(t), names(&g), "{pipeline}: {model}");
                let given = inputs(&g);
                assert_eq!(outputs(t, &given), outputs(&g, &given), "{pipeline}: {model}");
            }
        }
    }
}

/// onnxsim 178, 272; onnxscript 2025: what is larger than what made it is not written out.
#[test]
fn onnxsim_178_272_onnxscript_2025_huge_constants() {
    for (what, made, from) in [
        ("ConstantOfShape", "%s = const [40000,40000] : i64[2]", "ConstantOfShape %s"),
        ("Tile", "%s = const [40000,20000] : i64[2]\n%k = const [1,2] : f32[1,2]", "Tile %k, %s"),
        ("Expand", "%s = const [40000,40000] : i64[2]\n%k = const [1] : f32[1]", "Expand %k, %s"),
    ] {
        let g = parse(&format!(
            "(%x: f32[1]) -> (%y) opset 13 {{ {made}\n%a = {from} : ?\n%y = Add %a, %x : ?\n}}"
        ));
        for pipeline in ["simplify", OPTIMISE] {
            let (t, ..) = run(&g, pipeline);
            assert_eq!(ops(&t), format!("{what} Add"), "{pipeline}");
        }
    }
    // At sizes that can be run: not grown, and the small ones folded.
    check(&[
        row(
            "larger than its shape",
            "(%x: f32[1]) -> (%y) opset 13 {
               %s = const [64,64] : i64[2]
               %a = ConstantOfShape %s {value=tensor([3] : f32[1])} : ?
               %y = Add %a, %x : ?
             }",
            "ConstantOfShape Add",
            "ConstantOfShape Add",
        ),
        row(
            "no larger",
            "(%x: f32[1]) -> (%y) opset 13 {
               %s = const [2,1] : i64[2]
               %a = ConstantOfShape %s {value=tensor([3] : f32[1])} : ?
               %y = Add %a, %x : ?
             }",
            "Add",
            "Add",
        ),
        row(
            "tiled",
            "(%x: f32[1]) -> (%y) opset 13 {
               %s = const [64,64] : i64[2]
               %k = const [1,2] : f32[1,2]
               %a = Tile %k, %s : ?
               %y = Add %a, %x : ?
             }",
            "Tile Add",
            "Tile Add",
        ),
        row(
            "large on its way, small in the end",
            "(%x: f32[1]) -> (%y) opset 13 {
               %s = const [64,64] : i64[2]
               %k = const [1,2] : f32[1,2]
               %p = const [0] : i64[1]
               %a = Tile %k, %s : ?
               %b = Slice %a [0: 3..4, 1: 2..5] : ?
               %y = Add %b, %x : ?
             }",
            "Add",
            "Add",
        ),
        row(
            "too large on its way",
            "(%x: f32[1]) -> (%y) opset 13 {
               %s = const [512,64] : i64[2]
               %k = const [1,2] : f32[1,2]
               %a = Tile %k, %s : ?
               %b = Slice %a [0: 3..4, 1: 2..5] : ?
               %y = Add %b, %x : ?
             }",
            "Tile Slice Add",
            "Tile Slice Add",
        ),
    ]);
}

/// OnnxSlim 102, 127: names of dimensions at inputs and outputs stay.
#[test]
fn onnxslim_102_127_names_of_dimensions() {
    for model in [
        "(%x: f32[batch,3,height,width]) -> (%y, %z) opset 13 {
           %w = const random(1) : f32[4,3,3,3]
           %s = const [4,4,4,4] : f32[4]
           %c = Conv %x, %w {pads=[1,1,1,1]} : f32[batch,4,height,width]
           %n = BatchNormalization %c, %s, %s, %s, %s : f32[batch,4,height,width]
           %i = Identity %n : f32[batch,4,height,width]
           %y = Relu %i : f32[batch,4,height,width]
           %z = Identity %x : f32[batch,3,height,width]
         }",
        "(%x: f32[batch,seq,8]) -> (%y) opset 13 {
           %s = Shape %x : ?
           %r = Reshape %x, %s : ?
           %a = Transpose %r {perm=[1,0,2]} : f32[seq,batch,8]
           %y = Transpose %a {perm=[1,0,2]} : f32[batch,seq,8]
         }",
        // The output is called otherwise than what it becomes.
        "(%x: f32[a,b]) -> (%y) opset 13 {
           %p = Exp %x : f32[c,d]
           %y = Identity %p : f32[e,f]
         }",
    ] {
        let g = parse(model);
        let types = |g: &graph_opt_ir::Graph| -> Vec<String> {
            let all = g.inputs().iter().chain(g.outputs());
            all.map(|&v| format!("{}: {}", g.value(v).name, g.value(v).ty)).collect()
        };
        let before = onnx_of(&g);
        for pipeline in ["simplify", OPTIMISE] {
            let (t, ..) = run(&g, pipeline);
            assert!(t.edits() > 0, "{model}");
            assert!(has_same_bits(&judged(&g, &t)) || pipeline == OPTIMISE, "{model}");
            assert_eq!(types(&t), types(&g), "{pipeline}: {model}");
            assert_eq!(onnx_of(&t), before, "{pipeline}: {model}");
        }
    }
}

/// What the written file declares of inputs and outputs.
fn onnx_of(g: &graph_opt_ir::Graph) -> [Vec<onnx_protobuf::ValueInfoProto>; 2] {
    use onnx_protobuf::Message;
    let mut file = Vec::new();
    onnx::export(g, &mut file).unwrap();
    let m = onnx_protobuf::ModelProto::parse_from_bytes(&file).unwrap();
    [m.graph.input.clone(), m.graph.output.clone()]
}
