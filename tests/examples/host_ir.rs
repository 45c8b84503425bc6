//! A compiler with an IR of its own uses graph-opt for one pass: its program becomes a graph, `fuse-tiles` rewrites the
//! graph, and the compiler makes the same edits to its program.
//!
//!     cargo run --example host_ir
//!
//! 1. Each operator of the compiler states two functions, through the trait `Operator`: the shape of its result, and
//!    which part of each operand a part of the result needs. From these follow tiles, fused tiles and costs.
//! 2. The program becomes a graph, a node for each instruction and a value for each register (`lower`).
//! 3. An observer sees each edit: which nodes are new, and which are gone. It follows in the program (`Replay`).
//! 4. Both programs are executed, and give the same bits.
#![allow(clippy::print_stdout)] // An example.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use graph_opt_backends::Backend;
use graph_opt_backends::cpu::Cpu;
use graph_opt_ir::edit::Applied;
use graph_opt_ir::layout_params::slice_bounds;
use graph_opt_ir::op::{self, Attr, Attrs, Op, Operator, Other, adopt};
use graph_opt_ir::op_context::{OpCtx, RuleError};
use graph_opt_ir::region::{Barrier, Region, Relation, Relations};
use graph_opt_ir::window::Window;
use graph_opt_ir::{Builder, DType, Dim, Graph, NodeId, Tensor, Type, ValueId};
use graph_opt_passes::{Pipeline, Runner};

// ---------------------------------------------------------------------------------------- the compiler's IR

/// A picture: rows of so many pixels.
#[derive(Clone, Debug, PartialEq)]
struct Picture {
    width: usize,
    pixels: Vec<f32>,
}

/// A register, which holds a picture.
type Register = usize;

/// What an instruction does.
#[derive(Clone, Debug, PartialEq)]
enum Do {
    /// Multiplies each pixel.
    Gain(f32),
    /// The mean of three rows, with so many rows of zeros above and below.
    Blur { above: usize, below: usize },
    /// Adds two pictures.
    Add,
    /// Takes these rows.
    Rows(usize, usize),
    /// Puts pictures below each other.
    Stack,
}

/// An instruction.
#[derive(Clone, Debug)]
struct Instruction {
    name: String,
    does: Do,
    reads: Vec<Register>,
    writes: Register,
}

/// A program: instructions in the order in which they run.
#[derive(Clone, Debug)]
struct Program {
    input: Register,
    output: Register,
    instructions: Vec<Instruction>,
}

impl Program {
    /// Runs the program; gives the picture in each register.
    fn run(&self, input: &Picture) -> Result<BTreeMap<Register, Picture>, String> {
        let mut registers = BTreeMap::from([(self.input, input.clone())]);
        for i in &self.instructions {
            let read = |r: &Register| registers.get(r).ok_or(format!("{}: %{r} is empty", i.name));
            let result = i.does.run(&i.reads.iter().map(read).collect::<Result<Vec<_>, _>>()?);
            registers.insert(i.writes, result);
        }
        Ok(registers)
    }
}

impl Do {
    fn run(&self, operands: &[&Picture]) -> Picture {
        let (width, x) = (operands[0].width, &operands[0].pixels);
        let pixels = match self {
            Self::Gain(by) => x.iter().map(|p| p * by).collect(),
            Self::Add => x.iter().zip(&operands[1].pixels).map(|(a, b)| a + b).collect(),
            Self::Rows(from, to) => x[from * width..to * width].to_vec(),
            Self::Stack => operands.iter().flat_map(|p| p.pixels.clone()).collect(),
            Self::Blur { above, below } => {
                let mut padded = vec![0.0; above * width];
                padded.extend(x);
                padded.extend(vec![0.0; below * width]);
                let sum = |i: usize| padded[i] + padded[i + width] + padded[i + 2 * width];
                (0..padded.len() - 2 * width).map(|i| sum(i) / 3.0).collect()
            }
        };
        Picture { width, pixels }
    }
}

// ------------------------------------------------------------------- what the compiler states of its operators

/// The domain of the compiler's operators.
const DOMAIN: &str = "pictures";

/// The window of Blur along the rows, by its attributes.
fn window(attrs: &Attrs) -> Window {
    let (begin, end) = (int(attrs, "above"), int(attrs, "below"));
    Window { kernel: 3, stride: 1, dilation: 1, begin, end, ceil: false, output_padding: 0 }
}

fn int(attrs: &Attrs, name: &str) -> i64 {
    let found = attrs.iter().find(|(n, _)| **n == *name);
    found.map_or(0, |(_, a)| if let Attr::Int(i) = a { *i } else { 0 })
}

/// `Gain` works pixel by pixel.
#[derive(Debug)]
struct Gain;

impl Operator for Gain {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn name(&self) -> &'static str {
        "Gain"
    }

    fn infer(&self, ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
        Ok(vec![ctx.ty(0).clone()])
    }

    fn relations(&self, _: &OpCtx<'_>, _: usize) -> Result<Relations, Barrier> {
        Ok(Relations { operands: vec![(0..4).map(Relation::Same).collect()], barriers: Vec::new() })
    }

    fn is_random(&self) -> bool {
        false
    }

    fn evaluate(&self, a: &Attrs, x: &[Option<Tensor>]) -> Option<Result<Vec<Tensor>, String>> {
        Some(evaluate(&self.of(a)?, x))
    }
}

impl Gain {
    fn of(&self, attrs: &Attrs) -> Option<Do> {
        attrs
            .iter()
            .find_map(|(_, a)| if let Attr::Float(by) = a { Some(Do::Gain(*by)) } else { None })
    }
}

/// `Blur` needs a row more above and below: a window over the rows. A tile at an edge of the picture has zeros there,
/// one inside has none, so the attributes of a tile are its own.
#[derive(Debug)]
struct Blur;

impl Operator for Blur {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn name(&self) -> &'static str {
        "Blur"
    }

    fn infer(&self, ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
        let Some(d) = ctx.ty(0).extents() else { return Ok(vec![Type::Unknown]) };
        let rows = window(&ctx.op.attrs()).outputs(d[2] as i64);
        let rows =
            rows.ok_or(RuleError(format!("Blur takes three rows or more, found {}", d[2])))?;
        let dims = [d[0], d[1], rows as u64, d[3]].map(Dim::Known);
        Ok(vec![Type::with_dims(DType::F32, dims.to_vec())])
    }

    fn relations(&self, ctx: &OpCtx<'_>, _: usize) -> Result<Relations, Barrier> {
        let rows = Relation::Window(2, window(&ctx.op.attrs()));
        let axes = vec![Relation::Same(0), Relation::Same(1), rows, Relation::Same(3)];
        Ok(Relations { operands: vec![axes], barriers: Vec::new() })
    }

    fn on_region(&self, ctx: &OpCtx<'_>, _: usize, of: &Region) -> Result<Option<Attrs>, Barrier> {
        let rows = ctx.ty(0).extents().map(|d| d[2] as i64);
        let (Some(part), Some(rows)) = (of[2], rows) else { return Ok(Some(ctx.op.attrs())) };
        let need = window(&ctx.op.attrs()).need(part, rows);
        Ok(Some(vec![
            ("above".into(), Attr::Int(need.begin)),
            ("below".into(), Attr::Int(need.end)),
        ]))
    }

    fn is_random(&self) -> bool {
        false
    }

    fn evaluate(&self, a: &Attrs, x: &[Option<Tensor>]) -> Option<Result<Vec<Tensor>, String>> {
        Some(evaluate(&Self::of(a), x))
    }
}

impl Blur {
    fn of(attrs: &Attrs) -> Do {
        Do::Blur { above: int(attrs, "above") as usize, below: int(attrs, "below") as usize }
    }
}

/// Runs an instruction for graph-opt's interpreter, which compares graphs.
fn evaluate(does: &Do, operands: &[Option<Tensor>]) -> Result<Vec<Tensor>, String> {
    let [Some(x)] = operands else { return Err(format!("{does:?} has one operand")) };
    Ok(vec![tensor(&does.run(&[&picture(x)?]))?])
}

fn tensor(p: &Picture) -> Result<Tensor, String> {
    let dims = [1, 1, (p.pixels.len() / p.width) as u64, p.width as u64];
    Tensor::f32s(&dims, &p.pixels).map_err(|e| e.to_string())
}

fn picture(t: &Tensor) -> Result<Picture, String> {
    let pixels = t.to_f32s().ok_or("expected floats")?;
    Ok(Picture { width: t.dims()[3] as usize, pixels })
}

// ------------------------------------------------------------------------------------------ to a graph, and back

/// The graph of a program over a picture of these extents, and the register of each value.
fn lower(
    program: &Program,
    [rows, width]: [u64; 2],
) -> Result<(Graph, BTreeMap<ValueId, Register>), Box<dyn Error>> {
    let mut builder = Builder::new("program", 17);
    let x = builder.input("input", Type::tensor(DType::F32, &[1, 1, rows, width]));
    let mut values = BTreeMap::from([(program.input, x)]);
    for i in &program.instructions {
        let ours = |name: &str, attrs: Attrs| Op::Other(Other::new(DOMAIN, name, attrs));
        let count = |n: usize| Attr::Int(n as i64);
        let op = match i.does {
            Do::Gain(by) => ours("Gain", vec![("by".into(), Attr::Float(by))]),
            Do::Blur { above, below } => {
                let attrs = vec![("above".into(), count(above)), ("below".into(), count(below))];
                ours("Blur", attrs)
            }
            // What ONNX has, too.
            Do::Add => op::Add { axis: None, broadcast: 0 }.into(),
            Do::Rows(..) | Do::Stack => return Err("only tiles have Rows and Stack".into()),
        };
        let reads: Vec<ValueId> = i.reads.iter().map(|r| values[r]).collect();
        values.insert(i.writes, builder.node(&i.name, op, &reads)?);
    }
    builder.output(values[&program.output]);
    let mut graph = builder.finish();
    Arc::make_mut(&mut graph.opsets).insert(DOMAIN.into(), 1);
    let known = adopt(&mut graph, &[Arc::new(Gain), Arc::new(Blur)])?;
    assert!(known > 0, "no node has an operator of the compiler");
    Ok((graph, values.into_iter().map(|(r, v)| (v, r)).collect()))
}

/// Makes edits of a graph to the program that it came from.
struct Replay {
    program: Program,
    registers: BTreeMap<ValueId, Register>,
}

impl Replay {
    /// Follows one edit; `graph` has it already.
    fn follow(&mut self, graph: &Graph, edit: &Applied) -> Result<(), String> {
        self.program.instructions.retain(|i| !edit.removed.contains(&i.name));
        // New nodes stand together, in front of what follows the last of them.
        let Some(last) = edit.nodes.last() else { return Ok(()) };
        let next = graph.schedule().skip_while(|n| n != last).nth(1);
        let before = |i: &Instruction| next.is_some_and(|n| i.name == graph.label(n));
        let all = &self.program.instructions;
        let at = all.iter().position(before).unwrap_or(all.len());
        let new =
            edit.nodes.iter().map(|&n| self.raise(graph, n)).collect::<Result<Vec<_>, _>>()?;
        self.program.instructions.splice(at..at, new);
        Ok(())
    }

    /// The instruction of a node. A value that an edit redefines stays the same value, and so does its register.
    fn raise(&mut self, graph: &Graph, id: NodeId) -> Result<Instruction, String> {
        let node = graph.node(id);
        let name = graph.label(id).to_owned();
        let does = match &node.op {
            Op::Other(o) if &*o.op_type == "Gain" => {
                Gain.of(&o.attrs).ok_or("Gain has no factor")?
            }
            Op::Other(o) if &*o.op_type == "Blur" => Blur::of(&o.attrs),
            Op::Add(_) => Do::Add,
            Op::Concat(c) if c.axis == 2 => Do::Stack,
            op => {
                match slice_bounds(&OpCtx::of(graph, id)).map_err(|e| e.to_string())?.as_deref() {
                    Some([(2, from, to, 1)]) => Do::Rows(*from as usize, *to as usize),
                    _ => return Err(format!("{name}: the compiler has no {}", op.name())),
                }
            }
        };
        // The bounds of Rows are in the instruction.
        let operands = if matches!(does, Do::Rows(..)) { &node.inputs[..1] } else { &node.inputs };
        let mut register = |v: &ValueId| {
            let new = self.registers.len();
            *self.registers.entry(*v).or_insert(new)
        };
        let reads = operands.iter().flatten().map(&mut register).collect();
        let writes = node.outputs.iter().flatten().map(&mut register).next();
        Ok(Instruction {
            writes: writes.ok_or(format!("{name} has no result"))?,
            name,
            does,
            reads,
        })
    }
}

/// Tiles a program, and shows that it still does the same.
///
/// # Errors
/// If it does not work.
pub fn main() -> Result<(), Box<dyn Error>> {
    let step = |name: &str, does, reads: &[Register], writes| Instruction {
        name: name.into(),
        does,
        reads: reads.to_vec(),
        writes,
    };
    let blur = Do::Blur { above: 1, below: 1 };
    let program = Program {
        input: 0,
        output: 4,
        instructions: vec![
            step("gain", Do::Gain(0.5), &[0], 1),
            step("blur1", blur.clone(), &[1], 2),
            step("blur2", blur, &[2], 3),
            step("sharpen", Do::Add, &[1, 3], 4),
        ],
    };
    let (rows, width) = (24, 10);
    let (graph, registers) = lower(&program, [rows, width])?;

    let mut replay = Replay { program: program.clone(), registers };
    let mut tiled = graph.clone();
    let pipeline = Pipeline::parse("fuse-tiles{from=gain to=sharpen grid=4 axes=h}")?;
    let report = Runner::default()
        .observe(Box::new(|graph, edit| replay.follow(graph, edit)))
        .run(&mut tiled, &pipeline)?;
    let tiled_program = replay.program;
    println!(
        "{} instructions became {}:",
        program.instructions.len(),
        tiled_program.instructions.len()
    );
    for i in &tiled_program.instructions {
        println!("  %{} = {:?} {:?}  ; {}", i.writes, i.does, i.reads, i.name);
    }
    assert_eq!(report.edits, 1, "{:?}", report.remarks);

    let pixels = (0..rows * width).map(|i| (i * 37 % 101) as f32 / 7.0).collect();
    let input = Picture { width: width as usize, pixels };
    let before = program.run(&input)?;
    let after = tiled_program.run(&input)?;
    assert_eq!(after[&program.output], before[&program.output], "the same bits");
    // No register but those of input and output holds a whole picture any more.
    let ends = [program.input, program.output];
    let largest = |all: &BTreeMap<Register, Picture>| {
        let inner = all.iter().filter(|(r, _)| !ends.contains(r));
        inner.map(|(_, p)| p.pixels.len()).max().unwrap_or(0)
    };
    assert!(largest(&after) * 2 < largest(&before), "{} {}", largest(&after), largest(&before));

    // The graph gives them, too, run by graph-opt with the kernels of the compiler.
    let ready = Cpu::default().prepare(Arc::new(tiled.clone()))?;
    let outputs = ready.run(&[tensor(&input)?], tiled.outputs())?;
    assert_eq!(picture(&outputs[0])?, before[&program.output], "the same bits");
    println!("the largest inner picture: {} pixels, was {}", largest(&after), largest(&before));
    Ok(())
}
