//! Definitions of ONNX Runtime's attention operators, which differ in how queries, keys, values and masks
//! come in.

use super::attention::{
    Scores, allow, distances, join_heads, repeat_heads, rotary as turned, scores, split_heads, turn,
};
use super::onnx::{UNKNOWN, Written, known};
use super::source::Source;
use crate::DType;
use crate::op::{GroupQueryAttention, MsRotaryEmbedding, Op};
use crate::op_context::fail;

/// What the operators have in common.
struct Common {
    heads: i64,
    scale: f32,
    filter: f32,
    causal: bool,
}

/// Writes the definition of Attention, QAttention or MultiHeadAttention.
pub(super) fn write(s: &mut Source<'_>) -> Written {
    let (heads, scale, filter, causal) = match s.ctx.op {
        Op::MsAttention(o) if o.do_rotary == 0 && o.past_present_share_buffer == 0 => {
            (o.num_heads, o.scale, o.mask_filter_value, o.unidirectional)
        }
        Op::QAttention(o) if o.do_rotary == 0 && o.past_present_share_buffer == 0 => {
            (o.num_heads, o.scale, o.mask_filter_value, o.unidirectional)
        }
        Op::MultiHeadAttention(o) => (o.num_heads, o.scale, o.mask_filter_value, o.unidirectional),
        _ => return UNKNOWN,
    };
    if heads <= 0 {
        fail!("expected num_heads of 1 or more, found {heads}");
    }
    let c = Common { heads, scale, filter, causal: causal != 0 };
    match s.ctx.op {
        Op::MultiHeadAttention(_) => multi_head(s, &c),
        Op::MsAttention(o) => packed(s, &c, o.qkv_hidden_sizes.as_deref()),
        _ => packed(s, &c, None),
    }
}

/// One product gives queries, keys and values.
fn packed(s: &mut Source<'_>, c: &Common, sizes: Option<&[i64]>) -> Written {
    let t;
    if let Op::QAttention(_) = s.ctx.op {
        s.names(
            &["x", "w", "bias", "x_scale", "w_scale", "mask", "x_zero", "w_zero", "past"],
            &["y", "present"],
        );
        t = known!(s.dtype("bias"));
        let zeros = match (s.has("x_zero"), s.has("w_zero")) {
            (true, true) => ", %x_zero, %w_zero",
            (true, false) => ", %x_zero",
            (false, true) => ", _, %w_zero",
            (false, false) => "",
        };
        s.text(&format!(
            "%sums = MatMulInteger %x, %w{zeros}
             %real = Cast %sums {{to={}}}
             %factor = Mul %x_scale, %w_scale
             %product = Mul %real, %factor",
            t.to_onnx()
        ));
    } else {
        s.names(
            &["x", "w", "bias", "mask", "past", "scores_bias", "past_length"],
            &["y", "present"],
        );
        if s.has("past_length") {
            return UNKNOWN;
        }
        t = known!(s.dtype("x"));
        s.text("%product = MatMul %x, %w");
    }
    match s.has("bias") {
        true => s.text("%qkv = Add %product, %bias"),
        false => s.text("%qkv = Identity %product"),
    }
    let width = known!(s.extent("w", 1));
    let sizes: Vec<i64> = match sizes {
        Some(v) if v.len() == 3 => v.to_vec(),
        Some(v) => fail!("expected three qkv_hidden_sizes, found {v:?}"),
        None => vec![width / 3; 3],
    };
    if sizes.iter().sum::<i64>() != width || sizes.iter().any(|n| n % c.heads != 0 || *n <= 0) {
        fail!(
            "expected sizes that are multiples of {} heads and add up to {width}, found {sizes:?}",
            c.heads
        );
    }
    s.text(&format!("%q_all, %k_all, %v_all = Split %qkv {{axis=2, split={sizes:?}}}"));
    split_heads(s, "q_all", "q", c.heads);
    split_heads(s, "k_all", "k", c.heads);
    split_heads(s, "v_all", "v", c.heads);
    if s.has("past") {
        s.text(
            "%past_key1, %past_value1 = Split %past {axis=0, split=[1,1]}
             %past_key = Squeeze %past_key1 {axes=[0]}
             %past_value = Squeeze %past_value1 {axes=[0]}",
        );
        s.size("past_len", "past", 3);
    }
    let past = s.has("past");
    join_past(s, past);
    if s.gives("present") {
        s.text(
            "%present_key1 = Unsqueeze %keys {axes=[0]}
             %present_value1 = Unsqueeze %values {axes=[0]}
             %present = Concat %present_key1, %present_value1 {axis=0}",
        );
    }
    s.size("q_len", "x", 1);
    s.text("%kv_len = Add %q_len, %past_len");
    let bias = if s.has("scores_bias") { Some("scores_bias") } else { None };
    finish(s, c, t, (sizes[0] / c.heads, sizes[2]), "mask", bias)
}

/// Queries, keys and values that are projected already.
fn multi_head(s: &mut Source<'_>, c: &Common) -> Written {
    s.names(
        &["Q", "K", "V", "bias", "mask", "scores_bias", "past_key", "past_value", "past_length"],
        &["y", "present_key", "present_value"],
    );
    // Packed operands have five axes.
    if s.has("past_length") || !s.has("K") || !s.has("V") || known!(s.rank("Q")) != 3 {
        return UNKNOWN;
    }
    let t = known!(s.dtype("Q"));
    let width = known!(s.extent("Q", 2));
    let projected = known!(s.rank("K")) == 4;
    let v_width = match projected {
        true => known!(s.extent("V", 3)) * c.heads,
        false => known!(s.extent("V", 2)),
    };
    if s.has("bias") {
        s.text(&format!(
            "%q_bias, %k_bias, %v_bias = Split %bias {{axis=0, split=[{width},{width},{v_width}]}}"
        ));
    }
    for (x, to) in [("Q", "q"), ("K", "k"), ("V", "v")] {
        // Keys and values of four axes are projected, with bias, and apart by heads.
        if projected && x != "Q" {
            s.text(&format!("%{to} = Identity %{x}"));
        } else if s.has("bias") {
            s.text(&format!("%{to}_all = Add %{x}, %{to}_bias"));
            split_heads(s, &format!("{to}_all"), to, c.heads);
        } else {
            split_heads(s, x, to, c.heads);
        }
    }
    s.size("own_len", "K", if projected { 2 } else { 1 });
    if s.has("past_key") {
        s.size("past_len", "past_key", 2);
    }
    let past = s.has("past_key");
    join_past(s, past);
    if s.gives("present_key") {
        s.text(
            "%present_key = Identity %keys
             %present_value = Identity %values",
        );
    }
    s.size("q_len", "Q", 1);
    s.text("%kv_len = Add %own_len, %past_len");
    let bias = if s.has("scores_bias") { Some("scores_bias") } else { None };
    finish(s, c, t, (width / c.heads, v_width), "mask", bias)
}

/// Defines `%keys` and `%values`: the new ones behind those of the past, if there is one; without it,
/// `%past_len` is 0.
fn join_past(s: &mut Source<'_>, past: bool) {
    s.text(match past {
        true => {
            "%keys = Concat %past_key, %k {axis=2}
             %values = Concat %past_value, %v {axis=2}"
        }
        false => {
            "%keys = Identity %k
             %values = Identity %v
             %past_len = const 0 : i64[]"
        }
    });
}

/// Masks, scores and `%y`.
fn finish(
    s: &mut Source<'_>,
    c: &Common,
    t: DType,
    (size, v_width): (i64, i64),
    mask: &str,
    scores_bias: Option<&str>,
) -> Written {
    let filter = c.filter;
    let mut bias = scores_bias.map(str::to_owned);
    let mut add = |s: &mut Source<'_>, name: &str| {
        if let Some(before) = bias.take() {
            s.text(&format!("%{name}_sum = Add %{before}, %{name}"));
            bias = Some(format!("{name}_sum"));
        } else {
            bias = Some(name.to_owned());
        }
    };
    if s.has(mask) {
        s.text(&format!(
            "%filter = const {filter:?} : {t}[]
             %open = const 0 : {t}[]
             %no_key = const 0 : i32[]"
        ));
        match known!(s.rank(mask)) {
            1 => {
                // How many keys each sequence has.
                let batch = known!(s.extent("x", 0).or_else(|| s.extent("Q", 0)));
                if known!(s.extent(mask, 0)) != batch {
                    return UNKNOWN;
                }
                s.text(&format!(
                    "%none0 = const 0 : i64[]
                     %unit0 = const 1 : i64[]
                     %key_range = Range %none0, %kv_len, %unit0
                     %ends0 = Cast %{mask} {{to=7}}
                     %ends = Unsqueeze %ends0 {{axes=[1,2,3]}}
                     %is_key = Less %key_range, %ends"
                ));
            }
            2 => s.text(&format!(
                "%mask_wide = Unsqueeze %{mask} {{axes=[1,2]}}
                 %is_key = Greater %mask_wide, %no_key"
            )),
            3 => s.text(&format!(
                "%mask_wide = Unsqueeze %{mask} {{axes=[1]}}
                 %is_key = Greater %mask_wide, %no_key"
            )),
            _ => return UNKNOWN,
        }
        s.text("%mask_bias = Where %is_key, %open, %filter");
        add(s, "mask_bias");
    }
    if c.causal {
        s.text("%offset = Identity %past_len");
        distances(s, "kv_len");
        let lowest = match t {
            DType::F16 => -65504.0,
            DType::BF16 => -3.389_531_4e38,
            _ => f32::MIN,
        };
        s.text(&format!(
            "%seen = GreaterOrEqual %back, %none
             %causal_open = const 0 : {t}[]
             %causal_shut = const {lowest:?} : {t}[]
             %causal_bias = Where %seen, %causal_open, %causal_shut"
        ));
        add(s, "causal_bias");
    }
    let scale = if c.scale == 0.0 { 1.0 / (size as f32).sqrt() } else { c.scale };
    scores(
        s,
        &Scores {
            t,
            scale,
            split_scale: false,
            softcap: 0.0,
            bias: bias.as_deref(),
            guarded: false,
            softmax: t,
        },
    );
    join_heads(s, "y", Some(v_width));
    Ok(true)
}

/// Grouped queries over a cache, of which each sequence fills its own part.
pub(super) fn grouped(s: &mut Source<'_>, o: &GroupQueryAttention) -> Written {
    s.names(
        &[
            "Q",
            "K",
            "V",
            "past_key",
            "past_value",
            "last",
            "total",
            "cos",
            "sin",
            "position_ids",
            "scores_bias",
            "head_sink",
            "k_scale",
            "v_scale",
        ],
        &["y", "present_key", "present_value", "qk"],
    );
    let plain = o.smooth_softmax == 0 && o.k_quant_type == "NONE" && o.v_quant_type == "NONE";
    if !plain || s.has("head_sink") || s.gives("qk") {
        return UNKNOWN;
    }
    let t = known!(s.dtype("Q"));
    let (heads, groups) = (o.num_heads, o.kv_num_heads);
    if heads <= 0 || groups <= 0 || heads % groups != 0 {
        fail!("expected num_heads that are a multiple of kv_num_heads, found {heads} and {groups}");
    }
    let width = known!(s.extent("Q", 2));
    let size = if s.has("K") { width / heads } else { width / (heads + 2 * groups) };
    if s.has("K") {
        s.text(
            "%q_all = Identity %Q
             %k_all = Identity %K
             %v_all = Identity %V",
        );
    } else {
        let (q, k) = (size * heads, size * groups);
        s.text(&format!("%q_all, %k_all, %v_all = Split %Q {{axis=2, split=[{q},{k},{k}]}}"));
    }
    s.size("q_len", "Q", 1);
    // What each sequence had before: nothing, if all that it has is new.
    s.text(
        "%nothing = const 0 : i64[]
         %unit1 = const 1 : i64[]
         %last64 = Cast %last {to=7}
         %flat_form = const [-1] : i64[1]
         %batch_last = Reshape %last64, %flat_form
         %filled = Add %batch_last, %unit1
         %filled_before = Sub %filled, %q_len
         %total64 = Cast %total {to=7}
         %scalar_form = const [] : i64[0]
         %kv_len = Reshape %total64, %scalar_form
         %is_prompt = Equal %kv_len, %q_len
         %before = Where %is_prompt, %nothing, %filled_before",
    );
    if o.do_rotary != 0 {
        if s.has("position_ids") {
            s.text("%at = Identity %position_ids");
        } else {
            s.text(
                "%q_range = Range %nothing, %q_len, %unit1
                 %before_column = Unsqueeze %before {axes=[1]}
                 %at = Add %before_column, %q_range",
            );
        }
        let turned = 2 * known!(s.extent("cos", 1));
        for angle in ["cos", "sin"] {
            s.text(&format!(
                "%{angle}_at = Gather %{angle}, %at
                 %{angle}_row = Unsqueeze %{angle}_at {{axes=[2]}}"
            ));
        }
        for (x, n) in [("q", heads), ("k", groups)] {
            s.text(&format!(
                "%{x}_apart_form = const [0,0,{n},-1] : i64[4]
                 %{x}_apart = Reshape %{x}_all, %{x}_apart_form"
            ));
            turn(
                s,
                &format!("{x}_apart"),
                &format!("{x}_turned"),
                (size, turned),
                o.rotary_interleaved != 0,
            );
            s.text(&format!("%{x} = Transpose %{x}_turned {{perm=[0,2,1,3]}}"));
        }
    } else {
        split_heads(s, "q_all", "q", heads);
        split_heads(s, "k_all", "k", groups);
    }
    split_heads(s, "v_all", "v", groups);
    if s.has("past_key") {
        s.size("room", "past_key", 2);
        s.text("%length = Max %room, %kv_len");
        // Place j holds what was there, or the new key j - before.
        s.text(
            "%places = Range %nothing, %length, %unit1
             %before_row = Unsqueeze %before {axes=[1]}
             %new = Sub %places, %before_row
             %behind = Add %new, %room
             %is_old = Less %places, %before_row
             %from = Where %is_old, %places, %behind
             %end = Add %room, %q_len
             %last_place = Sub %end, %unit1
             %from_inside = Min %from, %last_place
             %from_apart = Unsqueeze %from_inside {axes=[1,3]}",
        );
        for (x, past, all) in
            [("k", "past_key", "present_key"), ("v", "past_value", "present_value")]
        {
            s.text(&format!(
                "%{all}_cat = Concat %{past}, %{x} {{axis=2}}
                 %{all}_times = const [1,{groups},1,{size}] : i64[4]
                 %{all}_from = Expand %from_apart, %{all}_times
                 %{all} = GatherElements %{all}_cat, %{all}_from {{axis=2}}"
            ));
        }
    } else {
        s.text(
            "%length = Identity %q_len
             %present_key = Identity %k
             %present_value = Identity %v",
        );
    }
    repeat_heads(s, "present_key", "keys", (groups, heads / groups, size));
    repeat_heads(s, "present_value", "values", (groups, heads / groups, size));
    s.text("%offset = Unsqueeze %before {axes=[1,2,3]}");
    distances(s, "length");
    s.text("%seen = GreaterOrEqual %back, %none");
    let before = if s.has("scores_bias") { Some("scores_bias") } else { None };
    allow(s, t, "seen", before, "causal_bias");
    let mut bias = "causal_bias";
    if o.local_window_size > 0 {
        s.text(&format!(
            "%window = const {} : i64[]
             %near = Less %back, %window",
            o.local_window_size
        ));
        allow(s, t, "near", Some(bias), "window_bias");
        bias = "window_bias";
    }
    let scale = if o.scale == 0.0 { 1.0 / (size as f32).sqrt() } else { o.scale };
    scores(
        s,
        &Scores {
            t,
            scale,
            split_scale: false,
            softcap: o.softcap,
            bias: Some(bias),
            guarded: false,
            softmax: t,
        },
    );
    join_heads(s, "y", Some(heads * size));
    Ok(true)
}

/// ONNX Runtime's RotaryEmbedding, whose position may be one number for all, from which they count.
pub(super) fn rotary(s: &mut Source<'_>, o: &MsRotaryEmbedding) -> Written {
    if o.scale != 1.0 {
        return UNKNOWN;
    }
    let rank = known!(s.rank("x"));
    if known!(s.rank("position_ids")) == 1 {
        let (batch, length) =
            (known!(s.extent("x", 0)), known!(s.extent("x", if rank == 4 { 2 } else { 1 })));
        s.text(&format!(
            "%none = const 0 : i64[]
             %unit = const 1 : i64[]
             %length = const {length} : i64[]
             %range = Range %none, %length, %unit
             %row = Add %range, %position_ids
             %all_form = const [{batch},{length}] : i64[2]
             %at = Expand %row, %all_form"
        ));
    } else {
        s.text("%at = Identity %position_ids");
    }
    let (mut heads, mut dim) = (o.num_heads, o.rotary_embedding_dim);
    if rank == 3 && heads == 0 {
        // Tables as wide as half a head.
        let size = 2 * known!(s.extent("cos", 1));
        heads = known!(s.extent("x", 2)) / size.max(1);
    }
    if dim == 0 && rank == 4 {
        dim = 2 * known!(s.extent("cos", 1));
    }
    turned(s, ("x", Some("at"), "y"), heads, dim, o.interleaved != 0)
}
