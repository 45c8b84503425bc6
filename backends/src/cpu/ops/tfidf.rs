//! TfIdfVectorizer: how often n-grams of a pool occur in rows of tokens.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use graph_opt_ir::{Op, op::TfIdfVectorizer};

use crate::RunError;
use crate::cpu::array::{Array, Buf};
use crate::cpu::cx::{Cx, Outputs, extent, invalid, unsupported};

/// The n-grams of the pool whose sizes count, by their place in the result.
struct Grams<'a, K> {
    places: HashMap<&'a [K], usize>,
    sizes: BTreeSet<usize>,
}

impl<'a, K: Eq + Hash> Grams<'a, K> {
    fn of(o: &TfIdfVectorizer, pool: &'a [K]) -> Result<Self, RunError> {
        let mut all = Self { places: HashMap::new(), sizes: BTreeSet::new() };
        let starts: Vec<usize> =
            o.ngram_counts.iter().map(|&n| extent(n)).collect::<Result<_, _>>()?;
        let mut place = o.ngram_indexes.iter();
        for (i, &start) in starts.iter().enumerate() {
            let size = i + 1;
            let end = starts.get(size).copied().unwrap_or(pool.len());
            let Some(part) = pool.get(start..end) else {
                invalid!("n-grams {start} to {end} of {} tokens", pool.len())
            };
            let counts = (o.min_gram_length..=o.max_gram_length).contains(&(size as i64));
            for gram in part.chunks_exact(size) {
                let Some(&at) = place.next() else { invalid!("more n-grams than indices") };
                if counts {
                    all.places.insert(gram, extent(at)?);
                    all.sizes.insert(size);
                }
            }
        }
        Ok(all)
    }

    /// Counts the n-grams of a row.
    fn count(&self, row: &'a [K], skips: usize, counts: &mut [f32])
    where
        K: Clone,
    {
        let skips = skips.min(row.len());
        for step in 1..=skips + 1 {
            // Single tokens are the same whatever is skipped.
            for &size in self.sizes.iter().filter(|&&size| step == 1 || size > 1) {
                let reach = (size - 1).saturating_mul(step);
                for start in 0..row.len().saturating_sub(reach) {
                    let gram: Vec<K> =
                        row[start..=start + reach].iter().step_by(step).cloned().collect();
                    if let Some(&at) = self.places.get(&gram[..]) {
                        counts[at] += 1.0;
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
            let pool: Vec<Vec<u8>> = pool.map(|s| s.clone().into_bytes()).collect();
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
    let weights = o.weights.as_deref();
    if weights.is_some_and(|w| w.len() < size) {
        invalid!("{} weights for {size} results", weights.map_or(0, <[f32]>::len));
    }
    let (tf, idf) = match o.mode.as_str() {
        "TF" => (true, false),
        "IDF" => (false, true),
        "TFIDF" => (true, true),
        m => invalid!("mode {m:?}"),
    };
    let grams = Grams::of(o, pool)?;
    let mut out = cx.zeros::<f32>(&dims)?;
    let skips = extent(o.max_skip_count)?;
    let len = v.len() / rows.max(1);
    for (i, counts) in out.chunks_exact_mut(size.max(1)).enumerate() {
        grams.count(&v[i * len..(i + 1) * len], skips, counts);
        for (i, c) in counts.iter_mut().enumerate() {
            let weight = if idf { weights.map_or(1.0, |w| w[i]) } else { 1.0 };
            *c = match (tf, *c > 0.0) {
                (true, _) => *c * weight,
                (false, found) => {
                    if found {
                        weight
                    } else {
                        0.0
                    }
                }
            };
        }
    }
    Ok(vec![Array::new(dims, out)])
}
