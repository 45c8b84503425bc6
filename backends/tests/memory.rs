//! What the interpreter allocates while it runs, by the plan and on the heap.
#![allow(unsafe_code)] // An allocator that counts.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use graph_opt_backends::Executable;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_backends::{Folder, zoo};
use graph_opt_ir::{Graph, text};
use graph_opt_passes::analysis::plan;
use graph_opt_passes::{Pipeline, Runner};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        MOST.fetch_max(LIVE.fetch_add(l.size(), Relaxed) + l.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(l) }
    }

    unsafe fn alloc_zeroed(&self, l: Layout) -> *mut u8 {
        MOST.fetch_max(LIVE.fetch_add(l.size(), Relaxed) + l.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(l) }
    }

    unsafe fn dealloc(&self, at: *mut u8, l: Layout) {
        LIVE.fetch_sub(l.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, l) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What kernels may use beside the plan on one thread: a block of packed columns (1 MiB), the
/// padded plane of a depthwise convolution, and what is small.
const WORKSPACE: u64 = 5 << 18;

fn tiled(graph: &Graph, pipeline: &str) -> Graph {
    let mut out = graph.clone();
    let pipeline = Pipeline::parse(pipeline).unwrap();
    Runner::default().evaluator(&Folder).run(&mut out, &pipeline).unwrap();
    out
}

/// Runs the graph; the peak of the plan and that of the heap.
fn peaks(name: &str, graph: Graph) -> (u64, u64) {
    let graph = Arc::new(graph);
    let plan = plan(&graph).unwrap();
    let inputs = draw(&graph, &Extents::default(), 3).unwrap();
    let cpu = Cpu { threads: 1, ..Cpu::default() };
    let prepared = cpu.prepared(graph.clone()).unwrap();
    // Packs the weights, which stay.
    let whole = prepared.run(&inputs, graph.outputs()).unwrap();
    let before = LIVE.load(Relaxed);
    MOST.store(before, Relaxed);
    let (out, measured) = prepared.run_measured(&inputs).unwrap();
    let heap = (MOST.load(Relaxed) - before) as u64;
    assert_eq!(measured.by_step, plan.timeline, "{name}");
    assert_eq!(measured.peak, plan.peak, "{name}");
    // With another value wanted, the run does not go by the plan.
    let mut wanted = graph.outputs().to_vec();
    wanted.push(graph.inputs()[0]);
    let unplanned = prepared.run(&inputs, &wanted).unwrap();
    for ((a, b), c) in out.iter().zip(&whole).zip(&unplanned) {
        assert!(a == b && a == c, "{name} differs");
    }
    assert!(heap <= plan.peak + WORKSPACE, "{name}: {heap} of {}", plan.peak);
    (plan.peak, heap)
}

// One test, as the count is of the whole process.
#[test]
fn the_heap_grows_by_no_more_than_the_plan_and_the_workspace_of_a_kernel() {
    for name in [
        "squeezenet@96x96",
        "resnet18@64x64",
        "mobilenetv2@64x64",
        "densenet121@64x64",
        "unet@64x64",
    ] {
        let graph = zoo::build(name).unwrap();
        let whole = peaks(name, graph.clone());
        let rows = peaks(name, tiled(&graph, "tile-conv{axis=h parts=3}"));
        let channels = peaks(name, tiled(&graph, "tile-conv{axis=c-out parts=2}"));
        println!(
            "{name}: plan and heap {whole:?}, tiled by rows {rows:?}, by channels {channels:?}"
        );
    }
    let fused = "graph @main(%x: f32[1,16,128,128]) -> (%y) opset 13 {
        %w = const random(1) : f32[16,16,3,3]
        %b = const random(2) : f32[16]
        %x00 = Slice %x [2: 0..65, 3: 0..65] : f32[1,16,65,65]
        %a00 = Conv %x00, %w, %b {pads=[1,1,0,0]} : f32[1,16,64,64]
        %r00 = Relu %a00 : f32[1,16,64,64]
        %x01 = Slice %x [2: 0..65, 3: 63..128] : f32[1,16,65,65]
        %a01 = Conv %x01, %w, %b {pads=[1,0,0,1]} : f32[1,16,64,64]
        %r01 = Relu %a01 : f32[1,16,64,64]
        %x10 = Slice %x [2: 63..128, 3: 0..65] : f32[1,16,65,65]
        %a10 = Conv %x10, %w, %b {pads=[0,1,1,0]} : f32[1,16,64,64]
        %r10 = Relu %a10 : f32[1,16,64,64]
        %x11 = Slice %x [2: 63..128, 3: 63..128] : f32[1,16,65,65]
        %a11 = Conv %x11, %w, %b {pads=[0,0,1,1]} : f32[1,16,64,64]
        %r11 = Relu %a11 : f32[1,16,64,64]
        %top = Concat %r00, %r01 {axis=3} : f32[1,16,64,128]
        %low = Concat %r10, %r11 {axis=3} : f32[1,16,64,128]
        %c = Concat %top, %low {axis=2} : f32[1,16,128,128]
        %y = GlobalAveragePool %c : f32[1,16,1,1]
    }";
    let (plan, heap) = peaks("fused", text::parse(fused).unwrap());
    println!("fused: {plan} {heap}");
    // The input and the convolution's result, and nothing beside.
    assert_eq!(plan, 2 * 16 * 128 * 128 * 4);
}
