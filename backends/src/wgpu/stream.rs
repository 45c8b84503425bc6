//! Commands in the order of a run: recorded, submitted in batches, results read back.

use std::sync::Arc;

use graph_opt_ir::DType;

use super::buffers::{Pool, Pooled};
use super::device::{Gpu, PARAMS};
use super::kernel::Kernel;
use crate::RunError;

/// Dispatches that are submitted together.
const BATCH: usize = 128;

/// A tensor of `f32` on the device; 16-bit floats are widened, and rounded after each operator.
#[derive(Clone)]
pub(super) struct Array {
    pub buffer: Arc<Pooled>,
    pub dims: Vec<usize>,
    /// Type in the graph.
    pub dtype: DType,
}

impl Array {
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The same elements under another shape.
    pub fn reshaped(&self, dims: Vec<usize>) -> Self {
        Self { dims, ..self.clone() }
    }
}

/// Up to 64 words for a kernel, which gives them their meaning. Those that are missing are 0, and
/// so must the last one be for the kernels that use `math.wgsl`.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Vec<u32>);

impl Params {
    /// These words; extents beyond 32 bits are refused.
    pub fn new(words: &[usize]) -> Result<Self, RunError> {
        let mut p = Self::default();
        words.iter().try_for_each(|&w| p.push(w))?;
        Ok(p)
    }

    pub fn push(&mut self, word: usize) -> Result<(), RunError> {
        let word = u32::try_from(word)
            .map_err(|_| RunError::Unsupported(format!("an extent of {word} on the device")))?;
        self.0.push(word);
        Ok(())
    }

    pub fn float(mut self, x: f32) -> Self {
        self.0.push(x.to_bits());
        self
    }

    /// Fills up to a multiple of four words.
    pub fn aligned(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// The commands of a run.
pub(super) struct Stream<'a> {
    pub gpu: &'a Gpu,
    pool: Arc<Pool>,
    encoder: Option<wgpu::CommandEncoder>,
    params: wgpu::Buffer,
    staged: Vec<u32>,
    /// Dispatches recorded since the last submission.
    recorded: usize,
}

impl<'a> Stream<'a> {
    pub fn new(gpu: &'a Gpu, shared: &Arc<Pool>) -> Self {
        let pool = Pool::of_run(shared);
        let params = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("params"),
            size: PARAMS * BATCH as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { gpu, pool, encoder: None, params, staged: vec![], recorded: 0 }
    }

    /// An array for a result, its elements undefined.
    pub fn array(&self, dims: &[usize], dtype: DType) -> Result<Array, RunError> {
        let buffer = Arc::new(self.pool.get(self.gpu, bytes(dims)?)?);
        Ok(Array { buffer, dims: dims.to_vec(), dtype })
    }

    /// Words on the device, in a buffer of the pool.
    pub fn upload(&mut self, words: &[u8]) -> Result<Arc<Pooled>, RunError> {
        // The host writes before all that is not submitted yet, which may read the buffer.
        self.submit()?;
        let buffer = self.pool.get(self.gpu, words.len() as u64)?;
        self.gpu.queue.write_buffer(buffer.raw()?, 0, words);
        Ok(Arc::new(buffer))
    }

    /// Records one dispatch of `groups` workgroups.
    pub fn run(
        &mut self,
        kernel: &Kernel,
        params: Params,
        inputs: &[&Pooled],
        output: &Pooled,
        groups: [u32; 3],
    ) -> Result<(), RunError> {
        if groups.contains(&0) {
            return Ok(());
        }
        let most = self.gpu.limits.max_compute_workgroups_per_dimension;
        if groups.iter().any(|&g| g > most) {
            return Err(RunError::Unsupported(format!("{groups:?} workgroups of {kernel}")));
        }
        if params.0.len() as u64 * 4 > PARAMS || inputs.len() != kernel.inputs() {
            return Err(RunError::Invalid(format!("parameters or operands of {kernel}")));
        }
        if self.recorded == BATCH {
            self.submit()?;
        }
        let pipeline = self.gpu.pipeline(kernel);
        let window = wgpu::BufferBinding {
            buffer: &self.params,
            offset: 0,
            size: std::num::NonZeroU64::new(PARAMS),
        };
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(window),
        }];
        for (i, b) in inputs.iter().chain(&[output]).enumerate() {
            let resource = b.raw()?.as_entire_binding();
            entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource });
        }
        let group = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: self.gpu.bind_layout(inputs.len()),
            entries: &entries,
        });
        let offset = self.recorded as u64 * PARAMS;
        self.staged.extend_from_slice(&params.0);
        self.staged.resize((offset + PARAMS) as usize / 4, 0);
        let device = &self.gpu.device;
        let encoder = self.encoder.get_or_insert_with(|| {
            device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
        });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[offset as u32]);
        let [x, y, z] = groups;
        pass.dispatch_workgroups(x, y, z);
        drop(pass);
        self.recorded += 1;
        Ok(())
    }

    /// Hands what is recorded to the device.
    pub fn submit(&mut self) -> Result<(), RunError> {
        if let Some(encoder) = self.encoder.take() {
            self.gpu.queue.write_buffer(&self.params, 0, bytemuck::cast_slice(&self.staged));
            self.gpu.queue.submit([encoder.finish()]);
            self.staged.clear();
            self.recorded = 0;
        }
        self.gpu.check()
    }

    /// Elements of the array, after all that was recorded.
    pub fn read(&mut self, array: &Array) -> Result<Vec<f32>, RunError> {
        if array.len() == 0 {
            return Ok(vec![]);
        }
        let size = bytes(&array.dims)?;
        let device = &self.gpu.device;
        let staging = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let encoder = self.encoder.get_or_insert_with(|| {
            device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
        });
        encoder.copy_buffer_to_buffer(array.buffer.raw()?, 0, &staging, 0, size);
        self.submit()?;
        let (send, receive) = std::sync::mpsc::channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |r| drop(send.send(r)));
        let failed = |what: String| RunError::Unsupported(format!("reading back: {what}"));
        device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| failed(e.to_string()))?;
        self.gpu.check()?;
        match receive.recv() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(failed(e.to_string())),
            Err(e) => return Err(failed(e.to_string())),
        }
        let view = staging.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
        let mut out = vec![0f32; array.len()];
        bytemuck::cast_slice_mut::<f32, u8>(&mut out).copy_from_slice(&view);
        Ok(out)
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        // Commands that are not submitted by now never will be.
        self.encoder = None;
        self.pool.give_back();
    }
}

/// Bytes of a tensor on the device.
pub(super) fn bytes(dims: &[usize]) -> Result<u64, RunError> {
    let n = dims.iter().try_fold(4u64, |a, &d| a.checked_mul(d as u64));
    n.ok_or(RunError::TooLarge { what: "tensor", elements: u64::MAX, left: 0 })
}

/// Workgroups for this many threads in groups of [`GROUP`], along two dimensions as one is limited.
pub(super) fn groups(threads: usize) -> Result<[u32; 3], RunError> {
    let n = threads.div_ceil(GROUP);
    let (x, y) = if n <= WIDE { (n, 1) } else { (WIDE, n.div_ceil(WIDE)) };
    let y = u32::try_from(y)
        .map_err(|_| RunError::Unsupported(format!("{threads} elements on the device")))?;
    Ok([x as u32, y, 1])
}

/// Threads of a workgroup.
pub(super) const GROUP: usize = 64;

/// Workgroups along the first dimension, before the second is used.
const WIDE: usize = 32768;
