//! Planning a network over devices: which units run where, and what is proved about it.
//!
//! # Design
//! The planners know nothing of graphs. A [`Problem`] is a chain of units with the bytes that cross
//! each cut, devices and links, and [`Costs`] of running units; what makes it (cuts of a graph,
//! profiles, a cluster) and what uses a [`DevicePlan`] is elsewhere. Every plan of every planner passes
//! [`Problem::judge`], so that all mean the same by a value; every plan says what is proved.
//!
//! | planner | for | method |
//! |---|---|---|
//! | `threshold` | devices of a few kinds, the largest of something | threshold over sets of cuts |
//! | `label_setting` | all objectives and limits, devices of some kinds or used again; the front | label setting |
//! | [`place()`] | a given partition, links of any kind | threshold, constraint propagation |
//! | `partition_and_place` | partition and placement at once, many different devices | threshold, branch and bound |
//! | `shared_links` | throughput over links that share a medium | threshold over shortest paths |
//! | `milp` | small problems, as an independent check; feature `milp` | integer programming |
//! | [`share_rows()`] | parts of one stage side by side | greedy, which is exact here |
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
pub use search::{
    Effort, Front, Placement, RowShares, front, least_traffic, place, place_greedily, plan,
    share_rows,
};
