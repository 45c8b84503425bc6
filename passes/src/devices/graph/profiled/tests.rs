use graph_opt_ir::text::parse;
use proptest::prelude::*;

use super::*;
use crate::devices::graph::PlanRequest;
use crate::devices::{Effort, plan};

/// Six nodes in a chain; each cut is 16 bytes.
fn chain() -> Graph {
    parse(
        "graph @main(%x: f32[4]) -> (%f) opset 13 {
           %a = Relu %x : f32[4] ; a
           %b = Neg %a  : f32[4] ; b
           %c = Relu %b : f32[4] ; c
           %d = Neg %c  : f32[4] ; d
           %e = Relu %d : f32[4] ; e
           %f = Neg %e  : f32[4] ; f
         }",
    )
    .unwrap()
}

const CLUSTER: &str = r#"
    [[device]]
    name = "one"
    memory = "1MiB"
    profile = "one.json"
    watts = 10
    mode = [{ name = "fast", speed = 1 }, { name = "slow", speed = 0.5, watts = 3 }]
    [[device]]
    name = "two"
    memory = "1MiB"
    macs-per-second = 1e9
    per-node = "1s"
    watts = 2
    [default-link]
    bandwidth = "1Gbit/s"
"#;

fn node(name: &str, seconds: f64) -> String {
    format!("{name},{name},1,{seconds},\n")
}

const HEAD: &str = "first,last,nodes,seconds,joules\n";

fn costs(csv: &str) -> Result<ProfiledCosts, ProfileMismatch> {
    let (g, cluster) = (chain(), Cluster::parse(CLUSTER).unwrap());
    let network = Network::of(&g).unwrap();
    ProfiledCosts::new(&g, &network, &cluster, &[Some(Profile::csv(csv).unwrap()), None])
}

/// Nodes of 1, 2, 4, 8, 16 and 32 s.
fn nodes() -> String {
    let all = ["a", "b", "c", "d", "e", "f"].iter().enumerate();
    HEAD.to_owned() + &all.map(|(i, n)| node(n, f64::from(1 << i))).collect::<String>()
}

#[test]
fn what_was_measured_is_what_it_costs_and_the_rest_is_added_up() {
    let c = costs(&(nodes() + "b,d,3,5.5,7\nb,c,2,3.25,\n")).unwrap();
    let seconds = |r: Range<usize>| c.seconds(r, 0, 0).unwrap();
    assert_eq!(seconds(0..1), 1.0);
    assert_eq!(seconds(1..4), 5.5);
    assert_eq!(seconds(1..3), 3.25);
    // The longest that fits first.
    assert_eq!(seconds(0..6), 1.0 + 5.5 + 16.0 + 32.0);
    assert_eq!(seconds(0..3), 1.0 + 3.25);
    assert_eq!(seconds(2..6), 4.0 + 8.0 + 16.0 + 32.0);
    // Measured energy at the profile's speed, and power by the time elsewhere.
    assert_eq!(c.joules(1..4, 0, 0), 7.0);
    assert_eq!(c.joules(0..4, 0, 0), 10.0 + 7.0);
    assert_eq!(c.seconds(1..4, 0, 1), Some(11.0));
    assert_eq!(c.joules(1..4, 0, 1), 33.0);
    // The other device has no profile.
    assert_eq!(c.seconds(0..3, 1, 0), Some(3.0));
    assert_eq!(c.joules(0..3, 1, 0), 6.0);
}

/// Alone, every node is quicker on the second device; three of them together are not.
#[test]
fn plans_use_a_stretch_that_is_quicker_than_its_nodes() {
    let same: String = ["a", "b", "c", "d", "e", "f"].iter().map(|n| node(n, 2.0)).collect();
    let (g, cluster) = (chain(), Cluster::parse(CLUSTER).unwrap());
    let network = Network::of(&g).unwrap();
    let best = |csv: String| {
        let c = costs(&csv).unwrap();
        let p = network.problem(&g, &cluster, &c, &PlanRequest::default());
        plan(&p, &Effort::default()).unwrap()
    };
    let plain = best(HEAD.to_owned() + &same);
    assert_eq!((plain.stages.len(), plain.stages[0].device), (1, 1));
    assert_eq!(plain.value, 6.0);
    let with = best(HEAD.to_owned() + &same + "a,c,3,0.5,\n");
    assert_eq!((with.stages.len(), with.stages[0].units.clone()), (2, 0..3));
    assert!(with.value > 3.5 && with.value < 3.500_01, "{}", with.value);
}

#[test]
fn profiles_of_other_models_are_refused() {
    let fails = |csv: &str| costs(csv).unwrap_err().to_string();
    assert_eq!(
        fails(&(HEAD.to_owned() + &node("a", 1.0))),
        "device one: the profile has no node b; measure the profile on this model"
    );
    for (row, what) in [
        ("b,z,2,1,\n", "a stretch from b to z of 2 nodes, which the model has not"),
        ("b,d,2,1,\n", "a stretch from b to d of 2 nodes, which the model has not"),
        ("d,b,,1,\n", "a stretch from d to b, which the model has not"),
        ("b,d,0,1,\n", "which the model has not exactly once"),
        ("b,d,18446744073709551615,1,\n", "which the model has not exactly once"),
        ("b,d,3,1,\nb,d,3,1,\n", "has b to d 1 times, but the profile 2 times"),
        ("a,a,1,1,\n", "has a to a 1 times, but the profile 2 times"),
    ] {
        let e = fails(&(nodes() + row));
        assert!(e.contains(what), "{row:?}: {e}");
    }
    // Nodes that the model has no more do not matter.
    assert!(costs(&(nodes() + &node("gone", 1.0))).is_ok());
}

proptest! {
    /// Jumping gives what walking from piece to piece gives.
    #[test]
    fn sums_are_those_of_a_walk(
        n in 1usize..40,
        stretches in prop::collection::vec((0usize..40, 1usize..40, 0u32..64), 0..30),
        ends in (0usize..40, 0usize..40),
    ) {
        let sum = |s: u32| Sum { seconds: s.into(), joules: 0.0, unmetered: f64::from(s) / 2.0 };
        let mut pieces: Vec<BTreeMap<usize, Sum>> =
            (0..n).map(|u| [(u + 1, sum(u as u32))].into()).collect();
        for (from, len, s) in stretches {
            if from + len <= n {
                pieces[from].insert(from + len, sum(s));
            }
        }
        let (from, to) = (ends.0.min(ends.1).min(n), ends.0.max(ends.1).min(n));
        let (mut at, mut want) = (from, Sum::default());
        while at < to {
            let (end, more) = pieces[at].range(..=to).next_back().unwrap();
            want += *more;
            at = *end;
        }
        prop_assert_eq!(Stretches::new(pieces).sum(from..to), want);
    }
}

#[test]
fn nodes_may_go_by_their_results() {
    let text = "graph @main(%x: f32[4]) -> (%b) opset 13 {
       %a = Relu %x : f32[4] ; same
       %b = Neg %a  : f32[4] ; same
     }";
    let g = parse(text).unwrap();
    let n = Network::of(&g).unwrap();
    let cluster = Cluster::parse(CLUSTER).unwrap();
    let by_result = [node("a", 1.0), node("b", 2.0)].concat();
    let in_order = [node("same", 1.0), node("same", 2.0)].concat();
    let seconds = |nodes: &str| {
        let p = Profile::csv(&format!("{HEAD}{nodes}")).unwrap();
        let costs = ProfiledCosts::new(&g, &n, &cluster, &[Some(p), None]).unwrap();
        [0..1, 1..2].map(|u| costs.seconds(u, 0, 0))
    };
    assert_eq!(seconds(&by_result), [Some(1.0), Some(2.0)]);
    assert_eq!(seconds(&in_order), seconds(&by_result));
}
