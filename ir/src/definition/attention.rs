//! Definitions of attention and rotary embeddings.

use super::onnx::{UNKNOWN, Written, known};
use super::source::Source;
use crate::DType;
use crate::op::Op;
use crate::op_context::fail;

/// What attention does with the products of queries and keys.
pub(super) struct Scores<'a> {
    /// Element type of queries, keys and values.
    pub t: DType,
    /// Factor of the products.
    pub scale: f32,
    /// Whether queries and keys are scaled, each by the root, rather than the products.
    pub split_scale: bool,
    /// Bound that tanh puts on the products; 0 for none.
    pub softcap: f32,
    /// What is added, by name.
    pub bias: Option<&'a str>,
    /// Whether rows of which the whole bias is -∞ give 0.
    pub guarded: bool,
    /// Type in which Softmax computes.
    pub softmax: DType,
}

/// Defines `%heads`, the attention of `%q` over `%keys` and `%values`, of shape
/// `[batch, heads, sequence, head size]`; and `%products`, `%capped`, `%biased` and `%probs` on the way.
pub(super) fn scores(s: &mut Source<'_>, how: &Scores<'_>) {
    let t = how.t;
    s.text("%turned = Transpose %keys {perm=[0,1,3,2]}");
    if how.split_scale {
        s.text(&format!(
            "%root_scale = const {:?} : {t}[]
             %q_scaled = Mul %q, %root_scale
             %k_scaled = Mul %turned, %root_scale
             %products = MatMul %q_scaled, %k_scaled",
            how.scale.sqrt()
        ));
    } else {
        s.text(&format!(
            "%scale = const {:?} : {t}[]
             %raw = MatMul %q, %turned
             %products = Mul %raw, %scale",
            how.scale
        ));
    }
    if how.softcap > 0.0 {
        s.text(&format!(
            "%cap = const {:?} : {t}[]
             %over_cap = Div %products, %cap
             %tanh = Tanh %over_cap
             %capped = Mul %tanh, %cap",
            how.softcap
        ));
    } else {
        s.text("%capped = Identity %products");
    }
    match how.bias {
        Some(bias) => s.text(&format!("%biased = Add %capped, %{bias}")),
        None => s.text("%biased = Identity %capped"),
    }
    s.text(&format!(
        "%softmax_in = Cast %biased {{to={}}}
         %softmax = Softmax %softmax_in {{axis=-1}}
         %plain_probs = Cast %softmax {{to={}}}",
        how.softmax.to_onnx(),
        t.to_onnx()
    ));
    match how.bias.filter(|_| how.guarded) {
        Some(bias) => s.text(&format!(
            "%row_max = ReduceMax %{bias} {{axes=[-1]}}
             %infinite = const -inf : {t}[]
             %no_weight = const 0 : {t}[]
             %masked_row = Equal %row_max, %infinite
             %probs = Where %masked_row, %no_weight, %plain_probs"
        )),
        None => s.text("%probs = Identity %plain_probs"),
    }
    s.text("%heads = MatMul %probs, %values");
}

/// Defines `%to`, `%from` of shape `[batch, sequence, heads · size]` as `[batch, heads, sequence, size]`.
pub(super) fn split_heads(s: &mut Source<'_>, from: &str, to: &str, heads: i64) {
    s.text(&format!(
        "%{to}_form = const [0,0,{heads},-1] : i64[4]
         %{to}_rows = Reshape %{from}, %{to}_form
         %{to} = Transpose %{to}_rows {{perm=[0,2,1,3]}}"
    ));
}

/// Defines `%to` from `%heads`, the inverse of [`split_heads`]; `width` is heads · size, if known.
pub(super) fn join_heads(s: &mut Source<'_>, to: &str, width: Option<i64>) {
    let width = width.unwrap_or(-1);
    s.text(&format!(
        "%joined = Transpose %heads {{perm=[0,2,1,3]}}
         %joined_form = const [0,0,{width}] : i64[3]
         %{to} = Reshape %joined, %joined_form"
    ));
}

/// Defines `%to`, each head of `%from` repeated `times` times in a row.
pub(super) fn repeat_heads(
    s: &mut Source<'_>,
    from: &str,
    to: &str,
    (heads, times, size): (i64, i64, i64),
) {
    if times == 1 {
        s.text(&format!("%{to} = Identity %{from}"));
        return;
    }
    let all = heads * times;
    s.text(&format!(
        "%{to}_apart = Unsqueeze %{from} {{axes=[2]}}
         %{to}_times = const [1,1,{times},1,1] : i64[5]
         %{to}_wide = Expand %{to}_apart, %{to}_times
         %{to}_form = const [0,{all},-1,{size}] : i64[4]
         %{to} = Reshape %{to}_wide, %{to}_form"
    ));
}

/// Defines `%back`: for each query i (column) and key j (row), how far key j is behind query i + offset, as
/// whole numbers of shape `[…, queries, keys]`. `%q_len`, `%{keys}` and `%offset` are scalars; or `%offset`
/// is `[batch, 1, 1, 1]`.
pub(super) fn distances(s: &mut Source<'_>, keys: &str) {
    s.text(&format!(
        "%none = const 0 : i64[]
         %unit = const 1 : i64[]
         %i_flat = Range %none, %q_len, %unit
         %j = Range %none, %{keys}, %unit
         %i = Unsqueeze %i_flat {{axes=[1]}}
         %position = Add %i, %offset
         %back = Sub %position, %j"
    ));
}

/// Defines `%bias`, `%before` (if any) and 0 where `%allowed`, -∞ elsewhere.
pub(super) fn allow(s: &mut Source<'_>, t: DType, allowed: &str, before: Option<&str>, bias: &str) {
    s.text(&format!(
        "%{bias}_open = const 0 : {t}[]
         %{bias}_shut = const -inf : {t}[]"
    ));
    match before {
        None => s.text(&format!("%{bias} = Where %{allowed}, %{bias}_open, %{bias}_shut")),
        Some(b) => s.text(&format!(
            "%{bias}_own = Where %{allowed}, %{bias}_open, %{bias}_shut
             %{bias} = Add %{b}, %{bias}_own"
        )),
    }
}

/// ONNX's Attention.
pub(super) fn attention(s: &mut Source<'_>) -> Written {
    let Op::Attention(o) = s.ctx.op else { return UNKNOWN };
    s.names(
        &["Q", "K", "V", "mask", "past_key", "past_value", "lengths"],
        &["y", "present_key", "present_value", "qk"],
    );
    let t = known!(s.dtype("Q"));
    let rank = known!(s.rank("Q"));
    let (q_heads, kv_heads, q_size, v_size);
    if rank == 3 {
        let heads = o.q_num_heads.zip(o.kv_num_heads).filter(|h| h.0 > 0 && h.1 > 0);
        let Some(heads) = heads else {
            fail!("expected q_num_heads and kv_num_heads for operands of rank 3, found none");
        };
        (q_heads, kv_heads) = heads;
        q_size = known!(s.extent("Q", 2)) / q_heads;
        v_size = known!(s.extent("V", 2)) / kv_heads;
        split_heads(s, "Q", "q", q_heads);
        split_heads(s, "K", "k", kv_heads);
        split_heads(s, "V", "v", kv_heads);
    } else if rank == 4 {
        (q_heads, kv_heads) = (known!(s.extent("Q", 1)), known!(s.extent("K", 1)));
        (q_size, v_size) = (known!(s.extent("Q", 3)), known!(s.extent("V", 3)));
        s.text(
            "%q = Identity %Q
             %k = Identity %K
             %v = Identity %V",
        );
    } else {
        fail!("expected operands of rank 3 or 4 for Attention, found {rank}");
    }
    let times = if kv_heads > 0 && q_heads % kv_heads == 0 { q_heads / kv_heads } else { 1 };
    for (x, past, all) in [("k", "past_key", "present_key"), ("v", "past_value", "present_value")] {
        match s.has(past) {
            true => s.text(&format!("%{all} = Concat %{past}, %{x} {{axis=2}}")),
            false => s.text(&format!("%{all} = Identity %{x}")),
        }
    }
    repeat_heads(s, "present_key", "keys", (kv_heads, times, q_size));
    repeat_heads(s, "present_value", "values", (kv_heads, times, v_size));
    let scale = o.scale.unwrap_or(1.0 / (q_size as f32).sqrt());
    let bias = attention_bias(s, o, t)?;
    let Some(bias) = bias else { return UNKNOWN };
    let softmax = match o.softmax_precision {
        None => t,
        Some(code) => match DType::from_onnx(code) {
            Some(d) if d.is_float() => d,
            _ => fail!("expected a floating-point type for softmax_precision, found {code}"),
        },
    };
    let (softcap, guarded) = (o.softcap, true);
    let bias = bias.as_deref();
    scores(s, &Scores { t, scale, split_scale: true, softcap, bias, guarded, softmax });
    if rank == 3 {
        join_heads(s, "y", Some(q_heads * v_size));
    } else {
        s.text("%y = Identity %heads");
    }
    if s.gives("qk") {
        let of = match o.qk_matmul_output_mode {
            0 => "products",
            1 => "capped",
            2 => "biased",
            3 => "probs",
            m => fail!("expected qk_matmul_output_mode of 0 to 3, found {m}"),
        };
        s.text(&format!("%qk = Identity %{of}"));
    }
    Ok(true)
}

/// Defines what is added to the products, and returns its name, if there is something; `None` if that is
/// unknown.
fn attention_bias(
    s: &mut Source<'_>,
    o: &crate::op::Attention,
    t: DType,
) -> Result<Option<Option<String>>, crate::op_context::RuleError> {
    let rank = s.rank("Q").unwrap_or(4);
    let mut bias: Option<String> = None;
    let past = if s.has("past_key") { s.extent("past_key", 2) } else { Some(0) };
    let own = s.extent("K", rank - 2);
    let keys = past.zip(own).map(|(p, n)| p + n);
    if s.has("mask") {
        let Some((of, width)) = s.dtype("mask").zip(s.rank("mask")) else { return Ok(None) };
        let last = s.extent("mask", width - 1);
        let bool_mask = of == DType::Bool;
        // A mask may end before the keys do.
        let missing =
            keys.zip(last).map_or(0, |(k, m)| if m == 1 && s.ctx.opset < 24 { 0 } else { k - m });
        let mut mask = "mask";
        if bool_mask {
            allow(s, t, "mask", None, "mask_bias");
            mask = "mask_bias";
        } else if of != t {
            s.text(&format!("%mask_cast = Cast %mask {{to={}}}", t.to_onnx()));
            mask = "mask_cast";
        }
        if missing > 0 {
            let mut pads = vec![0; 2 * width];
            pads[2 * width - 1] = missing;
            s.text(&format!(
                "%mask_pads = const {pads:?} : i64[{}]
                 %mask_end = const -inf : {t}[]
                 %mask_padded = Pad %{mask}, %mask_pads, %mask_end",
                2 * width
            ));
            mask = "mask_padded";
        }
        bias = Some(mask.to_owned());
    }
    let (left, right) = (o.left_window_size, o.right_window_size);
    let lengths = s.has("lengths");
    if o.is_causal != 0 || left >= 0 || right >= 0 || lengths {
        s.size("q_len", "Q", rank - 2);
        s.size("own_len", "K", rank - 2);
        if s.has("past_key") {
            s.size("past_len", "past_key", 2);
            s.text("%kv_len = Add %past_len, %own_len");
        } else {
            s.text("%kv_len = Identity %own_len");
        }
        if lengths {
            s.text(
                "%lengths_apart = Unsqueeze %lengths {axes=[1,2,3]}
                 %offset = Sub %lengths_apart, %q_len",
            );
        } else if s.has("past_key") {
            s.text("%offset = Identity %past_len");
        } else {
            s.text("%offset = const 0 : i64[]");
        }
        distances(s, "kv_len");
    }
    let mut add = |s: &mut Source<'_>, allowed: &str, name: &str| {
        allow(s, t, allowed, bias.as_deref(), name);
        bias = Some(name.to_owned());
    };
    if o.is_causal != 0 {
        s.text("%seen = GreaterOrEqual %back, %none");
        add(s, "seen", "causal_bias");
    }
    if left >= 0 {
        s.text(&format!(
            "%left = const {left} : i64[]
             %near = LessOrEqual %back, %left"
        ));
        add(s, "near", "left_bias");
    }
    if right >= 0 {
        s.text(&format!(
            "%right = const {} : i64[]
             %not_far = GreaterOrEqual %back, %right",
            -right
        ));
        add(s, "not_far", "right_bias");
    }
    if lengths {
        s.text("%is_key = Less %j, %lengths_apart");
        add(s, "is_key", "key_bias");
    }
    Ok(Some(bias))
}

/// Defines `%y`, `%x` turned by the angles of `%cos` and `%sin`, which are tables if there are
/// positions `at`. `%x` is `[batch, sequence, heads · size]` or `[batch, heads, sequence, size]`.
pub(super) fn rotary(
    s: &mut Source<'_>,
    (x, at, y): (&str, Option<&str>, &str),
    heads: i64,
    dim: i64,
    interleaved: bool,
) -> Written {
    let rank = known!(s.rank(x));
    let size = match rank {
        4 => known!(s.extent(x, 3)),
        3 if heads > 0 => known!(s.extent(x, 2)) / heads,
        3 => fail!("expected num_heads for an input of rank 3, found none"),
        _ => fail!("expected an input of rank 3 or 4, found {rank}"),
    };
    let turned = if dim == 0 { size } else { dim };
    if turned % 2 != 0 || !(0..=size).contains(&turned) {
        fail!("expected an even rotary_embedding_dim of at most {size}, found {turned}");
    }
    if rank == 4 {
        s.text(&format!("%rows = Transpose %{x} {{perm=[0,2,1,3]}}"));
    } else {
        s.text(&format!(
            "%rows_form = const [0,0,{heads},-1] : i64[4]
             %rows = Reshape %{x}, %rows_form"
        ));
    }
    for angle in ["cos", "sin"] {
        if let Some(at) = at {
            s.text(&format!("%{angle}_at = Gather %{angle}, %{at}"));
        } else {
            s.text(&format!("%{angle}_at = Identity %{angle}"));
        }
        s.text(&format!("%{angle}_row = Unsqueeze %{angle}_at {{axes=[2]}}"));
    }
    turn(s, "rows", "turned_rows", (size, turned), interleaved);
    if rank == 4 {
        s.text(&format!("%{y} = Transpose %turned_rows {{perm=[0,2,1,3]}}"));
    } else {
        let width = size * heads;
        s.text(&format!(
            "%flat_form = const [0,0,{width}] : i64[3]
             %{y} = Reshape %turned_rows, %flat_form"
        ));
    }
    Ok(true)
}

/// Defines `%to`: the first `turned` of the `size` elements along the last axis of `%from`, of rank 4,
/// turned pair by pair by `%cos_row` and `%sin_row`.
pub(super) fn turn(
    s: &mut Source<'_>,
    from: &str,
    to: &str,
    (size, turned): (i64, i64),
    interleaved: bool,
) {
    let half = turned / 2;
    let head = if turned < size {
        s.text(&format!(
            "%{to}_head = Slice %{from} [3: 0..{turned}]
             %{to}_tail = Slice %{from} [3: {turned}..{size}]"
        ));
        format!("{to}_head")
    } else {
        from.to_owned()
    };
    if interleaved {
        s.text(&format!(
            "%{to}_a = Slice %{head} [3: 0..{turned}:2]
             %{to}_b = Slice %{head} [3: 1..{turned}:2]"
        ));
    } else {
        s.text(&format!(
            "%{to}_a = Slice %{head} [3: 0..{half}]
             %{to}_b = Slice %{head} [3: {half}..{turned}]"
        ));
    }
    s.text(&format!(
        "%{to}_ca = Mul %cos_row, %{to}_a
         %{to}_sb = Mul %sin_row, %{to}_b
         %{to}_sa = Mul %sin_row, %{to}_a
         %{to}_cb = Mul %cos_row, %{to}_b
         %{to}_re = Sub %{to}_ca, %{to}_sb
         %{to}_im = Add %{to}_sa, %{to}_cb"
    ));
    if interleaved {
        s.text(&format!(
            "%{to}_re1 = Unsqueeze %{to}_re {{axes=[4]}}
             %{to}_im1 = Unsqueeze %{to}_im {{axes=[4]}}
             %{to}_pairs = Concat %{to}_re1, %{to}_im1 {{axis=4}}
             %{to}_form = const [0,0,0,{turned}] : i64[4]
             %{to}_done = Reshape %{to}_pairs, %{to}_form"
        ));
    } else {
        s.text(&format!("%{to}_done = Concat %{to}_re, %{to}_im {{axis=3}}"));
    }
    if turned < size {
        s.text(&format!("%{to} = Concat %{to}_done, %{to}_tail {{axis=3}}"));
    } else {
        s.text(&format!("%{to} = Identity %{to}_done"));
    }
}

/// ONNX's LinearAttention: a recurrence over the sequence.
pub(super) fn linear(s: &mut Source<'_>) -> Written {
    let Op::LinearAttention(o) = s.ctx.op else { return UNKNOWN };
    s.names(&["Q", "K", "V", "past", "decay", "beta"], &["y", "present"]);
    let t = known!(s.dtype("Q"));
    let state = if s.has("past") { known!(s.dtype("past")) } else { t };
    let Some((q_heads, kv_heads)) = o.q_num_heads.zip(o.kv_num_heads) else {
        fail!("expected q_num_heads and kv_num_heads for LinearAttention, found none");
    };
    if q_heads <= 0 || kv_heads <= 0 || q_heads % kv_heads != 0 {
        fail!(
            "expected q_num_heads that are a multiple of kv_num_heads, found {q_heads} and {kv_heads}"
        );
    }
    let (gated, delta) = match &*o.update_rule {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => {
            fail!("expected linear, gated, delta or gated_delta as update_rule, found {other:?}")
        }
    };
    if gated != s.has("decay") || delta != s.has("beta") {
        fail!("expected decay with gated rules and beta with delta rules only");
    }
    let (d_k, d_v) = (known!(s.extent("Q", 2)) / q_heads, known!(s.extent("V", 2)) / kv_heads);
    let times = q_heads / kv_heads;
    // By steps: [sequence, batch, heads, size].
    let steps = |s: &mut Source<'_>, x: &str, heads: i64| {
        s.text(&format!(
            "%{x}_wide = Cast %{x} {{to=1}}
             %{x}_form = const [0,0,{heads},-1] : i64[4]
             %{x}_rows = Reshape %{x}_wide, %{x}_form
             %{x}_steps = Transpose %{x}_rows {{perm=[1,0,2,3]}}"
        ));
    };
    steps(s, "Q", q_heads);
    steps(s, "K", kv_heads);
    steps(s, "V", kv_heads);
    if gated {
        steps(s, "decay", kv_heads);
    }
    if delta {
        let last = known!(s.extent("beta", 2));
        steps(s, "beta", last);
    }
    if s.has("past") {
        s.text("%initial = Cast %past {to=1}");
    } else {
        s.text(&format!(
            "%batch = Shape %Q {{start=0, end=1}}
             %heads_and_sizes = const [{kv_heads},{d_k},{d_v}] : i64[3]
             %initial_form = Concat %batch, %heads_and_sizes {{axis=0}}
             %initial = ConstantOfShape %initial_form {{value=tensor([0] : f32[1])}}"
        ));
    }
    let scale = if o.scale == 0.0 { 1.0 / (d_k as f32).sqrt() } else { o.scale };
    s.size("length", "Q", 1);
    // How often the loop turns, no rule tells.
    let length = s.extent("Q", 1).unwrap_or(0);
    s.text(
        "%states, %steps_out = Loop %length, _, %initial {body=graph @step(%at: i64[], %go: bool[], %s0: f32[..]) -> (%again, %s3, %out) {
           %again = Identity %go
           %q = Gather %Q_steps, %at
           %k = Gather %K_steps, %at
           %v = Gather %V_steps, %at",
    );
    if gated {
        s.text(
            "%g = Gather %decay_steps, %at
             %e = Exp %g
             %e1 = Unsqueeze %e {axes=[3]}
             %s1 = Mul %s0, %e1",
        );
    } else {
        s.text("%s1 = Identity %s0");
    }
    s.text("%k_row = Unsqueeze %k {axes=[2]}");
    if delta {
        s.text(
            "%found1 = MatMul %k_row, %s1
             %found = Squeeze %found1 {axes=[2]}
             %b = Gather %beta_steps, %at
             %error = Sub %v, %found
             %update = Mul %b, %error",
        );
    } else {
        s.text("%update = Identity %v");
    }
    s.text(
        "%k_column = Unsqueeze %k {axes=[3]}
         %u_row = Unsqueeze %update {axes=[2]}
         %outer = Mul %k_column, %u_row
         %s3 = Add %s1, %outer",
    );
    repeat_heads(s, "s3", "read", (kv_heads, times, d_v));
    s.text(&format!(
        "%q_row = Unsqueeze %q {{axes=[2]}}
         %seen1 = MatMul %q_row, %read
         %seen = Squeeze %seen1 {{axes=[2]}}
         %factor = const {scale:?} : f32[]
         %out = Mul %seen, %factor
         }} }} : ?, ?
         %by_batch = Transpose %steps_out {{perm=[1,0,2,3]}}
         %joined_form = const [0,{length},{}] : i64[3]
         %joined = Reshape %by_batch, %joined_form
         %y = Cast %joined {{to={}}}
         %present = Cast %states {{to={}}}",
        q_heads * d_v,
        t.to_onnx(),
        state.to_onnx()
    ));
    Ok(true)
}
