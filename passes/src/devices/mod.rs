//! Planning a network over devices: which device runs what, with a bound that says how good the plan
//! is.
//!
//! # Design
//! Planners know no graphs. A [`Problem`] is a chain of units with the bytes that cross each cut,
//! devices, links, and [`Costs`] of running units. Graphs are turned into problems, and plans into
//! splits and files, elsewhere. Every planner's plan passes [`Problem::judge`], so that all report the
//! same value for the same plan, and every plan has a lower bound.
//!
//! | folder | content | names the IR |
//! |---|---|---|
//! | `problem` | the problem, its costs, plans and errors, lower bounds | no |
//! | `search` | planners, and causes of infeasibility | no |
//! | `cluster` | devices, links, profiles and codecs as text | no |
//! | `graph` | graphs as chains, plans as splits of graphs, choice among them | yes |
//! | `files` | plans, manifests and dataflows as files; predicted times | yes |
//!
//! | planner | for | method |
//! |---|---|---|
//! | `threshold` | few classes of devices; interval or memory | bisection over bit-set reachability |
//! | `label_setting` | all objectives and limits, reuse of devices, the Pareto front | label setting |
//! | [`place()`] | a given partition, any links | bisection, constraint propagation |
//! | `partition_and_place` | interval over many different devices | bisection, branch and bound |
//! | `shared_links` | interval over links that share a medium | bisection over shortest paths |
//! | `milp` | small problems, as an independent check; feature `milp` | integer programming |
//! | `share_rows` | rows of one stage over devices side by side | greedy, which is optimal |
//!
//! ```
//! use graph_opt_passes::devices::{Additive, Device, Effort, Limits, Link, Objective, Problem, plan};
//!
//! let costs = Additive::new(&vec![vec![vec![2.0, 1.0, 3.0]]; 2], &[], &[4, 4, 4], &[0; 3]);
//! let device = |name: &str| Device { name: name.into(), kind: 0, memory: 8, modes: 1 };
//! let problem = Problem {
//!     cuts: vec![0, 100, 10, 0],
//!     forms: vec![],
//!     devices: vec![device("a"), device("b")],
//!     links: vec![Some(Link::new(8e3, 0.5)); 4],
//!     media: vec![],
//!     costs: &costs,
//!     pins: vec![],
//!     source: None,
//!     sink: None,
//!     reuse: false,
//!     objective: Objective::Interval,
//!     limits: Limits::default(),
//! };
//! let best = plan(&problem, &Effort::default())?;
//! assert_eq!(best.stages[0].units, 0..2);
//! assert_eq!((best.value, best.proved()), (3.0, true));
//! # Ok::<(), graph_opt_passes::devices::NoPlan>(())
//! ```

#[cfg(feature = "cluster")]
pub mod cluster;
#[cfg(feature = "cluster")]
pub mod files;
#[cfg(feature = "cluster")]
pub mod graph;
mod problem;
mod search;
pub mod split_devices;

pub use problem::{
    Additive, Choice, Costs, Device, DevicePlan, Form, Limits, Link, NoPlan, Objective, Problem,
    Reason, Stage, Transfer,
};
#[cfg(feature = "milp")]
pub use search::milp;
pub use search::{Effort, Front, Placement, front, place, place_greedily, plan};
