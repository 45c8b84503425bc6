//! Frames: from files, or drawn.

use std::path::PathBuf;

use graph_opt_backends::inputs::{Extents, draw_one};
use graph_opt_ir::{Tensor, Type};

use crate::failure::{Result, usage};
use crate::folder::Folder;
use crate::tensors;

/// Which frames there are.
#[derive(clap::Args, Clone, Debug)]
pub struct Wanted {
    /// Frames; 0 for no end. With --inputs, at most as many as there are
    #[arg(long, value_name = "N")]
    pub frames: Option<u64>,
    /// Seed of random frames
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub seed: u64,
    /// A folder on the source's machine with a folder for each frame, in the order of their names,
    /// with an input in each NAME.npy or NAME.pb ("/" in a name is "_" there)
    #[arg(long, value_name = "DIR")]
    pub inputs: Option<String>,
}

/// Where frames come from.
pub struct Frames {
    names: Vec<String>,
    kind: Kind,
    total: Option<u64>,
}

enum Kind {
    /// Seed, and the type and number of each input.
    Drawn(u64, Vec<(Type, usize)>),
    /// Folders, and the type of each input, if it is known.
    Files(Vec<PathBuf>, Vec<Option<Type>>),
}

impl Frames {
    /// Frames of the inputs that stages take from the source.
    pub fn open(args: &Wanted, folder: &Folder) -> Result<Self> {
        let names: Vec<String> =
            folder.wiring.source_sends().iter().map(|g| g.value.clone()).collect();
        let mut types = folder.types(&names)?;
        let named = names.into_iter().map(|n| (n.clone(), types.remove(&n)));
        Self::of(args, folder, named.collect())
    }

    /// Frames of these inputs, of these types.
    pub fn of(args: &Wanted, folder: &Folder, inputs: Vec<(String, Option<Type>)>) -> Result<Self> {
        let (names, types): (Vec<String>, Vec<Option<Type>>) = inputs.into_iter().unzip();
        if let Some(path) = &args.inputs {
            let at = |e: std::io::Error| usage(format!("{path}: {e}"));
            let mut files = Vec::new();
            for entry in std::fs::read_dir(path).map_err(at)? {
                let entry = entry.map_err(at)?.path();
                files.extend(entry.is_dir().then_some(entry));
            }
            files.sort();
            if files.is_empty() {
                return Err(usage(format!("{path}: there is no folder of a frame in it")));
            }
            let there = files.len() as u64;
            let total = Some(args.frames.filter(|n| *n > 0).map_or(there, |n| n.min(there)));
            return Ok(Self { names, kind: Kind::Files(files, types), total });
        }
        let number = |name: &String| folder.manifest.inputs.iter().position(|i| i == name);
        let known = |(name, ty): (&String, Option<Type>)| {
            let unknown = || usage(format!("no stage reads the input {name:?}: give --inputs"));
            Ok((ty.ok_or_else(unknown)?, number(name).unwrap_or(0)))
        };
        let types = names.iter().zip(types).map(known).collect::<Result<_>>()?;
        let total = Some(args.frames.unwrap_or(100)).filter(|n| *n > 0);
        Ok(Self { names, kind: Kind::Drawn(args.seed, types), total })
    }

    /// How many there are, if there is an end.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The inputs of a frame.
    pub fn frame(&self, sequence: u64) -> Result<Vec<Tensor>> {
        match &self.kind {
            Kind::Drawn(seed, types) => {
                let seed = seed.wrapping_add(sequence);
                let extents = Extents::default();
                let one = |(name, (ty, k)): (&String, &(Type, usize))| {
                    draw_one(name, ty, &extents, seed, *k).map_err(usage)
                };
                self.names.iter().zip(types).map(one).collect()
            }
            Kind::Files(files, types) => {
                let at = usize::try_from(sequence).ok().and_then(|i| files.get(i));
                let at = at.ok_or_else(|| usage(format!("there is no frame {sequence}")))?;
                let one = |(name, ty): (&String, &Option<Type>)| {
                    let base = at.join(name.replace('/', "_"));
                    let file = |ext: &str| PathBuf::from(format!("{}.{ext}", base.display()));
                    let npy = file("npy");
                    let file = if npy.is_file() { npy } else { file("pb") };
                    let t = tensors::read(&file, None)?;
                    // Whatever takes it drops what contradicts the plan.
                    let known = ty.as_ref().filter(|ty| ty.extents().is_some());
                    let found = (Some(t.dtype()), Some(t.dims().to_vec()));
                    match known.filter(|ty| (ty.dtype(), ty.extents()) != found) {
                        Some(ty) => {
                            let (at, found) = (file.display(), t.ty());
                            Err(usage(format!(
                                "{at}: expected {ty}, as the model has it, found {found}"
                            )))
                        }
                        None => Ok(t),
                    }
                };
                self.names.iter().zip(types).map(one).collect()
            }
        }
    }
}
