//! Tiles side by side on devices: DeepThings' setting (Zhao et al., 2018), the first 16 layers of
//! YOLOv2 on 2 to 6 devices behind one wireless network, with a gateway that has the image.

use graph_opt_backends::zoo;
use graph_opt_ir::Graph;
use graph_opt_passes::analysis::cost;
use graph_opt_passes::devices::cluster::Cluster;
use graph_opt_passes::devices::files::PlanFile;
use graph_opt_passes::devices::graph::Network;
use graph_opt_passes::devices::graph::tiles::{
    NodeTimes, TileShare, Tiled, candidates, make_tiles,
};
use graph_opt_passes::eqsat::prove::prove;
use graph_opt_passes::tile::Reuse;

use crate::devices::check_parts;
use crate::support::{compare, is_bit_exact, optimise, shared};

/// A gateway that computes `share` times what each of the devices does; all talk over one medium.
fn cluster(devices: usize, share: f64) -> Cluster {
    let mut text = format!(
        "source = \"gateway\"\nsink = \"gateway\"\n[[device]]\nname = \"gateway\"\n\
         memory = \"1GiB\"\nmacs-per-second = {:e}\n",
        1e9 * share
    );
    for d in 0..devices {
        text.push_str(&format!(
            "[[device]]\nname = \"pi{d}\"\nmemory = \"512MiB\"\nmacs-per-second = 1e9\n"
        ));
    }
    text.push_str(
        "[default-link]\nbandwidth = \"54Mbit/s\"\nlatency = \"1ms\"\nmedium = \"wifi\"\n",
    );
    Cluster::parse(&text).unwrap()
}

fn even(n: i64, k: i64) -> Vec<i64> {
    (0..k).map(|i| n / k + i64::from(i < n % k)).collect()
}

/// MiB that go from the gateway to the devices, back, and between devices.
fn traffic(file: &PlanFile) -> [f64; 3] {
    let mut sums = [0; 3];
    let device = |f: Option<usize>| f.map_or("gateway", |f| &*file.stages[f].device);
    for s in &file.stages {
        for r in &s.receives {
            let at = match (device(r.from), &*s.device) {
                ("gateway", _) => 0,
                (_, "gateway") => 1,
                _ => 2,
            };
            sums[at] += r.bytes;
        }
    }
    sums.map(|b| b as f64 / f64::from(1 << 20))
}

fn last(g: &Graph) -> String {
    g.schedule().last().map(|n| g.label(n).to_owned()).unwrap()
}

/// Strips on 2 to 6 devices: extra MACs and bytes as published by `golden/README.md`; halos exchanged
/// instead of computed again; both run, bit for bit, holding what was planned.
#[test]
fn deep_things_strips() {
    if shared("golden").is_none() {
        return;
    }
    let g = zoo::build("yolov2-first16").unwrap();
    let macs = cost(&g).macs as f64;
    let near =
        |found: f64, want: f64, by: f64| assert!((found - want).abs() < by, "{found} {want}");
    println!("devices | extra MACs, MiB out, in: recompute | exchange, MiB between | MiB a device");
    for (n, extra, scattered, exchanged) in [
        (2, 11.5, 5.05, 0.53),
        (3, 23.0, 5.87, 1.36),
        (4, 34.5, 6.69, 1.75),
        (5, 46.0, 7.51, 2.73),
        (6, 57.5, 8.34, 3.26),
    ] {
        let cluster = cluster(n, 1.0);
        let none = vec![None; n + 1];
        let times = NodeTimes::new(&g, &cluster, &none);
        let share = |reuse: Reuse| TileShare {
            to: last(&g),
            sizes: vec![even(38, n as i64)],
            reuse,
            devices: (1..=n).collect(),
            host: 0,
        };
        let plan = |reuse: Reuse| -> (Tiled, PlanFile) {
            let t = make_tiles(&g, &share(reuse), &times).unwrap();
            let file = t.file(&cluster, 0.0).unwrap();
            (t, file)
        };
        let more = |t: &Tiled| (cost(&t.graph).macs as f64 / macs - 1.0) * 100.0;
        let (recompute, file) = plan(Reuse::Recompute);
        let (exchange, other) = plan(Reuse::Exchange);
        let (a, b) = (traffic(&file), traffic(&other));
        let most = |f: &PlanFile| {
            let own = f.stages.iter().filter(|s| s.device != "gateway").map(|s| s.memory_bytes);
            own.max().unwrap() as f64 / f64::from(1 << 20)
        };
        println!(
            "{n} | {:+.1} % {:.2} {:.2} | {:+.1} % {:.2} {:.2} {:.2} ({exchanged}) | {:.2} {:.2}",
            more(&recompute),
            a[0],
            a[1],
            more(&exchange),
            b[0],
            b[1],
            b[2],
            most(&file),
            most(&other)
        );
        near(more(&recompute), extra, 0.06);
        near(a[0], scattered, 0.006);
        near(a[1], 1.41, 0.006);
        assert_eq!(a[2], 0.0);
        // Nothing is computed twice; what goes between devices is no more than published.
        assert_eq!(more(&exchange), 0.0);
        assert!(b[2] <= exchanged + 0.006, "{} {exchanged}", b[2]);
        match n {
            2 | 6 => check_parts(&g, &recompute.graph, file, &format!("{n} strips")),
            4 => check_parts(&g, &exchange.graph, other, "4 strips, exchanged"),
            _ => {}
        }
    }
}

/// What the planner takes, beside strips and grids of its own, and how much sooner a frame is done
/// than on one device.
#[test]
fn deep_things_choices() {
    let g = zoo::build("yolov2-first16").unwrap();
    let network = Network::of(&g).unwrap();
    let mut before = f64::INFINITY;
    for n in 1..=5 {
        let cluster = cluster(n, 1.0);
        let none = vec![None; n + 1];
        let times = NodeTimes::new(&g, &cluster, &none);
        let alone: f64 = network.nodes.iter().map(|&n| times.seconds(&g, n, 0)).sum();
        let all = candidates(&g, &network, &cluster, &times).unwrap();
        let bound = times.least(&network.nodes);
        let best = |grid: bool, reuse: Reuse| {
            let kind = |w: &&(Tiled, f64)| {
                w.0.share.reuse == reuse && (w.0.share.sizes.len() == 2) == grid
            };
            all.iter().find(kind).map_or(String::from("-"), |w| format!("{:.2}", alone / w.1))
        };
        let (chosen, seconds) = &all[0];
        println!(
            "{} devices: {:.2} times as soon as one (bound {:.2}): {:?} {:?} to {}; strips {} exchange {}, grids {} checkerboard {} exchange {}",
            n + 1,
            alone / seconds,
            alone / bound,
            chosen.share.reuse,
            chosen.share.sizes,
            chosen.share.to,
            best(false, Reuse::Recompute),
            best(false, Reuse::Exchange),
            best(true, Reuse::Recompute),
            best(true, Reuse::Checkerboard),
            best(true, Reuse::Exchange),
        );
        assert!(bound <= *seconds && all.windows(2).all(|w| w[0].1 <= w[1].1));
        // One more device is never worse.
        assert!(*seconds <= before * (1.0 + 1e-9));
        before = *seconds;
    }
}

/// Tiles on devices of several speeds, residuals, another end of the stretch, a host that computes as
/// well: run, bit for bit, with the memory planned, and the quicker device has more rows.
#[test]
fn tiles_on_unlike_devices() {
    for (network, to) in [("resnet18@96x64", "layer2.1.relu"), ("unet@64x64", "")] {
        let g = zoo::build(network).unwrap();
        let mut cluster = cluster(2, 3.0);
        cluster.source = None;
        let none = vec![None; 3];
        let times = NodeTimes::new(&g, &cluster, &none);
        let n = Network::of(&g).unwrap();
        let all = candidates(&g, &n, &cluster, &times).unwrap();
        let (best, seconds) = &all[0];
        println!("{network}: {seconds:.4} s, {:?}", best.share);
        let file = best.file(&cluster, times.least(&n.nodes)).unwrap();
        assert!((file.latency_s - seconds).abs() < 1e-12 && file.bound <= file.value);
        if best.share.sizes.len() == 1 && best.share.devices[0] == 0 {
            let rows = &best.share.sizes[0];
            assert!(rows[0] >= *rows.iter().max().unwrap(), "{rows:?}");
        }
        check_parts(&g, &best.graph, file, network);
        if !to.is_empty() {
            for reuse in [Reuse::Checkerboard, Reuse::Exchange] {
                let share = TileShare {
                    to: to.into(),
                    sizes: vec![vec![5, 4, 3], vec![3, 5]],
                    reuse,
                    devices: vec![0, 1, 2, 0, 1, 2],
                    host: 1,
                };
                let t = make_tiles(&g, &share, &times).unwrap();
                check_parts(&g, &t.graph, t.file(&cluster, 0.0).unwrap(), &format!("{reuse}"));
            }
        }
    }
}

/// Exchanged halos are proved, and are bit-exact, on grids over strides and residuals.
#[test]
fn exchange_is_proved() {
    let g = zoo::build("resnet18@64x64").unwrap();
    for cut in ["grid=4 axes=h", "grid=2x2", "sizes=[3,5]x[2,4,2]"] {
        let pipeline = format!("fuse-tiles{{to=layer2.1.relu {cut} reuse=exchange}}");
        let (t, remarks) = optimise(&g, &pipeline);
        assert!(remarks[0].to_string().contains("tiles"), "{remarks:?}");
        assert!(t.len() > 2 * g.len());
        assert_eq!(cost(&g).macs, cost(&t).macs);
        let proof = prove(&g, &t).unwrap();
        assert!(!proof.reassociates);
        assert!(is_bit_exact(&compare(&g, &t)));
    }
}
