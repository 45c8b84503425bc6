//! Groups and grids that the planner chooses.

use std::sync::Arc;

use graph_opt_ir::EditError;

use super::stretch::BY_HAND;
use crate::analysis::memory::{self, Interpreter, MemoryModel};
use crate::options::{OptionError, Options, bytes_text};
use crate::pass::PassCtx;
use crate::tile::Reuse;
use crate::tile::planner::{self, Goal, Limits};

/// What the planner looks for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Aim {
    Best(Goal),
    Front,
}

/// A request to the planner: the goal, and bounds of the search.
#[derive(Clone, Debug)]
pub struct Planned {
    aim: Aim,
    best_effort: bool,
    tiles: Option<usize>,
    reuse: Option<Reuse>,
    model: Arc<dyn MemoryModel>,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        let of = |p: &Self| (p.aim, p.best_effort, p.tiles, p.reuse);
        of(self) == of(other) && self.model.name() == other.model.name()
    }
}

impl Planned {
    /// The tiles of least extra work with a peak of live activations of at most this many bytes.
    pub fn within(bytes: u64) -> Self {
        Self::of(Aim::Best(Goal::Memory(bytes)))
    }

    /// Best effort: as [`within`](Self::within), but nodes that no tiles bring below the budget are left
    /// as they are.
    pub fn best_effort(bytes: u64) -> Self {
        Self { best_effort: true, ..Self::within(bytes) }
    }

    /// The tiles of the smallest peak with at most this share of extra multiply-accumulates: 0.1 is
    /// 10 %.
    ///
    /// # Errors
    /// If the share is negative or not finite.
    pub fn extra_macs(share: f64) -> Result<Self, OptionError> {
        if share.is_finite() && share >= 0.0 {
            return Ok(Self::of(Aim::Best(Goal::ExtraMacs(share))));
        }
        Err(OptionError(format!("extra-macs must be a share such as 10%, not {share}")))
    }

    /// No tiles, but a remark for every plan that no other one dominates in peak and work.
    pub fn front() -> Self {
        Self::of(Aim::Front)
    }

    fn of(aim: Aim) -> Self {
        let model = Limits::default().model;
        Self { aim, best_effort: false, tiles: None, reuse: None, model }
    }

    /// Considers groups of at most `n` tiles; 0 counts as 1.
    #[must_use]
    pub fn max_tiles(self, n: usize) -> Self {
        Self { tiles: Some(n.max(1)), ..self }
    }

    /// Tries only this kind of reuse.
    ///
    /// # Errors
    /// For [`Reuse::Exchange`], unless plans are only listed: it keeps all tiles live at once.
    pub fn reuse(self, reuse: Reuse) -> Result<Self, OptionError> {
        if reuse == Reuse::Exchange && self.aim != Aim::Front {
            let why = "reuse=exchange keeps all tiles at once: it is for devices side by side";
            return Err(OptionError(why.into()));
        }
        Ok(Self { reuse: Some(reuse), ..self })
    }

    /// Judges plans by this memory model; by default, by that of the reference interpreter. As text, the
    /// pass names the model, and only the names of [`memory::model_named`] are read back.
    #[must_use]
    pub fn memory_model(self, model: Arc<dyn MemoryModel>) -> Self {
        Self { model, ..self }
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        if let Some(n) = self.tiles {
            (limits.tiles, limits.long) = (n, n);
        }
        limits.best_effort = self.best_effort;
        limits.model = Arc::clone(&self.model);
        if let Some(r) = self.reuse {
            limits.reuse = vec![r];
        }
        limits
    }

    pub(super) fn options(&self) -> Options {
        let mut options = match self.aim {
            Aim::Best(Goal::Memory(b)) => Options::default().with("memory", bytes_text(b)),
            Aim::Best(Goal::ExtraMacs(share)) => Options::default().with("extra-macs", share),
            Aim::Front => Options::default().with("front", "list"),
        };
        if self.best_effort {
            options = options.with("best-effort", "yes");
        }
        if let Some(n) = self.tiles {
            options = options.with("max-tiles", n);
        }
        if let Some(r) = self.reuse {
            options = options.with("reuse", r);
        }
        if self.model.name() != Interpreter.name() {
            options = options.with("runtime", self.model.name());
        }
        options
    }

    /// The request that the options make; `None` if they name a group by hand.
    ///
    /// # Errors
    /// If options contradict each other or have a bad value.
    pub(super) fn of_options(
        o: &Options,
        reuse: Option<Reuse>,
    ) -> Result<Option<Self>, OptionError> {
        let err = |m: &str| Err(OptionError(m.into()));
        let yes = |name| Ok::<bool, OptionError>(o.choice(name, &[("yes", ())])?.is_some());
        let best_effort = yes("best-effort")? | yes("partly")?;
        if best_effort && o.get("memory").is_none() {
            return err("best-effort goes with memory");
        }
        let front = o.choice("front", &[("list", ())])?.is_some();
        let goal = !super::given(o, &["memory", "extra-macs"]).is_empty();
        let by_hand = !super::given(o, &BY_HAND).is_empty();
        if !front && !goal {
            return Ok(None);
        }
        if front && (goal || by_hand) {
            return err("front lists plans; it goes with none of the other goals");
        }
        let group = ["to", "from", "nodes", "axes", "split"];
        if goal && (by_hand || !super::given(o, &group).is_empty()) {
            return err("memory and extra-macs let the planner choose groups and grids");
        }
        let mut planned = match (o.bytes("memory")?, o.get("extra-macs")) {
            (Some(b), None) if best_effort => Self::best_effort(b),
            (Some(b), None) => Self::within(b),
            (None, Some(p)) => Self::extra_macs(percent(p)?)?,
            (None, None) => Self::front(),
            _ => return err("either memory or extra-macs"),
        };
        if let Some(n) = o.count("max-tiles")? {
            planned = planned.max_tiles(n as usize);
        }
        if let Some(r) = reuse {
            planned = planned.reuse(r)?;
        }
        if let Some(name) = o.get("runtime") {
            let model = memory::model_named(name).map_err(|e| OptionError(e.to_string()))?;
            planned = planned.memory_model(model);
        }
        Ok(Some(planned))
    }

    pub(super) fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        match self.aim {
            Aim::Best(goal) => planner::run(cx, goal, &self.limits()),
            Aim::Front => {
                planner::list(cx, &self.limits());
                Ok(())
            }
        }
    }
}

/// A share such as `10%` or `0.1`.
fn percent(v: &str) -> Result<f64, OptionError> {
    let (number, scale) = v.strip_suffix('%').map_or((v, 1.0), |n| (n, 100.0));
    match number.parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok(n / scale),
        _ => Err(OptionError(format!("extra-macs must be a share such as 10%, not {v:?}"))),
    }
}
