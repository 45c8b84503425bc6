//! TfIdfVectorizer: how often n-grams of a pool occur in rows of tokens.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use graph_opt_ir::{Op, op::TfIdfVectorizer};

use crate::RunError;
use crate::cpu::array::{Array, Buf};
use crate::cpu::cx::{Cx, Outputs, extent, invalid, unsupported};

/// The n-grams of the pool whose sizes count: place in the result, and weight.
struct Grams<'a, K> {
    places: HashMap<&'a [K], (usize, f32)>,
    sizes: BTreeSet<usize>,
}

impl<'a, K: Eq + Hash> Grams<'a, K> {
    fn of(o: &TfIdfVectorizer, pool: &'a [K]) -> Result<Self, RunError> {
        let mut all = Self { places: HashMap::new(), sizes: BTreeSet::new() };
        let starts: Vec<usize> =
            o.ngram_counts.iter().map(|&n| extent(n)).collect::<Result<_, _>>()?;
        let mut place = o.ngram_indexes.iter();
        let mut weight = o.weights.iter().flatten();
        for (i, &start) in starts.iter().enumerate() {
            let size = i + 1;
            let end = starts.get(size).copied().unwrap_or(pool.len());
            let Some(part) = pool.get(start..end) else {
                invalid!("n-grams {start} to {end} of {} tokens", pool.len())
            };
            let counts = (o.min_gram_length..=o.max_gram_length).contains(&(size as i64));
            for gram in part.chunks_exact(size) {
                let Some(&at) = place.next() else { invalid!("more n-grams than indices") };
                let weight = match (weight.next(), &o.weights) {
                    (Some(&w), _) => w,
                    (None, None) => 1.0,
                    (None, Some(_)) => invalid!("more n-grams than weights"),
                };
                if counts {
                    all.places.insert(gram, (extent(at)?, weight));
                    all.sizes.insert(size);
                }
            }
        }
        Ok(all)
    }

    /// Calls the function with the place and the weight of each n-gram of a row.
    fn each(&self, row: &[K], skips: usize, mut f: impl FnMut(usize, f32))
    where
        K: Clone,
    {
        let skips = skips.min(row.len());
        for step in 1..=skips + 1 {
            // Single tokens are the same whatever is skipped.
            for &size in self.sizes.iter().filter(|&&size| step == 1 || size > 1) {
                let reach = (size - 1).saturating_mul(step);
                for start in 0..row.len().saturating_sub(reach) {
                    let part = row[start..=start + reach].iter().step_by(step);
                    let gram: Vec<K> = part.cloned().collect();
                    if let Some(&(at, weight)) = self.places.get(&gram[..]) {
                        f(at, weight);
                    }
                }
            }
        }
    }
}

pub(super) fn tfidf(cx: &mut Cx<'_>) -> Outputs {
    let Op::TfIdfVectorizer(o) = cx.op else { invalid!("not a TfIdfVectorizer") };
    let a = cx.input(0)?;
    match &a.data {
        Buf::Str(v) => {
            let pool = o.pool_strings.iter().flatten();
            let pool: Vec<Arc<[u8]>> = pool.map(|s| s.as_bytes().into()).collect();
            counted(cx, o, a, v, &pool)
        }
        Buf::I64(v) => counted(cx, o, a, v, o.pool_int64s.as_deref().unwrap_or_default()),
        _ => unsupported!("TfIdfVectorizer of {}", a.dtype),
    }
}

fn counted<K: Eq + Hash + Clone>(
    cx: &Cx<'_>,
    o: &TfIdfVectorizer,
    a: &Array,
    v: &[K],
    pool: &[K],
) -> Outputs {
    let most = o.ngram_indexes.iter().copied().max().unwrap_or(-1);
    let size = extent(most.saturating_add(1))?;
    let (dims, rows) = match a.dims[..] {
        [] | [_] => (vec![size], 1),
        [n, _] => (vec![n, size], n),
        _ => invalid!("rank {}", a.rank()),
    };
    let found: fn(&mut f32, f32) = match o.mode.as_str() {
        "TF" => |c, _| *c += 1.0,
        "IDF" => |c, w| *c = w,
        "TFIDF" => |c, w| *c += w,
        m => invalid!("mode {m:?}"),
    };
    let grams = Grams::of(o, pool)?;
    let mut out = cx.zeros::<f32>(&dims)?;
    let skips = extent(o.max_skip_count)?;
    let len = v.len() / rows.max(1);
    for (i, counts) in out.chunks_exact_mut(size.max(1)).enumerate() {
        grams.each(&v[i * len..(i + 1) * len], skips, |at, weight| found(&mut counts[at], weight));
    }
    Ok(vec![Array::new(dims, out)])
}
