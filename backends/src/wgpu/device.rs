//! The adapter, its device, and what is made once per device: pipelines and binding layouts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use wgpu::BufferBindingType::{Storage, Uniform};

use super::NoAdapter;
use super::kernel::Kernel;
use crate::RunError;

/// Bytes of the uniform block that every kernel takes, which is also the strictest alignment that
/// an adapter may ask of its offset.
pub(super) const PARAMS: u64 = 256;

/// Most operands of a kernel.
pub(super) const MAX_INPUTS: usize = 5;

/// A device that is ready to compute.
pub(super) struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: wgpu::AdapterInfo,
    pub limits: wgpu::Limits,
    /// By the number of operands.
    layouts: Vec<(wgpu::BindGroupLayout, wgpu::PipelineLayout)>,
    pipelines: Mutex<BTreeMap<String, wgpu::ComputePipeline>>,
    /// The first error that the device reported on its own.
    error: Arc<Mutex<Option<String>>>,
}

impl Gpu {
    /// Opens the first adapter whose name contains `filter` (in any case), or the most powerful.
    pub fn open(filter: Option<&str>) -> Result<Self, NoAdapter> {
        pollster::block_on(Self::open_async(filter))
    }

    async fn open_async(filter: Option<&str>) -> Result<Self, NoAdapter> {
        let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
        desc.backends = wgpu::Backends::PRIMARY;
        let instance = wgpu::Instance::new(desc);
        let mut all = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
        let names: Vec<String> = all.iter().map(|a| a.get_info().name).collect();
        let matches =
            |name: &str| filter.is_none_or(|f| name.to_lowercase().contains(&f.to_lowercase()));
        all.retain(|a| matches(&a.get_info().name));
        // Stable, so that of two of a kind the first that the system lists is taken.
        all.sort_by_key(|a| match a.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        });
        let Some(adapter) = all.into_iter().next() else {
            let filter = filter.map(Into::into);
            return Err(NoAdapter { filter, present: names, reason: None });
        };
        let info = adapter.get_info();
        let fail = |reason: String| NoAdapter {
            filter: filter.map(Into::into),
            present: names.clone(),
            reason: Some(reason),
        };
        let limits = adapter.limits();
        let desc = wgpu::DeviceDescriptor {
            label: Some("graph-opt"),
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (device, queue) =
            adapter.request_device(&desc).await.map_err(|e| fail(e.to_string()))?;
        if u64::from(limits.min_uniform_buffer_offset_alignment) > PARAMS {
            return Err(fail("it aligns uniform buffers too coarsely".into()));
        }
        // Without a handler, an error of the device ends the process.
        let error = Arc::new(Mutex::new(None));
        let sink = Arc::clone(&error);
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            let mut slot = sink.lock().unwrap_or_else(PoisonError::into_inner);
            slot.get_or_insert_with(|| e.to_string());
        }));
        let layouts = (0..=MAX_INPUTS).map(|n| layout(&device, n)).collect();
        let pipelines = Mutex::default();
        Ok(Self { device, queue, info, limits, layouts, pipelines, error })
    }

    /// Fails if the device has reported an error since the last call.
    pub fn check(&self) -> Result<(), RunError> {
        let mut slot = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.take() {
            Some(e) => Err(RunError::Unsupported(format!("on {}: {e}", self.info.name))),
            None => Ok(()),
        }
    }

    pub fn bind_layout(&self, inputs: usize) -> &wgpu::BindGroupLayout {
        &self.layouts[inputs].0
    }

    /// The kernel's pipeline, compiled at first use.
    pub fn pipeline(&self, kernel: &Kernel) -> wgpu::ComputePipeline {
        let mut all = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let key = kernel.key();
        if let Some(p) = all.get(&key) {
            return p.clone();
        }
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name()),
            source: wgpu::ShaderSource::Wgsl(kernel.source().into()),
        });
        let p = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name()),
            layout: Some(&self.layouts[kernel.inputs()].1),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        all.insert(key, p.clone());
        p
    }

    /// Number of pipelines compiled so far.
    #[cfg(test)]
    pub fn compiled(&self) -> usize {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Most bytes of a tensor.
    pub fn largest(&self) -> u64 {
        self.limits.max_storage_buffer_binding_size.min(self.limits.max_buffer_size)
    }
}

/// Binding 0: parameters; then the operands; last, the result.
fn layout(device: &wgpu::Device, inputs: usize) -> (wgpu::BindGroupLayout, wgpu::PipelineLayout) {
    let entry = |binding: usize, ty: wgpu::BindingType| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty,
        count: None,
    };
    let buffer = |ty, dynamic| wgpu::BindingType::Buffer {
        ty,
        has_dynamic_offset: dynamic,
        min_binding_size: None,
    };
    let mut entries = vec![entry(0, buffer(Uniform, true))];
    for i in 1..=inputs {
        entries.push(entry(i, buffer(Storage { read_only: true }, false)));
    }
    entries.push(entry(inputs + 1, buffer(Storage { read_only: false }, false)));
    let bind = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: None,
        entries: &entries,
    });
    let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&bind)],
        immediate_size: 0,
    });
    (bind, pipeline)
}
