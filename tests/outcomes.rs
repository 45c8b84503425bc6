//! Models that differ only where inputs seldom are: past a bound, at one number, in a late turn of a
//! loop. Runs have to get there, or the verdict is `unknown` and names what they did not reach.

use graph_opt_backends::compare::Summary;
use graph_opt_ir::Graph;
use graph_opt_ir::text::parse;

use crate::found_verdicts::{text, verified};

/// A graph with this input and this body, whose output is `%y`.
fn graph(inputs: &str, body: &str) -> Graph {
    parse(&format!("graph @g({inputs}) -> (%y) opset 17 {{\n{body}\n}}")).unwrap()
}

/// The verdict on each pair, for several seeds.
fn verdicts(pairs: &[(&str, &str, &str)], mut check: impl FnMut(&str, &str, &Summary)) {
    for &(inputs, a, b) in pairs {
        let (a, b) = (graph(inputs, a), graph(inputs, b));
        for seed in 0..8 {
            let report = verified(&a, &b, &[], seed);
            let all = text(&report);
            check(inputs, &all, &report.outputs[0].summary);
        }
    }
}

const X: &str = "%x: f32[1,8]";
const I: &str = "%x: i64[1,8]";

/// Nothing but the identity.
const SAME: &str = "%y = Identity %x : ?";

#[test]
fn models_that_differ_past_a_bound_are_never_equal() {
    let pairs = [
        (
            X,
            "%a = const 0 : f32[]\n%b = const 1000000 : f32[]\n%y = Clip %x, %a, %b : ?",
            "%a = const 0 : f32[]\n%b = const 2000000 : f32[]\n%y = Clip %x, %a, %b : ?",
        ),
        (X, "%y = ThresholdedRelu %x {alpha=50.0} : ?", "%y = ThresholdedRelu %x {alpha=60.0} : ?"),
        (X, "%b = const 1000 : f32[]\n%y = Min %x, %b : ?", SAME),
        (I, "%b = const 100000 : i64[]\n%y = Min %x, %b : ?", SAME),
        (
            X,
            "%b = const 100 : f32[]\n%c = Add %x, %b : ?\n%y = LeakyRelu %c {alpha=0.1} : ?",
            "%b = const 100 : f32[]\n%c = Add %x, %b : ?\n%y = LeakyRelu %c {alpha=0.2} : ?",
        ),
        (X, "%b = const 80 : f32[]\n%c = Min %x, %b : ?\n%y = Exp %c : ?", "%y = Exp %x : ?"),
        // At one number.
        (
            X,
            "%b = const 0.123 : f32[]\n%c = Equal %x, %b : ?\n%n = Neg %x : ?\n%y = Where %c, %n, %x : ?",
            SAME,
        ),
        (
            I,
            "%b = const 12345 : i64[]\n%c = Equal %x, %b : ?\n%n = Neg %x : ?\n%y = Where %c, %n, %x : ?",
            SAME,
        ),
        (
            X,
            "%b = const 1000000 : f32[]\n%c = Greater %x, %b : ?\n%n = Neg %x : ?\n%y = Where %c, %n, %x : ?",
            SAME,
        ),
        // What both have is never other than 0.
        (
            X,
            "%b = const -1000 : f32[]\n%w = const 0.001 : f32[]\n%v = Mul %x, %w : ?
             %c = Add %v, %b : ?\n%r = Relu %c : ?\n%s = Mul %r, %x : ?\n%y = Add %x, %s : ?",
            "%b = const -1000 : f32[]\n%w = const 0.001 : f32[]\n%v = Mul %x, %w : ?
             %c = Add %v, %b : ?\n%r = Relu %c : ?\n%s = Mul %r, %x : ?\n%y = Sub %x, %s : ?",
        ),
        // Where rounding leaves nothing of small numbers.
        (
            X,
            "%b = const 1000 : f32[]\n%z = const 0 : u8[]\n%q = QuantizeLinear %x, %b, %z : ?\n%y = DequantizeLinear %q, %b, %z : ?",
            "%b = const 0 : f32[]\n%y = Mul %x, %b : ?",
        ),
    ];
    verdicts(&pairs, |inputs, all, s| {
        assert!(matches!(s, Summary::Differs(_) | Summary::Unknown(_)), "{inputs}: {all}");
    });
}

/// What runs cannot be led to is named.
#[test]
fn what_runs_do_not_reach_is_named() {
    let late = |turn: i64| {
        parse(&format!(
            "graph @g(%m: i64[], %x: f32[1,8]) -> (%y) opset 17 {{
               %c = const 1 : bool[]
               %y = Loop %m, %c, %x {{body=graph @b(%i: i64[], %k: bool[], %v: f32[1,8]) -> (%l, %w) {{
                 %t = const {turn} : i64[]
                 %l = Identity %k : ?
                 %n = Neg %v : ?
                 %g = Greater %i, %t : ?
                 %w = Where %g, %v, %n : ?
               }}}} : ?
             }}"
        ))
        .unwrap()
    };
    let report = verified(&late(20), &late(30), &[], 0);
    let Summary::Unknown(why) = &report.outputs[0].summary else { panic!("{}", text(&report)) };
    assert!(why.contains("no run gave Greater \"g\" operands for which it is true"), "{why}");
    let pool = |rest: &str| {
        graph(
            "%x: f32[1,1,4]",
            &format!("%p = MaxPool %x {{kernel_shape=[2], strides=[2]}} : ?\n{rest}"),
        )
    };
    let (a, b) = (
        pool("%y = Identity %p : ?"),
        pool(
            "%b = const -1000 : f32[]\n%w = const 0.5 : f32[]\n%c = Mul %b, %w : ?\n%y = Max %p, %c : ?",
        ),
    );
    for seed in 0..8 {
        let report = verified(&a, &b, &[], seed);
        let s = &report.outputs[0].summary;
        assert!(matches!(s, Summary::Differs(_) | Summary::Unknown(_)), "{}", text(&report));
    }
    // More rows than any run has.
    let rows = |n: i64| {
        graph(
            "%x: f32[n,8]",
            &format!(
                "%l = const {n} : i64[]\n%z = const 0 : i64[]\n%s = Shape %x : ?\n%g = Gather %s, %z : ?
                 %c = Greater %g, %l : ?\n%d = Cast %c {{to=1}} : ?\n%y = Add %x, %d : ?"
            ),
        )
    };
    let report = verified(&rows(1000), &rows(2000), &[], 0);
    let Summary::Unknown(why) = &report.outputs[0].summary else { panic!("{}", text(&report)) };
    assert!(why.contains("no run gave Greater \"c\" operands for which it is true"), "{why}");
}

/// Outcomes that no numbers have are not asked for.
#[test]
fn outcomes_that_cannot_be_are_not_missed() {
    let pairs = [
        (X, "%a = Sigmoid %x : ?\n%y = Relu %a : ?", "%y = Sigmoid %x : ?"),
        (X, "%a = Relu %x : ?\n%y = Relu %a : ?", "%y = Relu %x : ?"),
        (X, "%a = Abs %x : ?\n%y = Abs %a : ?", "%y = Abs %x : ?"),
        (
            X,
            "%a = const 0 : f32[]\n%b = const 6 : f32[]\n%r = Relu %x : ?\n%y = Clip %r, %a, %b : ?",
            "%b = const 6 : f32[]\n%r = Relu %x : ?\n%y = Min %r, %b : ?",
        ),
        (
            X,
            "%a = const 3.4028235e38 : f32[]\n%r = Relu %x : ?\n%t = Exp %r : ?\n%y = Min %t, %a : ?",
            "%r = Relu %x : ?\n%t = Exp %r : ?\n%a = const 3.4028235e38 : f32[]\n%y = Min %a, %t : ?",
        ),
        (
            X,
            "%c = const [1,0,1,1,1,1,1,0] : bool[8]\n%n = Neg %x : ?\n%y = Where %c, %x, %n : ?",
            "%c = const [1,-1,1,1,1,1,1,-1] : f32[8]\n%y = Mul %x, %c : ?",
        ),
    ];
    verdicts(&pairs, |inputs, all, s| assert!(s.is_equal(), "{inputs}: {all}"));
}

/// What such operators give is no function that a few runs show.
#[test]
fn parameters_that_runs_need_not_show_are_never_equal() {
    let ngrams = |pool: &str| {
        format!(
            "%y = TfIdfVectorizer %x {{max_gram_length=1, max_skip_count=0, min_gram_length=1,
               mode=\"TF\", ngram_counts=[0], ngram_indexes=[0], pool_int64s=[{pool}]}} : ?"
        )
    };
    let boxes = |threshold: &str| {
        format!(
            "%n = const 2 : i64[]\n%t = const {threshold} : f32[]
             %y = NonMaxSuppression %x, %s, %n, %t : ?"
        )
    };
    let image = |last: &str| {
        format!("%t = const [1,2,3,{last}] : f32[1,1,2,2]\n%y = GridSample %t, %x : ?")
    };
    let pairs = [
        ("%x: i64[8]", ngrams("123456"), ngrams("123457")),
        ("%x: f32[1,4,4], %s: f32[1,1,4]", boxes("0.5"), boxes("0.5001")),
        ("%x: f32[1,1,1,2]", image("4"), image("5")),
    ];
    let pairs = pairs.each_ref().map(|(i, a, b)| (*i, a.as_str(), b.as_str()));
    verdicts(&pairs, |inputs, all, summary| assert!(!summary.is_equal(), "{inputs}: {all}"));
}

#[test]
fn random_numbers_stay_undecided() {
    let pair = (
        X,
        "%r = RandomUniformLike %x {seed=1.0} : ?\n%y = Add %x, %r : ?",
        "%r = RandomUniformLike %x {seed=1.0} : ?\n%y = Sub %x, %r : ?",
    );
    verdicts(&[pair], |_, all, summary| {
        let undecided = matches!(summary, Summary::Unknown(_));
        assert!(undecided && all.contains("(cpu): random numbers are drawn"), "{all}");
    });
}

/// Nodes that draw random numbers are paired in the order in which they run, and then draw the same ones.
#[test]
fn models_that_draw_alike_are_proved() {
    let drawn = |reads: &str, attributes: &str| {
        let text = format!(
            "%r = RandomUniformLike {reads} {attributes} : ?
             %s = RandomNormalLike %x : ?
             %p = Mul %r, %s : ?
             %one = const 1 : f32[]
             %y = Add %p, %x : ?"
        );
        graph(X, &text)
    };
    let a = drawn("%x", "{high=2.0}");
    let tiled = graph(
        X,
        "%one = const 1 : f32[]
         %r = RandomUniformLike %x {high=2.0} : ?
         %s = RandomNormalLike %x : ?
         %u = Mul %r, %one : ?
         %p = Mul %u, %s : ?
         %y = Add %p, %x : ?",
    );
    let proved = |b: &Graph| matches!(verified(&a, b, &[], 1).outputs[0].summary, Summary::Proved);
    assert!(proved(&tiled));
    // Another distribution, another number of draws, and one draw for two.
    assert!(!proved(&drawn("%x", "{high=3.0}")));
    let once = graph(X, "%r = RandomUniformLike %x {high=2.0} : ?\n%y = Mul %r, %r : ?");
    let twice = graph(
        X,
        "%r = RandomUniformLike %x {high=2.0} : ?
         %s = RandomUniformLike %x {high=2.0} : ?
         %y = Mul %r, %s : ?",
    );
    let report = verified(&once, &twice, &[], 1);
    assert!(matches!(report.outputs[0].summary, Summary::Unknown(_)), "{}", text(&report));
}
